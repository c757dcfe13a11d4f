"""What a run page shows, made of manifests, states and rendered fields: pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from airflow_kling.api.checks import is_url
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION, OutputKind
from airflow_kling.api.redact import redact

Manifest = Mapping[str, Any]
#: Where an output is told of: the row of its task instance, and its position there.
Key = tuple[str, int, int, int]

DONE, FAILED, WAITING, OTHER = "done", "failed", "waiting", "other"
GROUPS = {"success": DONE, "failed": FAILED, "upstream_failed": FAILED, "skipped": OTHER, "removed": OTHER}
"""Of the states of a task instance; every other one waits."""

SIDES = ("up", "down", "left", "right")
MAX_OUTPUTS = 1_000
"""Of one remote task; Kling makes nine at most."""


@dataclass(slots=True)
class Instance:
    """
    A task instance of ours, as the database knows it.

    :param task_id: Airflow's id of the task.
    :param map_index: -1 where the task is not mapped.
    :param state: Airflow's state; None before it is scheduled.
    :param label: Name of the mapped instance, if it has one.
    :param hostname: The worker's.
    :param try_number: Of its last try.
    :param started_at: When its last try began.
    :param ended_at: When that ended.
    :param remote_id: Kling's id of the task, as soon as it is known.
    :param submitted_at: When that was.
    :param rows: The manifests that it returned.
    """

    task_id: str
    map_index: int
    state: str | None
    label: str | None = None
    hostname: str | None = None
    try_number: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    remote_id: str | None = None
    submitted_at: datetime | None = None
    rows: Sequence[Manifest] = field(default_factory=tuple)

    @property
    def group(self) -> str:
        return GROUPS.get(self.state or "", WAITING)


@dataclass(slots=True)
class Item:
    """
    One picture or clip, or a task instance that has none (yet).

    :param instance: Where it comes from.
    :param manifest: What tells of it.
    :param output: Its row in that.
    :param key: Its address; the last two are -1 where there is nothing to serve.
    """

    instance: Instance
    manifest: Manifest
    output: Manifest
    key: Key

    @property
    def group(self) -> str:
        # A row of a batch may have failed though its task did not, and a task that was only submitted goes on.
        status = self.manifest.get("status")
        if self.instance.group == DONE and status in ("submitted", "processing"):
            return WAITING
        return FAILED if status == "failed" else self.instance.group


def rows_of(value: object) -> list[Manifest]:
    """
    Return the manifests in what a task returned; nothing is believed of it.

    :param value: An XCom as the database holds it.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    for read in ROW_SOURCES:
        if rows := read(value):
            return rows
    return []


def _single(value: object) -> list[Manifest]:
    return [value] if is_manifest(value) else []  # type: ignore[list-item]


#: What makes manifests of a task's result; the first that finds any counts. A batch's file of results can join here.
ROW_SOURCES: list[Callable[[object], list[Manifest]]] = [_single]


def is_manifest(value: object) -> bool:
    """Return whether something has the form of :func:`airflow_kling.lifecycle.collect.manifest`."""
    if not isinstance(value, Mapping) or not isinstance(value.get("family"), str):
        return False
    if not isinstance(value.get("task_id"), (str, type(None))):
        return False
    outputs = value.get("outputs")
    return (
        isinstance(outputs, list) and len(outputs) <= MAX_OUTPUTS and all(isinstance(row, Mapping) for row in outputs)
    )


def uri_of(output: Manifest) -> str | None:
    """Return where an output is stored, by its row in a manifest."""
    uri = output.get("uri")
    return uri if isinstance(uri, str) and uri else None


def items_of(instances: Iterable[Instance]) -> list[Item]:
    """
    Return what is to be shown of a run, in the order of its instances.

    A task that one instance submitted and another watched or collected is shown once, by what was collected.

    :param instances: The run's.
    """
    instances = list(instances)
    elsewhere = {row.get("task_id") for instance in instances for row in instance.rows if row["outputs"]}
    elsewhere |= {instance.remote_id for instance in instances if not instance.rows}
    items: list[Item] = []
    for instance in instances:
        if not instance.rows:
            items.append(Item(instance, {}, {}, (instance.task_id, instance.map_index, -1, -1)))
            continue
        for row, manifest in enumerate(instance.rows):
            address = (instance.task_id, instance.map_index, row)
            if not manifest["outputs"] and manifest.get("task_id") not in elsewhere:
                items.append(Item(instance, manifest, {}, (*address, -1)))
            items += [Item(instance, manifest, output, (*address, at)) for at, output in enumerate(manifest["outputs"])]
    return items


def summary(items: Sequence[Item]) -> dict[str, Any]:
    """
    Return the run in numbers: how many of each group, units and price.

    :param items: All of the run's.
    """
    manifests = {item.key[:3]: item.manifest for item in items if item.manifest}
    units = [number(manifest.get("units")) for manifest in manifests.values()]
    prices = [price(manifest) for manifest in manifests.values()]
    groups = [item.group for item in items]
    return {
        "total": len(items),
        **{group: groups.count(group) for group in (DONE, WAITING, FAILED, OTHER)},
        "units": sum(filter(None, units)) if any(unit is not None for unit in units) else None,
        "usd": round(sum(filter(None, prices)), 4) if any(each is not None for each in prices) else None,
        "unpriced": sum(unit is None for unit in units),
    }


def price(manifest: Manifest) -> float | None:
    """Return what a task's units cost in US dollars at Kling's list price."""
    units, family = number(manifest.get("units")), FAMILIES.get(str(manifest.get("family")))
    if units is None or family is None:
        return None
    return round(family.usd(units), 4)


def number(value: object) -> float | None:
    """Return a number that JSON can hold, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e15 < value < 1e15:
        return None
    return value


def usual_seconds(manifests: Iterable[Manifest]) -> float | None:
    """
    Return the median of how long remote tasks took.

    :param manifests: Of tasks that ended.
    """
    spans = [span for manifest in manifests if (span := seconds_of(manifest)) is not None]
    return round(median(spans), 1) if spans else None


def seconds_of(manifest: Manifest) -> float | None:
    """Return how long a remote task took."""
    start, end = (_moment(manifest.get(name)) for name in ("created_at", "finished_at"))
    try:
        return max(0.0, (end - start).total_seconds()) if start and end else None
    except TypeError:  # one of them without a time zone
        return None


def as_json(item: Item, fields: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """
    Return an item as the page wants it. No signed link, and no text longer than can be shown.

    :param item: Any of the run.
    :param fields: The rendered fields of the task instance that submitted it.
    :param run: All of it.
    """
    instance, manifest, output = item.instance, item.manifest, item.output
    task_id, map_index, _, at = item.key
    uri = uri_of(output)
    return {
        "key": "/".join(map(str, item.key)),
        "task_id": task_id,
        "map_index": map_index,
        "label": _text(instance.label),
        "state": instance.state,
        "group": item.group,
        "try_number": instance.try_number,
        "started_at": _iso(instance.started_at),
        "submitted_at": _iso(instance.submitted_at),
        "ended_at": _iso(instance.ended_at),
        "media": media_path(item) if at >= 0 else None,
        "kind": _kind(manifest, output),
        "family": _text(manifest.get("family")),
        "remote_id": _text(manifest.get("task_id")) or _text(instance.remote_id),
        "remote_status": _text(manifest.get("status")),
        "message": _text(manifest.get("message") or manifest.get("error")),
        "seconds": seconds_of(manifest),
        "units": number(manifest.get("units")),
        "usd": price(manifest) if manifest else None,
        "outputs": len(manifest.get("outputs", ())),
        "uri": redact(uri) if uri else None,
        "width": number(output.get("width")),
        "height": number(output.get("height")),
        "duration": number(output.get("duration")),
        "size_bytes": number(output.get("size_bytes")),
        "prompt": _text(fields.get("prompt")),
        "source": run.source(item, fields),
    }


def media_path(item: Item) -> str:
    """Return where an item's file is served, relative to the run's page."""
    task_id, map_index, row, at = item.key
    return f"media/{quote(task_id, safe='')}/{map_index}/{row}/{at}"


class Run:
    """
    All that a run shows.

    :param instances: Its task instances of ours.
    """

    def __init__(self, instances: Iterable[Instance]) -> None:
        self.instances = list(instances)
        self.items = items_of(self.instances)
        self._made = {item.manifest.get("task_id"): item for item in reversed(self.items) if item.output}
        self._by = {
            row.get("task_id"): instance
            for instance in self.instances
            for row in instance.rows
            if not row["outputs"] and row.get("task_id")
        }

    def submitter(self, item: Item) -> Instance:
        """
        Return the task instance that submitted what another may have collected.

        :param item: Any.
        """
        return self._by.get(item.manifest.get("task_id"), item.instance)

    def source(self, item: Item, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Return what an item was made of: how it is called, where it is served, and its border in the result.

        :param item: Any.
        :param fields: The rendered fields of the task instance that submitted it.
        """
        image = fields.get("image")
        if (text := source_text(image)) is None:
            return None
        told: dict[str, Any] = {"text": text, "media": None, "border": None}
        size: tuple[int, int] | None = None
        if isinstance(image, Mapping):
            if other := self._output(image.get("task_id"), fields.get("image_index")):
                told["media"] = media_path(other)
                width, height = other.output.get("width"), other.output.get("height")
                size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        elif source_place(image):
            by = self.submitter(item)
            told["media"] = f"source/{quote(by.task_id, safe='')}/{by.map_index}"
        if item.manifest.get("family") == IMAGE_EXPANSION:
            told["border"] = border(fields, size)
        return told

    def _output(self, remote_id: object, index: object) -> Item | None:
        if not isinstance(remote_id, str):
            return None
        if isinstance(index, str):
            index = int(index) if index.isdecimal() and len(index) < 9 else 0
        wanted = index if isinstance(index, int) and index > 0 else 0
        first = self._made.get(remote_id)
        if first is None or first.output.get("index") == wanted:
            return first
        return next(
            (item for item in self.items if item.manifest is first.manifest and item.output.get("index") == wanted),
            None,
        )


def source_text(image: object) -> str | None:
    """
    Return how the page calls a source picture: never with a signature or a user.

    :param image: The rendered ``image``.
    """
    if isinstance(image, Mapping):
        return f"the result of remote task {_text(image.get('task_id'))}"
    if not isinstance(image, str) or not image.strip():
        return None
    if is_url(image.strip()):
        try:
            parts = urlsplit(image.strip())
        except ValueError:
            return "a URL"
        return redact(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))
    return redact(image)


def source_place(image: object) -> str | None:
    """
    Return where a source picture is stored, None for a URL or another task's result.

    :param image: The rendered ``image``.
    """
    if not isinstance(image, str) or not image.strip() or is_url(image.strip()):
        return None
    return image.strip()


def border(fields: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any] | None:
    """
    Return where the source lies in the expanded picture, as shares of that; beyond it where something was cut off.

    :param fields: The rendered fields of an expansion.
    :param size: The source's width and height in pixels: without it nothing is known of an expansion to an aspect.
    """
    from airflow_kling.api.inputs import InputFault
    from airflow_kling.media.reframe import Target

    shape = {name: fields[name] for name in ("aspect_ratio", "size", "pixels") if fields.get(name) not in (None, "")}
    try:
        if not shape:
            up, down, left, right = (float(fields.get(side) or 0) for side in SIDES)
            if not any((up, down, left, right)) or not all(map(math.isfinite, (up, down, left, right))):
                return None
            wide, high = 1 + left + right, 1 + up + down
            return _shares(left / wide, up / high, 1 / wide, 1 / high, exact=True)
        if size is None:
            return None
        width, height = size
        frame = Target(**shape, anchor=fields.get("anchor") or "center", for_video=False).plan(width, height).frame
        across, down = float(frame.width), float(frame.height)
        place = -float(frame.left) / across, -float(frame.top) / down, width / across, height / down
        return _shares(*place, exact=False)
    except (InputFault, ArithmeticError, KeyError, TypeError, ValueError):
        return None


def _shares(left: float, top: float, width: float, height: float, *, exact: bool) -> dict[str, Any]:
    names = ("left", "top", "width", "height")
    return {name: round(share, 6) for name, share in zip(names, (left, top, width, height), strict=True)} | {
        "exact": exact
    }


def _kind(manifest: Manifest, output: Manifest) -> str | None:
    family = FAMILIES.get(str(manifest.get("family")))
    told = output.get("kind")
    return told if isinstance(told, str) and told in set(OutputKind) else family.kind.value if family else None


def _text(value: object) -> str | None:
    # Python refuses to write out an integer of thousands of digits.
    if isinstance(value, int) and -1e15 < value < 1e15:
        value = str(value)
    return redact(value) if isinstance(value, str) and value else None


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
