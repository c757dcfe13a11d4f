"""Kling in a process of its own, as far from Airflow as it is in life; its ledger is the judge."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
from crash.deployment import wait_until

from airflow_kling.demo.home import free_port
from airflow_kling.emulator.settings import DEFAULT_KEY

START_LIMIT = 60.0


class Kling:
    """
    The emulator behind its command; a context manager.

    :param folder: For its output.
    :param latency: Seconds that a task takes.
    :param quota: Slots of the account.
    """

    def __init__(self, folder: Path, latency: float, quota: int) -> None:
        self._folder = folder
        self.log = folder / "kling.log"
        self._port = free_port()
        # Pictures are real, so that each differs; a real clip would cost the cores seconds.
        options = {"latency": latency, "quota": quota, "engine": "reflect", "clips": "canned", "port": self._port}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._command = [sys.executable, "-m", "airflow_kling.emulator", *arguments]
        self._process: subprocess.Popen[bytes] | None = None
        self._http = requests.Session()
        self._http.trust_env = False

    @property
    def connection(self) -> str:
        """What ``kling_default`` is: Kling's own API, which knows external ids and refuses one that exists."""
        extra = {"gateway": "kling", "allow_private_hosts": True}
        return json.dumps({"conn_type": "kling", "host": self._url, "password": DEFAULT_KEY, "extra": extra})

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, cwd=self._folder)
        wait_until("the emulator answers", self._answers, START_LIMIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def ledger(self) -> dict[str, Any]:
        """Return what it accepted, refused and billed."""
        return self._http.get(f"{self._url}/_emulator/ledger", timeout=30).json()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _answers(self) -> bool:
        with suppress(requests.ConnectionError):
            return self._http.get(f"{self._url}/_emulator/", timeout=5).ok
        return False
