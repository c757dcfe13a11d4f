"""Airflow as a site runs it: API server, scheduler, Dag processor and triggerer, each a process."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import requests

from airflow_kling.demo.home import free_port

COMPONENTS = {
    "api-server": ("api-server", "--workers", "1"),
    "scheduler": ("scheduler",),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer",),
}
START_LIMIT = 120.0
STEP = 0.1


def wait_until(what: str, true: Callable[[], object], seconds: float) -> None:
    """
    Look again and again until it is true.

    :param what: For the message where it never is.
    :param true: What to look at.
    :param seconds: How long at most.
    """
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(STEP)


class Deployment:
    """
    Airflow's processes over one database; a context manager.

    :param home: Empty folder for ``AIRFLOW_HOME`` and the processes' output.
    :param database: User, host, port and name of a PostgreSQL database.
    :param connection: What ``kling_default`` is.
    :param dags: Folder of the DAGs.
    :param dag_ids: Which DAGs are read before it counts as started.
    :param settings: Of Airflow, as ``SECTION__OPTION``, in place of the suite's.
    """

    def __init__(
        self,
        home: Path,
        database: str,
        connection: str,
        dags: Path,
        dag_ids: Collection[str],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home
        self._port = free_port()
        self._dag_ids = set(dag_ids)
        settings = _settings(database, self._port) | {"CORE__DAGS_FOLDER": str(dags)} | dict(settings or {})
        self._environment = _environment(home, connection, settings)
        self._commands = dict(COMPONENTS)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.revived: list[str] = []
        self._http = requests.Session()
        self._http.trust_env = False

    def __enter__(self) -> Self:
        try:
            self._run("db", "migrate")
            for name in COMPONENTS:
                self.start(name)
            wait_until("Airflow is healthy", self._is_healthy, START_LIMIT)
            token = self._http.get(f"{self._url}/auth/token", timeout=10).json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"
            wait_until("the DAGs are read", self._has_dags, START_LIMIT)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every process; nothing of it is needed any more."""
        for name in list(self._processes):
            self.kill(name)

    def add(self, name: str, *arguments: str) -> None:
        """
        Start one more component.

        :param name: A new name.
        :param arguments: Of Airflow's command line.
        """
        self._commands[name] = arguments
        self.start(name)

    def start(self, name: str) -> None:
        """
        Start a component, as an init system does after it died.

        :param name: One of the components.
        """
        command = [sys.executable, "-m", "airflow", *self._commands[name]]
        with (self.home / f"{name}.log").open("ab") as output:
            self._processes[name] = subprocess.Popen(
                command, env=self._environment, stdout=output, stderr=output, cwd=self.home, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """
        Kill a component with all that it started, by SIGKILL.

        :param name: One of the components.
        """
        family = self.family(name)
        process = self._processes.pop(name)
        kill_at_once(family)
        process.wait()

    def family(self, name: str) -> list[int]:
        """
        Return the process ids of a component and of all that it started, itself first.

        :param name: One of the components.
        """
        process = self._processes[name]
        with suppress(psutil.NoSuchProcess):
            return [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        return []

    def revive(self) -> None:
        """Start every component that has died by itself, and remember which."""
        for name, process in list(self._processes.items()):
            if process.poll() is not None:
                self.revived.append(f"{name} ended with {process.returncode}")
                self.start(name)

    def get(self, path: str) -> Any:
        """
        Ask Airflow's API, again while it does not answer.

        :param path: Below ``/api/v2/``.
        """
        end = time.monotonic() + START_LIMIT
        while True:
            self.revive()
            try:
                answer = self._http.get(f"{self._url}/api/v2/{path}", timeout=30)
                answer.raise_for_status()
                return answer.json()
            except requests.RequestException:
                if time.monotonic() > end:
                    raise
                time.sleep(STEP)

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any]) -> None:
        """
        Begin a run.

        :param dag_id: Of which DAG.
        :param run_id: Its name.
        :param conf: What the tasks read.
        """
        self.post(f"dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf})

    def post(self, path: str, body: dict[str, Any]) -> None:
        """
        Tell Airflow's API, once.

        :param path: Below ``/api/v2/``.
        :param body: What.
        """
        self._http.post(f"{self._url}/api/v2/{path}", json=body, timeout=30).raise_for_status()

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _is_healthy(self) -> bool:
        self.revive()
        assert not self.revived, f"{self.revived}: see {self.home}/*.log"
        with suppress(requests.RequestException, ValueError):
            health = self._http.get(f"{self._url}/api/v2/monitor/health", timeout=5).json()
            parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
            return all(health[part]["status"] == "healthy" for part in parts)
        return False

    def _has_dags(self) -> bool:
        return self._dag_ids <= {dag["dag_id"] for dag in self.get("dags")["dags"]}

    def _run(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=START_LIMIT)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"


def kill_at_once(pids: list[int]) -> None:
    """
    Send SIGKILL to all of them; those that are gone are passed over.

    :param pids: Parents first, so that none can report the end of another.
    """
    for pid in pids:
        assert pid > 1
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _environment(home: Path, connection: str, settings: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    loopback = "127.0.0.1,localhost"
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_KLING_DEFAULT": connection,
        "NO_PROXY": loopback,
        "no_proxy": loopback,
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }


def _settings(database: str, port: int) -> dict[str, str]:
    address = f"http://127.0.0.1:{port}"
    return {
        "DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{database}",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "3",
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # Triggers are kept as they are, to be searched.
        "CORE__FERNET_KEY": "",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": address,
        "API__SECRET_KEY": secrets.token_hex(16),
        "API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
        # The dead are found within seconds, where Airflow's defaults would take five minutes.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "6",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "6",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        # Ports of log servers are fixed, and others may run Airflow here.
        "LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        # A parse costs seconds of this machine's two cores, and the file does not change.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "3600",
    }
