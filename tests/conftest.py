"""Shared fixtures: a scripted server on loopback, connections to it, time that does not pass, photographs."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import ssl
import struct
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-kling-tests-"))

API_KEY = "sk-0123456789abcdef0123456789abcdef"


@dataclass
class Seen:
    """One request, as it came over the wire."""

    raw: bytes
    body: bytes
    connection: int
    method: str = field(init=False)
    target: str = field(init=False)
    headers: list[tuple[str, str]] = field(init=False)

    def __post_init__(self):
        first, *lines = self.raw.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = [tuple(line.split(": ", 1)) for line in lines]

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    @property
    def header_names(self):
        return sorted(key.lower() for key, _ in self.headers)


class ScriptedServer:
    """
    Plays a script, one entry per request and the last one for good; keeps the bytes of every request.

    An entry is the status word of a task, ``reset``, ``hang``, raw bytes, or (status, body[, headers]).
    """

    def __init__(self, *script, tls=None, port=0):
        self.script, self.tls = list(script), tls
        self.requests, self.downloads, self.files = [], [], {}
        self.connections = 0
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._closed.set()
        self._socket.close()

    def task(self, word, task_id="T1"):
        links = [{"index": index, "url": self.url + path} for index, path in enumerate(self.files)]
        data = {"task_id": task_id, "task_status": word, "created_at": 1740000000123, "updated_at": 1740000024321}
        data |= {"task_result": {"images": links or [{"index": 0, "url": "https://cdn.example/0.png"}]}}
        data |= {"task_status_msg": "the picture is odd", "final_unit_deduction": "8"} if word == "failed" else {}
        return 200, {"code": 0, "message": "SUCCEED", "request_id": "r-1", "data": data}

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection, number):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as reader:
                while self._answer_one(connection, reader, number):
                    pass
        except (OSError, ssl.SSLError):
            pass

    def _answer_one(self, connection, reader, number):
        raw = b""
        while not raw.endswith(b"\r\n\r\n"):
            line = reader.readline()
            if not line:
                return False
            raw += line
        seen = Seen(raw, b"", number)
        seen.body = reader.read(int(seen.header("content-length") or 0))
        with self._lock:
            is_file = seen.target in self.files
            (self.downloads if is_file else self.requests).append(seen)
            entry = self.files[seen.target] if is_file else self.script.pop(0) if self.script[1:] else self.script[0]
        if entry == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        if entry == "hang":
            self._closed.wait(30)
            return False
        answer = (
            entry if isinstance(entry, bytes) else self._bytes(*(self.task(entry) if isinstance(entry, str) else entry))
        )
        connection.sendall(answer)
        return b"connection: close" not in answer[:2000].lower()

    @staticmethod
    def _bytes(status, body, headers=()):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [
            f"HTTP/1.1 {status} X",
            f"Content-Length: {len(content)}",
            *(f"{k}: {v}" for k, v in dict(headers).items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve():
    """Start scripted servers; they end with the test."""
    servers = []

    def start(*script, **options):
        servers.append(ScriptedServer(*script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def connect(monkeypatch):
    """Make an Airflow connection by its environment variable; a server stands for its URL."""

    def make(server, conn_id="kling_default", *, extra=None, **fields):
        fields = {"conn_type": "kling", "host": getattr(server, "url", server), "password": API_KEY} | fields
        fields["extra"] = {"allow_private_hosts": True} | (extra or {})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return make


class Sleeps(list):
    """The seconds slept; ``meanwhile`` is what happens in each."""

    meanwhile = staticmethod(lambda: None)

    def __call__(self, seconds):
        self.append(seconds)
        self.meanwhile()


@pytest.fixture
def sleeps(monkeypatch):
    """Collect the seconds that transports and waits would sleep, and do not sleep them."""
    from airflow_kling.hooks.client import AsyncClient, SyncClient
    from airflow_kling.lifecycle.submit import Submission
    from airflow_kling.lifecycle.watch import watch

    seconds = Sleeps()

    async def asleep(delay):
        seconds(delay)

    monkeypatch.setattr(SyncClient.__init__, "__defaults__", (seconds,))
    monkeypatch.setattr(AsyncClient.__init__, "__defaults__", (asleep,))
    monkeypatch.setitem(watch.__kwdefaults__, "sleep", seconds)
    monkeypatch.setitem(Submission.__init__.__kwdefaults__, "sleep", seconds)
    return seconds


@pytest.fixture
def polls_sleep(monkeypatch):
    """Let pollers sleep by a function of the test's; their clock moves by that alone."""

    def patch(sleep):
        from airflow_kling.triggers import poller

        now, rest = [1000.0], poller.Poller._rest

        async def rest_or_sleep(self):
            due = self._polls.next_due()
            if self._under_way or due is None or not self.waiters:
                await rest(self)
            elif due > now[0]:
                seconds, now[0] = due - now[0], due
                sleep(seconds)

        monkeypatch.setattr(poller.Poller, "_rest", rest_or_sleep)
        monkeypatch.setattr(poller, "monotonic", lambda: now[0])
        return now

    return patch


@pytest.fixture
def elapse(monkeypatch):
    """Let seconds pass in the running loop, at once."""

    async def pass_time(seconds):
        loop = asyncio.get_running_loop()
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + seconds)
        for _ in range(10):
            await asyncio.sleep(0)

    return pass_time


@pytest.fixture(scope="session")
def photographs():
    """Return the folder with scikit-image's photographs, without importing the package."""
    found = importlib.util.find_spec("skimage")
    if found is None:
        pytest.fail("scikit-image is missing: pip install 'airflow-provider-kling[test]'")
    return Path(next(iter(found.submodule_search_locations))) / "data"
