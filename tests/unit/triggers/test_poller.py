"""The poller's shell: one for all waits of a loop, connection and family, whose end leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import re
import sys
from collections import Counter
from contextvars import ContextVar

import pytest

from airflow_kling.api.inputs import InputFault
from airflow_kling.hooks import client
from airflow_kling.hooks.client import AsyncClient
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.lifecycle.poll import Polls
from airflow_kling.lifecycle.wait import Decision, Outcome, Wait
from airflow_kling.triggers import poller
from airflow_kling.triggers.kling import KlingTaskTrigger

KLING = {"gateway": "kling"}
NAME = ContextVar("name", default=None)
REFUSED = (401, {"code": 1002, "message": "Authorization invalid"})


class Kling:
    """An account in this event loop, over real sockets; a task is what its number in ``words`` says."""

    def __init__(self):
        self.words, self.waiting, self.requests, self.writers, self.refused = {}, set(), [], set(), None

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while line := await reader.readline():
                key = b""
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    key = header.split()[-1] if header.lower().startswith(b"authorization") else key
                target = line.split()[1].decode()
                self.requests.append((target, key.decode()))
                status, body = REFUSED if key.decode() == self.refused else self._answer(target)
                content = json.dumps(body).encode()
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(content)) + content)
        except ConnectionError:
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    def _answer(self, target):
        page = re.search(r"pageNum=(\d+)", target)
        if page is None:
            return 200, {"code": 0, "data": self._row(target.rsplit("/", 1)[1])}
        newest = sorted(self.waiting, reverse=True)[500 * (int(page[1]) - 1) : 500 * int(page[1])]
        return 200, {"code": 0, "data": [self._row(task_id) for task_id in newest]}

    def _row(self, task_id):
        images = [{"index": 0, "url": "https://cdn.example/0.png"}]
        word = self.words.get(task_id, "processing")
        return {"task_id": task_id, "task_status": word, "task_result": {"images": images}}

    def asked(self):
        """Count pages and single tasks."""
        return Counter("page" if "pageNum" in target else "single" for target, _ in self.requests)


@pytest.fixture
async def kling(connect):
    server = await Kling().start()
    connect(server, extra=KLING)
    yield server
    server.server.close()
    for writer in server.writers:
        writer.close()


@pytest.fixture
def naps(polls_sleep):
    """No poller sleeps; the seconds that it would have."""
    seconds = []
    polls_sleep(seconds.append)
    return seconds


def trigger(task_id="T1", conn_id="kling_default", **changes):
    facts = {"family": "image-expansion", "poll_interval": 10.0, "deadline": 4e9}
    return KlingTaskTrigger(task_id, kling_conn_id=conn_id, **facts | changes)


async def event(trigger):
    (only,) = [event.payload async for event in trigger.run()]
    return only


def pollers():
    return dict(poller._pollers.get(asyncio.get_running_loop(), {}))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def ended(tasks=1):
    """Wait until no more tasks than these are left in the loop."""
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_waits_of_one_connection_and_family_share_their_requests(kling, naps):
    kling.waiting = {f"T{number:04}" for number in range(1_000)}
    waits = [asyncio.create_task(event(trigger(task_id))) for task_id in sorted(kling.waiting)]
    await until(lambda: len(naps) >= 3)
    assert len(pollers()) == 1
    kling.words = dict.fromkeys(kling.waiting, "succeed")
    ends = await asyncio.gather(*waits)
    assert {end["task_id"] for end in ends if end["outcome"] == "succeeded"} == kling.waiting
    assert kling.asked() == {"page": kling.asked().total()}
    assert kling.asked().total() <= 2 * (len(naps) + 1)


async def test_gateway_whose_list_is_not_believed_is_asked_singly(kling, connect):
    connect(kling, extra={"gateway": "cometapi"})
    kling.words = {"T1": "succeed", "T2": "failed"}
    ends = await asyncio.gather(event(trigger("T1")), event(trigger("T2")))
    assert [end["outcome"] for end in ends] == ["succeeded", "failed"]
    assert kling.asked() == {"single": 2}


async def test_family_and_connection_have_pollers_of_their_own(kling, connect):
    connect(kling, "other", extra=KLING)
    waits = [trigger(), trigger(conn_id="other"), trigger(family="image-to-video"), trigger("T2")]
    tasks = [asyncio.create_task(event(wait)) for wait in waits]
    await until(lambda: len(kling.requests) >= 3)
    assert set(pollers()) == {
        (conn_id, family)
        for conn_id, family in (
            ("kling_default", "image-expansion"),
            ("other", "image-expansion"),
            ("kling_default", "image-to-video"),
        )
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert pollers() == {}


async def test_ten_thousand_who_come_and_go_leave_no_task_socket_or_memory(kling, naps, monkeypatch):
    # pytest keeps what is logged.
    quiet = logging.getLogger("test.quiet")
    quiet.propagate = False
    quiet.setLevel(logging.INFO)
    quiet.addHandler(logging.NullHandler())
    monkeypatch.setattr(KlingTaskTrigger, "log", quiet)

    async def wave(number):
        kling.waiting = {f"T{number:02}{index:04}" for index in range(1_000)}
        waits = [asyncio.create_task(event(trigger(task_id))) for task_id in sorted(kling.waiting)]
        before = len(naps)
        await until(lambda: len(naps) > before)
        for task in waits[::2]:
            task.cancel()  # by a user, or for another triggerer to go on
        kling.words = dict.fromkeys(kling.waiting, "succeed")
        ends = await asyncio.gather(*waits, return_exceptions=True)
        assert sum(isinstance(end, dict) for end in ends) == 500
        del waits, ends
        await ended()
        kling.requests.clear()
        kling.words, kling.waiting = {}, set()
        naps.clear()
        await until(lambda: not kling.writers)
        gc.collect()
        return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()

    await wave(0)
    tasks, sockets, blocks = await wave(1)
    left = [await wave(number) for number in range(2, 12)][-1]
    assert left[:2] == (tasks, sockets)
    assert left[2] - blocks < 2_000
    assert pollers() == {}


async def test_poller_inherits_nothing_of_the_trigger_that_came_first(kling, monkeypatch):
    seen = []
    get_task = AsyncClient.get_task

    async def spied(*args, **options):
        seen.append(NAME.get())
        return await get_task(*args, **options)

    monkeypatch.setattr(AsyncClient, "get_task", spied)
    NAME.set("first")
    kling.words = {"T1": "succeed"}
    await event(trigger())
    assert seen == [None]


async def test_each_trigger_logs_in_its_own_context_what_changed(kling, naps, monkeypatch, caplog):
    said = []

    def note(record):
        said.append((NAME.get(), record.getMessage()))
        return True

    log = logging.getLogger("test.poller")
    log.addFilter(note)
    monkeypatch.setattr(KlingTaskTrigger, "log", log)
    kling.waiting = {"T1", "T2"}

    async def run(task_id):
        NAME.set(task_id)
        return await event(trigger(task_id))

    with caplog.at_level(logging.INFO, "test.poller"):
        waits = [asyncio.create_task(run(task_id)) for task_id in ("T1", "T2")]
        await until(lambda: len(naps) >= 5)
        kling.words = {"T2": "succeed"}
        await waits[1]
        kling.words |= {"T1": "failed"}
        await waits[0]
    log.removeFilter(note)
    assert sorted(said) == [
        (name, f"Kling task {name} is {word}")
        for name, word in (("T1", "failed"), ("T1", "processing"), ("T2", "processing"), ("T2", "succeeded"))
    ]


@pytest.mark.parametrize(
    ("decision", "wakes"),
    [
        (Decision(Outcome.WAITING, notes=((logging.DEBUG, "x"),)), False),
        (Decision(Outcome.WAITING, notes=((logging.DEBUG, "x"), (logging.INFO, "y"))), True),
        (Decision(Outcome.SUCCEEDED), True),
    ],
)
async def test_trigger_is_woken_for_what_its_log_lets_through(decision, wakes):
    seat = poller.Seat(logging.INFO)
    waiting = asyncio.create_task(seat.next())
    await asyncio.sleep(0)
    seat.tell(decision)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiting.done() is wakes
    waiting.cancel()


async def test_connection_that_hangs_delays_no_other(kling, serve, connect):
    connect(serve("hang"), "slow", extra=KLING)
    kling.words = {"T1": "succeed"}
    slow = asyncio.create_task(event(trigger(conn_id="slow")))
    async with asyncio.timeout(5):
        assert (await event(trigger()))["outcome"] == "succeeded"
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    await ended(2)


async def test_secrets_backend_that_hangs_delays_no_other_and_is_asked_again(kling, connect, monkeypatch, naps):
    connect(kling, "slow", extra=KLING)
    monkeypatch.setattr(poller, "READ_TIMEOUT", 0.5)
    read = KlingHook.async_client

    def hanging(self):
        return Hanging() if self.kling_conn_id == "slow" else read(self)

    class Hanging:
        async def __aenter__(self):
            await asyncio.Event().wait()

        async def __aexit__(self, *_):
            pass

    monkeypatch.setattr(KlingHook, "async_client", hanging)
    kling.words = {"T1": "succeed"}
    slow = asyncio.create_task(event(trigger(conn_id="slow")))
    assert (await event(trigger()))["outcome"] == "succeeded"
    assert naps == []
    await until(lambda: naps)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)


async def test_reading_that_is_given_up_goes_on_to_its_end(monkeypatch):
    """For Airflow 3.0 and 3.1 take the answer of a question that was given up for the next one's."""
    answer, read, said = asyncio.Event(), [], []

    async def slow(conn_id, _):
        await answer.wait()
        read.append(conn_id)
        raise RuntimeError("backend: sk-secret")

    monkeypatch.setattr("airflow_kling.hooks.kling.get_async_connection", slow)
    asyncio.get_running_loop().set_exception_handler(lambda _, what: said.append(what))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), KlingHook().async_client():
            pass
    answer.set()
    await until(lambda: read)
    await asyncio.sleep(0)
    gc.collect()
    assert (read, said) == (["kling_default"], [])


async def test_connection_is_read_again_for_newcomers(kling, connect, naps):
    waits = [asyncio.create_task(event(trigger()))]
    await until(lambda: len(naps) >= 2)
    connect(kling, password="sk-new", extra=KLING)
    kling.words = {"T1": "succeed", "T2": "succeed"}
    waits.append(asyncio.create_task(event(trigger("T2"))))
    await asyncio.gather(*waits)
    assert kling.requests[0][1] != "sk-new"
    assert kling.requests[-1][1] == "sk-new"


@pytest.mark.parametrize("broken", [{"password": ""}, None], ids=["refused", "gone"])
async def test_connection_that_breaks_ends_no_wait_that_goes_on(kling, connect, naps, monkeypatch, broken):
    first = asyncio.create_task(event(trigger()))
    await until(lambda: len(naps) >= 2)
    if broken:
        connect(kling, extra=KLING, **broken)
    else:
        monkeypatch.delenv("AIRFLOW_CONN_KLING_DEFAULT")
    second = asyncio.create_task(event(trigger("T2")))
    if broken:
        assert (await second)["fault"]["kind"] == "input"
    kling.words = {"T1": "succeed", "T2": "succeed"}
    assert (await first)["outcome"] == "succeeded"
    assert (await second)["outcome"] == ("fault" if broken else "succeeded")


async def test_refused_key_is_read_again_once_for_all(kling, connect, naps):
    kling.waiting = {"T1", "T2", "T3"}
    waits = [asyncio.create_task(event(trigger(task_id))) for task_id in sorted(kling.waiting)]
    await until(lambda: len(naps) >= 2)
    kling.refused = kling.requests[-1][1]
    connect(kling, password="sk-new", extra=KLING)
    await until(lambda: kling.requests[-1][1] == "sk-new")
    kling.words = dict.fromkeys(kling.waiting, "succeed")
    assert {end["outcome"] for end in await asyncio.gather(*waits)} == {"succeeded"}


async def test_id_that_cannot_be_asked_for_ends_its_own_wait(kling):
    kling.words = {"T1": "succeed"}
    ends = await asyncio.gather(event(trigger("..")), event(trigger()))
    assert [end["outcome"] for end in ends] == ["fault", "succeeded"]


async def test_what_nobody_expected_of_an_answer_may_pass(kling, naps, monkeypatch):
    monkeypatch.setattr(AsyncClient, "get_task", lambda *args, **options: 1 / 0)
    end = await event(trigger())
    assert (end["fault"]["kind"], len(naps)) == ("server", 9)
    assert "ZeroDivisionError" in end["fault"]["message"]


@pytest.mark.parametrize("place", ["next", "on_task"])
async def test_poller_that_breaks_says_so_and_is_replaced(kling, monkeypatch, place):
    kling.words = {"T1": "succeed"}
    with monkeypatch.context() as patched:
        patched.setattr(Polls, place, lambda *args, **options: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await event(trigger())
    assert (await event(trigger()))["outcome"] == "succeeded"


async def test_unknown_family_is_refused_without_a_poller(kling):
    wait = Wait("T1", poll_interval=1, deadline=4e9)
    with pytest.raises(InputFault), poller.seat("kling_default", "no-such", wait, logging.INFO):
        pass
    assert pollers() == {}


def test_triggerer_that_ends_with_waits_leaves_nothing(serve, connect):
    connect(serve("processing"), extra=KLING)

    async def start():
        left_behind.append(asyncio.create_task(event(trigger())))
        await until(lambda: any(each._line for each in pollers().values()))
        return asyncio.get_running_loop()

    left_behind = []
    loop = asyncio.run(start())
    assert left_behind.pop().cancelled()
    assert (poller._pollers[loop], client._shared[loop]) == ({}, {})
