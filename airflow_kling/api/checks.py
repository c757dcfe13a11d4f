"""The limits of Kling's documents, and the checks that refuse what breaks them; light, for DAG files import it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from airflow_kling.api.inputs import InputFault

MAX_RATIO = 2.0
MAX_AREA = 3.0
AREA_TOLERANCE = 1e-6
MAX_PROMPT = 2500
MAX_N = 9
MAX_IMAGE_BYTES = 10 * 1024 * 1024
MAX_EXTERNAL_ID = 128
SIDES = ("up", "down", "left", "right")
FITS = ("auto", "passes", "crop", "fail")
DEFAULT_MAX_CROP = 0.06

# Patterns, compiled on first use: DAG files import this module.
_DATA_PREFIX = r"(?i)data:[\w.+-]*/?[\w.+-]*(;[\w=-]+)*;base64,"
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_EXTERNAL_ID = r"[A-Za-z0-9._:-]+"
OWN_FIELDS = frozenset(
    {"image", "n", "prompt", "watermark_info", "callback_url", "external_task_id"}
    | {f"{side}_expansion_ratio" for side in (*SIDES, "bottom")}
)


def is_url(image: str) -> bool:
    """Return whether a text is a URL of the web."""
    return re.match(r"(?i)https?://[^/\s]", image) is not None


def number_of(value: object) -> float:
    """Return a number, or the number of its text; what is none becomes not-a-number, which no limit lets pass."""
    try:
        return math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def check_whole_number(field: str, value: object, least: int, most: int, advice: str) -> int:
    """Return a whole number within limits, given as it is or as its text."""
    number = number_of(value)
    if not (least <= number <= most and number == int(number)):
        raise InputFault(field, value, f"a whole number from {least} to {most}", advice)
    return int(number)


def check_image(image: object, field: str = "image") -> str:
    """Return a URL as it is and base64 without its ``data:`` prefix."""
    advice = "give a URL that Kling can read, or the base64 of a JPG or PNG"
    if not isinstance(image, str) or not image.strip():
        raise InputFault(field, image, "a URL or base64 text", advice)
    if image[0].isspace() or image[-1].isspace():
        image = image.strip()
    if is_url(image):
        if len(image) > 8192 or any(sign.isspace() for sign in image):
            raise InputFault(field, image, "one URL of at most 8,192 characters", advice)
        return image
    prefix = re.match(_DATA_PREFIX, image[:200])
    if prefix:
        image = image[prefix.end() :]
    if "\n" in image or "\r" in image:
        image = image.replace("\n", "").replace("\r", "")
    if len(image) % 4 or not re.fullmatch(_BASE64, image):
        raise InputFault(field, image, "a URL or base64 text", advice)
    size = len(image) // 4 * 3 - image[-2:].count("=")
    if size > MAX_IMAGE_BYTES:
        raise InputFault(field, f"a picture of {size:,} bytes", f"at most {MAX_IMAGE_BYTES:,} bytes", "make it smaller")
    return image


def check_ratio(side: str, ratio: object) -> float:
    """Return the ratio as a number between 0 and 2."""
    number = number_of(ratio)
    if not 0 <= number <= MAX_RATIO:
        unit = "height" if side in ("up", "down") else "width"
        raise InputFault(
            side, ratio, f"a number from 0 to {MAX_RATIO:g}", f"it is a multiple of the picture's {unit}, e.g. 0.5"
        )
    return number + 0.0  # -0.0 becomes 0.0


def check_area(up: float, down: float, left: float, right: float) -> None:
    """Refuse an expansion of nothing, and one of more than three times the area."""
    shown_ratios = f"up {up:g}, down {down:g}, left {left:g}, right {right:g}"
    if up == down == left == right == 0:
        raise InputFault(
            "up, down, left, right", shown_ratios, "above 0 on at least one side", "choose a side to expand"
        )
    area = (1 + up + down) * (1 + left + right)
    if area > MAX_AREA + AREA_TOLERANCE:
        fitting = dict(zip(SIDES, largest_ratios(up, down, left, right), strict=True))
        raise InputFault(
            "up, down, left, right",
            f"{shown_ratios}, together {area:.4g} times the area",
            f"at most {MAX_AREA:g} times the area",
            "the largest that fit in these proportions are "
            + ", ".join(f"{side} {ratio:g}" for side, ratio in fitting.items()),
        )


def largest_ratios(up: float, down: float, left: float, right: float) -> tuple[float, float, float, float]:
    """Return the four ratios scaled down together until the area is three times, rounded down to four decimals."""
    vertical, horizontal = up + down, left + right
    product, total = vertical * horizontal, vertical + horizontal
    # (1 + s*vertical) * (1 + s*horizontal) = 3, solved for s without a difference of near numbers.
    scale = 2 * (MAX_AREA - 1) / (total + math.sqrt(total**2 + 4 * product * (MAX_AREA - 1)))
    floored = tuple(math.floor(ratio * scale * 10_000) / 10_000 for ratio in (up, down, left, right))
    return floored[0], floored[1], floored[2], floored[3]


def check_n(n: object) -> int:
    """Return the number of pictures, 1 to 9."""
    return check_whole_number("n", n, 1, MAX_N, "ask for fewer pictures, or use several tasks")


def check_prompt(prompt: object, field: str = "prompt") -> str | None:
    """Return the prompt, None where it is empty."""
    if prompt is None or prompt == "":
        return None
    if not isinstance(prompt, str):
        raise InputFault(field, prompt, "text", "give a sentence")
    if len(prompt) > MAX_PROMPT:
        raise InputFault(
            field, f"a text of {len(prompt):,} characters", f"at most {MAX_PROMPT:,} characters", "shorten it"
        )
    return prompt


def check_flag(field: str, value: object) -> bool:
    """Return the switch, which no text may stand for: "false" would count as true."""
    if not isinstance(value, bool):
        raise InputFault(field, value, "True or False", "give a bool, not a text")
    return value


def check_seconds(field: str, value: object) -> float:
    """Return a duration, given in seconds or as a timedelta."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
        raise InputFault(field, value, "a number of seconds above 0, or a timedelta", "e.g. 10")
    return float(seconds)


def check_age(field: str, value: object) -> float:
    """Return a duration in seconds, given as a text such as "30d", "12h", "45m", in seconds, or as a timedelta."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([dhms])\s*", value)):
        return check_seconds(field, float(match[1]) * {"d": 86_400, "h": 3_600, "m": 60, "s": 1}[match[2]])
    if isinstance(value, str):
        raise InputFault(field, value, 'a duration such as "30d", "12h" or "45m"', "correct it, or leave it out")
    return check_seconds(field, value)


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> str:
    """Return one of the given words."""
    if not isinstance(value, str) or value not in choices:
        raise InputFault(field, value, f"one of {', '.join(choices)}", "correct it")
    return value


def check_callback_url(url: object) -> str | None:
    """Return the callback's URL, None where it is empty."""
    if url is None or url == "":
        return None
    if not isinstance(url, str) or not is_url(url) or any(sign.isspace() for sign in url):
        raise InputFault("callback_url", url, "a URL of http or https", "give one that Kling can reach, or none")
    return url


def check_external_task_id(task_id: object) -> str | None:
    """Return the external id, None where it is empty."""
    if task_id is None or task_id == "":
        return None
    if (
        not isinstance(task_id, str)
        or task_id in (".", "..")
        or len(task_id) > MAX_EXTERNAL_ID
        or not re.fullmatch(_EXTERNAL_ID, task_id)
    ):
        raise InputFault(
            "external_task_id",
            task_id,
            f"at most {MAX_EXTERNAL_ID} letters, digits and . _ : -",
            "it becomes a segment of a path when the task is asked for",
        )
    return task_id


def check_json(field: str, value: object, own: Collection[str]) -> dict[str, Any]:
    """Return fields of the wire, which must be JSON and none of those that have a parameter."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InputFault(field, value, "a mapping of field names to values", "e.g. {'new_field': 1}")
    for name in sorted(own):
        if name in value:
            raise InputFault(field, name, "a field without a parameter of its own", "use the parameter instead")
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputFault(field, value, "JSON", f"{error}") from None
    return dict(value)
