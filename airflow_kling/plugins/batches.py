"""A batch's results file, read within bounds: an index of its rows, made once, and the rows that are shown."""

from __future__ import annotations

import json
import threading
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from airflow_kling.lifecycle.batch_results import RowStatus
from airflow_kling.plugins.files import MediaFault, Root, open_stored, storage_errors
from airflow_kling.plugins.items import (
    Instance,
    Item,
    Manifest,
    Money,
    is_manifest,
    number,
    price,
    row_group,
    sum_of,
    uri_of,
)
from airflow_kling.plugins.thumbnails import Cache

MAX_BYTES = 128 << 20
"""Of a results file: ten thousand pictures take some megabytes."""
MAX_LINE = 1 << 16
"""Bytes of one row."""
MAX_ROWS = 100_000
"""Of one file, and of its pictures; what follows is not shown."""
MAX_ID = 256
"""Characters of a task's id: an index keeps them all."""
KEPT_ROWS = 400_000
"""Of all indexes that are kept."""
MAX_OPEN = 8
"""Files that one request reads; other batches of the run are shown by themselves."""
PATIENCE = 20.0
"""Seconds for which a request waits while another index is made."""

_STEP = 1 << 20
_STATUSES = [status.value for status in RowStatus]
UNREADABLE: Manifest = {
    "status": RowStatus.UNKNOWN.value,
    "task_id": None,
    "family": "",
    "outputs": [],
    "units": None,
    "error": "this row of the results cannot be read",
}

Key = tuple[str, int]


class Index:
    """
    Where a results file tells of what: an entry for each output, and for each row that has none.

    :param stream: The file, at its beginning.
    :raises MediaFault: for a file that is none.
    """

    def __init__(self, stream: BinaryIO) -> None:
        #: Of each row: where its line begins; and where the last one ends.
        self._lines = array("Q", [0])
        #: Of each entry: its row, the output's position there or -1, and how it stands.
        self._rows, self._outputs, self._statuses = array("I"), array("h"), bytearray()
        #: Kling's id of a task -> its first entry.
        self.entries: dict[str, int] = {}
        self.truncated = False
        readable = False
        units: Counter[str] = Counter()
        priced = unpriced = 0
        for start, line in _lines(stream):
            # Each row has one at least.
            if len(self._rows) >= MAX_ROWS:
                self.truncated = True
                break
            row = row_of(line)
            readable = readable or row is not UNREADABLE
            self._lines[-1] = start
            self._lines.append(start + len(line))
            task_id = row["task_id"]
            if task_id is None or task_id not in self.entries:
                count = number(row.get("units"))
                if count is not None:
                    units[str(row["family"])] += count  # type: ignore[assignment]  # of halves, too
                    priced += 1
                elif row["status"] not in (RowStatus.REFUSED.value, RowStatus.SKIPPED.value):
                    unpriced += 1
            if task_id is not None:
                self.entries.setdefault(task_id, len(self._rows))
            positions = range(len(row["outputs"])) if row["outputs"] else [-1]
            self._rows.extend([len(self._lines) - 2] * len(positions))
            self._outputs.extend(positions)
            self._statuses += bytes([_STATUSES.index(row["status"])]) * len(positions)
        if not readable:
            raise MediaFault("it is no file of a batch's results", 415)
        self.counts = Counter(self._statuses)
        usd = sum_of(price({"family": family, "units": count}) for family, count in units.items())
        self.money = Money(sum(units.values()) if priced else None, usd, unpriced)

    def __len__(self) -> int:
        return len(self._rows)

    def find(self, over: bool, group: str | None) -> Sequence[int]:
        """
        Return the entries of a group, in their order.

        :param over: Whether the batch has ended for good.
        :param group: Of :data:`airflow_kling.plugins.items.GROUPS`; None for all.
        """
        if group is None:
            return range(len(self))
        chosen = {code for code, status in enumerate(_STATUSES) if row_group(status, over) == group}
        return [entry for entry, code in enumerate(self._statuses) if code in chosen]

    def count(self, over: bool) -> Counter[str]:
        """Return how many entries each group has."""
        counts: Counter[str] = Counter()
        for code, count in self.counts.items():
            counts[row_group(_STATUSES[code], over)] += count
        return counts

    def place(self, entry: int) -> tuple[int, int]:
        """Return an entry's row, and the output's position in that."""
        return self._rows[entry], self._outputs[entry]

    def line(self, row: int) -> tuple[int, int]:
        """
        Return where a row's line begins and ends.

        :raises MediaFault: for a row that there is not.
        """
        if not 0 <= row < len(self._lines) - 1:
            raise MediaFault("the batch's results have no such row", 404)
        return self._lines[row], min(self._lines[row + 1], self._lines[row] + MAX_LINE)


class Results:
    """
    The rows of a batch whose results file is open; see :class:`airflow_kling.plugins.items.Rows`.

    :param stream: The file, seekable.
    """

    def __init__(self, instance: Instance, index: Index, stream: BinaryIO) -> None:
        self.index = index
        self._instance = instance
        self._stream = stream

    @property
    def money(self) -> Money:
        return self.index.money

    def count(self) -> Counter[str]:
        return self.index.count(self._instance.is_over)

    def page(self, group: str | None, first: int, last: int) -> list[Item]:
        return [self._item(entry) for entry in self.index.find(self._instance.is_over, group)[first:last]]

    def made(self, remote_id: str) -> Item | None:
        entry = self.index.entries.get(remote_id)
        item = None if entry is None else self._item(entry)
        return item if item and item.output else None

    def _item(self, entry: int) -> Item:
        number, at = self.index.place(entry)
        row = self.row(number)
        output = row["outputs"][at] if 0 <= at < len(row["outputs"]) else {}
        return Item(self._instance, row, output, (self._instance.task_id, self._instance.map_index, number, at))

    def row(self, row: int) -> Manifest:
        """
        Return a row.

        :param row: Its number in the file, from 0.
        :raises MediaFault: for one that there is not.
        """
        start, end = self.index.line(row)
        with storage_errors():
            self._stream.seek(start)
            return row_of(self._stream.read(end - start).partition(b"\n")[0])

    def output(self, row: int, at: int) -> str | None:
        """
        Return where an output of a row is stored.

        :param at: The output's position in the row.
        :raises MediaFault: for one that there is not.
        """
        outputs = self.row(row)["outputs"]
        if at >= len(outputs):
            raise MediaFault("the batch's results name no such file", 404)
        return uri_of(outputs[at])


_indexes: Cache[Index] = Cache(KEPT_ROWS)
_making = threading.Lock()


@contextmanager
def open_results(instance: Instance, roots: Sequence[Root]) -> Iterator[Results]:
    """
    Open the results of a batch.

    :raises MediaFault: for what its own result does not name, and for what lies under no root.
    """
    if instance.batch is None or instance.batch.results is None:
        raise MediaFault("the task's result names no results of a batch", 404)
    uri = instance.batch.results
    with open_stored(uri, roots, hostname=instance.hostname) as (stream, size, tag):
        if size > MAX_BYTES:
            raise MediaFault(f"a batch's results of more than {MAX_BYTES >> 20} MB are not shown; open the file", 415)
        yield Results(instance, _index(stream, (uri, tag) if tag else None), stream)


@contextmanager
def open_batches(
    instances: Iterable[Instance], roots: Sequence[Root]
) -> Iterator[tuple[dict[Key, Results], dict[Key, str]]]:
    """
    Open the results of a run's batches; gives those that can be read, and why others cannot.

    :param instances: The run's, the most wanted first: of many batches only some are read.
    """
    opened: dict[Key, Results] = {}
    reasons: dict[Key, str] = {}
    with ExitStack() as stack:
        for instance in instances:
            if instance.batch is None or instance.batch.results is None:
                continue
            key = (instance.task_id, instance.map_index)
            if len(opened) == MAX_OPEN:
                reasons[key] = "its pictures are shown by themselves"
                continue
            try:
                opened[key] = stack.enter_context(open_results(instance, roots))
            except MediaFault as fault:
                reasons[key] = fault.reason
        yield opened, reasons


def row_of(line: bytes) -> Manifest:
    """Return a row of a results file; nothing is believed of it."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return UNREADABLE
    if not is_manifest(row) or row.get("status") not in _STATUSES or len(row.get("task_id") or "") > MAX_ID:
        return UNREADABLE
    return row | {"task_id": row.get("task_id")}  # type: ignore[no-any-return]


def _index(stream: BinaryIO, key: tuple[str, ...] | None) -> Index:
    if key is not None and (known := _indexes.get(key)):
        return known
    # One at a time, however many pictures of it are asked for.
    if not _making.acquire(timeout=PATIENCE):
        raise MediaFault("the API server reads other results just now; try again", 503)
    try:
        if key is not None and (known := _indexes.get(key)):
            return known
        made = Index(stream)
        if key is not None:
            _indexes.put(key, made)
        return made
    finally:
        _making.release()


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give each line that says anything, and where it begins."""
    start, rest, whole, blank = 0, b"", False, 0
    while not whole:
        with storage_errors():
            piece = stream.read(_STEP)
        whole = not piece
        *lines, rest = (rest + (piece or b"\n")).split(b"\n")
        for line in lines:
            if len(line) > MAX_LINE:
                raise MediaFault("it is no file of a batch's results: a line is too long", 415)
            if line.strip():
                yield start, line
            else:
                blank += 1
            start += len(line) + 1
        if blank > MAX_ROWS:
            raise MediaFault("it is no file of a batch's results: too many lines are blank", 415)
        if len(rest) > MAX_LINE:
            raise MediaFault("it is no file of a batch's results: a line is too long", 415)
