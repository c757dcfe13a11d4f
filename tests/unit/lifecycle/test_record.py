"""A record comes back as it was written, from every store; what cannot be read is never taken for absent."""

from __future__ import annotations

import json
import os
import pathlib
import stat
from dataclasses import replace
from functools import partial

import pytest

from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.lifecycle.files import write_whole
from airflow_kling.lifecycle.record import (
    FileRecords,
    NoRecords,
    Record,
    Stage,
    StateStoreRecords,
    record_from_json,
)

SUBMITTED = Record(
    Stage.SUBMITTED, "af-1", "kling_default", "print", 1, 2, 1.5, "T1", source_size=(400, 300), origin={"dag_id": "d"}
)
INTENT = replace(SUBMITTED, stage=Stage.INTENT, task_id=None)
BEHIND = replace(INTENT, generation=3, earlier=SUBMITTED)
FIELDS = SUBMITTED.to_json()

BROKEN = [
    pytest.param([], id="a-list"),
    pytest.param("intent", id="a-word"),
    pytest.param({}, id="empty"),
    pytest.param(FIELDS | {"version": 2}, id="another-version"),
    pytest.param({name: value for name, value in FIELDS.items() if name != "version"}, id="no-version"),
    pytest.param({name: value for name, value in FIELDS.items() if name != "stage"}, id="no-stage"),
    pytest.param(FIELDS | {"stage": "gone"}, id="unknown-stage"),
    pytest.param(FIELDS | {"more": 1}, id="unknown-field"),
    pytest.param({name: value for name, value in FIELDS.items() if name != "epoch"}, id="no-epoch"),
    pytest.param(FIELDS | {"earlier": {"stage": "submitted"}}, id="broken-before"),
    pytest.param(FIELDS | {"earlier": "T0"}, id="no-record-before"),
    FIELDS | {"at": "soon"},
    FIELDS | {"at": float("inf")},
    FIELDS | {"task_id": ["T1"]},
    FIELDS | {"epoch": "0"},
    FIELDS | {"origin": ["dag"]},
    FIELDS | {"source_size": [400]},
    FIELDS | {"source_size": ["wide", 300]},
    FIELDS | {"source_size": [400, None]},
]
NO_RECORD = r"^not a record: |^not a record of this version$|Stage|float|int"


class Store(dict):
    """Airflow's task state store: JSON only, and None for what is not there."""

    def get(self, key, default=None):
        return json.loads(self[key]) if key in self else default

    def set(self, key, value):
        self[key] = json.dumps(value)


def in_store(tmp_path):
    return StateStoreRecords(Store(), "kling_task")


def in_file(tmp_path):
    return FileRecords(tmp_path / "not" / "yet" / "there" / "record.json")


@pytest.mark.parametrize("make", [in_store, in_file])
@pytest.mark.parametrize("stage", list(Stage))
def test_record_comes_back_as_it_was_written(tmp_path, make, stage):
    records = make(tmp_path)
    assert records.durable
    assert records.load() is None
    for record in (INTENT, BEHIND, replace(SUBMITTED, stage=stage)):
        records.save(record)
        assert records.load() == record


def test_nowhere_keeps_nothing_and_says_so():
    records = NoRecords()
    records.save(SUBMITTED)
    assert (records.load(), records.durable, records.survive_clear) == (None, False, False)


@pytest.mark.parametrize("survives", [True, False])
def test_record_survives_a_clear_where_airflow_or_the_path_says_so(survives):
    for make in (partial(StateStoreRecords, Store(), "kling_task"), partial(FileRecords, pathlib.Path("record.json"))):
        assert make(survive_clear=survives).survive_clear is survives
        assert make().survive_clear is False


@pytest.mark.parametrize("record", [SUBMITTED, INTENT, BEHIND])
def test_record_is_json(record):
    assert record_from_json(json.loads(json.dumps(record.to_json()))) == record


def test_record_of_before_is_read_without_what_came_later():
    assert record_from_json({name: value for name, value in FIELDS.items() if name != "earlier"}) == SUBMITTED


@pytest.mark.parametrize("fields", BROKEN)
def test_what_is_no_record_is_refused(fields):
    with pytest.raises(ValueError, match=NO_RECORD):
        record_from_json(fields)


def damaged(records):
    with pytest.raises(ApiFault, match="cannot be read") as raised:
        records.load()
    # A retry may find the store mended; no create may follow from it.
    assert (raised.value.info.kind, raised.value.info.created) == (FaultKind.CONNECTION, Created.NO)
    assert raised.value.info.hint == (
        "Nothing was sent. If it stays so, mend or remove the record; without it a second task may be paid"
    )
    return raised.value.info.message


@pytest.mark.parametrize("fields", BROKEN)
def test_damaged_record_is_never_taken_for_absent(tmp_path, fields):
    store = Store()
    store.set("kling_task", fields)
    with pytest.raises(ValueError, match=NO_RECORD) as why:
        record_from_json(json.loads(json.dumps(fields)))
    message = damaged(StateStoreRecords(store, "kling_task"))
    assert message == f"the record kling_task of what was submitted cannot be read: {why.value}"
    path = tmp_path / "record.json"
    path.write_text(json.dumps(fields))
    assert damaged(FileRecords(path)) == f"the record {path} of what was submitted cannot be read: {why.value}"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b'{"version": 1'])
def test_broken_file_is_never_taken_for_absent(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    assert (
        damaged(FileRecords(path)) == f"the record {path} of what was submitted cannot be read: its content is damaged"
    )


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), IsADirectoryError(), RuntimeError("away")])
def test_file_that_cannot_be_opened_is_never_taken_for_absent(tmp_path, error, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    path, reason = tmp_path / "record.json", getattr(error, "strerror", None) or type(error).__name__
    assert damaged(FileRecords(path)) == f"the record {path} of what was submitted cannot be read: {reason}"


def test_nothing_can_lie_below_a_file_nor_be_saved_there(tmp_path):
    (tmp_path / "file").write_text("x")
    records = FileRecords(tmp_path / "file" / "record.json")
    assert records.load() is None
    # So no intent can be saved, and no create be sent.
    with pytest.raises(OSError, match="file"):
        records.save(INTENT)


@pytest.mark.parametrize("broken", ["write", "replace"])
def test_write_that_breaks_off_leaves_the_old_content(tmp_path, monkeypatch, broken):
    records = FileRecords(tmp_path / "record.json")
    records.save(INTENT)

    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return False

        def write(self, content):
            raise OSError(28, "No space left on device")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        if broken == "replace":
            patched.setattr(pathlib.Path, "replace", refuse)
        else:
            patched.setattr(pathlib.Path, "open", lambda *_, **__: Full())
        with pytest.raises(OSError, match="No space"):
            records.save(SUBMITTED)
    assert records.load() == INTENT
    records.save(SUBMITTED)
    assert records.load() == SUBMITTED


def test_whole_write_leaves_one_file(tmp_path):
    path = tmp_path / "x.json"
    for content in (b"long content", b"short"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(tmp_path, monkeypatch):
    path, synced, fsync = tmp_path / "x.json", [], os.fsync

    def sync(descriptor):
        synced.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists(), os.fstat(descriptor).st_size))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_whole(path, b"content")
    assert [row[:2] for row in synced] == [(False, False), (True, True)]
    assert synced[0][2] == len(b"content")


def test_two_writers_do_not_disturb_each_other(tmp_path, monkeypatch):
    path, seen = tmp_path / "x.json", []
    replace_file = pathlib.Path.replace

    def with_another_writer(self, target):
        if not seen:
            seen.append(self)
            write_whole(path, b"the other")
        return replace_file(self, target)

    monkeypatch.setattr(pathlib.Path, "replace", with_another_writer)
    write_whole(path, b"ours")
    assert path.read_bytes() == b"ours"


def test_airflows_storage_paths_hold_records(tmp_path):
    from airflow_kling.hooks.storage import storage_path

    records = FileRecords(storage_path(str(tmp_path)) / ".kling" / "record.json")
    assert records.load() is None
    for record in (INTENT, SUBMITTED):
        records.save(record)
        assert records.load() == record
    assert [path.name for path in (tmp_path / ".kling").iterdir()] == ["record.json"]
