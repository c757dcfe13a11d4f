"""The memory of a batch: nothing that was acknowledged is lost, whatever was going on."""

from __future__ import annotations

import json
import threading

import pytest

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.lifecycle import batch_journal
from airflow_kling.lifecycle.batch_journal import COMPACT_AFTER, OWNER_CHECK, Journal, JournalRecords
from airflow_kling.lifecycle.record import Record, Stage


def opened(folder, **options):
    journal = Journal(folder, **options)
    journal.open()
    return journal


def record(stage=Stage.INTENT, **facts):
    return Record(stage, "af-1", "kling_default", "f", 0, 0, 1.0, **facts)


def segments(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".jsonl")


def test_what_was_committed_is_there_for_the_next_process(tmp_path):
    first = opened(tmp_path / "a" / "b")
    assert not first.found
    first.put("end", "k", {"status": "succeeded"})
    first.put("seen", "n", ["s", "i", 8.0])
    assert first.waiting
    first.commit()
    first.put("seen", "n", None)
    first.put("end", "lost", {})
    second = opened(tmp_path / "a" / "b")
    assert second.found
    assert second.items("end") == {"k": {"status": "succeeded"}}
    assert second.get("seen", "n") == ["s", "i", 8.0]
    first.commit()
    assert opened(tmp_path / "a" / "b").get("seen", "n") is None


def test_a_commit_of_nothing_writes_nothing(tmp_path):
    journal = opened(tmp_path)
    journal.commit()
    assert segments(tmp_path) == []


def test_many_threads_share_segments(tmp_path):
    journal, written, gate = opened(tmp_path), [], threading.Event()
    write = journal._write

    def slowly(content):
        gate.wait(5)
        written.append(content)
        write(content)

    journal._write = slowly
    threads = [threading.Thread(target=journal.put_durably, args=("end", str(n), {"n": n})) for n in range(20)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert len(written) < 20
    assert len(opened(tmp_path).items("end")) == 20


def test_segments_are_compacted_and_nothing_is_lost(tmp_path):
    journal = opened(tmp_path)
    for number in range(COMPACT_AFTER + 3):
        journal.put_durably("end", str(number % 300), {"n": number})
    assert len(segments(tmp_path)) == 4
    again = opened(tmp_path)
    assert again.items("end") == journal.items("end")
    again.put_durably("end", "more", {})
    assert len(segments(tmp_path)) == 1  # a new process begins with all there is
    assert len(opened(tmp_path).items("end")) == len(again.items("end"))


def test_old_segments_that_could_not_be_removed_are_passed_over(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    journal.put_durably("end", "gone", {})
    journal.put_durably("end", "gone", None)
    first = (tmp_path / segments(tmp_path)[0]).read_bytes()
    again = opened(tmp_path)
    again.put_durably("end", "k", {})
    (tmp_path / "000000-zz-000000.jsonl").write_bytes(first)
    assert opened(tmp_path).items("end") == {"k": {}}


def refuse(monkeypatch, times=10**6):
    left, write = [times], Journal._write

    def failing(self, content):
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(28, "No space left on device")
        write(self, content)

    monkeypatch.setattr(Journal, "_write", failing)


def test_an_intent_that_cannot_be_stored_was_never_put(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    records = JournalRecords(journal, "k/0")
    records.save(record(Stage.REFUSED))
    with monkeypatch.context() as patch:
        refuse(patch)
        with pytest.raises(OSError, match="No space"):
            records.save(record())
    assert records.load().stage is Stage.REFUSED
    journal.put_durably("end", "other", {})
    assert JournalRecords(opened(tmp_path), "k/0").load().stage is Stage.REFUSED


def test_what_has_happened_is_stored_with_the_next_commit_that_can(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    records = JournalRecords(journal, "k/0")
    records.save(record())
    with monkeypatch.context() as patch:
        refuse(patch)
        with pytest.raises(OSError, match="No space"):
            records.save(record(Stage.SUBMITTED, task_id="t"))
    journal.commit()
    assert JournalRecords(opened(tmp_path), "k/0").load() == record(Stage.SUBMITTED, task_id="t")


def test_a_compaction_that_fails_loses_nothing(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    for number in range(COMPACT_AFTER - 1):
        journal.put_durably("end", str(number), {})
    with monkeypatch.context() as patch:
        refuse(patch)
        journal.put("end", "last", {})
        with pytest.raises(OSError, match="No space"):
            journal.commit()
    assert len(opened(tmp_path).items("end")) == COMPACT_AFTER - 1
    journal.commit()
    assert len(opened(tmp_path).items("end")) == COMPACT_AFTER


def test_records_survive_a_clear_where_the_folder_is_the_same(tmp_path):
    journal = opened(tmp_path)
    assert not JournalRecords(journal, "k").survive_clear
    journal.put_durably("end", "k", {})
    assert JournalRecords(opened(tmp_path), "k").survive_clear
    assert JournalRecords(journal, "none").load() is None


def test_a_process_that_was_overtaken_writes_no_more(tmp_path):
    clock = [0.0]
    first = opened(tmp_path, now=lambda: clock[0])
    first.put_durably("end", "a", {})
    second = opened(tmp_path)
    second.put_durably("end", "b", {})
    clock[0] += OWNER_CHECK
    with pytest.raises(ApiFault, match="overtaken") as caught:
        first.put_durably("end", "c", {})
    assert caught.value.info.kind is FaultKind.EXISTS
    clock[0] = 2 * OWNER_CHECK
    assert set(opened(tmp_path).items("end")) == {"a", "b"}


def test_an_owner_looks_again_only_now_and_then(tmp_path, monkeypatch):
    clock = [0.0]
    journal = opened(tmp_path, now=lambda: clock[0])
    clock[0] += OWNER_CHECK
    journal.put_durably("end", "a", {})
    (tmp_path / batch_journal.OWNER).write_bytes(b"another")
    journal.put_durably("end", "b", {})
    clock[0] += OWNER_CHECK
    with pytest.raises(ApiFault):
        journal.put_durably("end", "c", {})


@pytest.mark.parametrize("content", [b"{", b'["other","k",{}]\n', b'["end","k"]\n', b"\xff\n"])
def test_a_damaged_journal_is_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / "000000-a-000000.jsonl").write_bytes(content)
    with pytest.raises(ApiFault, match="cannot be read") as caught:
        opened(tmp_path)
    assert "paid twice" in str(caught.value)


def test_a_damaged_record_is_not_taken_for_none(tmp_path):
    journal = opened(tmp_path)
    journal.put("record", "k", {"version": 99})
    with pytest.raises(ApiFault, match="cannot be read"):
        JournalRecords(journal, "k").load()


def test_a_line_is_small(tmp_path):
    journal = opened(tmp_path)
    JournalRecords(journal, "k/0").save(record())
    (name,) = segments(tmp_path)
    assert json.loads((tmp_path / name).read_bytes())[:2] == ["record", "k/0"]
    assert (tmp_path / name).stat().st_size < 300
