"""A create's body, checked as documented: from JSON to an order and a job, or a refusal that names the field."""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from airflow_kling.api.checks import check_area, check_callback_url, check_image, check_n, check_prompt, check_ratio
from airflow_kling.api.families import IMAGE_EXPANSION, Family
from airflow_kling.api.inputs import InputFault
from airflow_kling.emulator.faults import prompt_words
from airflow_kling.emulator.orders import Job, Order
from airflow_kling.emulator.refusals import Refusal
from airflow_kling.emulator.settings import Dialect
from airflow_kling.media.picture import check_limits, probe_picture

P = ParamSpec("P")
T = TypeVar("T")

MAX_BODY = 24 * 1024 * 1024
"""Bytes of a body: base64 of 10 MB, and room for everything else."""

MAX_PIXELS = 50_000_000
"""The emulator's own limit, for the memory that expanding takes; the documents have none."""

SIDES = ("up", "down", "left", "right")
ALL_RATIOS = ", ".join(f"{side}_expansion_ratio" for side in SIDES)

Fetch = Callable[[str], tuple[bytes, str]]
"""Gives the bytes behind a URL and a note for the ledger; raises :class:`OSError`."""

Check = Callable[[Family, Mapping[str, Any], Fetch], tuple[Order, Job]]


def decode_body(body: bytes, dialect: Dialect) -> dict[str, Any]:
    """
    Return the fields of a body, by their names in Kling's documents.

    :param body: JSON.
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


def check_create(family: Family, fields: Mapping[str, Any], fetch: Fetch) -> tuple[Order, Job]:
    """
    Return what a create asks for.

    :param family: The family of its route.
    :param fields: Its body.
    :param fetch: Reads pictures that are given as a URL.
    :raises Refusal: with 1200 or 1201, or 1203 for a family that is not emulated.
    """
    check = CHECKS.get(family.name)
    if check is None:
        raise not_emulated(family)
    return check(family, fields, fetch)


def not_emulated(family: Family) -> Refusal:
    """Return the answer for a family that the emulator knows by name only."""
    return Refusal(1203, f"{family.name} is not emulated; emulated are: {', '.join(CHECKS)}")


def text_of(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a text of the body without judging it; None for anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) and value else None


def _check_expansion(family: Family, fields: Mapping[str, Any], fetch: Fetch) -> tuple[Order, Job]:
    ratios = {side: _ratio(fields, side) for side in SIDES}
    _checked(ALL_RATIOS, check_area, *ratios.values())
    n = fields.get("n", 1)
    if isinstance(n, bool) or not isinstance(n, int):
        raise Refusal(1201, "n is invalid: must be an integer")
    order = _order(family, fields, n=_checked("n", check_n, n))
    source, note = _picture(fields.get("image"), fetch)
    return _with_note(order, note), Job(source, ratios)


def _order(family: Family, fields: Mapping[str, Any], n: int) -> Order:
    """Return the order from the fields that all families share."""
    prompt = _checked("prompt", check_prompt, fields.get("prompt"))
    try:
        list(prompt_words(prompt))
    except ValueError as error:
        raise Refusal(1201, f"prompt is invalid for the emulator: {error}") from None
    return Order(
        family=family,
        n=n,
        external_task_id=_optional_text(fields, "external_task_id"),
        prompt=prompt,
        watermark=_watermark(fields.get("watermark_info")),
        callback_url=_checked("callback_url", check_callback_url, fields.get("callback_url")),
        note="callback_url is stored, not called" if fields.get("callback_url") else "",
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


def _picture(value: object, fetch: Fetch) -> tuple[bytes, str]:
    if value is None or value == "":
        raise Refusal(1200, "image is required")
    if isinstance(value, str) and value[:5].lower() == "data:":
        raise Refusal(1201, "image is invalid: base64 without the data: prefix")
    text = _checked("image", check_image, value)
    if text[:8].lower().startswith(("http://", "https://")):
        try:
            source, note = fetch(text)
        except OSError as error:
            raise Refusal(1201, f"image is invalid: the URL could not be read: {error}") from None
    else:
        try:
            source, note = base64.b64decode(text, validate=True), ""
        except (binascii.Error, ValueError):
            raise Refusal(1201, "image is invalid: no base64") from None
    _check_picture(source)
    return source, note


def _check_picture(source: bytes) -> None:
    try:
        probe = probe_picture(io.BytesIO(source), "picture")
    except InputFault as fault:
        raise Refusal(1201, f"Image format is invalid: image must be {fault.limit}") from None
    try:
        check_limits(probe, "picture")
    except InputFault as fault:
        raise Refusal(1201, f"Image pixel is invalid: image must be {fault.limit}") from None
    if probe.width * probe.height > MAX_PIXELS:
        raise Refusal(1201, f"Image pixel is invalid: image must be of at most {MAX_PIXELS:,} pixels for the emulator")


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
CHECKS: dict[str, Check] = {IMAGE_EXPANSION: _check_expansion}
