"""A create's body, checked as documented: from JSON to an order and a job, or a refusal that names the field."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, ParamSpec, TypeVar

from airflow_kling.api.checks import (
    SIDES,
    check_area,
    check_callback_url,
    check_image,
    check_n,
    check_prompt,
    check_ratio,
)
from airflow_kling.api.families import IMAGE_EXPANSION, Family
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import (
    DEFAULT_ASPECT,
    DEFAULT_DURATION,
    DEFAULT_MODE,
    EXTENSION_SECONDS,
    EXTENSION_UNITS,
    FIELDS,
    IMAGE_GENERATION,
    IMAGE_TO_VIDEO,
    MAX_EXTENDED_SECONDS,
    RESOLUTIONS,
    TEXT_TO_VIDEO,
    VIDEO_EXTENSION,
    check_fields,
    image_units,
    models_of,
    video_units,
)
from airflow_kling.emulator.faults import prompt_words
from airflow_kling.emulator.fetching import is_loopback
from airflow_kling.emulator.orders import FoundClip, Job, Order
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import Dialect
from airflow_kling.media.picture import check_limits, probe_picture

P = ParamSpec("P")
T = TypeVar("T")

MAX_BODY = 24 * 1024 * 1024
"""Bytes of a body: base64 of 10 MB, and room for everything else."""

MAX_PIXELS = 50_000_000
"""The emulator's own limit, for the memory that expanding takes; the documents have none."""

SHARED_FIELDS = ("watermark", "callback_url", "external_task_id")
"""Checked for all families alike, see :func:`_order`."""

_TEXT, _NUMBER = ((str,), "a string"), ((int, float), "a number")
#: The wire's types of fields that our own requests take more freely: a duration is a string there, and sound no bool.
WIRE_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "model_name": _TEXT,
    "mode": _TEXT,
    "duration": _TEXT,
    "sound": _TEXT,
    "cfg_scale": _NUMBER,
    "image_fidelity": _NUMBER,
    "human_fidelity": _NUMBER,
    "multi_shot": ((bool,), "a boolean"),
    "aspect_ratio": _TEXT,
    "resolution": _TEXT,
    "video_id": _TEXT,
}

ALL_RATIOS = ", ".join(f"{side}_expansion_ratio" for side in SIDES)

Fetch = Callable[[str], tuple[bytes, str]]
"""Gives the bytes behind a URL and a note for the ledger; raises :class:`OSError`."""

FindClip = Callable[[str], FoundClip | None]
"""Gives the clip of an id, of the account that asks."""

DEFAULT_IMAGE_MODEL = "kling-v3"
"""The newest document's default of image generation; older ones say kling-v1."""


class Reach(NamedTuple):
    """What a check can look up besides the body."""

    fetch: Fetch
    find_clip: FindClip


Check = Callable[[Family, Mapping[str, Any], Reach], tuple[Order, Job]]


def decode_body(body: bytes, dialect: Dialect) -> dict[str, Any]:
    """
    Return the fields of a body, by their names in Kling's documents.

    :param dialect: A gateway has spellings of its own.
    :raises Refusal: where it is no JSON object.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(1200, "Request body is invalid: no JSON") from None
    if not isinstance(fields, dict):
        raise Refusal(1200, "Request body is invalid: no JSON object")
    return _from_gateway(fields) if dialect is Dialect.GATEWAY else fields


def check_create(
    family: Family, fields: Mapping[str, Any], fetch: Fetch, find_clip: FindClip = lambda video_id: None
) -> tuple[Order, Job]:
    """
    Return what a create asks for.

    :raises Refusal: with 1200 or 1201, or 1203 for a family that is not emulated.
    """
    check = CHECKS.get(family.name)
    if check is None:
        raise not_emulated(family)
    return check(family, fields, Reach(fetch, find_clip))


def not_emulated(family: Family) -> Refusal:
    """Return the answer for a family that the emulator knows by name only."""
    return Refusal(1203, f"{family.name} is not emulated; emulated are: {', '.join(CHECKS)}")


def text_of(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a text of the body without judging it; None for anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _check_expansion(family: Family, fields: Mapping[str, Any], reach: Reach) -> tuple[Order, Job]:
    ratios = {side: _ratio(fields, side) for side in SIDES}
    _checked(ALL_RATIOS, check_area, *ratios.values())
    order = _order(family, fields, n=_number_of(fields))
    source, note = _picture("image", fields.get("image"), reach.fetch)
    return _with_note(order, note), Job(source, ratios)


def _check_image_to_video(family: Family, fields: Mapping[str, Any], reach: Reach) -> tuple[Order, Job]:
    given = _given(family, fields)
    if not given["image"] and not given["image_tail"]:
        raise Refusal(1200, "image is required, or image_tail")
    order = _clip_order(family, fields, _checked_fields(family, given))
    pictures = {}
    for name in ("image", "image_tail", "static_mask"):
        if given[name]:
            pictures[name], note = _picture(name, given[name], reach.fetch)
            order = _with_note(order, note)
    # A clip with a last frame only goes there from that frame itself.
    source = pictures.get("image", pictures.get("image_tail", b""))
    return order, Job(source, {"seconds": _seconds(given)}, pictures.get("image_tail"))


def _check_text_to_video(family: Family, fields: Mapping[str, Any], reach: Reach) -> tuple[Order, Job]:
    given = _given(family, fields)
    if not given["prompt"] and not given["multi_prompt"]:
        raise Refusal(1200, "prompt is required")
    order = _clip_order(family, fields, _checked_fields(family, given))
    return order, Job(b"", {"seconds": _seconds(given), "aspect_ratio": given["aspect_ratio"] or DEFAULT_ASPECT})


def _check_extension(family: Family, fields: Mapping[str, Any], reach: Reach) -> tuple[Order, Job]:
    given = _checked_fields(family, _given(family, fields, ("video_id",)))
    clip = reach.find_clip(given["video_id"])
    if clip is None:
        raise Refusal(1201, f"video_id is invalid: Video not found by id: {given['video_id'][:80]}")
    if clip.seconds + EXTENSION_SECONDS > MAX_EXTENDED_SECONDS:
        limit = f"must be of a clip that stays within {MAX_EXTENDED_SECONDS} seconds"
        raise Refusal(1201, f"video_id is invalid: {limit}")
    order = replace(_order(family, fields, n=1), mode=clip.mode, list_units=EXTENSION_UNITS.get(clip.mode))
    return order, Job(clip.path.read_bytes(), {"seconds": EXTENSION_SECONDS})


def _check_generation(family: Family, fields: Mapping[str, Any], reach: Reach) -> tuple[Order, Job]:
    given = _given(family, fields, ("prompt",)) | {"n": _number_of(fields)}
    given = _checked_fields(family, given | {"model_name": given["model_name"] or DEFAULT_IMAGE_MODEL})
    units = image_units(given["model_name"], given["n"], from_picture=bool(given["image"]))
    order = replace(_order(family, fields, n=given["n"]), list_units=units)
    source, note = _picture("image", given["image"], reach.fetch) if given["image"] else (b"", "")
    options = {
        "aspect_ratio": given["aspect_ratio"] or DEFAULT_ASPECT,
        "resolution": given["resolution"] or RESOLUTIONS[0],
    }
    return _with_note(order, note), Job(source, options)


def _given(family: Family, fields: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the family's own fields of a body, None where they are absent; of the wire's types."""
    given = {name: fields.get(name) for name in FIELDS[family.name] if name not in SHARED_FIELDS}
    for name in required:
        if given[name] is None or given[name] == "":
            raise Refusal(1200, f"{name} is required")
    for name, (types, wanted) in WIRE_TYPES.items():
        value = given.get(name)
        if value is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
            raise Refusal(1201, f"{name} is invalid: must be {wanted}")
    if "multi_shot" in given:
        given["multi_shot"] = bool(given["multi_shot"])
    known = models_of(family.name)
    if known and given["model_name"] and given["model_name"] not in known:
        raise Refusal(1203, f"model_name is invalid: must be one of {', '.join(known)}")
    return given


def _checked_fields(family: Family, given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return check_fields(family.name, given, pictures=False)
    except InputFault as fault:
        raise Refusal(1201, f"{fault.field} is invalid: must be {fault.limit}") from None


def _clip_order(family: Family, fields: Mapping[str, Any], given: Mapping[str, Any]) -> Order:
    mode, with_voices = given["mode"] or DEFAULT_MODE, bool(given.get("voice_list"))
    units = video_units(given["model_name"], mode, given["duration"], sound=given["sound"] == "on", voices=with_voices)
    order = replace(_order(family, fields, n=1), mode=mode, list_units=units)
    return _with_note(order, "sound is not made: the clip is silent" if given["sound"] == "on" else "")


def _seconds(given: Mapping[str, Any]) -> int:
    return int(given["duration"] or DEFAULT_DURATION)


def _number_of(fields: Mapping[str, Any]) -> int:
    n = fields.get("n", 1)
    if isinstance(n, bool) or not isinstance(n, int):
        raise Refusal(1201, "n is invalid: must be an integer")
    return _checked("n", check_n, n)


def _order(family: Family, fields: Mapping[str, Any], n: int) -> Order:
    """Return the order from the fields that all families share."""
    prompt = _checked("prompt", check_prompt, fields.get("prompt"))
    try:
        list(prompt_words(prompt))
    except ValueError as error:
        raise Refusal(1201, f"prompt is invalid for the emulator: {error}") from None
    callback_url = _checked("callback_url", check_callback_url, fields.get("callback_url"))
    return Order(
        family=family,
        n=n,
        external_task_id=_optional_text(fields, "external_task_id"),
        prompt=prompt,
        watermark=_watermark(fields.get("watermark_info")),
        callback_url=callback_url,
        note="callback_url is not called (only loopback is)" if callback_url and not is_loopback(callback_url) else "",
    )


def _with_note(order: Order, note: str) -> Order:
    return replace(order, note="; ".join(filter(None, (order.note, note))))


def _ratio(fields: Mapping[str, Any], side: str) -> float:
    name = f"{side}_expansion_ratio"
    value = fields.get(name)
    if value is None:
        raise Refusal(1200, f"{name} is required")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refusal(1201, f"{name} is invalid: must be a number")
    return _checked(name, check_ratio, side, value)


def _optional_text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Refusal(1201, f"{name} is invalid: must be a string")
    return value or None


def _watermark(value: object) -> bool:
    if value is None:
        return False
    enabled = value.get("enabled", False) if isinstance(value, dict) else None
    if not isinstance(enabled, bool):
        raise Refusal(1201, "watermark_info is invalid: must be an object with a boolean enabled")
    return enabled


def _picture(name: str, value: object, fetch: Fetch) -> tuple[bytes, str]:
    if value is None or value == "":
        raise Refusal(1200, f"{name} is required")
    if isinstance(value, str) and value[:5].lower() == "data:":
        raise Refusal(1201, f"{name} is invalid: base64 without the data: prefix")
    text = _checked(name, check_image, value)
    if text[:8].lower().startswith(("http://", "https://")):
        try:
            source, note = fetch(text)
        except OSError as error:
            raise Refusal(1201, f"{name} is invalid: the URL could not be read: {error}") from None
    else:
        try:
            source, note = base64.b64decode(text, validate=True), ""
        except (binascii.Error, ValueError):
            raise Refusal(1201, f"{name} is invalid: no base64") from None
    _check_picture(name, source)
    return source, note


def _check_picture(name: str, source: bytes) -> None:
    try:
        probe = probe_picture(io.BytesIO(source), "picture")
    except InputFault as fault:
        raise Refusal(1201, f"Image format is invalid: {name} must be {fault.limit}") from None
    try:
        check_limits(probe, "picture")
    except InputFault as fault:
        raise Refusal(1201, f"Image pixel is invalid: {name} must be {fault.limit}") from None
    if probe.width * probe.height > MAX_PIXELS:
        raise Refusal(1201, f"Image pixel is invalid: {name} must be of at most {MAX_PIXELS:,} pixels for the emulator")


def _checked(name: str, check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return check(*args, **kwargs)
    except InputFault as fault:
        raise Refusal(1201, f"{name} is invalid: must be {fault.limit}") from None


def _from_gateway(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the spellings of CometAPI's page of 2026-03 replaced: ``bottom_`` and a textual ``n``."""
    fields = dict(fields)
    if "bottom_expansion_ratio" in fields:
        if "down_expansion_ratio" in fields:
            raise Refusal(1201, "bottom_expansion_ratio and down_expansion_ratio are the same: give one")
        fields["down_expansion_ratio"] = fields.pop("bottom_expansion_ratio")
    n = fields.get("n")
    if isinstance(n, str) and n.isascii() and n.isdigit():
        fields["n"] = int(n[:4])
    return fields


#: How a create of each emulated family is checked. A further family is one more row here and in ``MAKERS``.
CHECKS: dict[str, Check] = {
    IMAGE_EXPANSION: _check_expansion,
    IMAGE_GENERATION: _check_generation,
    IMAGE_TO_VIDEO: _check_image_to_video,
    TEXT_TO_VIDEO: _check_text_to_video,
    VIDEO_EXTENSION: _check_extension,
}
