"""What a run page shows, made of manifests, states, rendered fields and the rows of batches: pure."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

from airflow_kling.api.checks import SIDES, is_url
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION, OutputKind
from airflow_kling.api.redact import redact
from airflow_kling.lifecycle.batch_results import RowStatus
from airflow_kling.lifecycle.batch_rows import RESULTS

Manifest = Mapping[str, Any]
#: Where an output is told of: the row of its task instance, and its position there.
Key = tuple[str, int, int, int]

DONE, FAILED, WAITING, OTHER = "done", "failed", "waiting", "other"
GROUPS = {"success": DONE, "failed": FAILED, "upstream_failed": FAILED, "skipped": OTHER, "removed": OTHER}
"""Of the states of a task instance; every other one waits."""

MAX_SHARE = 100
"""Of a result, that a border may lie beyond it."""
MAX_OUTPUTS = 1_000
"""Of one remote task; Kling makes nine at most."""

ROW_GROUPS = {RowStatus.SUCCEEDED.value: DONE, RowStatus.SKIPPED.value: OTHER}
"""Of the rows of a batch that is over; every other one failed."""
_TASK = re.compile(r"task (\S+)")


@dataclass(frozen=True, slots=True)
class Batch:
    """
    What a batch tells of itself.

    :param results: Where the file of its rows lies, once there is one.
    :param told: Its counts at the end, or how far it was of late.
    """

    results: str | None
    told: Manifest


@dataclass(slots=True)
class Instance:
    """
    A task instance of ours, as the database knows it.

    :param task_id: Airflow's id of the task.
    :param map_index: -1 where the task is not mapped.
    :param state: Airflow's state; None before it is scheduled.
    :param label: Name of the mapped instance, if it has one.
    :param try_number: Of its last try.
    :param started_at: When its last try began.
    :param remote_id: Kling's id of the task, as soon as it is known.
    :param batch: What it tells of many pictures, if it makes such.
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
    batch: Batch | None = None

    @property
    def group(self) -> str:
        return GROUPS.get(self.state or "", WAITING)

    @property
    def is_over(self) -> bool:
        return self.group != WAITING


@dataclass(slots=True)
class Item:
    """
    One picture or clip, or a task instance that has none (yet).

    :param key: Its address; the last two are -1 where there is nothing to serve.
    """

    instance: Instance
    manifest: Manifest
    output: Manifest
    key: Key

    @property
    def is_row(self) -> bool:
        """Whether it is one picture of a batch."""
        return self.instance.batch is not None and bool(self.manifest)

    @property
    def group(self) -> str:
        # A row of a batch may have failed though its task did not, and a task that was only submitted goes on.
        status = self.manifest.get("status")
        if self.is_row:
            return row_group(str(status), self.instance.is_over)
        if self.instance.group == DONE and status in ("submitted", "processing"):
            return WAITING
        return FAILED if status == "failed" else self.instance.group


def rows_of(value: object) -> list[Manifest]:
    """
    Return the manifests in what a task returned; nothing is believed of it.

    :param value: An XCom as the database holds it.
    """
    value = _plain(value)
    return [value] if is_manifest(value) else []  # type: ignore[list-item]


def batch_of(result: object, results: object, progress: object) -> Batch | None:
    """
    Return what a batch tells, None for what is none; nothing is believed of it.

    :param result: What the task returned, as the database holds it; a batch that failed returned nothing.
    :param results: Where the file of its rows lies, as it pushes that.
    :param progress: How far it was of late, as it pushes that.
    """
    result, results, progress = _plain(result), _plain(results), _plain(progress)
    if isinstance(result, Mapping) and isinstance(result.get(RESULTS), str) and "outputs" not in result:
        return Batch(result[RESULTS], result)
    if not isinstance(progress, Mapping):
        return None
    return Batch(results if isinstance(results, str) and results else None, progress)


def row_group(status: str, over: bool) -> str:
    """
    Return the group of a batch's row.

    :param over: Whether the batch has ended for good.
    """
    if not over and status in (RowStatus.UNFINISHED.value, RowStatus.SKIPPED.value):
        return WAITING
    return ROW_GROUPS.get(status, FAILED)


def _plain(value: object) -> object:
    """Return an XCom, which Airflow keeps as it is, or as JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


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


class Money(NamedTuple):
    """
    What remote tasks cost.

    :param units: Of all that told; None where none did.
    :param usd: At Kling's list price; None where none is known.
    :param unpriced: How many did not tell.
    """

    units: float | None
    usd: float | None
    unpriced: int


class Section(Protocol):
    """Neighbours on the page: what some task instances made, or the rows of a batch."""

    def count(self) -> Mapping[str, int]:
        """Return how many items each group has."""

    @property
    def money(self) -> Money:
        """What they cost, each remote task counted once."""

    def page(self, group: str | None, first: int, last: int) -> list[Item]:
        """
        Return items, in their order.

        :param group: Of these alone; None for all.
        :param first: Position of the first in that.
        :param last: Position after the last.
        """


class Rows(Section, Protocol):
    """The rows of a batch; see :class:`airflow_kling.plugins.batches.Results`."""

    def made(self, remote_id: str) -> Item | None:
        """Return what a remote task made, None where it is none of these."""


class Single:
    """What task instances made that are no batches."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items

    def count(self) -> Counter[str]:
        return Counter(item.group for item in self._items)

    @property
    def money(self) -> Money:
        # A batch whose rows cannot be shown has told its sum.
        told = (
            (item.key[:3], item.manifest or (item.instance.batch and item.instance.batch.told)) for item in self._items
        )
        manifests = {key: manifest for key, manifest in told if manifest}
        units = [number(manifest.get("units")) for manifest in manifests.values()]
        return Money(sum_of(units), sum_of(price(each) for each in manifests.values()), units.count(None))

    def page(self, group: str | None, first: int, last: int) -> list[Item]:
        return [item for item in self._items if group in (None, item.group)][first:last]


def summary(sections: Sequence[Section]) -> dict[str, Any]:
    """Return the run in numbers: how many of each group, units and price."""
    counts: Counter[str] = Counter()
    for section in sections:
        counts.update(section.count())
    money = [section.money for section in sections]
    usd = sum_of(each.usd for each in money)
    return {
        "total": counts.total(),
        **{group: counts[group] for group in (DONE, WAITING, FAILED, OTHER)},
        "units": sum_of(each.units for each in money),
        "usd": usd if usd is None else round(usd, 4),
        "unpriced": sum(each.unpriced for each in money),
    }


def page_of(sections: Iterable[Section], group: str | None, offset: int, limit: int) -> list[Item]:
    """Return a page of items."""
    page: list[Item] = []
    for section in sections:
        if len(page) == limit:
            break
        counts = section.count()
        total = counts.get(group, 0) if group else sum(counts.values())
        if offset < total:
            page += section.page(group, offset, offset + limit - len(page))
        offset = max(0, offset - total)
    return page


def sum_of(numbers: Iterable[float | None]) -> float | None:
    """Return the sum of what is known, None where nothing is."""
    known = [each for each in numbers if each is not None]
    return sum(known) if known else None


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

    :param fields: The rendered fields of the task instance that submitted it.
    """
    instance, manifest, output = item.instance, item.manifest, item.output
    task_id, map_index, _, at = item.key
    uri = uri_of(output)
    number_of_row = number(manifest.get("row")) if item.is_row else None
    return {
        "key": "/".join(map(str, item.key)),
        "task_id": task_id,
        "map_index": map_index,
        "label": _text(instance.label),
        "row": number_of_row,
        "state": _text(manifest.get("status")) if item.is_row else instance.state,
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
        # A row may have one of its own.
        "prompt": None if item.is_row else _text(fields.get("prompt")),
        "source": run.source_of_row(item) if item.is_row else run.source(item, fields),
        "batch": run.batch(item),
    }


def media_path(item: Item) -> str:
    """Return where an item's file is served, relative to the run's page."""
    task_id, map_index, row, at = item.key
    return f"media/{quote(task_id, safe='')}/{map_index}/{row}/{at}"


class Run:
    """
    All that a run shows.

    :param rows: The rows of its batches, by task and map index, as far as they can be read.
    :param reasons: Why those of others cannot.
    """

    def __init__(
        self,
        instances: Iterable[Instance],
        rows: Mapping[tuple[str, int], Rows] | None = None,
        reasons: Mapping[tuple[str, int], str] | None = None,
    ) -> None:
        self.instances = list(instances)
        self._rows, self._reasons = rows or {}, reasons or {}
        #: All but the rows of batches.
        self.items = items_of(each for each in self.instances if (each.task_id, each.map_index) not in self._rows)
        self._made = {item.manifest.get("task_id"): item for item in reversed(self.items) if item.output}
        self._by = {
            row.get("task_id"): instance
            for instance in self.instances
            for row in instance.rows
            if not row["outputs"] and row.get("task_id")
        }

    def sections(self, task_id: str | None = None, map_index: int | None = None) -> list[Section]:
        """
        Return what is to be shown, in its order.

        :param task_id: Only of this task.
        :param map_index: Only of this one of its instances.
        """
        of_instance: dict[tuple[str, int], list[Item]] = {}
        for item in self.items:
            of_instance.setdefault(item.key[:2], []).append(item)
        sections: list[Section] = []
        together: list[Item] = []
        for instance in self.instances:
            if task_id not in (None, instance.task_id) or map_index not in (None, instance.map_index):
                continue
            key = (instance.task_id, instance.map_index)
            if key in self._rows:
                sections += [Single(together), self._rows[key]]
                together = []
            else:
                together += of_instance.get(key, ())
        return [*sections, Single(together)]

    def batch(self, item: Item) -> dict[str, Any] | None:
        """Return how far a batch is, or what became of it, where its rows cannot be shown."""
        batch = item.instance.batch
        if batch is None or item.is_row:
            return None
        told, counts = batch.told, batch.told.get("counts")
        shown = {name: number(told.get(name)) for name in ("rows", "done", "failed", "running", "units")}
        known = counts if isinstance(counts, Mapping) else {}
        return {
            **shown,
            "counts": {status.value: count for status in RowStatus if (count := number(known.get(status.value)))},
            "results": redact(batch.results) if batch.results else None,
            "reason": self._reasons.get(item.key[:2]),
        }

    def source_of_row(self, item: Item) -> dict[str, Any] | None:
        """Return what a row of a batch was made of, as :meth:`source`."""
        name = item.manifest.get("source")
        if not isinstance(name, str) or not name:
            return None
        told: dict[str, Any] = {"text": redact(name), "media": None, "border": stored_border(item.output)}
        if match := _TASK.fullmatch(name):
            if other := self._output(match[1], 0):
                told["media"] = media_path(other)
        elif source_place(name) and item.output:
            task_id, map_index, row, _ = item.key
            told["media"] = f"source/{quote(task_id, safe='')}/{map_index}/{row}"
        return told

    def submitter(self, item: Item) -> Instance:
        """Return the task instance that submitted what another may have collected."""
        return self._by.get(item.manifest.get("task_id"), item.instance)

    def source(self, item: Item, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what an item was made of: how it is called, where it is served, and its border in the result."""
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
            told["border"] = stored_border(item.output) or border(fields, size)
        return told

    def _output(self, remote_id: object, index: object) -> Item | None:
        if not isinstance(remote_id, str):
            return None
        if isinstance(index, str):
            index = int(index) if index.isdecimal() and len(index) < 9 else 0
        wanted = index if isinstance(index, int) and index > 0 else 0
        first = self._made.get(remote_id)
        if first is None:
            return next(filter(None, (rows.made(remote_id) for rows in self._rows.values())), None)
        if first.output.get("index") == wanted:
            return first
        return next(
            (item for item in self.items if item.manifest is first.manifest and item.output.get("index") == wanted),
            None,
        )


def source_text(image: object) -> str | None:
    """Return how the page calls a source picture: never with a signature or a user."""
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
    """Return where a source picture is stored, None for a URL or another task's result."""
    if not isinstance(image, str) or not image.strip() or is_url(image.strip()):
        return None
    return image.strip()


def stored_border(output: Manifest) -> dict[str, Any] | None:
    """Return where the source lies in a result, as its operator has told; None where it has not."""
    told = output.get("border")
    edges = [number(edge) for edge in told] if isinstance(told, list) and len(told) == len(SIDES) else []
    known = [edge for edge in edges if edge is not None and abs(edge) <= MAX_SHARE]
    if len(known) < len(SIDES):
        return None
    left, top, right, bottom = known
    return _shares(left, top, right - left, bottom - top, exact=True) if left < right and top < bottom else None


def border(fields: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any] | None:
    """
    Return where the source lies in the expanded picture, as shares of that; beyond it where something was cut off.

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
