"""How the operator submits: where the record lies, which clear it is, waiting for a slot, the next connection."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_kling.exceptions import (
    KlingConcurrencyExceeded,
    KlingConnectionError,
    KlingError,
    KlingInputError,
    KlingPermanentError,
    KlingRateLimited,
    KlingRouteUnavailable,
    KlingSubmissionUnknown,
)
from airflow_kling.operators.instance import first_try_of_epoch
from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.operators.records import records_of
from airflow_kling.operators.work import make_work
from airflow_kling.triggers.kling import KlingSlotTrigger, KlingTaskTrigger

URL = "https://example.com/cat.png"
BUSY = (429, {"code": 1303, "message": "parallel task over resource pack limit"})
FAST = (429, {"code": 1302, "message": "Too many requests"})
NO_ROUTE = (200, {"code": None, "message": "404"})
BLIND = {"gateway": "cometapi"}
NOT_FOUND = (400, {"code": 1201, "message": "Task not found by id/external id: x"})


def operator(**parameters):
    facts = {"task_id": "expand", "image": URL, "up": 0.5, "wait_for_completion": False}
    return KlingExpandImageOperator(**facts | parameters)


class Store(dict):
    """``context["task_state_store"]`` of Airflow 3.3: JSON, None for what is not there."""

    def get(self, key, default=None):
        return json.loads(self[key]) if key in self else default

    def set(self, key, value):
        self[key] = json.dumps(value)


@pytest.fixture
def kling(serve, connect):
    """Start a server that plays a script behind a connection to Kling itself."""

    def start(*script, conn_id="kling_default", **extra):
        server = serve(*script)
        connect(server, conn_id, extra={"gateway": "kling"} | extra)
        return server

    return start


@pytest.fixture
def told(monkeypatch, caplog):
    """The operator's log, which Airflow 3 sends past the logging module."""
    monkeypatch.setattr(KlingExpandImageOperator, "log", logging.getLogger("told"), raising=False)
    caplog.set_level(logging.INFO, "told")
    return caplog


def methods(server):
    return [seen.method for seen in server.requests]


def sent_ids(server):
    return [json.loads(seen.body)["external_task_id"] for seen in server.requests if seen.method == "POST"]


def now_cleared(ti, tries=1):
    """Do to the task instance what Airflow does at a clear after that many tries, and start the next."""
    ti.max_tries = tries + ti.task.retries
    ti.try_number = tries + 1


# -- where the record lies ---------------------------------------------------------------------------------------------


def test_record_is_kept_in_the_state_store(kling, context, tmp_path):
    server, store = kling("submitted"), Store()
    context["task_state_store"] = store
    operator(output_path=str(tmp_path)).execute(context)
    (key,) = store
    record = store.get(key)
    assert (record["stage"], record["task_id"], record["kling_conn_id"]) == ("submitted", "T1", "kling_default")
    assert record["external_task_id"] == sent_ids(server)[0]
    assert list(tmp_path.iterdir()) == []
    assert "sk-" not in store[key]
    assert URL not in store[key]


def test_record_is_kept_beside_the_results_before_airflow_3_3(kling, context, tmp_path):
    kling("submitted")
    operator(output_path=str(tmp_path)).execute(context)
    (path,) = (tmp_path / ".kling").iterdir()
    assert json.loads(path.read_bytes())["task_id"] == "T1"


def test_configured_path_comes_first(kling, context, tmp_path, monkeypatch):
    kling("submitted")
    monkeypatch.setenv("AIRFLOW__KLING__RECORD_PATH", str(tmp_path / "records"))
    context["task_state_store"] = store = Store()
    operator(output_path=str(tmp_path / "results")).execute(context)
    assert len(list((tmp_path / "records" / ".kling").iterdir())) == 1
    assert (store, (tmp_path / "results").exists()) == ({}, False)


def test_nowhere_is_not_durable(context):
    assert records_of(operator(), context).durable is False


def test_each_piece_of_work_has_its_own_file(context, ti, tmp_path):
    places = set()
    for name, value in (("map_index", -1), ("map_index", 0), ("run_id", "run2"), ("task_id", "b"), ("dag_id", "d2")):
        setattr(ti, name, value)
        places.add(str(records_of(operator(output_path=str(tmp_path)), context)._path))
    assert len(places) == 5


@pytest.mark.parametrize("place", ["store", "file"])
@pytest.mark.parametrize("cleared", [False, True])
def test_recorded_task_is_rejoined_by_its_own_id(kling, context, ti, tmp_path, place, cleared):
    server = kling("submitted", "processing")
    if place == "store":
        context["task_state_store"] = Store()
    task = operator(output_path=str(tmp_path))
    task.execute(context)
    if cleared:
        now_cleared(ti)
    else:
        ti.try_number = 2
    assert task.execute(context)["task_id"] == "T1"
    assert methods(server) == ["POST", "GET"]
    assert server.requests[1].target.endswith("/T1")


def test_record_that_cannot_be_read_stops_before_anything_is_sent(kling, context):
    server = kling("submitted")
    context["task_state_store"] = store = Store()
    store.set("kling_task", {"version": 99})
    with pytest.raises(KlingConnectionError, match="Nothing was sent") as raised:
        operator().execute(context)
    assert not isinstance(raised.value, AirflowFailException)
    assert server.requests == []


def test_folder_that_changes_with_a_clear_does_not_make_a_second_task(kling, context, ti, tmp_path):
    server = kling("submitted", (400, {"code": "task_not_exist", "message": "task_not_exist"}), "submitted", **BLIND)
    operator(output_path=str(tmp_path / "a")).execute(context)
    now_cleared(ti)
    with suppress(KlingSubmissionUnknown):
        operator(output_path=str(tmp_path / "b")).execute(context)
    assert methods(server).count("POST") == 1


# -- which clear it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retries", "max_tries", "try_number", "first", "retried"),
    [
        pytest.param(0, 0, 1, 1, False, id="first-run"),
        pytest.param(2, 2, 1, 1, False, id="first-of-three"),
        pytest.param(2, 2, 2, 1, True, id="first-retry"),
        pytest.param(2, 2, 3, 1, True, id="last-retry"),
        pytest.param(0, 1, 2, 2, False, id="cleared"),
        pytest.param(0, 2, 3, 3, False, id="cleared-twice"),
        pytest.param(2, 3, 2, 2, False, id="cleared-after-the-first-try"),
        pytest.param(2, 3, 3, 2, True, id="retry-after-that-clear"),
        pytest.param(2, 5, 4, 4, False, id="cleared-after-all-retries"),
        pytest.param(2, 5, 6, 4, True, id="last-retry-after-that-clear"),
        pytest.param(2, 6, 5, 5, False, id="cleared-again-after-one-try"),
        pytest.param(None, 0, 1, 1, False, id="no-retries-known"),
        pytest.param(3, 2, 1, 1, False, id="retries-raised-meanwhile"),
        pytest.param(2, -1, 1, 1, False, id="nothing-known"),
    ],
)
def test_clear_is_told_from_a_retry(context, ti, connect, retries, max_tries, try_number, first, retried):
    connect("https://kling.example")
    ti.task, ti.max_tries, ti.try_number = SimpleNamespace(retries=retries), max_tries, try_number
    work = make_work(operator(), context)
    assert (first_try_of_epoch(ti), work.epoch, work.retried) == (first, first - 1, retried)


def test_id_changes_with_a_clear_for_resubmit_only(kling, context, ti):
    server = kling("submitted")
    ids = {}
    for mode in ("reattach", "resubmit", "fail"):
        for cleared in (False, True):
            work = make_work(operator(on_existing=mode), context)
            ids[mode, cleared] = work.external_id(1 if cleared and mode == "resubmit" else 0, 0)
    assert len(set(ids.values())) == 2
    assert server.requests == []


@pytest.mark.parametrize(
    ("mode", "requests", "error"),
    [
        ("reattach", ["POST", "GET"], None),
        ("resubmit", ["POST", "POST"], None),
        ("fail", ["POST"], KlingPermanentError),
    ],
)
def test_mode_decides_on_a_clear(kling, context, ti, mode, requests, error):
    server = kling("submitted", "submitted")
    context["task_state_store"] = Store()
    operator(on_existing=mode).execute(context)
    now_cleared(ti)
    if error:
        with pytest.raises(error, match="T1"):
            operator(on_existing=mode).execute(context)
    else:
        operator(on_existing=mode).execute(context)
    assert methods(server) == requests
    assert len(set(sent_ids(server))) == requests.count("POST")


@pytest.mark.parametrize("mode", ["reattach", "resubmit", "fail"])
def test_retry_takes_the_task_in_every_mode(kling, context, ti, mode):
    server = kling("submitted", "processing")
    context["task_state_store"] = Store()
    operator(on_existing=mode).execute(context)
    ti.try_number = 2
    assert operator(on_existing=mode).execute(context)["task_id"] == "T1"
    assert methods(server) == ["POST", "GET"]


def test_changed_input_is_sent_anew_after_a_clear(kling, context, ti):
    server = kling("submitted", "submitted", "submitted")
    context["task_state_store"] = Store()
    operator().execute(context)
    ti.try_number = 2
    operator(prompt="a beach").execute(context)
    assert methods(server) == ["POST", "GET"]
    now_cleared(ti, tries=2)
    operator(prompt="a beach").execute(context)
    assert methods(server) == ["POST", "GET", "GET", "POST"]


@pytest.mark.parametrize("callback", [None, "https://x/y"])
def test_what_does_not_show_in_the_picture_does_not_count(kling, context, ti, callback):
    server = kling("submitted")
    context["task_state_store"] = Store()
    operator(image=f"{URL}?X-Amz-Signature=1").execute(context)
    now_cleared(ti)
    operator(image=f"{URL}?X-Amz-Signature=2", callback_url=callback).execute(context)
    assert methods(server) == ["POST", "GET"]


def test_lost_answer_of_a_blind_gateway_is_unknown_and_stays_so(kling, context, ti):
    server = kling("reset", (400, {"code": "task_not_exist", "message": "task_not_exist"}), **BLIND)
    context["task_state_store"] = Store()
    for number in (1, 2):
        ti.try_number = number
        with pytest.raises(KlingSubmissionUnknown, match="may have been billed") as raised:
            operator().execute(context)
        assert isinstance(raised.value, AirflowFailException)
    assert methods(server).count("POST") == 1
    assert sent_ids(server)[0] in str(raised.value)


# -- waiting for a slot ------------------------------------------------------------------------------------------------


def deferred(run):
    with pytest.raises(TaskDeferred) as raised:
        run()
    return raised.value


@pytest.mark.parametrize("refusal", [BUSY, FAST])
def test_busy_account_defers_and_holds_no_worker(kling, context, refusal):
    kling(refusal)
    before = time.time()
    wait = deferred(lambda: operator(deferrable=True, submit_timeout=900).execute(context))
    assert isinstance(wait.trigger, KlingSlotTrigger)
    assert wait.method_name == "resume_submission"
    path, arguments = wait.trigger.serialize()
    assert path == "airflow_kling.triggers.kling.KlingSlotTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert all(isinstance(value, (str, int, float)) for value in arguments.values())
    assert "sk-" not in json.dumps(arguments)
    assert (arguments["kling_conn_id"], arguments["attempts"]) == ("kling_default", 1)
    assert 24 <= arguments["until"] - before <= 37
    assert arguments["deadline"] - arguments["since"] == pytest.approx(900)
    assert wait.timeout > timedelta(seconds=arguments["until"] - before)


def test_wait_for_a_slot_goes_on_over_deferrals(kling, context, ti):
    server = kling(BUSY, BUSY, "submitted")
    context["task_state_store"] = Store()
    first = deferred(lambda: operator(deferrable=True).execute(context)).trigger.serialize()[1]
    event = {name: first[name] for name in ("since", "deadline", "attempts")}
    second = deferred(lambda: operator(deferrable=True).resume_submission(context, event)).trigger.serialize()[1]
    assert (second["since"], second["deadline"], second["attempts"]) == (first["since"], first["deadline"], 2)
    assert second["until"] - time.time() > 45
    event = {name: second[name] for name in ("since", "deadline", "attempts")}
    wait = deferred(lambda: operator(deferrable=True, wait_for_completion=True).resume_submission(context, event))
    assert isinstance(wait.trigger, KlingTaskTrigger)
    assert ti.xcoms["task_id"] == "T1"
    assert len(set(sent_ids(server))) == 1


@pytest.mark.parametrize(("refusal", "error"), [(BUSY, KlingConcurrencyExceeded), (FAST, KlingRateLimited)])
def test_wait_for_a_slot_that_is_over_is_a_failure_that_a_retry_may_mend(kling, context, refusal, error):
    kling(refusal)
    event = {"since": 1.0, "deadline": time.time() - 1, "attempts": 9}
    with pytest.raises(error) as raised:
        operator(deferrable=True).resume_submission(context, event)
    assert not isinstance(raised.value, AirflowFailException)


def test_server_that_asks_for_more_time_gets_it(kling, context):
    kling((*BUSY, {"Retry-After": "600"}))
    wait = deferred(lambda: operator(deferrable=True).execute(context))
    assert wait.trigger.until - time.time() == pytest.approx(600, abs=5)


def test_worker_that_may_not_defer_waits_in_its_slot(kling, context, monkeypatch):
    server = kling(BUSY, FAST, "submitted")
    slept = []
    monkeypatch.setattr("airflow_kling.operators.life.time.sleep", slept.append)
    assert operator(deferrable=False).execute(context)["task_id"] == "T1"
    assert len(slept) == 2
    assert 24 <= slept[0] <= 36
    assert 48 <= slept[1] <= 72
    assert len(set(sent_ids(server))) == 1


def test_worker_that_waits_in_its_slot_gives_up_when_the_time_is_over(kling, context, monkeypatch):
    kling(BUSY)
    clock, slept = [1e9], []

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("airflow_kling.operators.life.time", SimpleNamespace(time=lambda: clock[0], sleep=sleep))
    with pytest.raises(KlingConcurrencyExceeded):
        operator(deferrable=False, submit_timeout=100).execute(context)
    assert sum(slept) == pytest.approx(100)


@pytest.mark.parametrize("event", [None, {}, {"outcome": "succeeded"}])
def test_event_of_somebody_else_is_refused_before_anything_is_sent(kling, context, event):
    server = kling("submitted")
    with pytest.raises(ValueError, match="not an event of a Kling trigger"):
        operator(deferrable=True).resume_submission(context, event)
    assert server.requests == []


def test_busy_look_up_after_a_lost_create_does_not_send_another(kling, context, monkeypatch, sleeps):
    server = kling("reset", FAST, "submitted", **BLIND)
    monkeypatch.setattr("airflow_kling.operators.life.time.sleep", lambda seconds: None)
    server.script[1:] = [FAST] * 4 + ["submitted"]
    with pytest.raises(KlingError):
        operator(deferrable=False).execute(context)
    assert methods(server).count("POST") == 1


# -- the next connection -----------------------------------------------------------------------------------------------


def test_next_connection_takes_what_the_first_has_no_route_for(kling, context):
    first, second = kling(NO_ROUTE), kling("submitted", conn_id="kling_second")
    context["task_state_store"] = store = Store()
    manifest = operator(fallback_conn_ids=["kling_second"]).execute(context)
    assert (manifest["kling_conn_id"], manifest["task_id"]) == ("kling_second", "T1")
    assert store.get("kling_task")["kling_conn_id"] == "kling_second"
    assert sent_ids(first) == sent_ids(second)


def test_task_of_the_next_connection_is_rejoined_there(kling, context, ti):
    first, second = kling(NO_ROUTE), kling("submitted", "processing", conn_id="kling_second")
    context["task_state_store"] = Store()
    operator(fallback_conn_ids=["kling_second"]).execute(context)
    ti.try_number = 2
    manifest = operator(fallback_conn_ids=["kling_second"]).execute(context)
    assert manifest["kling_conn_id"] == "kling_second"
    assert (methods(first), methods(second)) == (["POST"], ["POST", "GET"])


def test_task_of_the_next_connection_is_watched_there(kling, context):
    kling(NO_ROUTE)
    kling("submitted", conn_id="kling_second")
    task = operator(fallback_conn_ids=["kling_second"], deferrable=True, wait_for_completion=True)
    assert deferred(lambda: task.execute(context)).trigger.kling_conn_id == "kling_second"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((429, {"code": 1102, "message": "x"}), id="balance"),
        pytest.param((400, {"code": 1301, "message": "x"}), id="content"),
        pytest.param((400, {"code": 1201, "message": "x"}), id="input"),
        pytest.param((401, {"code": 1002, "message": "x"}), id="key"),
        pytest.param((500, {"code": 5000, "message": "x"}), id="server"),
        pytest.param((502, b"<html>"), id="bad-gateway"),
        pytest.param("reset", id="lost"),
    ],
)
def test_next_connection_is_for_a_missing_route_only(kling, context, sleeps, answer):
    kling(answer, **BLIND)
    second = kling("submitted", conn_id="kling_second")
    with pytest.raises(KlingError):
        operator(fallback_conn_ids=["kling_second"]).execute(context)
    assert second.requests == []


@pytest.mark.parametrize("status", [404, 502])
def test_gateway_that_vanishes_after_a_lost_create_does_not_lead_to_the_next(kling, context, sleeps, status):
    kling("reset", (status, b"<html>gone</html>"))
    second = kling("submitted", conn_id="kling_second")
    with pytest.raises(KlingError) as raised:
        operator(fallback_conn_ids=["kling_second"]).execute(context)
    assert second.requests == []
    assert not isinstance(raised.value, KlingRouteUnavailable)


def test_busy_first_connection_is_waited_for(kling, context):
    kling(BUSY)
    second = kling("submitted", conn_id="kling_second")
    deferred(lambda: operator(fallback_conn_ids=["kling_second"], deferrable=True).execute(context))
    assert second.requests == []


def test_no_connection_with_the_route_is_said(kling, context):
    kling(NO_ROUTE)
    kling(NO_ROUTE, conn_id="kling_second")
    with pytest.raises(KlingRouteUnavailable):
        operator(fallback_conn_ids=["kling_second"]).execute(context)


def test_next_connection_of_another_type_is_refused_before_its_create(kling, context, connect, serve):
    kling(NO_ROUTE)
    other = serve("submitted")
    connect(other, "web", conn_type="http")
    with pytest.raises(KlingInputError, match="web of type http"):
        operator(fallback_conn_ids=["web"]).execute(context)
    assert other.connections == 0


def test_next_connection_of_another_type_is_refused_before_the_first_create(kling, context, connect):
    server = kling("submitted")
    connect("https://web.example", "web", conn_type="http")
    with pytest.raises(KlingInputError):
        operator(fallback_conn_ids=["web"]).execute(context)
    assert server.requests == []


def test_slot_is_waited_for_on_the_connection_that_is_busy(kling, context):
    kling(NO_ROUTE)
    kling(BUSY, conn_id="kling_second")
    wait = deferred(lambda: operator(fallback_conn_ids=["kling_second"], deferrable=True).execute(context))
    assert wait.trigger.kling_conn_id == "kling_second"


# -- what the author gives ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_existing", "again"),
        ("on_existing", ""),
        ("on_existing", None),
        ("on_existing", "REATTACH"),
        ("fallback_conn_ids", "kling_second"),
        ("fallback_conn_ids", [""]),
        ("fallback_conn_ids", [None]),
        ("fallback_conn_ids", 7),
        ("fallback_conn_ids", None),
        *(
            (name, value)
            for name in ("timeout", "submit_timeout", "poll_interval")
            for value in (0, -1, "10", None, True)
        ),
        *((name, float(value)) for name in ("timeout", "submit_timeout") for value in ("nan", "inf")),
    ],
)
def test_policy_that_cannot_be_meant_is_refused_when_the_dag_is_parsed(name, value):
    with pytest.raises(KlingInputError) as refused:
        operator(**{name: value})
    assert refused.value.field == name
    assert isinstance(refused.value, AirflowFailException)


@pytest.mark.parametrize("value", [600, 600.0, timedelta(minutes=10)])
def test_durations_are_seconds_or_timedeltas(value):
    task = operator(submit_timeout=value, timeout=value, poll_interval=value)
    assert (task.submit_timeout, task.timeout, task.poll_interval) == (600, 600, 600)


@pytest.mark.parametrize(
    ("n", "pool_slots", "warned"), [(1, 1, False), (3, 3, False), (3, 1, True), (1, 2, True), ("2", 2, False)]
)
def test_pool_slots_that_differ_from_n_are_warned_of(kling, context, told, n, pool_slots, warned):
    kling("submitted")
    operator(n=n, pool_slots=pool_slots).execute(context)
    assert ("pool_slots" in told.text) is warned


def test_kill_says_what_goes_on(kling, context, told):
    kling("submitted")
    task = operator()
    task.on_kill()
    assert "billed" not in told.text
    task.execute(context)
    task.on_kill()
    assert "T1" in told.text
    assert "goes on remotely and is billed" in told.text


def test_kill_during_the_create_says_what_may_go_on(kling, context, told, monkeypatch):
    kling("submitted")
    task = operator()

    def killed(self, request):
        task.on_kill()
        raise KeyboardInterrupt

    monkeypatch.setattr("airflow_kling.hooks.client.SyncClient.submit", killed)
    with pytest.raises(KeyboardInterrupt):
        task.execute(context)
    assert "may" in told.text


# -- a paid task outlives its source -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reuse",
    [
        None,
        pytest.param(
            "30d",
        ),
    ],
)
def test_retry_rejoins_though_the_picture_is_gone(kling, context, ti, tmp_path, reuse):
    from PIL import Image

    picture = tmp_path / "cat.png"
    Image.new("RGB", (600, 450), "red").save(picture)
    server = kling("submitted", "processing")
    task = operator(image=str(picture), output_path=str(tmp_path / "out"), reuse=reuse)
    task.execute(context)
    picture.unlink()
    ti.try_number = 2
    assert task.execute(context)["task_id"] == "T1"
    assert methods(server) == ["POST", "GET"]


def test_retry_rejoins_though_the_task_it_was_made_of_is_gone(kling, context, ti):
    server = kling("submitted", "processing")
    kling("succeed", NOT_FOUND, conn_id="kling_other")
    context["task_state_store"] = Store()
    image = {"family": "image-expansion", "task_id": "T0", "kling_conn_id": "kling_other"}
    operator(image=image).execute(context)
    ti.try_number = 2
    assert operator(image=image).execute(context)["task_id"] == "T1"
    assert methods(server) == ["POST", "GET"]
