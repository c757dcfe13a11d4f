"""What the journals of batches tell those who look after the money: tasks that ended, and tasks nobody collected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.batch_journal import SUFFIX, Journal, JournalRecords
from airflow_kling.lifecycle.collect import total_units
from airflow_kling.lifecycle.files import list_folder
from airflow_kling.lifecycle.record import Record, load_each
from airflow_kling.lifecycle.report import UNKNOWN, Entry


def note_done(journal: Journal, tasks: Sequence[Task], outputs: int, at: float) -> None:
    """
    Remember with the next commit that remote tasks ended and were dealt with: those of one picture.

    :param tasks: In their order; what the earlier ones cost is the last one's.
    :param at: Seconds since the epoch.
    """
    *parts, last = tasks
    for part in parts:
        journal.put("done", part.task_id, {"at": at, "part_of": last.task_id})
    failed = last.status is TaskStatus.FAILED
    facts = {"at": at, "family": last.family, "failed": failed, "outputs": outputs, "units": total_units(tasks)}
    journal.put("done", last.task_id, facts)


def spent(journal: Journal) -> dict[str, Any]:
    """Return what a batch cost over all its tries and clears, as far as the units are told."""
    rows = [row for _, row in journal.items("done") if "part_of" not in row]
    return {
        "tasks": len(rows),
        "failed": sum(row["failed"] for row in rows),
        "outputs": sum(row["outputs"] for row in rows),
        "units": sum(row["units"] or 0.0 for row in rows),
    }


def find_journals(records: Any, since: float) -> Iterator[tuple[str, Journal | ApiFault]]:
    """
    Yield the journals of batches, each with its batch's id; in place of one that cannot be read why.

    :param since: Seconds since the epoch: those that nothing was written to since are left out.
    """
    for path in sorted((path for path in list_folder(records) if "." not in path.name), key=str):
        try:
            segments = [each for each in list_folder(path) if each.name.endswith(SUFFIX)]
            if not segments or max(float(each.stat().st_mtime) for each in segments) < since:
                continue
            journal = Journal(path)
            journal.look()
        except ApiFault as fault:
            yield path.name, fault
        except (FileNotFoundError, NotADirectoryError):
            continue
        else:
            yield path.name, journal


def records_of(journal: Journal) -> Iterator[tuple[str, Record | ApiFault]]:
    """Return the records of a journal, as :func:`~airflow_kling.lifecycle.record.load_each` tells them."""
    return load_each((key, JournalRecords(journal, key)) for key in sorted(journal.keys("record")))


def entries_of(journal: Journal) -> Iterator[Entry]:
    """Yield the tasks of a batch that ended, for the report."""
    origins = (record.get("origin") or {} for _, record in journal.items("record"))
    dag_id = next((str(origin["dag_id"]) for origin in origins if origin.get("dag_id")), UNKNOWN)
    for task_id, row in journal.items("done"):
        if "part_of" not in row:
            at = datetime.fromtimestamp(row["at"], UTC)
            yield Entry(task_id, at, dag_id, row["outputs"], row["units"], row["family"], row["failed"])
