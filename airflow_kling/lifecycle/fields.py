"""Fields of a request that take something from elsewhere, at any depth: checked, resolved, told by one identity."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import is_url
from airflow_kling.api.rules import PICTURE_FIELDS
from airflow_kling.lifecycle.fingerprint import source_of_url
from airflow_kling.lifecycle.source import (
    MAX_URL,
    Source,
    check_image_source,
    check_manifest,
    check_video_source,
    is_manifest,
    no_data,
    resolve_image,
    resolve_output,
    resolve_video,
)

if TYPE_CHECKING:
    from airflow_kling.lifecycle.source import GetTask, OpenPath


@dataclass(frozen=True, slots=True)
class Sources(Source):
    """
    All that a request takes from elsewhere.

    :param identity: What makes them these and no others: of all of them together.
    :param fields: By the wire's names, as they are sent.
    """

    fields: Mapping[str, Any] = field(repr=False, compare=False)


def resolve_fields(
    fields: Mapping[str, Any],
    *,
    get_task: GetTask,
    open_path: OpenPath,
    indexes: Mapping[str, int] | None = None,
    path: str = "",
) -> Sources:
    """
    Return fields of a request with everything that they take from elsewhere, at any depth.

    Under a key that ends in ``video_id`` a manifest stands for a clip's id, elsewhere for the output's URL. A path or
    storage URI under a picture's name is read.

    :param fields: By the wire's names.
    :param get_task: Asks a connection for a task: connection id, task id, family.
    :param indexes: Which output of another task, by the field's name; else the first.
    :param path: Name of the parameter that holds the fields, if they are not parameters themselves.
    :raises InputFault: for what Kling would refuse, or what cannot be found.
    """

    def resolve(name: str, where: str, value: Any) -> _Leaf:
        index = (indexes or {}).get(name, 0)
        if _is_absent(value):
            return _Leaf(value, value)
        if _is_clip(name):
            source = resolve_video(value, get_task=get_task, index=index, field=where)
        elif is_picture_field(name):
            source = resolve_image(value, get_task=get_task, open_path=open_path, index=index, field=where)
        elif is_manifest(value):
            source = resolve_output(value, get_task=get_task, open_path=open_path, index=index, field=where)
        else:
            check_text_source(value, where)
            return _Leaf(value, _unsigned(value))
        return _Leaf(source.image, source.identity)

    leaves = _walk("", path, fields, resolve)
    told = _walk("", path, leaves, lambda name, where, leaf: leaf.told)
    sent = _walk("", path, leaves, lambda name, where, leaf: leaf.sent)
    return Sources(sent.get("image") or "", json.dumps(told, sort_keys=True, default=str), sent)


def check_sources(fields: Mapping[str, Any], is_known: Callable[[object], bool], path: str = "") -> None:
    """
    Refuse what can be no source among fields, without reading anything.

    :param is_known: Whether a value is there already; others are passed over.
    :raises InputFault: with what to give instead.
    """

    def check(name: str, where: str, value: Any) -> None:
        if _is_absent(value) or not is_known(value):
            return
        if _is_clip(name):
            check_video_source(value, where)
        elif is_picture_field(name):
            check_image_source(value, where)
        elif is_manifest(value):
            check_manifest(value, where)
        else:
            check_text_source(value, where)

    _walk("", path, fields, check)


def unsigned_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the links in them, at any depth, without what signs them."""
    told: dict[str, Any] = _walk("", "", fields, lambda name, where, value: _unsigned(value))
    return told


def is_picture_field(name: str) -> bool:
    """Return whether a field of that name holds a picture: ``image``, ``mask``, ``human_image`` and the like."""
    return name in PICTURE_FIELDS or name == "mask" or name.endswith("_image")


def check_text_source(value: object, field: str) -> None:
    """
    Refuse a picture or a sound that stands among the fields itself.

    :raises InputFault: with what to give instead.
    """
    if not isinstance(value, str):
        return
    text = value.strip()
    is_one_word = len(text) > MAX_URL and not any(sign.isspace() for sign in text)
    if is_one_word or text[:5].lower() == "data:":
        raise no_data(text, field, "a link, not the data itself")


class _Leaf:
    """A value as it is sent, and what identifies it."""

    __slots__ = ("sent", "told")

    def __init__(self, sent: Any, told: Any) -> None:
        self.sent, self.told = sent, told


def _walk(name: str, path: str, value: Any, visit: Callable[[str, str, Any], Any]) -> Any:
    """Return the same tree with each leaf as visited: by its key, its path and its value; a manifest is a leaf."""
    is_leaf = is_manifest(value) or is_picture_field(name) or _is_clip(name)
    if isinstance(value, Mapping) and not is_leaf:
        return {key: _walk(str(key), f"{path}.{key}".lstrip("."), row, visit) for key, row in value.items()}
    if isinstance(value, (list, tuple)):
        return [_walk(name, path, row, visit) for row in value]
    return visit(name, path, value)


def _unsigned(value: Any) -> Any:
    is_link = isinstance(value, str) and is_url(value) and not any(sign.isspace() for sign in value)
    return source_of_url(value) if is_link else value


def _is_absent(value: object) -> bool:
    return value is None or value == ""


def _is_clip(name: str) -> bool:
    return name.endswith("video_id")
