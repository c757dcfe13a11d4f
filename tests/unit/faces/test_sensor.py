"""KlingTaskSensor means the same whether it pokes, reschedules or defers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.exceptions import KlingAuthError, KlingInputError, KlingServerError, KlingTaskFailed
from airflow_kling.sensors.kling import KlingTaskSensor

AIRFLOW_2 = AIRFLOW < (3, 0)
KEY_REFUSED = (401, {"code": 1002, "message": "Authorization is invalid"})
INTERNAL = (500, {"code": 5000, "message": "internal error"})
BUSY = (429, {"code": 1302, "message": "too fast"}, {"Retry-After": "99"})


@pytest.fixture(autouse=True)
def pokes(monkeypatch):
    """The seconds that Airflow would sleep between pokes."""
    seconds = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


@pytest.fixture(autouse=True)
def _no_database(monkeypatch, ti):
    if AIRFLOW_2:
        monkeypatch.setattr("airflow.sensors.base._orig_start_date", lambda **which: ti.first_reschedule_date)
        monkeypatch.setattr("airflow.sensors.base._is_metadatabase_mysql", lambda: False)


def sensor(**parameters):
    return KlingTaskSensor(**{"task_id": "wait", "kling_task_id": "T1", "timeout": 3600} | parameters)


@pytest.fixture
def run(context, fire, sleeps):
    """Run a sensor to its end in either way."""

    def to_the_end(task):
        try:
            return task.execute(context)
        except TaskDeferred as wait:
            return task.resume_execution(wait.method_name, {"event": fire(wait.trigger)}, context)

    return to_the_end


ENDS = {
    "succeeded": (["processing", "succeed"], {}, None, {}),
    "failed": (["processing", "failed"], {}, KlingTaskFailed, {"soft_fail", "never_fail"}),
    "key-refused": ([KEY_REFUSED], {}, KlingAuthError, {"soft_fail", "never_fail"}),
    "server-fails": ([INTERNAL], {}, KlingServerError, {"never_fail"}),
    "timed-out": (["processing"], {"timeout": 0}, AirflowSensorTimeout, {"soft_fail"}),
}


@pytest.mark.parametrize("flag", [None, "soft_fail", "never_fail"])
@pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "defer"])
@pytest.mark.parametrize("end", ENDS)
def test_each_end_means_the_same_in_both_modes(serve, connect, run, end, deferrable, flag):
    script, parameters, error, skipped_by = ENDS[end]
    connect(serve(*script))
    task = sensor(deferrable=deferrable, **parameters, **({flag: True} if flag else {}))
    if error is None:
        assert run(task)["status"] == "succeeded"
        return
    with pytest.raises(AirflowSkipException if flag in skipped_by else error):
        run(task)
    assert task.soft_fail is (flag == "soft_fail")


@pytest.mark.parametrize("deferrable", [False, True])
def test_sensor_returns_the_manifest_and_pushes_what_operators_push(serve, connect, run, ti, tmp_path, deferrable):
    server = serve("submitted", "succeed")
    server.files["/0.png"] = (200, b"\x89PNG\r\n\x1a\n" + bytes(30))
    connect(server)
    manifest = run(sensor(deferrable=deferrable, output_path=str(tmp_path)))
    (row,) = manifest["outputs"]
    assert (manifest["task_id"], row["size_bytes"]) == ("T1", 38)
    assert ti.xcoms == {"task_id": "T1", "uris": [row["uri"]]}
    assert all(seen.method == "GET" for seen in server.requests)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("interval", [5, timedelta(seconds=5)])
def test_interval_is_that_of_airflow(serve, connect, run, pokes, fire, deferrable, interval):
    connect(serve("processing", "processing", "succeed"))
    run(sensor(deferrable=deferrable, poke_interval=interval))
    waited = fire.delays if deferrable else pokes
    assert [round(seconds / 5) for seconds in waited] == [1, 1]


@pytest.mark.parametrize("deferrable", [False, True])
def test_replaced_key_is_read_again(serve, connect, run, pokes, fire, monkeypatch, deferrable):
    server = serve(KEY_REFUSED, "succeed")
    connect(server, password="sk-old")
    fire.meanwhile = lambda: connect(server, password="sk-new")
    monkeypatch.setattr("time.sleep", lambda seconds: connect(server, password="sk-new"))
    run(sensor(deferrable=deferrable))
    assert [seen.header("authorization") for seen in server.requests][:2] == ["Bearer sk-old", "Bearer sk-new"]


def test_deferral_carries_ids_and_numbers_only(serve, connect, context):
    server = serve("processing")
    connect(server)
    with pytest.raises(TaskDeferred) as wait:
        sensor(deferrable=True, timeout=timedelta(hours=2), output_path="s3://bucket/x").execute(context)
    path, arguments = wait.value.trigger.serialize()
    assert path == "airflow_kling.triggers.kling.KlingTaskTrigger"
    assert len(json.dumps(arguments)) <= 1024
    assert wait.value.timeout > timedelta(hours=2)
    assert server.connections == 0


@pytest.mark.parametrize("deferrable", [False, True])
def test_unknown_family_is_refused_before_anything_is_asked(serve, connect, run, deferrable):
    server = serve("processing")
    connect(server)
    with pytest.raises(KlingInputError, match="one of image-expansion"):
        run(sensor(deferrable=deferrable, family="image-expanding"))
    assert server.connections == 0


def test_deferral_that_airflow_ended_skips_under_soft_fail(context):
    with pytest.raises(AirflowSkipException):
        sensor(deferrable=True, soft_fail=True).resume_execution("__fail__", {"error": "Trigger timeout"}, context)


# -- reschedule ------------------------------------------------------------------------------------------------


def test_rescheduled_sensor_leaves_its_slot_and_comes_back(serve, connect, context, ti, sleeps, pokes):
    connect(serve("processing", "succeed"))
    with pytest.raises(AirflowRescheduleException) as raised:
        sensor(mode="reschedule", poke_interval=60).execute(context)
    assert 30 < (raised.value.reschedule_date - datetime.now(UTC)).total_seconds() <= 60
    ti.first_reschedule_date = datetime.now(UTC)
    assert sensor(mode="reschedule").execute(context)["status"] == "succeeded"
    assert pokes == []


@pytest.mark.parametrize(("flag", "error"), [({}, AirflowSensorTimeout), ({"soft_fail": True}, AirflowSkipException)])
def test_rescheduled_sensor_counts_from_its_first_poke(serve, connect, context, ti, sleeps, flag, error):
    connect(serve("processing"))
    ti.first_reschedule_date = datetime.now(UTC) - timedelta(hours=2)
    with pytest.raises(error):
        sensor(mode="reschedule", **flag).execute(context)


@pytest.mark.parametrize(
    "answer", [KEY_REFUSED, (400, {"code": 1201, "message": "Task not found by id/external id: T1"})]
)
def test_rescheduled_sensor_gives_up_on_what_stays(serve, connect, context, sleeps, answer):
    connect(serve(answer))
    ended = 0
    for _ in range(20):
        try:
            sensor(mode="reschedule").execute(context)
        except AirflowRescheduleException:
            continue
        except (KlingAuthError, KlingTaskFailed):
            ended += 1
    assert ended


def test_poking_sensor_heeds_retry_after(serve, connect, run, pokes):
    connect(serve(BUSY, "succeed"))
    run(sensor(poke_interval=10))
    assert sum(pokes) >= 99


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_no_poke_outlasts_the_timeout(serve, connect, context, sleeps, pokes, monkeypatch, mode):
    clock = [0.0]

    def sleep(seconds):
        pokes.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    connect(serve(BUSY))
    assert not sensor(mode=mode, timeout=30, poke_interval=10).poke(context).is_done
    assert 20 <= sum(pokes) <= 35
