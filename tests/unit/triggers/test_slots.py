"""Waiting for a slot in the triggerer: the oldest is woken first, per connection and loop, and nothing is left over."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import time
import weakref

import pytest

from airflow_kling.triggers import slots
from airflow_kling.triggers.kling import KlingSlotTrigger

LONG = 60


@pytest.fixture(autouse=True)
def _nothing_is_left_over():
    yield
    assert [queues for queues in slots._waiting.values() if queues] == []


async def turns():
    """Let everything run that waits for nothing but its turn."""
    for _ in range(10):
        await asyncio.sleep(0)


async def waiters(*ages, conn_id="a", woken):
    """Start one waiter per age; each writes its age into ``woken`` when it is woken."""

    async def one(since):
        if await slots.wait(conn_id, since, LONG):
            woken.append(since)

    tasks = [asyncio.create_task(one(since)) for since in ages]
    await asyncio.sleep(0)
    return tasks


async def freed(count, conn_id="a"):
    for _ in range(count):
        slots.free(conn_id)
        await turns()


async def stop(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_oldest_is_woken_first_whenever_it_came():
    woken = []
    tasks = await waiters(30, 10, 20, woken=woken)
    await freed(1)
    assert woken == [10]
    tasks += await waiters(5, woken=woken)
    await freed(3)
    assert woken == [10, 5, 20, 30]
    await stop(tasks)


async def test_equally_old_are_woken_in_their_order():
    woken, order = [], []

    async def one(name):
        await slots.wait("a", 1.0, LONG)
        order.append(name)

    tasks = [asyncio.create_task(one(name)) for name in "xyz"]
    await asyncio.sleep(0)
    await freed(3)
    assert order == ["x", "y", "z"]
    assert woken == []
    await stop(tasks)


async def test_one_end_wakes_one():
    woken = []
    tasks = await waiters(1, 2, woken=woken)
    await freed(1)
    assert woken == [1]
    await stop(tasks)


async def test_two_ends_at_once_wake_two():
    woken = []
    tasks = await waiters(1, 2, 3, woken=woken)
    slots.free("a")
    slots.free("a")
    await turns()
    assert woken == [1, 2]
    await stop(tasks)


async def test_connections_are_apart():
    woken, other = [], []
    tasks = [*await waiters(1, woken=woken), *await waiters(2, conn_id="b", woken=other)]
    await freed(1, "b")
    assert (woken, other) == ([], [2])
    await stop(tasks)


async def test_waiter_that_is_leaving_is_passed_over():
    woken = []
    tasks = await waiters(1, 2, woken=woken)
    # As when its time is over in this very turn: done, and still in the queue.
    slots._waiting[asyncio.get_running_loop()]["a"][0][2].cancel()
    slots.free("a")
    await turns()
    assert woken == [2]
    await stop(tasks)


async def test_waiter_cancelled_before_the_end_leaves_the_place_to_the_next():
    woken = []
    tasks = await waiters(1, 2, woken=woken)
    tasks[0].cancel()
    await turns()
    await freed(1)
    assert woken == [2]
    await stop(tasks)


@pytest.mark.parametrize("seconds", [0, -5])
async def test_time_that_is_over_ends_the_wait_at_once(seconds):
    assert await slots.wait("a", 1.0, seconds) is False
    slots.free("a")


async def test_wait_ends_with_its_time_and_not_before(elapse):
    waiting = asyncio.create_task(slots.wait("a", 1.0, LONG))
    await turns()
    await elapse(LONG - 1)
    assert not waiting.done()
    await elapse(2)
    assert waiting.done()
    assert await waiting is False
    slots.free("a")


async def test_end_without_waiters_is_not_kept_for_later():
    slots.free("a")
    waiting = asyncio.create_task(slots.wait("a", 1.0, LONG))
    await turns()
    assert not waiting.done()
    await stop([waiting])


async def test_queue_that_is_woken_empty_serves_who_comes_in_the_same_turn():
    woken = []
    tasks = await waiters(1, woken=woken)
    slots.free("a")
    tasks += await waiters(2, woken=woken)
    await freed(1)
    assert woken == [1, 2]
    await stop(tasks)


async def test_nothing_is_left_over_after_many_waits():
    for round_ in range(20):
        tasks = await waiters(*range(50), conn_id=f"c{round_ % 3}", woken=[])
        await freed(10, f"c{round_ % 3}")
        await stop(tasks)
    assert slots._waiting[asyncio.get_running_loop()] == {}


def test_loops_are_apart():
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def free():
        slots.free("a")

    try:
        waiting = first.create_task(slots.wait("a", 1.0, LONG))
        first.run_until_complete(turns())
        second.run_until_complete(free())
        first.run_until_complete(turns())
        assert not waiting.done()
        first.run_until_complete(stop([waiting]))
    finally:
        first.close()
        second.close()


def test_loop_that_is_gone_is_forgotten():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(slots.wait("a", 1.0, 0))
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None


# -- the trigger -------------------------------------------------------------------------------------------------------


def trigger(**changes):
    facts = {"kling_conn_id": "a", "until": time.time() + LONG, "since": 1.0, "deadline": 9e9, "attempts": 3}
    return KlingSlotTrigger(**facts | changes)


async def events(trigger):
    return [event.payload async for event in trigger.run()]


def test_trigger_is_json_scalars_and_comes_back():
    path, arguments = trigger(until=5.5).serialize()
    assert arguments == {"kling_conn_id": "a", "until": 5.5, "since": 1.0, "deadline": 9e9, "attempts": 3}
    module, name = path.rsplit(".", 1)
    again = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)


@pytest.mark.parametrize("until", [0.0, time.time() - 5])
async def test_trigger_whose_time_has_come_fires_at_once_and_gives_the_wait_back(until):
    assert await events(trigger(until=until)) == [{"since": 1.0, "deadline": 9e9, "attempts": 3}]


async def test_trigger_fires_early_when_a_task_of_the_connection_ends():
    running = asyncio.create_task(events(trigger()))
    await turns()
    assert not running.done()
    await freed(1)
    assert len(await running) == 1


async def test_trigger_that_is_cancelled_leaves_the_queue():
    running = asyncio.create_task(events(trigger()))
    await turns()
    await stop([running])


async def test_end_of_a_watched_task_wakes_the_oldest(serve, connect):
    from airflow_kling.triggers.kling import KlingTaskTrigger

    connect(serve("succeed"), "a")
    waiting = [asyncio.create_task(events(trigger(since=since))) for since in (2.0, 1.0)]
    await turns()
    watch = KlingTaskTrigger("T1", "image-expansion", "a", 10.0, 4e9)
    assert [event.payload["outcome"] async for event in watch.run()] == ["succeeded"]
    assert (await waiting[1])[0]["since"] == 1.0
    assert not waiting[0].done()
    await stop(waiting)


async def test_watch_that_gives_up_wakes_nobody(serve, connect):
    from airflow_kling.triggers.kling import KlingTaskTrigger

    connect(serve("processing"), "a")
    waiting = asyncio.create_task(events(trigger()))
    await turns()
    watch = KlingTaskTrigger("T1", "image-expansion", "a", 10.0, 0.0)
    assert [event.payload["outcome"] async for event in watch.run()] == ["timed-out"]
    await turns()
    woken = waiting.done()
    await stop([waiting])
    assert not woken


@pytest.mark.parametrize("called_back", [True, False])
async def test_watch_that_a_callback_overtakes_wakes_the_oldest(serve, connect, called_back):
    from airflow_kling.triggers.kling import KlingTaskTrigger

    connect(serve("processing"), "a")
    waiting = asyncio.create_task(events(trigger()))
    watch = KlingTaskTrigger("T1", "image-expansion", "a", 10.0, 4e9, called_back)
    watching = asyncio.create_task(anext(watch.run()))
    await turns()
    await stop([watching])
    await turns()
    woken = waiting.done()
    await stop([waiting])
    assert woken is called_back
