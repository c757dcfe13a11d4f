"""Metrics and log lines of a task: what is counted, when and with which tags; nothing secret in any of them."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest

from airflow_kling.exceptions import KlingTaskFailed
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.operators import outcome
from airflow_kling.operators.kling import KlingCollectOperator, KlingExpandImageOperator
from airflow_kling.sensors.kling import KlingTaskSensor
from tests.conftest import API_KEY

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 40
SUBMITTED = ("incr", "kling.submitted", 1)
SUCCEEDED = ("incr", "kling.succeeded", 1)
FAILED = ("incr", "kling.failed", 1)
SECRETS = (API_KEY, "Signature=", "s3cret", "base64,")


@pytest.fixture
def stats(monkeypatch):
    """Collect what would be sent to Airflow's Stats."""
    sent = []

    class Stats:
        incr = staticmethod(lambda name, count=1, *, tags: sent.append(("incr", name, count, tags)))
        timing = staticmethod(lambda name, dt, *, tags: sent.append(("timing", name, dt, tags)))

    monkeypatch.setattr(outcome, "_stats", lambda: Stats)
    return sent


@pytest.fixture
def records(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__KLING__RECORD_PATH", str(tmp_path / "records"))
    return lambda: [json.loads(path.read_text()) for path in (tmp_path / "records").rglob("done/*/*.json")]


@pytest.fixture
def told(monkeypatch, caplog):
    """The log of operators and hook, which Airflow 3 sends past the logging module."""
    for face in (KlingExpandImageOperator, KlingCollectOperator, KlingHook):
        monkeypatch.setattr(face, "log", logging.getLogger("told"), raising=False)
    caplog.set_level(logging.INFO, "told")
    return caplog


def expand(**fields):
    return KlingExpandImageOperator(task_id="task", image="https://p.example/a.jpg", left=0.5, **fields)


def succeed(server, units="8"):
    status, body = server.task("succeed")
    body["data"]["final_unit_deduction"] = units
    return status, body


def test_an_operator_counts_submission_and_success(serve, connect, sleeps, context, stats, records, tmp_path, told):
    server = serve("submitted")
    server.files["/0.png?Signature=s3cret"] = (200, PNG)
    server.script = ["submitted", "processing", succeed(server), succeed(server)]
    connect(server)
    expand(deferrable=False, output_path=str(tmp_path / "out")).execute(context)
    tags = {"dag_id": "dag", "task_id": "task", "family": "image-expansion", "kling_conn_id": "kling_default"}
    assert [row[:3] for row in stats] == [
        SUBMITTED,
        SUCCEEDED,
        ("incr", "kling.units", 8.0),
        ("timing", "kling.wait", timedelta(seconds=24, milliseconds=198)),
    ]
    assert [row[3] for row in stats] == [tags] * 4
    (kept,) = records()
    assert kept["origin"] == {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
    assert kept["manifest"]["units"] == 8.0
    lines = [record.getMessage() for record in told.records if record.getMessage().startswith("Kling task")]
    assert [line.partition(" external id")[0] for line in lines] == [
        "Kling task T1 (image-expansion) submitted to cometapi,",
        "Kling task T1 is processing",
        "Kling task T1 is succeeded",
        f"Kling task T1 collected: 1 image(s), 8 units, 24 s, stored in {tmp_path / 'out'}",
    ]
    assert lines[0].endswith(": 8 units, $0.028 at Kling's list price")
    text = told.text + json.dumps(kept) + str([row[3] for row in stats])
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_task_that_is_rejoined_is_not_counted_as_submitted_again(serve, connect, sleeps, context, stats, records):
    connect(serve("submitted"))
    for _ in range(2):
        expand(wait_for_completion=False).execute(context)
    assert [row[:3] for row in stats] == [SUBMITTED]
    assert records() == []


def test_a_failure_is_counted_and_kept(serve, connect, sleeps, context, stats, records):
    connect(serve("submitted", "failed"))
    with pytest.raises(KlingTaskFailed):
        expand(deferrable=False).execute(context)
    assert [row[:3] for row in stats] == [SUBMITTED, FAILED, ("incr", "kling.units", 8.0)]
    (kept,) = records()
    assert (kept["manifest"]["status"], kept["manifest"]["units"]) == ("failed", 8.0)


@pytest.mark.parametrize("face", [KlingCollectOperator, KlingTaskSensor])
@pytest.mark.parametrize("word", ["succeed", "failed"])
def test_the_split_shape_counts_where_it_collects(
    serve, connect, sleeps, context, stats, records, tmp_path, face, word
):
    server = serve(word)
    server.files["/0.png"] = (200, PNG)
    connect(server)
    task = face(task_id="task", kling_task_id="T1", output_path=str(tmp_path / "out"))
    if word == "failed":
        with pytest.raises(KlingTaskFailed):
            task.execute(context)
    else:
        task.execute(context)
    assert stats[0][:3] == (FAILED if word == "failed" else SUCCEEDED)
    assert [row["manifest"]["task_id"] for row in records()] == ["T1"]


def test_what_is_paid_is_not_lost_because_the_report_cannot_be_told(
    serve, connect, sleeps, context, stats, monkeypatch, tmp_path, told
):
    server = serve("succeed")
    server.files["/0.png"] = (200, PNG)
    connect(server)
    (tmp_path / "records").touch()
    monkeypatch.setattr(outcome, "_stats", lambda: 1 / 0)
    monkeypatch.setenv("AIRFLOW__KLING__RECORD_PATH", str(tmp_path / "records"))
    task = KlingCollectOperator(task_id="task", kling_task_id="T1", output_path=str(tmp_path / "out"))
    assert task.execute(context)["task_id"] == "T1"
    assert "could not be kept for the report" in told.text


def test_airflows_own_tags_go_along(ti):
    ti.stats_tags = {"dag_id": "d", "task_id": "t", "team_name": "red"}
    assert outcome.tags_of(ti, "f", "c") == {**ti.stats_tags, "family": "f", "kling_conn_id": "c"}


def test_airflow_has_stats_where_we_look_for_them():
    for name in ("incr", "timing"):
        assert callable(getattr(outcome._stats(), name))
