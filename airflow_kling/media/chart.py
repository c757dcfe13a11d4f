"""A bar chart of what was spent: units per day, stacked by DAG; drawn with Pillow."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, timedelta

SIZE = (1200, 600)
MAX_NAMES = 8
MAX_DAYS = 366
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 260, 60, 60
_INK, _SOFT, _GRID, _PAGE = "#1d1d1b", "#62615b", "#e4e2da", "#ffffff"
#: Told apart by those who see few colours, too (Okabe and Ito's, without the yellow).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#6a4c93", "#999999")
_OTHERS = "others"


def chart_png(bars: Iterable[tuple[str, str, float]], title: str, first: date, last: date) -> bytes:
    """
    Return the chart as a PNG of 1200x600 px.

    :param bars: ISO date, name, and amount; amounts of the same day and name add up.
    :param title: Above it.
    :param first: The first day shown.
    :param last: The last day shown, at most a year later.
    """
    from PIL import Image, ImageDraw, ImageFont

    days = [first + timedelta(n) for n in range(min((last - first).days + 1, MAX_DAYS))]
    amounts = _by_day(bars)
    names = _names(amounts)
    stacks = {day: _stack(amounts.get(day.isoformat(), {}), names) for day in days}
    most = max(map(sum, stacks.values()), default=0.0)
    step = _step(most)
    lines = range(int(-(-most // step)) + 1) if stacks else range(2)
    top = max(lines[-1], 1) * step

    image = Image.new("RGB", SIZE, _PAGE)
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(15), ImageFont.load_default(22)
    right, bottom = SIZE[0] - _RIGHT, SIZE[1] - _BOTTOM
    height = bottom - _TOP
    draw.text((_LEFT, 18), title, _INK, large)
    for line in lines:
        y = bottom - height * line * step / top
        draw.line((_LEFT, y, right, y), _GRID if line else _SOFT)
        draw.text((_LEFT - 8, y), f"{line * step:,g}", _SOFT, small, anchor="rm")
    width = (right - _LEFT) / max(len(days), 1)
    every = -(-len(days) // 12) or 1
    for place, day in enumerate(days):
        x, y = _LEFT + width * place, float(bottom)
        for colour, amount in zip(_COLOURS, stacks[day], strict=False):
            if amount:
                upper = y - height * amount / top
                draw.rectangle(
                    (x + width * 0.12, upper, max(x + width * 0.88 - 1, x + width * 0.12), max(y - 1, upper)), colour
                )
                y = upper
        if place % every == 0:
            draw.text((x + width / 2, bottom + 8), day.strftime("%m-%d"), _SOFT, small, anchor="ma")
    for place, (colour, name) in enumerate(zip(_COLOURS, names, strict=False)):
        y = _TOP + 26 * place
        draw.rectangle((right + 20, y, right + 34, y + 14), colour)
        draw.text((right + 42, y - 1), _fitting(name, 24), _INK, small)
    if not names:
        draw.text(((_LEFT + right) / 2, _TOP + height / 2), "nothing was spent", _SOFT, large, anchor="mm")
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def _by_day(bars: Iterable[tuple[str, str, float]]) -> dict[str, dict[str, float]]:
    amounts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for day, name, amount in bars:
        amounts[day][name] += amount
    return amounts


def _names(amounts: dict[str, dict[str, float]]) -> list[str]:
    """Return the names to tell apart, the largest first; what is too many goes together."""
    totals: dict[str, float] = defaultdict(float)
    for row in amounts.values():
        for name, amount in row.items():
            totals[name] += amount
    names = sorted(totals, key=lambda name: (-totals[name], name))
    return names if len(names) <= MAX_NAMES else [*names[: MAX_NAMES - 1], _OTHERS]


def _stack(row: dict[str, float], names: list[str]) -> list[float]:
    known = [row.get(name, 0.0) for name in names]
    if names and names[-1] == _OTHERS:
        known[-1] = sum(row.values()) - sum(known[:-1])
    return known


def _step(most: float) -> float:
    """Return the distance between two lines: 1, 2 or 5 times a power of ten, for about five of them."""
    step = 1.0
    while most / step > 6:
        step *= 2.5 if str(step).lstrip("0.").startswith("2") else 2
    return step


def _fitting(name: str, most: int) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in name)
    return text if len(text) <= most else f"{text[: most - 1]}…"
