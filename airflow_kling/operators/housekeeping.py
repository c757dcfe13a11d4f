"""What the DAGs kling_report and kling_recover do in a worker, with the records and Airflow's asset events."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from airflow_kling.api.faults import ApiFault
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.batch_kept import entries_of, find_journals, records_of
from airflow_kling.lifecycle.done import Done, DoneIds, failed_manifest, keep_done, read_done
from airflow_kling.lifecycle.files import write_whole
from airflow_kling.lifecycle.recover import MARGIN, Fate, Finding, Recovery, read_records
from airflow_kling.lifecycle.report import Entry, as_csv, batch_of_event, entry_of_done, entry_of_event, summed
from airflow_kling.lifecycle.submit import RESULT_LIFETIME
from airflow_kling.operators.records import record_folder, record_path
from airflow_kling.operators.work import client_for

if TYPE_CHECKING:
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.record import Record

LOOK_BACK = timedelta(days=60)
"""How long before the first day events are read: a result that is reused in it is not counted anew."""

MAX_TOLD = 200
"""Findings that the XCom of a recovery holds."""

_SILENT = (Fate.COLLECTED, Fate.NOTHING_MADE, Fate.YOUNG)

# Below Airflow's own, for 2.11 shows no others in a task's log.
log = logging.getLogger(f"airflow.task.{__name__}")


def report(context: Mapping[str, Any], days: int, output_path: str) -> dict[str, Any]:
    """
    Sum up what was spent per DAG and day into a CSV and a chart, and return their places and the totals.

    Two sources that a worker may read: the events of the assets among the task's inlets, and, where ``[kling]
    record_path`` is set, what is kept there of every task that ended. A task that both tell of counts once.

    :param days: How many, today among them, in UTC.
    :param output_path: Folder or prefix for ``kling-report.csv`` and ``kling-report.png``.
    """
    from airflow_kling.media.chart import chart_png

    today = datetime.now(UTC).date()
    since = today - timedelta(days=int(days) - 1)
    begin = since - LOOK_BACK
    batches = dict(_of_batches(begin))
    told = [entry for entries in batches.values() for entry in entries]
    entries = [*told, *_of_events(context, begin, batches), *_of_kept(begin)]
    rows = summed(entries, since)
    units = sum(row.units for row in rows)
    title = f"Kling: {units:,g} units in {int(days)} days"
    chart = chart_png(((row.day, row.dag_id, row.units) for row in rows), title, since, today)
    folder = storage_path(output_path)
    for name, content in (("kling-report.csv", as_csv(rows)), ("kling-report.png", chart)):
        write_whole(folder / name, content)
    tasks = sum(row.tasks for row in rows)
    log.info("%d tasks, %g units in %d days: %s", tasks, units, int(days), folder)
    return {
        "csv": str(folder / "kling-report.csv"),
        "chart": str(folder / "kling-report.png"),
        "tasks": tasks,
        "failed": sum(row.failed for row in rows),
        "outputs": sum(row.outputs for row in rows),
        "units": units,
        "usd_at_list_price": round(sum(row.usd_at_list_price for row in rows), 6),
    }


def _of_events(context: Mapping[str, Any], begin: date, batches: Container[str]) -> Iterator[Entry]:
    since = _midnight(begin)
    for asset in context["task"].inlets:
        events = context["inlet_events"][asset]
        if hasattr(events, "after"):  # Airflow 3
            events = events.after(since.isoformat())
        for event in events:
            if batch_of_event(event.extra) in batches:
                continue  # its journal tells of each task
            entry = entry_of_event(event.extra, event.source_dag_id, event.timestamp)
            if entry is not None and entry.at >= since:
                yield entry


def _of_kept(begin: date) -> Iterator[Entry]:
    if not record_path():
        log.info("[kling] record_path is not set: only the asset events of the inlets are summed up")
        return
    for done in read_done(record_folder(record_path()), begin):
        entry = entry_of_done(done)
        if entry is not None:
            yield entry


def _of_batches(begin: date) -> Iterator[tuple[str, list[Entry]]]:
    if record_path():
        for name, found in find_journals(record_folder(record_path()), _midnight(begin).timestamp()):
            if isinstance(found, ApiFault):
                log.warning("A batch is missing in the report: %s", found)
            else:
                yield name, list(entries_of(found))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class _Collected:
    """The tasks that were dealt with: by operators and recoveries, and by batches as far as those were read."""

    def __init__(self, records: Any) -> None:
        self._done = DoneIds(records)
        self.of_batches: set[str] = set()

    def __contains__(self, task_id: object) -> bool:
        return task_id in self.of_batches or task_id in self._done


def _all_records(records: Any, collected: _Collected) -> Iterator[tuple[str, Record | ApiFault]]:
    yield from read_records(records)
    for name, found in find_journals(records, time.time() - RESULT_LIFETIME - MARGIN):
        if isinstance(found, ApiFault):
            yield name, found
        else:
            collected.of_batches |= found.keys("done")
            yield from records_of(found)


def recover(folder: str, output_path: str, min_age_hours: float) -> dict[str, Any]:
    """
    Store what paid tasks made whose run never collected it, and return what became of the records.

    Costs nothing, changes no record, and may run as often as one likes.

    :param folder: Of the records: an ``output_path`` of operators; empty for ``[kling] record_path``.
    :param output_path: Where to store; empty for ``recovered`` in that folder.
    :param min_age_hours: Hours within which a task's own run is left to collect it.
    """
    folder = folder or record_path()
    if not folder:
        raise AirflowSkipException("no records to go over: set [kling] record_path, or give the DAG a folder")
    records = record_folder(folder)
    place = output_path or str(storage_path(folder) / "recovered")

    def store(task: Task, record: Record) -> dict[str, Any]:
        manifest = KlingHook(record.kling_conn_id).collect(task, place)
        keep_done(records, Done(time.time(), manifest, record.origin))
        return manifest

    collected = _Collected(records)
    recovery = Recovery(collected, client_for(), store, min_age=float(min_age_hours) * 3600)
    counts: Counter[Fate] = Counter()
    told: list[dict[str, Any]] = []
    for finding in recovery.run(_all_records(records, collected)):
        counts[finding.fate] += 1
        if finding.fate is Fate.FAILED:
            _keep_failed(records, finding)
        if finding.fate not in _SILENT:
            log.info("%s", _line(finding))
            told.append(_row(finding))
    log.info("%d records: %s", counts.total(), ", ".join(f"{counts[fate]} {fate}" for fate in Fate if counts[fate]))
    return {"counts": {fate.value: counts[fate] for fate in Fate}, "findings": told[:MAX_TOLD]}


def _keep_failed(records: Any, finding: Finding) -> None:
    record = finding.record
    if record is not None:
        manifest = failed_manifest(record.family, finding.task_id, record.kling_conn_id, finding.units)
        keep_done(records, Done(time.time(), manifest, record.origin))


def _line(finding: Finding) -> str:
    task = f"Kling task {finding.task_id}" if finding.task_id else "Kling task"
    origin = finding.record.origin if finding.record else {}
    whose = f", of {origin.get('dag_id')}.{origin.get('task_id')}, run {origin.get('run_id')}" if origin else ""
    return f"{task} (id {finding.external_id}{whose}): {finding.fate}: {finding.text}"


def _row(finding: Finding) -> dict[str, Any]:
    return {
        "fate": finding.fate.value,
        "task_id": finding.task_id or None,
        "external_task_id": finding.external_id,
        "origin": dict(finding.record.origin) if finding.record else {},
        "uris": [row["uri"] for row in finding.manifest["outputs"]] if finding.manifest else [],
        "units": finding.units,
        "text": finding.text,
    }
