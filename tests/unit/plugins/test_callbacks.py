"""The callbacks' route without a server: whom it lets in, how much it reads, how often it looks."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from airflow_kling.airflow_version import AIRFLOW

if AIRFLOW < (3, 0):
    pytest.skip("Airflow 2 has no such routes", allow_module_level=True)

from standardwebhooks.webhooks import Webhook

from airflow_kling.api.callback import ROUTE, Addressee, own_callback_url, token_of
from airflow_kling.plugins import callbacks
from airflow_kling.plugins.callbacks import LOOKS, MAX_ATTENDED, MAX_BODY, Callbacks, Looks, make_callbacks

SECRET = "0123456789abcdef0123456789abcdef"
SIGNING = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
RUN = Addressee("shop", "manual__2026-11-20T10:00:00+00:00", "make", 3)
PATH = f"{ROUTE}/shop/{RUN.run_id}/make/3/{token_of(SECRET, RUN)}"
ENDED = json.dumps({"task_id": "T1", "task_status": "succeed"}).encode()


class Remembered:
    """In place of looks: what was let in."""

    def __init__(self, room=True):
        self.begun, self.room = [], room
        self.tally = callbacks.Tally()

    def begin(self, addressee):
        self.begun.append(addressee)
        return self.room


async def post(app, path=PATH, *pieces, method="POST", headers=(), root="", kind="http"):
    """Post to the application; returns the status, how many pieces it read, and the path that is left for the log."""
    sent, left = [], list(pieces)

    async def receive():
        if not left:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        sent.append(message)

    encoded = [(name.lower().encode(), str(value).encode()) for name, value in dict(headers).items()]
    scope = {"type": kind, "method": method, "path": root + path, "root_path": root + ROUTE, "headers": encoded}
    await app(scope, receive, send)
    return sent[0].get("status"), len(pieces) - len(left), scope["path"]


def signed(body, age=0.0, secret=SIGNING):
    moment = datetime.now(UTC) - timedelta(seconds=age)
    signature = Webhook(secret).sign("m1", moment, body.decode())
    return {"webhook-id": "m1", "webhook-timestamp": int(moment.timestamp()), "webhook-signature": signature}


@pytest.mark.parametrize("root", ["", "/below/a/path"])
async def test_a_callback_of_an_end_is_looked_at(root):
    looks = Remembered()
    status, _, logged = await post(Callbacks(SECRET, "", looks), PATH, ENDED[:9], ENDED[9:], root=root)
    assert (status, looks.begun) == (202, [RUN])
    assert logged == f"{root}{ROUTE}/shop/{RUN.run_id}/make/3/***"


@pytest.mark.parametrize("word", ["submitted", "processing"])
async def test_a_callback_of_a_start_is_taken_and_forgotten(word):
    looks = Remembered()
    body = json.dumps({"task_id": "T1", "task_status": word}).encode()
    assert (await post(Callbacks(SECRET, "", looks), PATH, body))[0] == 202
    assert looks.begun == []


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        (PATH[:-1], {}, 403),
        (PATH.replace("/make/", "/other/"), {}, 403),
        (PATH.replace("/3/", "/4/"), {}, 403),
        (PATH.replace(token_of(SECRET, RUN), token_of(SECRET[::-1], RUN)), {}, 403),
        (PATH.replace(token_of(SECRET, RUN), "\ufffd"), {}, 403),
        (PATH, {"method": "GET"}, 405),
        (PATH + "/", {}, 404),
        (PATH + "\n", {}, 403),
        (PATH.replace("/3/", "/x/"), {}, 404),
        (PATH.replace("/3/", "/" + "9" * 99 + "/"), {}, 404),
        (ROUTE, {}, 404),
    ],
)
async def test_what_is_not_ours_is_refused_unread(path, options, status, caplog):
    looks = Remembered()
    refused, read, logged = await post(Callbacks(SECRET, "", looks), path, ENDED, **options)
    assert (refused, read, looks.begun) == (status, 0, [])
    assert f"with {status}" in caplog.text
    for text in (logged, caplog.text):
        assert path.strip("/\n").rpartition("/")[2] not in text or path == ROUTE


@pytest.mark.parametrize("secret", ["", SECRET[1:]])
async def test_without_a_secret_there_is_no_route(secret, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SECRET", secret)
    path = PATH.replace(token_of(SECRET, RUN), token_of(secret, RUN))
    assert (await post(make_callbacks(), path, ENDED))[:2] == (404, 0)


@pytest.mark.parametrize(
    ("pieces", "headers", "status", "read"),
    [
        ([bytes(1024)] * 9999, {"content-length": 50 << 20}, 413, 0),
        ([bytes(1024)] * 9999, {"transfer-encoding": "chunked"}, 413, MAX_BODY // 1024 + 1),
        ([b"{" + bytes(MAX_BODY)], {}, 413, 1),
        ([b"{"], {}, 400, 1),
        ([], {}, 400, 0),
    ],
)
async def test_bodies_that_are_too_large_or_no_task(pieces, headers, status, read):
    looks = Remembered()
    assert (await post(Callbacks(SECRET, "", looks), PATH, *pieces, headers=headers))[:2] == (status, read)
    assert looks.begun == []


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(callbacks, "BODY_SECONDS", 0.01)
    sent = []

    async def never():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    await Callbacks(SECRET, "", Remembered())(scope, never, send)
    assert sent[0]["status"] == 408


async def test_a_websocket_is_refused_and_its_token_not_logged():
    refused = await post(Callbacks(SECRET, "", Remembered()), kind="websocket")
    assert refused == (None, 0, PATH.replace(token_of(SECRET, RUN), "***"))


@pytest.mark.parametrize(
    ("options", "changes", "body", "status"),
    [
        ({}, {}, ENDED, 202),
        ({"age": 290}, {}, ENDED, 202),
        ({"age": 302}, {}, ENDED, 403),
        ({"age": -310}, {}, ENDED, 403),
        ({"secret": "whsec_b3RoZXIgc2VjcmV0IG90aGVyIHNlY3JldA=="}, {}, ENDED, 403),
        ({}, {}, ENDED.replace(b"T1", b"T2"), 403),
        ({}, {"webhook-id": "m2"}, ENDED, 403),
        (None, {}, ENDED, 403),
    ],
)
async def test_a_signature_is_asked_for_where_there_is_a_secret(options, changes, body, status):
    looks = Remembered()
    headers = {} if options is None else signed(ENDED, **options) | changes
    assert (await post(Callbacks(SECRET, SIGNING, looks), PATH, body, headers=headers))[0] == status
    assert bool(looks.begun) is (status == 202)
    # No signature opens what the token does not.
    assert (await post(Callbacks(SECRET, SIGNING, looks), PATH[:-1], body, headers=headers))[0] == 403


@pytest.mark.parametrize("signing", ["whsec_a", "whsec_", "whsec_!!!!"])
async def test_an_unusable_signing_secret_closes_the_route(signing, monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SECRET", SECRET)
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SIGNING_SECRET", signing)
    assert (await post(make_callbacks(), PATH, ENDED))[0] == 404
    assert "whsec_ and base64" in caplog.text
    assert signing not in caplog.text.replace("whsec_ and base64", "")


async def test_a_secret_that_cannot_be_read_closes_the_route_and_no_more(monkeypatch, caplog):
    monkeypatch.setattr(callbacks.conf, "sensitive_config_values", {("kling", "callback_secret")}, raising=False)
    monkeypatch.setenv("AIRFLOW__KLING__CALLBACK_SECRET_CMD", f"sh -c 'echo {SECRET}; exit 1'")
    assert (await post(make_callbacks(), PATH, ENDED))[0] == 404
    assert "cannot be read" in caplog.text
    assert SECRET not in caplog.text


async def test_a_storm_is_logged_in_a_few_lines(elapse, caplog):
    app = Callbacks(SECRET, "", Remembered())
    for _ in range(1000):
        assert (await post(app, PATH[:-1]))[0] == 403
    await elapse(callbacks.QUIET + 1)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) <= 20
    assert sum(int(text.split(": ")[2].split()[0]) if "more in" in text else 1 for text in told) == 1000


# -- looks -------------------------------------------------------------------------------------------------------------


class Looked:
    """Counts looks; the task has ended after some."""

    def __init__(self, ends_after=1):
        self.counts, self.ends_after = Counter(), ends_after
        self.at_a_time = self.most = 0
        self.gate, self._lock = threading.Event(), threading.Lock()
        self.gate.set()

    def __call__(self, addressee):
        with self._lock:
            self.at_a_time += 1
            self.most = max(self.most, self.at_a_time)
            self.counts[addressee] += 1
        assert self.gate.wait(10)
        with self._lock:
            self.at_a_time -= 1
        return self.counts[addressee] < self.ends_after


async def over(looks):
    while len(looks):
        await asyncio.sleep(0.005)


@pytest.mark.parametrize(("ends_after", "expected"), [(1, 1), (2, 2), (99, LOOKS)])
async def test_looks_until_the_task_has_ended_or_three_times(ends_after, expected):
    look = Looked(ends_after)
    looks = Looks(look, gap=0.01)
    assert looks.begin(RUN)
    await over(looks)
    assert look.counts == {RUN: expected}


async def test_repeats_share_one_look_and_the_last_is_not_lost():
    look = Looked()
    looks = Looks(look, gap=0.01)
    look.gate.clear()
    assert all(looks.begin(RUN) for _ in range(10_000))
    while not look.counts:
        await asyncio.sleep(0.005)
    assert looks.begin(RUN)  # while the first look is under way
    look.gate.set()
    await over(looks)
    assert look.counts == {RUN: 2}


async def test_few_at_a_time_and_no_more_than_there_is_room_for():
    look = Looked()
    looks = Looks(look, gap=0.0)
    look.gate.clear()
    begun = [looks.begin(RUN._replace(map_index=number)) for number in range(MAX_ATTENDED + 1)]
    assert (begun.count(True), begun[-1]) == (MAX_ATTENDED, False)
    async with asyncio.timeout(10):
        while (
            not looks._limiter or looks._limiter.statistics().tasks_waiting < MAX_ATTENDED - callbacks.LOOKS_AT_A_TIME
        ):
            await asyncio.sleep(0.005)
        while look.at_a_time < callbacks.LOOKS_AT_A_TIME:
            await asyncio.sleep(0.005)
    look.gate.set()
    await over(looks)
    assert look.most == callbacks.LOOKS_AT_A_TIME
    assert set(look.counts.values()) == {1}
    assert len(look.counts) == MAX_ATTENDED


async def test_no_room_is_said():
    assert (await post(Callbacks(SECRET, "", Remembered(room=False)), PATH, ENDED))[0] == 503


async def test_a_look_that_fails_is_logged_without_a_key_and_looked_at_again(caplog):
    caplog.set_level(logging.WARNING)

    def look(addressee):
        raise RuntimeError("Bearer sk-0123456789abcdef0123456789abcdef was refused")

    looks = Looks(look, gap=0.01)
    looks.begin(RUN)
    await over(looks)
    assert "polls go on" in caplog.text
    assert "sk-0123" not in caplog.text


def test_own_address_is_taken_by_the_plugin_before_its_pages():
    from airflow_kling.plugins.kling import KlingPlugin

    first, second = KlingPlugin().fastapi_apps
    assert own_callback_url("http://h", SECRET, RUN).startswith(f"http://h{first['url_prefix']}/")
    assert first["url_prefix"].startswith(second["url_prefix"])
    assert SECRET not in repr(first)
