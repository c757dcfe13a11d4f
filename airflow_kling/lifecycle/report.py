"""What was spent: ended tasks summed per DAG and day, from asset events and kept manifests, as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, date, datetime
from typing import Any

from airflow_kling.api.families import FAMILIES
from airflow_kling.lifecycle.done import Done

MOST_UNITS = 1e12
UNKNOWN = "(unknown)"
BATCH = "batch "
"""Begins the name of what a batch told of all its tasks."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One remote task that ended.

    :param units: Units deducted; None where the gateway does not tell.
    :param family: Name of its family, empty where it is not known.
    :param failed: Whether it failed; of several tasks, how many did.
    :param tasks: How many tasks it sums up.
    """

    task_id: str
    at: datetime
    dag_id: str
    outputs: int
    units: float | None
    family: str = ""
    failed: int = 0
    tasks: int = 1

    @property
    def usd(self) -> float | None:
        """US dollars by Kling's list price of a unit; None where units or family are not known."""
        row = FAMILIES.get(self.family)
        if self.units is None or row is None:
            return None
        return row.usd(self.units)


@dataclass(frozen=True, slots=True)
class Row:
    """
    What one DAG took on one day, in UTC; the fields are the columns of the table.

    :param day: ISO date.
    :param outputs: Pictures, clips and sounds made.
    :param usd_at_list_price: The units in US dollars, those of a known family.
    :param tasks_without_units: Tasks of which the gateway did not tell the units: they are not in the sums.
    """

    day: str
    dag_id: str
    tasks: int = 0
    failed: int = 0
    outputs: int = 0
    units: float = 0.0
    usd_at_list_price: float = 0.0
    tasks_without_units: int = 0


def entry_of_event(extra: object, dag_id: str | None, at: datetime) -> Entry | None:
    """Return the task that an asset's event tells of, None where it is not one of ours."""
    if isinstance(extra, Mapping) and isinstance(extra.get("spent"), Mapping) and batch_of_event(extra):
        return _entry_of_batch(extra, dag_id or UNKNOWN, _utc(at))
    if not isinstance(extra, Mapping) or not extra.get("task_id") or "units" not in extra:
        return None
    files = extra.get("files")
    outputs = len(files) if isinstance(files, list) else 0
    family = str(extra.get("family") or "")
    return Entry(str(extra["task_id"]), _utc(at), dag_id or UNKNOWN, outputs, _number(extra["units"]), family)


def batch_of_event(extra: object) -> str:
    """Return the id of the batch that an asset's event tells of, empty where it is none."""
    results = extra.get("results") if isinstance(extra, Mapping) else None
    return results.rpartition("/")[2].removesuffix(".jsonl") if isinstance(results, str) else ""


def _entry_of_batch(extra: Mapping[str, Any], dag_id: str, at: datetime) -> Entry:
    told = extra["spent"]
    tasks, failed, outputs = (int(_number(told.get(name)) or 0) for name in ("tasks", "failed", "outputs"))
    family = str(extra.get("family") or "")
    return Entry(f"{BATCH}{extra['results']}", at, dag_id, outputs, _number(told.get("units")), family, failed, tasks)


def entry_of_done(done: Done) -> Entry | None:
    """Return the task that a kept manifest tells of, None for a pass whose units the last pass has."""
    if done.part_of:
        return None
    told = done.manifest
    return Entry(
        task_id=str(told["task_id"]),
        at=datetime.fromtimestamp(done.at, UTC),
        dag_id=str(done.origin.get("dag_id") or UNKNOWN),
        outputs=len(told["outputs"]),
        units=_number(told.get("units")),
        family=str(told.get("family") or ""),
        failed=int(told.get("status") == "failed"),
    )


def summed(entries: Iterable[Entry], since: date) -> list[Row]:
    """
    Return the sums per day and DAG; a task that is told of several times counts once, on its first day.

    :param since: The first day that is wanted. Entries of days before keep a result that was reused from counting anew.
    """
    tasks: dict[str, Entry] = {}
    for entry in entries:
        tasks[entry.task_id] = _merged(tasks[entry.task_id], entry) if entry.task_id in tasks else entry
    rows: dict[tuple[str, str], Row] = {}
    for entry in tasks.values():
        day = entry.at.date()
        if day < since:
            continue
        key = (day.isoformat(), entry.dag_id)
        row = rows.get(key, Row(*key))
        rows[key] = replace(
            row,
            tasks=row.tasks + entry.tasks,
            failed=row.failed + entry.failed,
            outputs=row.outputs + entry.outputs,
            units=row.units + (entry.units or 0.0),
            usd_at_list_price=round(row.usd_at_list_price + (entry.usd or 0.0), 6),
            tasks_without_units=row.tasks_without_units + (entry.units is None),
        )
    return [rows[key] for key in sorted(rows)]


def as_csv(rows: Iterable[Row]) -> bytes:
    """Return the table as CSV; no cell is taken for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Row))
    for row in rows:
        writer.writerow(_cell(value) for value in astuple(row))
    return text.getvalue().encode()


def _merged(one: Entry, other: Entry) -> Entry:
    """Return what two tellings of a task say together: the earlier day, the larger number of files."""
    first, second = sorted((one, other), key=lambda entry: entry.at)
    if first.task_id.startswith(BATCH):
        return replace(second, at=first.at)  # it told what it had cost by then
    return replace(
        first,
        dag_id=second.dag_id if first.dag_id == UNKNOWN else first.dag_id,
        outputs=max(first.outputs, second.outputs),
        units=second.units if first.units is None else first.units,
        family=first.family or second.family,
        failed=min(first.failed, second.failed),
    )


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST_UNITS:
        return None
    return float(value)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
