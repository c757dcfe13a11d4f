"""A real API server of Airflow, with users and a database of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import requests

from airflow_kling.demo.home import free_port

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
START_LIMIT = 120
USERS = {"reader": "viewer", "stranger": "admin", "no-runs": "viewer", "no-tasks": "viewer"}
TEST_DAG = "import sys; from airflow_kling.demo.run_dag import _dag; _dag(sys.argv[1]).test()"
PASSWORD = "not-a-secret-of-anyone"


class Site:
    """
    An API server with users ``reader``, who may read every DAG, and others, who may not; a context manager.

    :param home: Empty folder for ``AIRFLOW_HOME`` and the log.
    :param roots: What ``[kling] media_roots`` says.
    :param settings: Further environment.
    """

    def __init__(self, home: Path, roots: str, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "api-server.log"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        path = os.pathsep.join(filter(None, [str(PROJECT), str(HERE.parent), kept.get("PYTHONPATH", "")]))
        self.environment = kept | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__AUTH_MANAGER": "run_page_site.auth.PerDagAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of these tests alone, of enough characters for its hash: "
            + "x" * 40,
            "AIRFLOW__API__SECRET_KEY": "another secret of these tests",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__KLING__MEDIA_ROOTS": roots,
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "PYTHONPATH": path,
            **settings,
        }
        (home / "dags").mkdir(parents=True, exist_ok=True)
        (home / "passwords.json").write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Site:
        self.run("-m", "airflow", "db", "migrate")
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "api-server", "--workers", "1", "--port", str(self.port)],
                env=self.environment | {"AIRFLOW__API__HOST": "127.0.0.1"},
                stdout=output,
                stderr=output,
                cwd=self.home,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # it did not start, or has ended
                os.killpg(self._process.pid, signal.SIGTERM)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """Return the server's processes."""
        assert self._process is not None
        first = psutil.Process(self._process.pid)
        return [first, *first.children(recursive=True)]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """
        Run Python with this site's environment; returns what it prints.

        :param arguments: Of the command line.
        :param stdin: What it reads.
        """
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.environment,
            cwd=self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout

    def test_dag(self, dag_id: str, **environment: str) -> subprocess.Popen[bytes]:
        """
        Begin a run of a DAG with Airflow's ``dag.test``, which ends by itself.

        :param dag_id: Of the DAGs folder.
        :param environment: Further environment.
        """
        with (self.home / f"{dag_id}.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", TEST_DAG, dag_id],
                env=self.environment | environment,
                stdout=output,
                stderr=output,
                cwd=self.home,
            )

    def latest_run(self, dag_id: str, *, submitted: bool = False) -> str:
        """
        Return the id of a DAG's latest run.

        :param dag_id: The DAG.
        :param submitted: Whether to wait until a task of it is submitted to Kling, and shown so.
        """
        end = time.monotonic() + START_LIMIT
        with self.login("reader") as session:
            while True:
                address = f"{self.url}/api/v2/dags/{dag_id}/dagRuns?order_by=-id&limit=1"
                for run in session.get(address, timeout=30).json().get("dag_runs", ()):
                    name = str(run["dag_run_id"])
                    page = f"{self.url}/kling/dags/{dag_id}/runs/{quote(name, safe='')}/items"
                    items = session.get(page, timeout=30).json()["items"]
                    if not submitted or any(item["group"] == "waiting" and item["remote_id"] for item in items):
                        return name
                told = (self.home / f"{dag_id}.log").read_text()[-3000:]
                assert time.monotonic() < end, f"no run of {dag_id}: {told}"
                time.sleep(0.3)

    def seed(self, *runs: dict) -> None:
        """
        Put runs into the database.

        :param runs: See :mod:`run_page_site.seed`.
        """
        self.run("-m", "run_page_site.seed", stdin=json.dumps(runs))

    def login(self, user: str | None) -> requests.Session:
        """
        Return a session of that user, with the cookie that a browser would have; of nobody without one.

        :param user: A key of ``USERS``.
        """
        session = requests.Session()
        session.trust_env = False
        if user:
            answer = session.post(f"{self.url}/auth/token", json={"username": user, "password": PASSWORD}, timeout=30)
            answer.raise_for_status()
            session.cookies.set("_token", answer.json()["access_token"])
        return session

    def _wait(self) -> None:
        end = time.monotonic() + START_LIMIT
        with self.login(None) as session:
            while True:
                assert self._process is not None
                assert self._process.poll() is None, self.log.read_text()[-4000:]
                try:
                    if session.get(f"{self.url}/api/v2/version", timeout=5).ok:
                        return
                except requests.RequestException:
                    pass
                assert time.monotonic() < end, self.log.read_text()[-4000:]
                time.sleep(0.2)
