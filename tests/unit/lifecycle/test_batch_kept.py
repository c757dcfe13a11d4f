"""What journals of batches tell of money: which tasks ended and what they cost, and which nobody collected."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.batch_journal import Journal
from airflow_kling.lifecycle.batch_kept import entries_of, find_journals, note_done, records_of, spent
from airflow_kling.lifecycle.record import Record, Stage
from airflow_kling.lifecycle.report import UNKNOWN, Entry

AT = 1_800_000_000.0
MOMENT = datetime.fromtimestamp(AT, UTC)
RECORD = Record(Stage.SUBMITTED, "af-1", "kling_default", "f", 0, 0, 1.0, "T1", origin={"dag_id": "d"})


def task(task_id, units=8.0, status=TaskStatus.SUCCEEDED):
    return Task("image-expansion", task_id, status=status, units=units)


def kept(folder, *pictures, record=None):
    """Return the journal of a batch whose pictures ended: of each its tasks and how many files were made."""
    journal = Journal(folder)
    journal.open()
    for tasks, outputs in pictures:
        note_done(journal, tasks, outputs, AT)
    if record is not None:
        journal.put("record", "k/0", record)
    journal.commit()
    return journal


def test_passes_count_as_one_task_that_cost_what_all_did(tmp_path):
    failed = task("T4", None, TaskStatus.FAILED)
    journal = kept(tmp_path, ([task("T1"), task("T2"), task("T3")], 1), ([failed], 0), record=RECORD.to_json())
    assert spent(journal) == {"tasks": 2, "failed": 1, "outputs": 1, "units": 24.0}
    assert sorted(entries_of(journal), key=lambda entry: entry.task_id) == [
        Entry("T3", MOMENT, "d", 1, 24.0, "image-expansion", False),
        Entry("T4", MOMENT, "d", 0, None, "image-expansion", True),
    ]


@pytest.mark.parametrize("record", [None, RECORD.to_json() | {"origin": {}}])
def test_dag_that_no_record_names_is_not_known(tmp_path, record):
    (entry,) = entries_of(kept(tmp_path, ([task("T1")], 1), record=record))
    assert entry.dag_id == UNKNOWN


def test_records_are_told_and_one_that_cannot_be_read_hides_no_other(tmp_path):
    journal = kept(tmp_path, record=RECORD.to_json())
    journal.put("record", "a/0", {"version": 7})
    (broken, fault), (key, record) = records_of(journal)
    assert (broken, key) == ("a/0", "k/0")
    assert isinstance(fault, ApiFault)
    assert (record.stage, record.task_id) == (Stage.SUBMITTED, "T1")


def test_journals_are_found_by_when_they_were_written_and_a_broken_one_is_told(tmp_path):
    for name in ("af-new", "af-old", "af-broken"):
        kept(tmp_path / name, ([task("T1")], 1))
    for path in (tmp_path / "af-old").iterdir():
        os.utime(path, (AT - 10, AT - 10))
    for path in (tmp_path / "af-broken").glob("*.jsonl"):
        path.write_text("[]")
    (tmp_path / "af-empty").mkdir()
    (tmp_path / "a-file").write_text("")
    (tmp_path / "record.json").write_text("{}")
    for folder in ("af-new", "af-broken"):
        for path in (tmp_path / folder).glob("*.jsonl"):
            os.utime(path, (AT, AT))
    (broken, fault), (name, journal) = find_journals(tmp_path, AT)
    assert (broken, name) == ("af-broken", "af-new")
    assert isinstance(fault, ApiFault)
    assert spent(journal)["tasks"] == 1
    assert list(find_journals(tmp_path / "none", 0.0)) == []
