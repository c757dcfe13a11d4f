"""The chart of what was spent: bars as high as their amounts, stacked by name."""

from __future__ import annotations

import io
from datetime import date, timedelta

import pytest
from PIL import Image

from airflow_kling.media.chart import SIZE, chart_png

FIRST = date(2026, 11, 1)
BLUE, ORANGE = (0, 114, 178), (230, 159, 0)
PLOT = (80, 60, SIZE[0] - 260, SIZE[1] - 60)


def drawn(bars, days=10):
    content = chart_png(bars, "Kling", FIRST, FIRST + timedelta(days - 1))
    image = Image.open(io.BytesIO(content))
    assert (image.format, image.size) == ("PNG", SIZE)
    plot = image.convert("RGB").crop(PLOT)
    counts = {colour: count for count, colour in plot.getcolors(1_000_000)}
    return counts, plot


def test_areas_are_as_the_amounts():
    counts, _ = drawn([("2026-11-01", "a", 30.0), ("2026-11-02", "b", 10.0), ("2026-11-02", "b", 5.0)])
    assert counts[BLUE] / counts[ORANGE] == pytest.approx(2, rel=0.05)


def test_names_are_stacked_the_largest_at_the_bottom():
    _, plot = drawn([("2026-11-01", "a", 40.0), ("2026-11-01", "b", 8.0)], days=1)
    column = [plot.getpixel((plot.width // 2, y)) for y in range(plot.height)]
    assert column.index(ORANGE) < column.index(BLUE)
    assert column[-3] == BLUE


@pytest.mark.parametrize("days", [1, 30, 366, 500])
def test_any_number_of_days_and_names_can_be_drawn(days):
    bars = [((FIRST + timedelta(n)).isoformat(), f"dag {n % 20}", (n + 1) * 7.5) for n in range(min(days, 366))]
    counts, _ = drawn(bars, days)
    assert len(counts) > (3 if days > 1 else 1)


def test_nothing_spent_is_said():
    counts, _ = drawn([])
    assert BLUE not in counts
    assert len(counts) > 2  # the words


def test_an_amount_of_less_than_a_pixel_is_drawn():
    counts, _ = drawn([("2026-11-01", "a", 8000.0), ("2026-11-01", "b", 0.5)])
    assert counts[ORANGE] > 0
