"""A Redis of the suite's own, on a free port of loopback; it keeps nothing."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from crash.deployment import wait_until

from airflow_kling.demo.home import free_port

START_LIMIT = 30.0
QUEUE = "default"
#: Kinds of connections: workers and scheduler that send and fetch, and workers that listen for commands.
KINDS = ("normal", "pubsub")


class Broker:
    """
    A running Redis; a context manager.

    :param folder: For its output.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._redis = redis.Redis(host="127.0.0.1", port=self._port)

    @property
    def url(self) -> str:
        """As Celery takes it."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        assert program, "Redis is missing: apt-get install -y redis-server"
        command = [program, "--bind", "127.0.0.1", "--port", str(self._port), "--save", "", "--appendonly", "no"]
        with (self._folder / "redis.log").open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self._folder)
        wait_until("Redis answers", self._answers, START_LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._redis.close()
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def queued(self) -> int:
        """How many messages no worker has fetched yet."""
        return int(self._redis.llen(QUEUE))

    def cut(self) -> int:
        """Close every connection of others, as a fail-over or a firewall does; returns how many."""
        return sum(int(self._redis.client_kill_filter(_type=kind, skipme=True)) for kind in KINDS)

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError):
            return bool(self._redis.ping())
        return False
