"""
Requests and connections of a deferred wait, against the http provider's ``HttpSensorTrigger``, one server, one run.

A storm: for 3 s every answer is 429 or 403, at an interval of 1 s. Goal: at most 5 requests. Then 50 polls, in the
peer's case of 404s, which is what it waits on. Goal: 1 TCP connection.

    .venv/bin/python benchmarks/poll_storm.py
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

STORM_SECONDS = 3.0
STORM_INTERVAL = 1.0
POLLS = 50
POLL_INTERVAL = 0.01
ROUTE = "v1/images/editing/expand/T1"
REFUSALS = {
    429: {"code": 1302, "message": "Too many requests"},
    403: {"code": 1103, "message": "Unauthorized access to requested resource"},
}

Answer = tuple[int, dict[str, Any]]


class Server:
    """Answers every request alike, and counts requests and connections."""

    def __init__(self) -> None:
        self.answer: Callable[[], Answer] = lambda: (404, {})
        self.requests = 0
        self._connections: set[object] = set()

    @property
    def connections(self) -> int:
        """How many TCP connections there were."""
        return len(self._connections)

    def reset(self, answer: Callable[[], Answer]) -> None:
        """
        Count anew.

        :param answer: What each request gets.
        """
        self.answer, self.requests = answer, 0
        self._connections.clear()

    async def serve(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self.requests += 1
        self._connections.add(request.transport.get_extra_info("peername") if request.transport else None)
        status, body = self.answer()
        return web.json_response(body, status=status)


def task(word: str) -> Answer:
    """Return what Kling answers for a task of that status."""
    images = [{"index": 0, "url": "https://cdn.example/0.png"}]
    data = {"task_id": "T1", "task_status": word, "task_result": {"images": images}}
    return 200, {"code": 0, "message": "SUCCEED", "data": data}


def counting(last: Answer, before: Answer) -> Callable[[], Answer]:
    """Return what gives the last answer to the last of the polls, and the other before."""
    left = [before] * (POLLS - 1)
    return lambda: left.pop() if left else last


def ours(interval: float) -> Any:
    """Return our trigger."""
    from airflow_kling.triggers.kling import KlingTaskTrigger

    return KlingTaskTrigger("T1", "image-expansion", "kling_default", interval, time.time() + 3600)


def peer(interval: float) -> Any:
    """Return the http provider's."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(endpoint=ROUTE, http_conn_id="http_default", poke_interval=interval)


async def run(trigger: Any, seconds: float) -> None:
    """Run a trigger to its event, or as long as the time lasts."""
    with suppress(TimeoutError):
        await asyncio.wait_for(anext(trigger.run()), seconds)


async def storm(server: Server, status: int) -> None:
    """Print the requests of both in a storm of that status."""
    counts = []
    for make in (ours, peer):
        server.reset(lambda: (status, REFUSALS[status]))
        await run(make(STORM_INTERVAL), STORM_SECONDS)
        counts.append(server.requests)
    mine, theirs = counts
    print(
        f"{status} storm of {STORM_SECONDS:g} s at {STORM_INTERVAL:g} s: {mine} requests (goal: at most 5), "
        f"http provider {theirs:,}; ratio {mine / theirs:.5f}"
    )
    assert 1 <= mine <= 5


async def connections(server: Server) -> None:
    """Print the TCP connections of both over the same number of polls."""
    counts = []
    rows = ((ours, task("succeed"), task("processing")), (peer, (200, {}), (404, {})))
    for make, last, before in rows:
        server.reset(counting(last, before))
        await run(make(POLL_INTERVAL), 60)
        assert server.requests == POLLS, f"{server.requests} polls"
        counts.append(server.connections)
    mine, theirs = counts
    print(
        f"{POLLS} polls: {mine} TCP connection(s) (goal: 1), http provider {theirs}; ratio {mine / theirs:.2f}",
    )
    assert mine == 1


async def main() -> None:
    server = Server()
    application = web.Application()
    application.router.add_get("/{path:.*}", server.serve)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    extra = {"gateway": "kling"}
    kling = {"conn_type": "kling", "host": url, "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_KLING_DEFAULT"] = json.dumps(kling)
    os.environ["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps({"conn_type": "http", "host": url})
    for status in REFUSALS:
        await storm(server, status)
    await connections(server)
    await runner.cleanup()


if __name__ == "__main__":
    # The peer logs a line per request, which costs it part of its speed.
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "CRITICAL")
    asyncio.run(main())
