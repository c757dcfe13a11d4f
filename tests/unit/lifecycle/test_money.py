"""What is kept of ended tasks, summed up in a report; and the recovery of what no run collected."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import pytest

from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.done import Done, DoneIds, keep_done, read_done
from airflow_kling.lifecycle.record import FileRecords, Record, Stage
from airflow_kling.lifecycle.recover import Fate, Recovery, read_records
from airflow_kling.lifecycle.report import UNKNOWN, Entry, as_csv, entry_of_done, entry_of_event, summed

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MANIFEST = {"family": "image-expansion", "task_id": "T1", "status": "succeeded", "units": 8.0}
OUTPUTS = [{"index": 0, "uri": "file:///a.png", "url": "https://cdn/a?Signature=s"}]


def done(task_id="T1", at=NOW, part_of="", **changes):
    manifest = MANIFEST | {"task_id": task_id, "outputs": OUTPUTS} | changes
    return Done(at.timestamp(), manifest, {"dag_id": "dag"}, part_of)


# -- what is kept --------------------------------------------------------------------------------------------------


def test_an_end_is_kept_once_under_its_day_and_without_links(tmp_path):
    for row in (done(), done(), done("T/2", NOW - DAY)):
        keep_done(tmp_path, row)
    kept = {row.manifest["task_id"]: row for row in read_done(tmp_path, (NOW - DAY).date())}
    assert list(kept) == ["T/2", "T1"]
    assert kept["T1"].manifest["outputs"] == [{"index": 0, "uri": "file:///a.png"}]
    assert (kept["T1"].origin, kept["T1"].at) == ({"dag_id": "dag"}, NOW.timestamp())
    assert [row.manifest["task_id"] for row in read_done(tmp_path, NOW.date())] == ["T1"]
    ids = DoneIds(tmp_path)
    assert "T1" in ids
    assert "T/2" in ids
    assert "T3" not in ids
    assert "Signature" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_what_is_damaged_or_half_written_is_left_out(tmp_path):
    keep_done(tmp_path, done())
    folder = next(tmp_path.rglob("T1.json")).parent
    for name, text in (("x.json", "{"), ("y.json", "[]"), ("z.json", "{}"), ("T9.json.1.part", "{}")):
        (folder / name).write_text(text)
    kept = json.loads((folder / "T1.json").read_text())
    odd = [{"at": 1e300}, {"origin": ["x"]}, {"manifest": {"task_id": "T1", "outputs": 5}}, {"manifest": []}]
    for number, change in enumerate(odd):
        (folder / f"odd{number}.json").write_text(json.dumps(kept | change))
    assert [row.manifest["task_id"] for row in read_done(tmp_path, NOW.date())] == ["T1"]
    assert "T9" not in DoneIds(tmp_path)
    assert list(read_done(tmp_path / "none", NOW.date())) == []


# -- the report ----------------------------------------------------------------------------------------------------


def entry(task_id="T1", **changes):
    return replace(Entry(task_id, NOW, "dag", 1, 8.0, "image-expansion"), **changes)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([entry(), entry("T2")], ["2026-11-20,dag,2,0,2,16,0.056,0"], id="sum"),
        pytest.param([entry(), entry(family="", outputs=3)], ["2026-11-20,dag,1,0,3,8,0.028,0"], id="told-twice"),
        pytest.param([entry(), entry(at=NOW - 9 * DAY)], [], id="made-before-and-reused"),
        pytest.param([entry(units=None)], ["2026-11-20,dag,1,0,1,0,0,1"], id="units-not-told"),
        pytest.param(
            [entry(units=2.0, family="image-to-video")], ["2026-11-20,dag,1,0,1,2,0.28,0"], id="units-of-clips"
        ),
        pytest.param([entry(failed=True, units=0.0)], ["2026-11-20,dag,1,1,1,0,0,0"], id="failed"),
        pytest.param([entry(dag_id="=HYPERLINK()")], ["2026-11-20,'=HYPERLINK(),1,0,1,8,0.028,0"], id="formula"),
        pytest.param([entry(dag_id=UNKNOWN), entry()], ["2026-11-20,dag,1,0,1,8,0.028,0"], id="dag-told-later"),
        pytest.param(
            [entry(at=NOW - DAY), entry("T2", dag_id="b"), entry("T3", dag_id="a")],
            ["2026-11-19,dag,1,0,1,8,0.028,0", "2026-11-20,a,1,0,1,8,0.028,0", "2026-11-20,b,1,0,1,8,0.028,0"],
            id="order",
        ),
    ],
)
def test_sums(entries, expected):
    head, *lines = as_csv(summed(entries, (NOW - 2 * DAY).date())).decode().splitlines()
    assert head == "day,dag_id,tasks,failed,outputs,units,usd_at_list_price,tasks_without_units"
    assert lines == expected


def test_both_sources_tell_the_same_task():
    extra = {"files": [{}], "task_id": "T1", "units": 8.0, "family": "image-expansion"}
    assert entry_of_event(extra, "dag", NOW) == entry_of_done(done()) == entry()
    assert entry_of_done(done(part_of="T2")) is None


@pytest.mark.parametrize("extra", [None, {}, {"task_id": None, "units": 0.0}, {"task_id": "x"}, [], "x"])
def test_events_of_others_do_not_count(extra):
    assert entry_of_event(extra, "dag", NOW) is None


# -- the recovery --------------------------------------------------------------------------------------------------

LEFT = Record(
    Stage.SUBMITTED, "af-1", "kling_default", "p", 0, 0, NOW.timestamp() - 9000, "T1", family="image-expansion"
)
INTENT = replace(LEFT, stage=Stage.INTENT, task_id=None)
MADE = Task("image-expansion", "T1", external_task_id="af-1", status=TaskStatus.SUCCEEDED, units=8.0)


def fault(kind, message="said so"):
    return ApiFault(FaultInfo(FaultKind(kind), message))


class Account:
    """Answers each query with the same; a create is an error."""

    def __init__(self, answer, believed=True):
        self.answer, self.asked = answer, []
        self.account = SimpleNamespace(lookup_by_external_id=believed, list_tasks=False)

    def get_task(self, task_id, family):
        self.asked.append((task_id, family))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def recover(record, answer=MADE, *, believed=True, collected=(), min_age=7200.0, store=None):
    account = Account(answer, believed)
    stored = []

    def keep(task, of):
        stored.append(task.task_id)
        return {"outputs": [{"uri": "file:///r/T1-0.png"}], "units": task.units}

    recovery = Recovery(
        collected, lambda conn_id: account, store or keep, min_age=min_age, now=NOW.timestamp, sleep=lambda _: None
    )
    records = record if isinstance(record, list) else [("af-1.json", record)]
    return list(recovery.run(records)), account, stored


@pytest.mark.parametrize(
    ("record", "options", "fate", "asked"),
    [
        pytest.param(LEFT, {}, Fate.RECOVERED, 1, id="made"),
        pytest.param(LEFT, {"collected": ("T1",)}, Fate.COLLECTED, 0, id="collected"),
        pytest.param(LEFT, {"min_age": 9001.0}, Fate.YOUNG, 0, id="young"),
        pytest.param(LEFT, {"answer": replace(MADE, status=TaskStatus.PROCESSING)}, Fate.RUNNING, 1, id="running"),
        pytest.param(LEFT, {"answer": replace(MADE, status=TaskStatus.FAILED)}, Fate.FAILED, 1, id="failed"),
        pytest.param(LEFT, {"answer": fault("not-found")}, Fate.EXPIRED, 1, id="not-known"),
        pytest.param(LEFT, {"answer": fault("not-found"), "believed": False}, Fate.UNCLEAR, 1, id="not-believed"),
        pytest.param(LEFT, {"answer": fault("server")}, Fate.UNCLEAR, 1, id="server"),
        pytest.param(LEFT, {"answer": KeyError("no connection")}, Fate.UNCLEAR, 1, id="connection-gone"),
        pytest.param(replace(LEFT, at=NOW.timestamp() - 33 * 86_400), {}, Fate.EXPIRED, 0, id="old"),
        pytest.param(replace(LEFT, family=""), {}, Fate.UNCLEAR, 0, id="no-family"),
        pytest.param(replace(LEFT, stage=Stage.REFUSED), {}, Fate.NOTHING_MADE, 0, id="refused"),
        pytest.param(INTENT, {}, Fate.RECOVERED, 1, id="intent-made"),
        pytest.param(INTENT, {"collected": ("T1",)}, Fate.COLLECTED, 1, id="intent-collected"),
        pytest.param(INTENT, {"answer": fault("not-found")}, Fate.NOTHING_MADE, 1, id="intent-not-made"),
        pytest.param(INTENT, {"answer": fault("not-found"), "believed": False}, Fate.UNCLEAR, 1, id="intent-blind"),
    ],
)
def test_fates(record, options, fate, asked):
    (finding,), account, stored = recover(record, **options)
    assert (finding.fate, len(account.asked)) == (fate, asked)
    assert stored == (["T1"] if fate is Fate.RECOVERED else [])
    assert finding.external_id == "af-1"
    assert finding.units == (8.0 if asked and isinstance(options.get("answer", MADE), Task) else None)


def test_the_task_before_one_that_was_never_made_is_recovered():
    found, _, stored = recover(replace(INTENT, stage=Stage.REFUSED, earlier=LEFT))
    assert [row.fate for row in found] == [Fate.NOTHING_MADE, Fate.RECOVERED]
    assert stored == ["T1"]


def test_a_wrong_key_is_tried_once():
    found, account, _ = recover([("1.json", LEFT), ("2.json", replace(LEFT, task_id="T2"))], fault("auth"))
    assert [row.fate for row in found] == [Fate.UNCLEAR, Fate.UNCLEAR]
    assert len(account.asked) == 1


def test_what_cannot_be_stored_does_not_hinder_the_rest():
    def store(task, record):
        raise OSError("disk full https://cdn/x?Signature=s3cret")

    (finding,), _, _ = recover(LEFT, store=store)
    assert finding.fate is Fate.UNCLEAR
    assert "disk full" in finding.text
    assert "s3cret" not in finding.text


def test_records_are_read_and_a_damaged_one_is_told(tmp_path):
    FileRecords(tmp_path / "af-1.json").save(replace(LEFT, origin={"dag_id": "d"}))
    (tmp_path / "af-2.json").write_text("{")
    (tmp_path / "done").mkdir()
    found, _, _ = recover(list(read_records(tmp_path)))
    assert [(row.external_id, row.fate) for row in found] == [("af-1", Fate.RECOVERED), ("af-2", Fate.UNCLEAR)]
    assert found[0].record.origin == {"dag_id": "d"}
    assert "damaged" in found[1].text
    assert list(read_records(tmp_path / "none")) == []


def test_a_record_of_before_families_were_kept_is_read():
    old = {name: value for name, value in LEFT.to_json().items() if name not in ("family", "origin")}
    from airflow_kling.lifecycle.record import record_from_json

    assert record_from_json(old) == replace(LEFT, family="")


def test_days_are_those_of_utc():
    assert done(at=datetime(2026, 11, 20, 23, 59, tzinfo=UTC)).day == date(2026, 11, 20)
