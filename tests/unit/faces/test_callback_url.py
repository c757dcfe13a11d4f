"""callback_url: an address of ours holds a token, which goes to Kling and nowhere else."""

from __future__ import annotations

import json
import logging

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_kling.api.callback import Addressee, own_callback_url, token_of
from airflow_kling.operators.kling import KlingExpandImageOperator, KlingImageToVideoOperator, KlingTaskOperator
from airflow_kling.operators.work import make_work
from airflow_kling.triggers.kling import KlingTaskTrigger

URL = "https://example.com/cat.png"
SECRET = "a secret of these tests alone, of 32 and more"
RUN = Addressee("dag", "run", "task", -1)
ADDRESS = own_callback_url("https://airflow.example", SECRET, RUN)
OPERATORS = {
    "expand": lambda **more: KlingExpandImageOperator(task_id="t", image=URL, up=0.5, deferrable=True, **more),
    "film": lambda **more: KlingImageToVideoOperator(task_id="t", image=URL, deferrable=True, **more),
    "any": lambda **more: KlingTaskOperator(
        task_id="t", family="image-expansion", fields={"image": URL, "up_expansion_ratio": 0.5}, deferrable=True, **more
    ),
}


@pytest.fixture(autouse=True)
def _configured(monkeypatch):
    monkeypatch.setattr("airflow_kling.operators.callback_url.AIRFLOW", (3, 1))
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_BASE_URL", "https://airflow.example")


@pytest.fixture
def masked(monkeypatch):
    told = []
    monkeypatch.setattr("airflow_kling.operators.callback_url.mask_secret", told.append)
    return told


def submitted(server, task, context):
    """Return what was sent, and the trigger that waits."""
    with pytest.raises(TaskDeferred) as wait:
        task.execute(context)
    return json.loads(next(seen.body for seen in server.requests if seen.method == "POST")), wait.value.trigger


@pytest.mark.parametrize("kind", OPERATORS)
def test_kling_is_told_our_address_and_nobody_else(serve, connect, context, ti, masked, caplog, kind):
    server = serve("submitted")
    connect(server)
    task = OPERATORS[kind](callback_url="auto")
    with caplog.at_level(logging.DEBUG):
        body, trigger = submitted(server, task, context)
    assert body["callback_url"] == ADDRESS
    assert trigger.called_back is True
    assert set(masked) == {SECRET, token_of(SECRET, RUN)}
    rendered = {name: getattr(task, name) for name in task.template_fields}
    assert rendered["callback_url"] == "auto"
    for place in (rendered, trigger.serialize(), ti.xcoms, ti.links, caplog.text):
        assert token_of(SECRET, RUN) not in str(place)
        assert SECRET not in str(place)


@pytest.mark.parametrize("kind", OPERATORS)
def test_the_address_makes_no_other_work(connect, context, kind):
    connect("http://127.0.0.1:9")
    prints = set()
    for url in (None, "auto", "https://mine.example/hook?t=1"):
        task = OPERATORS[kind](callback_url=url)
        task._own_callback_url = ADDRESS
        prints.add(make_work(task, context).fingerprint())
    assert len(prints) == 1


@pytest.mark.parametrize(
    ("version", "secret", "base", "changes", "told"),
    [
        ((2, 11), SECRET, "https://airflow.example", {}, "needs Airflow 3.1"),
        ((3, 0), SECRET, "https://airflow.example", {}, "needs Airflow 3.1"),
        ((3, 3), "", "https://airflow.example", {}, "[kling] callback_secret"),
        ((3, 3), "short", "https://airflow.example", {}, "[kling] callback_secret"),
        ((3, 3), SECRET, "airflow.example", {}, "[kling] callback_base_url"),
        ((3, 3), SECRET, "https://airflow.example", {"callback_url": "https://mine.example"}, None),
        ((3, 3), SECRET, "https://airflow.example", {"callback_url": None}, None),
    ],
)
def test_without_callbacks_polls_keep_their_pace(
    serve, connect, context, monkeypatch, caplog, version, secret, base, changes, told
):
    server = serve("submitted")
    connect(server)
    monkeypatch.setattr("airflow_kling.operators.callback_url.AIRFLOW", version)
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SECRET", secret)
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_BASE_URL", base)
    monkeypatch.setattr(KlingExpandImageOperator, "log", logging.getLogger("test"))
    parameters = {"callback_url": "auto"} | changes
    body, trigger = submitted(server, OPERATORS["expand"](**parameters), context)
    assert body.get("callback_url") == changes.get("callback_url")
    assert trigger.called_back is False
    assert (told in caplog.text) if told else "callback_url" not in caplog.text


@pytest.mark.parametrize("changes", [{"deferrable": False, "poll_interval": 0.001}, {"wait_for_completion": False}])
def test_no_address_where_nobody_is_deferred(serve, connect, context, sleeps, changes):
    server = serve("submitted", "succeed")
    connect(server)
    parameters = {"task_id": "t", "image": URL, "up": 0.5, "callback_url": "auto", "deferrable": True} | changes
    KlingExpandImageOperator(**parameters).execute(context)
    assert "callback_url" not in json.loads(server.requests[0].body)


@pytest.mark.parametrize(("interval", "paced"), [(1, 6), (10, 60), (30, 60), (300, 300)])
def test_called_back_trigger_polls_as_the_safety_net(serve, connect, fire, monkeypatch, caplog, interval, paced):
    connect(serve("processing", "succeed"))
    monkeypatch.setattr(KlingTaskTrigger, "log", logging.getLogger("test"))
    caplog.set_level(logging.INFO)
    event = fire(KlingTaskTrigger("T1", "image-expansion", "kling_default", interval, 4e9, called_back=True))
    assert event["outcome"] == "succeeded"
    assert 0.9 * paced <= fire.delays[0] <= 1.1 * paced
    assert "before a callback did" in caplog.text


async def test_trigger_that_a_callback_overtook_does_not_say_that_a_user_ended_it(caplog, monkeypatch):
    monkeypatch.setattr(KlingTaskTrigger, "log", logging.getLogger("test"))
    with caplog.at_level(logging.INFO):
        await KlingTaskTrigger("T1", "image-expansion", "kling_default", 10, 4e9, called_back=True).on_kill()
    assert "T1" in caplog.text
    assert "its callback has come, or a user" in caplog.text
    assert caplog.records[0].levelno == logging.INFO


def test_trigger_of_an_earlier_version_is_read():
    told = KlingTaskTrigger("T1", "image-expansion", "kling_default", 10, 4e9).serialize()[1]
    del told["called_back"]
    assert KlingTaskTrigger(**told).called_back is False
