"""The memory of a batch: nothing that was acknowledged is lost, whatever was going on."""

from __future__ import annotations

import json
import shutil
import threading

import pytest

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.lifecycle import batch_journal
from airflow_kling.lifecycle.batch_journal import COMPACT_AFTER, OWNER, Journal, JournalRecords
from airflow_kling.lifecycle.record import Record, Stage


def opened(folder, *arguments, **options):
    journal = Journal(folder)
    journal.open(*arguments, **options)
    return journal


def record(stage=Stage.INTENT, external_task_id="af-1", **facts):
    return Record(stage, external_task_id, "kling_default", "f", 0, 0, 1.0, **facts)


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
    assert dict(second.items("end")) == {"k": {"status": "succeeded"}}
    assert second.get("seen", "n") == ["s", "i", 8.0]
    with pytest.raises(ApiFault, match="overtaken"):
        first.commit()  # what has happened is stored all the same
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
    assert len(opened(tmp_path).keys("end")) == 20


def test_segments_are_compacted_and_nothing_is_lost(tmp_path):
    journal = opened(tmp_path)
    for number in range(COMPACT_AFTER + 3):
        journal.put_durably("end", str(number % 300), {"n": number})
    assert len(segments(tmp_path)) == 4
    again = opened(tmp_path)
    assert dict(again.items("end")) == dict(journal.items("end"))
    again.put_durably("end", "more", {})
    assert len(segments(tmp_path)) == 1  # a new process begins with all there is
    assert len(opened(tmp_path).keys("end")) == len(again.keys("end"))


def test_old_segments_that_could_not_be_removed_are_passed_over(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    journal.put_durably("end", "gone", {})
    journal.put_durably("end", "gone", None)
    first = (tmp_path / segments(tmp_path)[0]).read_bytes()
    again = opened(tmp_path)
    again.put_durably("end", "k", {})
    (tmp_path / "000000-zz-000000.jsonl").write_bytes(first)
    assert dict(opened(tmp_path).items("end")) == {"k": {}}


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
    journal = opened(tmp_path / "here")
    for number in range(COMPACT_AFTER - 1):
        journal.put_durably("end", str(number), {})
    with monkeypatch.context() as patch:
        refuse(patch)
        journal.put("end", "last", {})
        with pytest.raises(OSError, match="No space"):
            journal.commit()
    shutil.copytree(tmp_path / "here", tmp_path / "then")
    assert len(opened(tmp_path / "then").keys("end")) == COMPACT_AFTER - 1
    journal.commit()
    assert len(opened(tmp_path / "here").keys("end")) == COMPACT_AFTER


@pytest.mark.parametrize(
    ("opened_at", "first_try", "durable", "survive_clear"),
    [
        ((1,), 1, True, True),
        ((1, 2), 2, True, True),
        ((2,), 1, False, False),
        ((2, 3), 1, False, False),
        ((3, 4), 3, True, False),
    ],
)
def test_a_journal_that_an_earlier_try_did_not_write_is_not_believed(
    tmp_path, opened_at, first_try, durable, survive_clear
):
    for number in opened_at:
        journal = opened(tmp_path, number)
    assert journal.found == (len(opened_at) > 1)
    records = JournalRecords(journal, "k", first_try)
    assert (records.durable, records.survive_clear, records.load()) == (durable, survive_clear, None)
    records.save(record())
    assert records.durable


def test_a_resumption_without_a_journal_stops_and_leaves_none(tmp_path):
    with pytest.raises(ApiFault, match=r"deferred.*must be shared by all workers. Nothing was sent") as caught:
        opened(tmp_path / "a", resumed=True)
    assert caught.value.info.kind is FaultKind.EXISTS
    assert not (tmp_path / "a").exists()
    opened(tmp_path / "a")
    assert opened(tmp_path / "a", resumed=True).found
    opened(tmp_path / "a").put_durably("end", "k", {})
    (tmp_path / "a" / OWNER).unlink()
    assert dict(opened(tmp_path / "a", resumed=True).items("end")) == {"k": {}}


def test_a_process_that_was_overtaken_is_told_before_it_sends(tmp_path):
    first = opened(tmp_path)
    first.put_durably("end", "a", {})
    second = opened(tmp_path)
    second.put_durably("end", "k", {"by": 2})
    with pytest.raises(ApiFault, match="overtaken") as caught:
        first.put_durably("end", "k", {"by": 1})
    assert caught.value.info.kind is FaultKind.EXISTS
    assert dict(opened(tmp_path).items("end")) == {"a": {}, "k": {"by": 2}}


@pytest.mark.parametrize("moment", ["_read_owner", "_claim", "_list", "_read"])
def test_of_two_at_once_one_reads_the_intent_or_the_other_is_told(tmp_path, monkeypatch, moment):
    first = opened(tmp_path)
    first.put_durably("end", "a", {})
    real, told = getattr(Journal, moment), []

    def meanwhile(journal, *arguments):
        answer = real(journal, *arguments)
        if journal is not first and not told:
            told.append("sends")
            try:
                first.put_durably("end", "k", {})
            except ApiFault:
                told.append("told")
        return answer

    monkeypatch.setattr(Journal, moment, meanwhile)
    second = opened(tmp_path)
    assert ("k" in second.keys("end")) or told == ["sends", "told"]


def test_a_claim_that_is_raised_reads_what_came_between(tmp_path, monkeypatch):
    opened(tmp_path).put_durably("end", "a", {})
    opened(tmp_path).put_durably("end", "b", {})
    (tmp_path / OWNER).unlink()
    real, between = Journal._list, []

    def meanwhile(journal):
        answer = real(journal)
        if (tmp_path / OWNER).exists() and not between:
            between.append(None)
            opened(tmp_path).put_durably("end", "k", {})
        return answer

    monkeypatch.setattr(Journal, "_list", meanwhile)
    assert opened(tmp_path).keys("end") == {"a", "b", "k"}


def test_a_compaction_of_one_that_was_overtaken_hides_nothing(tmp_path):
    for key in "ab":
        opened(tmp_path).put_durably("end", key, {})
    opened(tmp_path)._write([("end", "c", b"{}")])
    first, second = opened(tmp_path), opened(tmp_path)
    second._generation = first._generation
    second.put_durably("end", "d", {})
    first._id = "z"  # its names come last
    with pytest.raises(ApiFault, match="overtaken"):
        first.put_durably("end", "e", {})
    assert opened(tmp_path).keys("end") == {"a", "b", "c", "d"}


@pytest.mark.parametrize("compacts", [False, True])
def test_a_neighbour_that_failed_takes_no_other_entry_along(tmp_path, monkeypatch, compacts):
    journal = opened(tmp_path)
    if compacts:
        monkeypatch.setattr(batch_journal, "COMPACT_AFTER", 1)
    journal.put("end", "gone", {})
    journal.put("end", "k", {})
    write = journal._write

    def meanwhile(entries):
        write(entries)
        del journal._pending[0]  # as a neighbour does whose own commit failed
        journal.put("end", "late", {})

    journal._write = meanwhile
    journal.commit()
    journal._write = write
    journal.commit()
    assert "late" in opened(tmp_path).keys("end")


def test_an_entry_is_taken_back_by_what_it_is_not_by_what_it_says(tmp_path, monkeypatch):
    journal = opened(tmp_path)
    journal.put("end", "k", {})
    first = journal._pending[0]
    refuse(monkeypatch, 1)
    with pytest.raises(OSError, match="No space"):
        journal.put_durably("end", "k", {})
    assert journal._pending[0] is first


@pytest.mark.parametrize(
    "content",
    [b"{", b"\xff\n", b"", b'["end","k",{}]\n']
    + [
        entry + b'\n["eof","",1]\n'
        for entry in (b'["other","k",{}]', b'["end","k"]', b'["end","k",{}]\n["end","l",{}]')
    ],
)
def test_a_damaged_journal_is_not_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / "000000-a-000000.jsonl").write_bytes(content)
    with pytest.raises(ApiFault, match="cannot be read") as caught:
        opened(tmp_path)
    assert "paid twice" in str(caught.value)


def test_each_thread_of_a_process_that_was_overtaken_is_told(tmp_path):
    old = opened(tmp_path)
    old.put_durably("record", "a", record().to_json())
    new = opened(tmp_path, 2)
    told = []

    def put(name):
        try:
            old.put_durably("record", name, record().to_json())
        except ApiFault as fault:
            told.append((name, fault.info.kind))

    threads = [threading.Thread(target=put, args=(name,)) for name in "xyz"]
    with old._writing:
        for thread in threads:
            thread.start()
        while len(old._pending) < 3:
            threads[0].join(0.001)
    for thread in threads:
        thread.join()
    assert sorted(told) == [(name, FaultKind.EXISTS) for name in "xyz"]
    with pytest.raises(ApiFault, match="overtaken"):
        old.commit()  # with nothing to store, too
    assert new.keys("record") == {"a"}


@pytest.mark.parametrize("told_before", [False, True])
def test_an_id_that_an_overtaken_process_learnt_last_is_not_hidden_by_a_base(tmp_path, told_before):
    old = opened(tmp_path)
    JournalRecords(old, "k/0").save(record())
    new = opened(tmp_path, 2)
    if told_before:
        with pytest.raises(ApiFault, match="overtaken"):
            old.put_durably("record", "l/0", record(external_task_id="af-2").to_json())
    with pytest.raises(ApiFault, match="overtaken"):
        JournalRecords(old, "k/0").save(record(Stage.SUBMITTED, task_id="T1"))
    onlooker = Journal(tmp_path)
    onlooker.look()
    assert onlooker.keys("record") == {"k/0"}  # what was told before it was sent is as if never intended
    new._segments *= 2  # so that it compacts
    new.put_durably("end", "other", {})
    assert JournalRecords(opened(tmp_path, 3), "k/0").load().task_id == "T1"


def test_of_two_that_began_at_once_the_owner_is_believed(tmp_path, monkeypatch):
    first, second = Journal(tmp_path), Journal(tmp_path)
    first._id, second._id = "ffffffffffff", "000000000000"
    first.open()
    with monkeypatch.context() as patch:
        real, looked = Journal._read_owner, []
        patch.setattr(second, "_read_owner", lambda: real(second) if looked else looked.append(1) or "", raising=False)
        second.open()
    with pytest.raises(ApiFault, match="overtaken"):
        first.put_durably("record", "k", {"stage": "intent", "external_task_id": "e1"})
    kept = {"stage": "intent", "external_task_id": "e2"}
    second.put_durably("record", "k", kept)
    assert opened(tmp_path, 2).get("record", "k") == kept


def test_a_damaged_record_is_not_taken_for_none(tmp_path):
    journal = opened(tmp_path)
    journal.put("record", "k", {"version": 99})
    with pytest.raises(ApiFault, match="cannot be read"):
        JournalRecords(journal, "k").load()


def test_a_line_is_small(tmp_path):
    journal = opened(tmp_path)
    JournalRecords(journal, "k/0").save(record())
    (name,) = segments(tmp_path)
    first, _ = (tmp_path / name).read_bytes().splitlines()
    assert json.loads(first)[:2] == ["record", "k/0"]
    assert (tmp_path / name).stat().st_size < 300


def test_what_happened_stays_stored_where_it_cannot_be_told_once_more(tmp_path, monkeypatch):
    old = opened(tmp_path)
    JournalRecords(old, "k/0").save(record())
    opened(tmp_path, 2)
    real, written = old._write, []

    def full(entries):
        if written:
            raise OSError(28, "No space left on device")
        written.append(entries)
        return real(entries)

    monkeypatch.setattr(old, "_write", full)
    with pytest.raises(ApiFault, match="overtaken"):
        JournalRecords(old, "k/0").save(record(Stage.SUBMITTED, task_id="T1"))
    assert JournalRecords(opened(tmp_path, 3), "k/0").load().task_id == "T1"


def test_a_segment_that_is_taken_back_meanwhile_is_no_damage(tmp_path, monkeypatch):
    opened(tmp_path).put_durably("end", "a", {})
    real, tries = Journal._read, []

    def taken_back(journal, path, submitted):
        if not tries:
            tries.append(path)
            journal._put(("record", "k/0", record().to_json()))  # of a segment that is there no more
            raise FileNotFoundError(path)
        real(journal, path, submitted)

    monkeypatch.setattr(Journal, "_read", taken_back)
    journal = opened(tmp_path)
    assert (dict(journal.items("end")), dict(journal.items("record"))) == ({"a": {}}, {})
