"""``airflow standalone`` with a database of its own, asked through its command line and REST API."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import requests
from leak_search import keep_deleted

from airflow_kling.demo.home import free_port, ui_environment

LIMIT = 400


class Site:
    """``airflow standalone`` with its database, asked through its command line and REST API."""

    def __init__(self, home, environment):
        self.home, self.port = Path(home), free_port()
        self.environment = environment | ui_environment(self.port) | {"AIRFLOW_HOME": str(home)}
        self.environment["AIRFLOW__API__WORKERS"] = "1"  # four are the default of 3.0, and minutes of a busy machine
        # SQLite has one writer: on a busy machine the others wait longer than its 5 s.
        self.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{self.home / 'airflow.db'}?timeout=60"
        self.url = self.environment["AIRFLOW__API__BASE_URL"]

    def __enter__(self):
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, env=self.environment, check=True, capture_output=True, timeout=LIMIT)
        keep_deleted(self.home / "airflow.db")
        with closing(sqlite3.connect(self.home / "airflow.db")) as database:
            database.execute("pragma journal_mode=wal")  # and nobody waits for those who read
        self._log = (self.home / "standalone.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"],
            env=self.environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_):
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        self._log.close()

    def unpause(self, *dag_ids):
        for dag_id in dag_ids:
            subprocess.run(
                [sys.executable, "-m", "airflow", "dags", "unpause", dag_id],
                env=self.environment,
                check=True,
                capture_output=True,
                timeout=LIMIT,
            )

    def answers(self):
        """Return whether the API server is up."""
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/api/v2/version", timeout=5).ok
        return False

    def query(self, sql, *values):
        with suppress(sqlite3.OperationalError), sqlite3.connect(self.home / "airflow.db", timeout=10) as database:
            return database.execute(sql, values).fetchall()
        return []

    def wait(self, what, ready):
        end = time.monotonic() + LIMIT
        while not (found := ready()):
            log = (self.home / "standalone.log").read_text(errors="replace")[-4000:]
            assert time.monotonic() < end, f"not within {LIMIT} s: {what}\n{log}"
            time.sleep(0.5)
        return found

    def state(self, dag_id):
        rows = self.query("select state from dag_run where dag_id = ?", dag_id)
        assert ("failed",) not in rows, (self.home / "standalone.log").read_text(errors="replace")[-4000:]
        return rows[0][0] if rows else None

    def ask(self, method, path, **fields):
        token = requests.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(method, f"{self.url}/api/v2/{path}", headers=headers, timeout=30, **fields)
        answer.raise_for_status()
        return answer.json()
