"""What became of each picture of a batch: the rows of its results manifest, the counts, and the end they mean."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.api.models import Task
from airflow_kling.lifecycle.batch import FATAL
from airflow_kling.lifecycle.batch_rows import Row
from airflow_kling.lifecycle.collect import total_units
from airflow_kling.lifecycle.end import End, end_text
from airflow_kling.lifecycle.wait import Outcome

if TYPE_CHECKING:
    from airflow_kling.lifecycle.batch import Picture

SHOWN_ERRORS = 3
REPORT_EVERY = 30.0
"""Seconds between lines that tell how far a batch is."""

_HIDDEN = ("epoch", "settings")


class RowStatus(StrEnum):
    """How a row stands."""

    #: Made and stored.
    SUCCEEDED = "succeeded"
    #: The remote task failed.
    FAILED = "failed"
    #: Nothing was sent for it, or Kling refused it: nothing is paid.
    REFUSED = "refused"
    #: A task may exist and be billed, and nothing can tell.
    UNKNOWN = "unknown"
    #: Its task goes on, or is made and not stored yet: a rerun takes it up.
    UNFINISHED = "unfinished"
    #: Not begun, for the batch stopped before.
    SKIPPED = "skipped"


_OF_FAULT = {
    FaultKind.UNKNOWN: RowStatus.UNKNOWN,
    FaultKind.INPUT: RowStatus.REFUSED,
    FaultKind.CONTENT: RowStatus.REFUSED,
    FaultKind.DUPLICATE: RowStatus.UNKNOWN,
    FaultKind.CONCURRENCY: RowStatus.SKIPPED,
}

PASSING = (RowStatus.UNFINISHED, RowStatus.SKIPPED)
"""What a retry can mend."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    How a batch ends.

    :param passing: Whether a retry can make more of them.
    :param text: What happened, what is billed, what a retry will do.
    """

    failed: bool
    passing: bool
    text: str


def end_row(
    status: RowStatus,
    *,
    task_id: str | None = None,
    family: str = "",
    kling_conn_id: str = "",
    outputs: Iterable[Mapping[str, Any]] = (),
    units: float | None = None,
    error: str = "",
    passes: Iterable[str] = (),
) -> dict[str, Any]:
    """Return what is kept of a picture's end; a row of another batch's input, too, for it is a manifest's."""
    row: dict[str, Any] = {"status": status.value, "task_id": task_id, "family": family}
    row |= {"kling_conn_id": kling_conn_id, "outputs": list(outputs), "units": units, "error": error or None}
    several = list(passes)
    return row | ({"passes": several} if several[1:] else {})


def row_of_fault(fault: ApiFault, paid: Sequence[Task] = ()) -> dict[str, Any]:
    """Return what is kept of a picture whose create ended in a fault."""
    status = _OF_FAULT.get(fault.info.kind, RowStatus.UNFINISHED)
    if fault.info.kind in FATAL and fault.info.created is Created.NO and not paid:
        status = RowStatus.SKIPPED
    return end_row(status, error=str(fault), **cost_of(paid))


def row_of_end(end: End, timeout: float, paid: Sequence[Task] = ()) -> dict[str, Any]:
    """Return what is kept of a picture whose task did not succeed."""
    failed = end.outcome is Outcome.FAILED
    if failed:
        paid = [*paid, Task(end.family, end.task_id, units=end.units)]
    return end_row(
        RowStatus.FAILED if failed else RowStatus.UNFINISHED,
        family=end.family,
        kling_conn_id=end.kling_conn_id,
        error=end_text(end, timeout),
        **cost_of(paid) | {"task_id": end.task_id},
    )


def row_of_stop(picture: Picture, family: str, *, sending: bool = False) -> dict[str, Any]:
    """Return what is kept of a picture that the batch's stop leaves as it is."""
    cost = cost_of(picture.made.tasks)
    if picture.task is not None:
        task_id, conn_id = picture.task.task_id, picture.kling_conn_id
        text = f"Kling task {task_id} goes on and is billed when it ends; a retry takes it up"
        status = RowStatus.UNFINISHED
        cost["task_id"] = task_id
        return end_row(status, family=family, kling_conn_id=conn_id, error=text, **cost)
    if picture.begun or sending:
        text = "its create may have arrived, and be billed; a retry looks for it before it sends another"
        return end_row(RowStatus.UNFINISHED, family=family, kling_conn_id=picture.kling_conn_id, error=text, **cost)
    return not_begun()


def not_begun(text: str = "not begun", paid: Sequence[Task] = ()) -> dict[str, Any]:
    """Return what is kept of a picture that the batch stopped before."""
    return end_row(RowStatus.SKIPPED, error=text, **cost_of(paid))


def cost_of(paid: Sequence[Task]) -> dict[str, Any]:
    """Return the facts of a row that tell of tasks which are paid."""
    passes = [task.task_id for task in paid]
    return {"task_id": passes[-1] if paid else None, "units": total_units(paid) if paid else None, "passes": passes}


def is_final(end: Mapping[str, Any]) -> bool:
    """Return whether a picture has ended for good, so that no retry goes on with it."""
    return end["status"] in (RowStatus.SUCCEEDED.value, RowStatus.FAILED.value)


class _End(NamedTuple):
    """A row's end, as JSON: ten thousand of them lie in memory."""

    status: str
    units: float
    packed: str

    @classmethod
    def of(cls, end: Mapping[str, Any]) -> _End:
        kept = {name: end[name] for name in end if name not in _HIDDEN}
        return cls(RowStatus(end["status"]).value, end["units"] or 0.0, json.dumps(kept, separators=(",", ":")))

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self.packed)
        return row


class Results:
    """The ends of all rows."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self._ends: dict[int, _End] = {}
        self._keys: dict[int, str] = {}
        self._known: dict[str, _End] = {}
        self._waiting: dict[str, list[int]] = {}
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._rows)

    def end(self, number: int, end: Mapping[str, Any], key: str = "") -> None:
        """
        Take note of a row's end.

        :param key: Of its picture: rows with the same one are paid once.
        """
        self._end(number, _End.of(end), key)

    def _end(self, number: int, end: _End, key: str) -> None:
        if number in self._ends:
            self._count[self._ends[number].status] -= 1
        self._ends[number], self._keys[number] = end, key
        self._count[end.status] += 1

    def wait(self, number: int, key: str) -> bool:
        """Take note of a row's picture; return whether that is to be made, for no row before had it."""
        if key in self._known:
            self._end(number, self._known[key], key)
            return False
        rows = self._waiting.setdefault(key, [])
        rows.append(number)
        return len(rows) == 1

    def end_known(self, number: int, key: str, end: Mapping[str, Any]) -> None:
        """Take note of a row whose picture had ended before."""
        told = _End.of(end)
        self._known.setdefault(key, told)
        self._end(number, told, key)

    def end_picture(self, key: str, end: Mapping[str, Any]) -> None:
        """Take note of a picture's end, for all rows that have it."""
        told = self._known[key] = _End.of(end)
        for number in self._waiting.pop(key, ()):
            self._end(number, told, key)

    @property
    def done(self) -> int:
        """How many rows have ended."""
        return len(self._ends)

    def count(self, *statuses: RowStatus) -> int:
        """Return how many rows ended so."""
        return sum(self._count[status.value] for status in statuses)

    @property
    def bad(self) -> int:
        """How many rows ended, and not well."""
        return self.done - self.count(RowStatus.SUCCEEDED)

    @property
    def units(self) -> float:
        """Units that the pictures cost, each counted once."""
        distinct = {self._keys[number] or str(number): end.units for number, end in self._ends.items()}
        return sum(distinct.values())

    def lines(self) -> Iterable[bytes]:
        """Give the results manifest, a line for each row; what the journal alone needs is left out."""
        skipped = _End.of(not_begun())
        for row in self._rows:
            line = {"row": row.number, "source": row.name} | self._ends.get(row.number, skipped).row()
            yield json.dumps(line).encode() + b"\n"

    def counts(self) -> dict[str, int]:
        """Return how many rows ended how; those that are not mentioned were not begun."""
        counts = {status.value: self._count[status.value] for status in RowStatus}
        counts[RowStatus.SKIPPED.value] += len(self._rows) - self.done
        return counts

    def verdict(self, min_success_ratio: float, stopped: str) -> Verdict:
        """
        Return how the batch ends.

        :param stopped: Why it was stopped, if it was.
        """
        counts = self.counts()
        made = counts[RowStatus.SUCCEEDED.value]
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        text = f"{made:,} of {len(self._rows):,} pictures are made and stored ({told}), for {self.units:g} units"
        failed = made < min_success_ratio * len(self._rows) - 1e-9
        passing = any(counts[status.value] for status in PASSING)
        if stopped:
            text += f". It was stopped: {stopped}"
        errors = list(self._errors())
        if errors:
            shown = "; ".join(errors[:SHOWN_ERRORS])
            text += f". {shown}" + (f"; and {len(errors) - SHOWN_ERRORS} more" * bool(errors[SHOWN_ERRORS:]))
        if failed:
            text += f". At least {min_success_ratio:.0%} were asked for; a retry or a clear pays for nothing again"
        return Verdict(failed, passing, text)

    def _errors(self) -> Iterable[str]:
        for row in self._rows:
            end = self._ends.get(row.number)
            if end is not None and end.status != RowStatus.SUCCEEDED.value and (error := end.row()["error"]):
                yield f"row {row.number} ({row.name}): {error}"


class Progress:
    """The line that tells how far a batch is, now and then."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._told = deque[tuple[float, int]](maxlen=4)

    def text(self, running: int, now: float, *, force: bool = False) -> str:
        """Return the line, empty where the last one is not old enough."""
        done = self._results.done
        if self._told and not force and now - self._told[-1][0] < REPORT_EVERY:
            return ""
        since, before = self._told[0] if self._told else (now, done)
        rate = (done - before) / (now - since) if now > since else 0.0
        self._told.append((now, done))
        return progress_text(self._results, running, rate)


def progress_text(results: Results, running: int, per_second: float) -> str:
    """
    Return the line that tells how far a batch is.

    :param per_second: Pictures that ended per second, of late.
    """
    left = len(results) - results.done
    ahead = f", about {_span(left / per_second)} left" if per_second > 0 and left else ""
    failed = f" ({results.bad:,} failed)" if results.bad else ""
    return (
        f"{results.done:,} of {len(results):,} pictures done{failed}, {running:,} running, "
        f"{per_second:.2g} per second{ahead}, {results.units:g} units"
    )


def progress(results: Results, running: int) -> dict[str, float]:
    """Return how far a batch is, in numbers."""
    numbers = {"rows": len(results), "done": results.done, "failed": results.bad, "running": running}
    return numbers | {"units": results.units}


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
