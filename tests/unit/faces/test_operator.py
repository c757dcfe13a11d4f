"""KlingExpandImageOperator without a scheduler: submits, waits here or in the triggerer, returns the manifest."""

from __future__ import annotations

import importlib
import io
import json
import logging
from datetime import timedelta
from itertools import combinations
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowException, AirflowFailException, TaskDeferred
from PIL import Image

from airflow_kling.api.faults import Created, FaultInfo, FaultKind
from airflow_kling.exceptions import (
    KlingAccountError,
    KlingAuthError,
    KlingConcurrencyExceeded,
    KlingConnectionError,
    KlingContentRejected,
    KlingInputError,
    KlingRateLimited,
    KlingRouteUnavailable,
    KlingServerError,
    KlingSubmissionUnknown,
    KlingTaskFailed,
    KlingTaskTimeout,
)
from airflow_kling.lifecycle.end import End
from airflow_kling.lifecycle.wait import Outcome
from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.triggers.kling import KlingTaskTrigger

URL = "https://example.com/cat.png"
KEY_REFUSED = (401, {"code": 1002, "message": "Authorization is invalid"})
DUPLICATE = (400, {"code": 1201, "message": "External_task_id af-1 already exists"})


@pytest.fixture(autouse=True)
def busy(monkeypatch, sleeps):
    """The seconds that a worker would wait for a free slot of the account."""
    seconds = []
    monkeypatch.setattr("time.sleep", seconds.append)
    return seconds


def operator(**parameters):
    return KlingExpandImageOperator(**{"task_id": "expand", "image": URL, "up": 0.5} | parameters)


def picture():
    buffer = io.BytesIO()
    Image.new("RGB", (600, 450), "red").save(buffer, "PNG")
    return buffer.getvalue()


def deferred(task, context):
    with pytest.raises(TaskDeferred) as raised:
        task.execute(context)
    return raised.value


# -- at parse time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        pytest.param({"up": 2.1}, "up", id="ratio-over-2"),
        pytest.param({"left": -0.1}, "left", id="ratio-below-0"),
        pytest.param({"right": "wide"}, "right", id="ratio-in-words"),
        pytest.param({"up": float("nan")}, "up", id="ratio-nan"),
        pytest.param({"up": 0}, "up, down, left, right", id="nothing-to-expand"),
        pytest.param({"up": 1, "down": 1, "left": 0.1}, "up, down, left, right", id="over-three-times"),
        pytest.param({"n": 0}, "n", id="n-0"),
        pytest.param({"n": 10}, "n", id="n-10"),
        pytest.param({"n": "2.5"}, "n", id="n-broken"),
        pytest.param({"prompt": "a" * 2501}, "prompt", id="long-prompt"),
        pytest.param({"prompt": 7}, "prompt", id="prompt-no-text"),
        pytest.param({"image": ""}, "image", id="no-image"),
        pytest.param({"image": b"\x89PNG"}, "image", id="bytes"),
        pytest.param({"image": "data:image/png;base64,AAAA"}, "image", id="data-url"),
        pytest.param({"image": "iVBORw0KGgo" * 300}, "image", id="base64"),
        pytest.param({"image": {"uri": "x"}}, "image", id="no-manifest"),
        pytest.param({"down": 0.2, "bottom": 0.3}, "bottom", id="bottom-beside-down"),
        pytest.param({"bottom": 3}, "down", id="bottom-over-2"),
    ],
)
def test_constants_that_kling_would_refuse_are_refused_at_parse_time(parameters, field):
    with pytest.raises(KlingInputError) as refused:
        operator(**parameters)
    assert refused.value.field == field
    assert isinstance(refused.value, AirflowFailException)
    assert "iVBORw0KGgoiVBOR" not in str(refused.value)


@pytest.mark.parametrize(
    "parameters",
    [
        {"up": "{{ params.up }}"},
        {"up": "{{ params.up }}", "down": 2, "left": 2},
        {"n": "{% if true %}3{% endif %}"},
        {"prompt": "{{ ds }}" + "a" * 2600},
        {"image": "{{ ti.xcom_pull('make') }}"},
        {"image": {"family": "image-expansion", "task_id": "T1"}},
        {"bottom": "{{ params.up }}", "up": 0},
    ],
)
def test_templates_are_let_through(parameters):
    task = operator(**parameters)
    for name, value in parameters.items():
        assert getattr(task, "down" if name == "bottom" else name) == value


def test_output_of_another_task_is_let_through():
    with DAG("pictures", schedule=None):
        first = operator(task_id="first")
        second = operator(task_id="second", image=first.output)
        mapped = KlingExpandImageOperator.partial(task_id="third", up=0.5).expand(image=[URL, URL])
    assert second.upstream_task_ids == {"first"}
    assert set(KlingExpandImageOperator.template_fields) >= set(mapped.template_fields)


def test_bottom_is_another_name_of_down(serve, connect, context, sleeps):
    server = serve("submitted")
    connect(server)
    operator(bottom=0.3, wait_for_completion=False).execute(context)
    assert json.loads(server.requests[0].body)["down_expansion_ratio"] == 0.3


def test_rendered_text_becomes_numbers(serve, connect, context):
    server = serve("submitted")
    connect(server)
    task = operator(
        up="{{ params.up }}", left=" 0.5 ", n="{{ params.n }}", prompt="on {{ ds }}", wait_for_completion=False
    )
    task.render_template_fields(context)
    task.execute(context)
    body = json.loads(server.requests[0].body)
    assert (body["up_expansion_ratio"], body["left_expansion_ratio"], body["n"]) == (0.25, 0.5, 2)
    assert body["prompt"] == "on 2026-11-20"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"up": "{{ params.nothing }}"}, "up"),
        ({"up": "{{ params.n }}", "left": 1}, "up, down, left, right"),
        ({"n": "{{ params.up }}"}, "n"),
        ({"image": "{{ {'task_id': 'T1'} }}"}, "image"),
        ({"extra_body": {"n": "{{ ds }}"}}, "extra_body"),
    ],
)
def test_rendered_text_is_checked_before_anything_is_sent(serve, connect, context, parameters, field):
    server = serve("submitted")
    connect(server)
    task = operator(**parameters)
    task.render_template_fields(context)
    with pytest.raises(KlingInputError) as refused:
        task.execute(context)
    assert (refused.value.field, server.connections) == (field, 0)


DURATIONS = [("poll_interval", "10"), ("poll_interval", timedelta(seconds=10)), ("timeout", "90"), ("timeout", None)]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(("name", "value"), DURATIONS)
def test_durations_of_another_type_do_not_fail_after_the_task_is_paid(
    serve, connect, context, sleeps, fire, deferrable, name, value
):
    server = serve("submitted", "processing", "succeed")
    connect(server)
    failed = None
    try:
        task = operator(**{name: value}, deferrable=deferrable)
        fire(deferred(task, context).trigger) if deferrable else task.execute(context)
    except Exception as error:
        failed = error
    assert failed is None or server.requests == []


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_interval_that_cannot_be_meant_is_refused_before_anything_is_sent(serve, connect, context, value):
    server = serve("submitted")
    connect(server)
    with pytest.raises(ValueError, match="poll_interval"):
        operator(poll_interval=value, wait_for_completion=False).execute(context)
    assert server.connections == 0


# -- the deferred way ------------------------------------------------------------------------------------------


def test_deferral_carries_ids_and_numbers_only(serve, connect, context, ti, tmp_path):
    server = serve("submitted")
    connect(server)
    wait = deferred(operator(deferrable=True, timeout=90, poll_interval=5, output_path=str(tmp_path)), context)
    path, arguments = wait.trigger.serialize()
    told = json.dumps([path, arguments])
    assert len(told) <= 1024
    assert all(isinstance(value, (str, int, float)) for value in arguments.values())
    assert "sk-" not in told
    assert URL not in told
    module, name = path.rsplit(".", 1)
    again = getattr(importlib.import_module(module), name)
    assert again(**json.loads(told)[1]).serialize() == (path, arguments)
    assert (wait.method_name, wait.timeout > timedelta(seconds=90)) == ("execute_complete", True)
    assert ti.xcoms == {"task_id": "T1"}
    assert [seen.method for seen in server.requests] == ["POST"]


def test_deferred_task_is_watched_collected_and_told(serve, connect, context, ti, fire, tmp_path):
    server = serve("submitted", "submitted", "processing", "succeed")
    server.files["/out/0.png"] = (200, picture())
    connect(server)
    task = operator(deferrable=True, output_path=str(tmp_path))
    event = fire(deferred(task, context).trigger)
    assert server.url not in json.dumps(event)
    manifest = task.execute_complete(context, event)
    assert [path.name for path in tmp_path.glob("*.png")] == ["T1-0.png"]
    (row,) = manifest["outputs"]
    assert (row["width"], row["height"]) == (600, 450)
    assert ti.xcoms == {"task_id": "T1", "uris": [row["uri"]]}
    assert "cdn" not in json.dumps(manifest)
    assert len(fire.delays) == 2
    assert all(9 <= delay <= 11 for delay in fire.delays)
    assert [seen.method for seen in server.requests] == ["POST", "GET", "GET", "GET", "GET"]


def fault(kind):
    return End(
        Outcome.FAULT,
        "T1",
        "image-expansion",
        "kling_default",
        fault=FaultInfo(kind, "said so", 77, 418, "r-1", Created.NO),
    )


@pytest.mark.parametrize(
    ("end", "error", "retried"),
    [
        pytest.param(
            End(Outcome.FAILED, "T1", "image-expansion", "kling_default", "odd"), KlingTaskFailed, False, id="failed"
        ),
        pytest.param(
            End(Outcome.TIMED_OUT, "T1", "image-expansion", "kling_default"), KlingTaskTimeout, True, id="timed-out"
        ),
        *(
            pytest.param(fault(kind), error, retried, id=kind)
            for kind, error, retried in [
                (FaultKind.INPUT, KlingInputError, False),
                (FaultKind.DUPLICATE, KlingInputError, False),
                (FaultKind.AUTH, KlingAuthError, False),
                (FaultKind.ACCOUNT, KlingAccountError, False),
                (FaultKind.CONTENT, KlingContentRejected, False),
                (FaultKind.ROUTE, KlingRouteUnavailable, False),
                (FaultKind.NOT_FOUND, KlingTaskFailed, False),
                (FaultKind.RATE, KlingRateLimited, True),
                (FaultKind.CONCURRENCY, KlingConcurrencyExceeded, True),
                (FaultKind.SERVER, KlingServerError, True),
                (FaultKind.CONNECTION, KlingConnectionError, True),
            ]
        ),
    ],
)
def test_each_end_of_a_wait_is_an_error_of_its_class(serve, connect, context, end, error, retried):
    server = serve("processing")
    connect(server)
    with pytest.raises(error, match="Kling task T1") as raised:
        operator(deferrable=True).execute_complete(context, json.loads(json.dumps(end.payload())))
    assert isinstance(raised.value, AirflowException)
    assert isinstance(raised.value, AirflowFailException) is not retried
    assert server.connections == 0


@pytest.mark.parametrize("event", [None, {}, {"status": "success"}])
def test_event_of_somebody_else_is_refused(context, event):
    with pytest.raises(ValueError, match="not an event of a Kling trigger"):
        operator(deferrable=True).execute_complete(context, event)


def test_task_that_ended_meanwhile_is_not_deferred(serve, connect, context):
    server = serve(DUPLICATE, "succeed")
    connect(server, extra={"gateway": "kling"})
    assert operator(deferrable=True).execute(context)["status"] == "succeeded"


# -- the way of the worker -------------------------------------------------------------------------------------


def test_worker_waits_and_tells(serve, connect, context, ti, sleeps):
    server = serve("submitted", "submitted", "processing", "succeed")
    connect(server)
    manifest = operator().execute(context)
    assert (manifest["status"], manifest["task_id"]) == ("succeeded", "T1")
    assert ti.xcoms == {"task_id": "T1", "uris": []}
    assert len(sleeps) == 2
    assert all(9 <= delay <= 11 for delay in sleeps)


@pytest.mark.parametrize(
    ("script", "parameters", "error"),
    [
        (["submitted", "failed"], {}, KlingTaskFailed),
        (["submitted", "processing"], {"timeout": 1e-6}, KlingTaskTimeout),
        (["submitted", KEY_REFUSED], {}, KlingAuthError),
        (["submitted", "reset"], {}, KlingConnectionError),
    ],
)
def test_worker_fails_as_the_triggerer_does(serve, connect, context, fire, sleeps, script, parameters, error):
    texts = []
    for deferrable in (True, False):
        connect(serve(*script))
        task = operator(deferrable=deferrable, **parameters)
        with pytest.raises(error) as raised:
            task.execute_complete(context, fire(deferred(task, context).trigger)) if deferrable else task.execute(
                context
            )
        texts.append(str(raised.value).split(":")[0])
    assert texts[0] == texts[1]
    assert "Kling task T1" in texts[0]


def test_key_that_is_replaced_meanwhile_is_read_again(serve, connect, context, sleeps):
    server = serve("submitted", KEY_REFUSED, "succeed")
    connect(server, password="sk-old")
    sleeps.meanwhile = lambda: connect(server, password="sk-new")
    operator().execute(context)
    keys = [seen.header("authorization") for seen in server.requests]
    assert keys == ["Bearer sk-old", "Bearer sk-old", "Bearer sk-new", "Bearer sk-new"]


@pytest.mark.parametrize("deferrable", [True, False])
def test_task_is_only_submitted_where_nobody_waits(serve, connect, context, ti, deferrable):
    server = serve("submitted")
    connect(server)
    manifest = operator(wait_for_completion=False, deferrable=deferrable).execute(context)
    assert (manifest["status"], manifest["outputs"], manifest["finished_at"]) == ("submitted", [], None)
    assert ti.xcoms["task_id"] == "T1"
    assert len(server.requests) == 1


# -- submitting ------------------------------------------------------------------------------------------------


def test_request_holds_what_the_author_asked(serve, connect, context):
    server = serve("submitted")
    connect(server)
    operator(
        down=0.25, n=3, prompt="a beach", watermark=True, callback_url="https://x/y", extra_body={"new": 1},
        wait_for_completion=False,
    ).execute(context)  # fmt: skip
    body = json.loads(server.requests[0].body)
    assert body.pop("external_task_id").startswith("af-")
    assert body == {
        "image": URL,
        "up_expansion_ratio": 0.5,
        "down_expansion_ratio": 0.25,
        "left_expansion_ratio": 0.0,
        "right_expansion_ratio": 0.0,
        "n": 3,
        "prompt": "a beach",
        "watermark_info": {"enabled": True},
        "callback_url": "https://x/y",
        "new": 1,
    }


def test_picture_of_another_task_is_asked_for_with_its_own_connection(serve, connect, context):
    server, other = serve("submitted"), serve("succeed")
    connect(server)
    connect(other, "kling_other")
    manifest = {"family": "image-expansion", "task_id": "T0", "kling_conn_id": "kling_other"}
    operator(image=manifest, wait_for_completion=False).execute(context)
    assert other.requests[0].target.endswith("/T0")
    assert json.loads(server.requests[0].body)["image"] == "https://cdn.example/0.png"


def test_picture_from_a_file_is_sent_as_base64(serve, connect, context, tmp_path):
    (tmp_path / "cat.png").write_bytes(picture())
    server = serve("submitted")
    connect(server)
    operator(image=str(tmp_path / "cat.png"), wait_for_completion=False).execute(context)
    assert json.loads(server.requests[0].body)["image"].startswith("iVBORw0KGgo")


def test_each_piece_of_work_has_an_id_of_its_own(serve, connect, context, ti, monkeypatch):
    server = serve("submitted")
    connect(server)

    def sent(**facts):
        for name, value in facts.items():
            monkeypatch.setattr(ti, name, value)
        operator(wait_for_completion=False).execute(context)
        return json.loads(server.requests[-1].body)["external_task_id"]

    ids = [sent(), sent(map_index=0), sent(run_id="run2"), sent(dag_id="dag2"), sent(task_id="task2")]
    monkeypatch.setenv("AIRFLOW__KLING__DEPLOYMENT", "staging")
    ids.append(sent())
    assert all(one != other for one, other in combinations(ids, 2))


@pytest.mark.parametrize("remembered", ["nowhere", "beside-the-results", "state-store"])
def test_retry_makes_no_other_task(serve, connect, context, ti, tmp_path, monkeypatch, remembered):
    server = serve("submitted", "processing")
    connect(server, extra={"gateway": "kling"})
    monkeypatch.setattr(ti, "task", SimpleNamespace(retries=2))
    monkeypatch.setattr(ti, "max_tries", 2)
    if remembered == "state-store":
        kept = {}
        context["task_state_store"] = SimpleNamespace(get=kept.get, set=lambda key, value: kept.update({key: value}))
    parameters = {"output_path": str(tmp_path)} if remembered == "beside-the-results" else {}
    operator(wait_for_completion=False, **parameters).execute(context)
    monkeypatch.setattr(ti, "try_number", 2)
    operator(wait_for_completion=False, **parameters).execute(context)
    create, query, *others = server.requests
    external_id = json.loads(create.body)["external_task_id"]
    assert [seen.method for seen in (create, query, *others)] == ["POST", *["GET"] * (1 + len(others))]
    assert query.target.endswith(f"/{external_id}" if remembered == "nowhere" else "/T1")


def test_task_of_an_earlier_try_is_rejoined(serve, connect, context, ti):
    server = serve(DUPLICATE, "processing")
    connect(server, extra={"gateway": "kling"})
    operator(wait_for_completion=False).execute(context)
    external_id = json.loads(server.requests[0].body)["external_task_id"]
    assert server.requests[1].target.endswith(f"/{external_id}")
    assert ti.xcoms == {"task_id": "T1"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (KEY_REFUSED, KlingAuthError),
        ((429, {"code": 1102, "message": "used up"}), KlingAccountError),
        ((400, {"code": 1301, "message": "policy"}), KlingContentRejected),
        ((200, {"code": None, "message": "404"}), KlingRouteUnavailable),
        ((400, {"code": 1201, "message": "bad value"}), KlingInputError),
    ],
)
def test_refused_submission_is_an_error_of_its_class(serve, connect, context, ti, answer, error):
    server = serve(answer)
    connect(server)
    with pytest.raises(error):
        operator().execute(context)
    assert len(server.requests) == 1
    assert ti.xcoms == {}


def test_lost_answer_of_a_gateway_that_is_not_believed_is_unknown(serve, connect, context):
    server = serve("reset", (400, {"code": "task_not_exist", "message": "", "data": None}))
    connect(server)
    with pytest.raises(KlingSubmissionUnknown, match="may have been billed"):
        operator().execute(context)
    assert [seen.method for seen in server.requests] == ["POST", "GET"]


BUSY = (429, {"code": 1303, "message": "parallel task over resource pack limit"})


def test_worker_waits_for_a_free_slot(serve, connect, context, busy):
    server = serve(BUSY, BUSY, "submitted")
    connect(server)
    operator(wait_for_completion=False).execute(context)
    assert [seen.method for seen in server.requests] == ["POST"] * 3
    assert 24 <= busy[0] <= 36 < 48 <= busy[1] <= 72


def test_worker_gives_up_on_a_slot_when_its_time_is_over(serve, connect, context, busy):
    connect(serve(BUSY))
    with pytest.raises(KlingConcurrencyExceeded):
        operator(submit_timeout=1e-6).execute(context)


def test_deferred_operator_waits_for_a_slot_without_a_worker(serve, connect, context, fire, busy):
    server = serve(BUSY, "submitted", "succeed")
    connect(server)
    task = operator(deferrable=True)
    wait = deferred(task, context)
    path, arguments = wait.trigger.serialize()
    assert path == "airflow_kling.triggers.kling.KlingSlotTrigger"
    assert len(json.dumps(arguments)) <= 1024
    wait.trigger.until = 0
    event = fire(wait.trigger)
    with pytest.raises(TaskDeferred) as second:
        getattr(task, wait.method_name)(context, event)
    assert second.value.trigger.serialize()[1]["kling_task_id"] == "T1"
    assert busy == []


def test_trigger_is_not_started_with_a_connection_that_is_missing(context):
    with pytest.raises(Exception, match="kling_nowhere"):
        operator(kling_conn_id="kling_nowhere", deferrable=True).execute(context)


# -- the trigger -----------------------------------------------------------------------------------------------


def trigger(**changes):
    facts = {
        "kling_task_id": "T1",
        "family": "image-expansion",
        "kling_conn_id": "kling_default",
        "poll_interval": 10.0,
    }
    return KlingTaskTrigger(**facts | {"deadline": 4e9} | changes)


@pytest.mark.parametrize(
    ("script", "outcome", "polls"),
    [
        (["processing", "succeed"], "succeeded", 2),
        (["failed"], "failed", 1),
        ([KEY_REFUSED], "fault", 2),
        ([(400, {"code": 1201, "message": "Task not found by id/external id: T1"})], "fault", 3),
        ([(500, {"code": 5000, "message": "x"})], "fault", 10),
        ([(500, {"code": 5000, "message": "x"}), "succeed"], "succeeded", 2),
    ],
)
def test_trigger_tells_how_the_task_ended(serve, connect, fire, script, outcome, polls):
    server = serve(*script)
    connect(server, extra={"gateway": "kling"})
    event = fire(trigger())
    assert (event["outcome"], event["task_id"], event["family"]) == (outcome, "T1", "image-expansion")
    assert (len(server.requests), len(fire.delays)) == (polls, polls - 1)


def test_trigger_polls_once_more_at_the_deadline_and_gives_up(serve, connect, fire):
    server = serve("processing")
    connect(server)
    assert fire(trigger(deadline=0.0))["outcome"] == "timed-out"
    assert len(server.requests) == 1


def test_trigger_reads_a_replaced_key(serve, connect, fire):
    server = serve("processing", KEY_REFUSED, "succeed")
    connect(server, password="sk-old")
    fire.meanwhile = lambda: connect(server, password="sk-new")
    assert fire(trigger())["outcome"] == "succeeded"
    assert [seen.header("authorization")[-3:] for seen in server.requests] == ["old", "old", "new"]


def test_trigger_heeds_retry_after(serve, connect, fire):
    connect(serve((429, {"code": 1302, "message": "x"}, {"Retry-After": "45"}), "succeed"))
    assert fire(trigger())["outcome"] == "succeeded"
    assert fire.delays == [45]


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"password": ""}, {}),
        ({"conn_type": "http"}, {}),
        pytest.param(
            {},
            {"family": "no-such-family"},
        ),
    ],
)
def test_trigger_tells_a_connection_or_family_that_cannot_be_meant(serve, connect, fire, fields, changes):
    connect(serve("processing"), **fields)
    event = fire(trigger(**changes))
    assert (event["outcome"], event["fault"]["kind"]) == ("fault", "input")


def test_trigger_tells_a_certificate_file_that_this_machine_lacks(connect, fire):
    connect("https://127.0.0.1:9", extra={"verify": "/no/such/ca.pem"})
    event = fire(trigger())
    assert (event["outcome"], event["task_id"]) == ("fault", "T1")


def test_trigger_tells_a_connection_that_is_gone(fire):
    event = fire(trigger(kling_conn_id="kling_nowhere"))
    assert (event["outcome"], event["task_id"]) == ("fault", "T1")


async def test_user_who_kills_a_deferred_task_is_told_what_goes_on(caplog, monkeypatch):
    monkeypatch.setattr(KlingTaskTrigger, "log", logging.getLogger("test"))
    await trigger().on_kill()
    assert "T1" in caplog.text
    assert "is billed" in caplog.text


@pytest.mark.parametrize("submitted", [False, True])
def test_user_who_kills_a_worker_is_told_what_goes_on(serve, connect, context, caplog, monkeypatch, submitted):
    connect(serve("submitted"))
    task = operator(wait_for_completion=False)
    if submitted:
        task.execute(context)
    monkeypatch.setattr(KlingExpandImageOperator, "log", logging.getLogger("test"))
    task.on_kill()
    assert ("T1" in caplog.text and "is billed" in caplog.text) is submitted


def test_trigger_reads_no_connection_before_it_runs(monkeypatch):
    monkeypatch.setattr("airflow_kling.hooks.kling.KlingHook.__init__", lambda *a, **k: pytest.fail("hook built"))
    assert trigger(kling_conn_id="kling_nowhere").serialize()[1]["kling_conn_id"] == "kling_nowhere"
