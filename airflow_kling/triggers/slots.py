"""Who in this triggerer waits for a free slot of an account: the oldest is woken when a task of the account ends."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import weakref

_Waiter = tuple[float, int, "asyncio.Future[None]"]

_waiting: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, list[_Waiter]]] = weakref.WeakKeyDictionary()
_order = itertools.count()


async def wait(kling_conn_id: str, since: float, seconds: float) -> bool:
    """
    Wait for a free slot; returns whether one became free before the time was over.

    :param since: When the wait began, over all its deferrals.
    """
    loop = asyncio.get_running_loop()
    queues = _waiting.setdefault(loop, {})
    waiter: _Waiter = (since, next(_order), loop.create_future())
    heapq.heappush(queues.setdefault(kling_conn_id, []), waiter)
    try:
        await asyncio.wait_for(waiter[2], max(seconds, 0.0))
    except TimeoutError:
        return False
    finally:
        queue = queues.get(kling_conn_id, [])
        if waiter in queue:
            queue.remove(waiter)
            heapq.heapify(queue)
        if not queue:
            queues.pop(kling_conn_id, None)
    return True


def free(kling_conn_id: str) -> None:
    """Wake whoever has waited longest for a slot of this connection, if anybody does."""
    queue = _waiting.get(asyncio.get_running_loop(), {}).get(kling_conn_id, [])
    while queue:
        _, _, future = heapq.heappop(queue)
        if not future.done():
            future.set_result(None)
            return
