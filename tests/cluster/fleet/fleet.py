"""The cluster: Airflow's processes with CeleryExecutor, its broker and database, Kling, and what they say of a run."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import leak_search.postgres
import psutil
import psycopg2
from crash.database import Postgres
from crash.deployment import START_LIMIT, Deployment, wait_until

from .broker import Broker
from .kling import Kling

DAG_ID = "kling_cluster"
WORKERS = ("worker-1", "worker-2")
#: In the order in which they are started; the first is a deployment's own.
TRIGGERERS = ("triggerer", "triggerer-2")
CONCURRENCY = 4

LATENCY = 8.0
"""Seconds; long enough for tasks to wait on machines where Airflow takes seconds to begin one."""

#: The account's slots are shared out between the pools of the mapped tasks and the batch, as in the README.
POOLS = {"kling_images": 30, "kling_clips": 30}
BATCH_SLOTS = 40  # as in the DAG
QUOTA = sum(POOLS.values()) + BATCH_SLOTS


MEASURE_EVERY = 10.0


class TaskInstance(NamedTuple):
    """What the database says of one."""

    task_id: str
    map_index: int
    state: str | None
    tries: int
    pid: int | None
    triggerer: int | None

    @property
    def name(self) -> tuple[str, int]:
        """Which of the run's."""
        return self.task_id, self.map_index


class Fleet:
    """
    A running cluster; a context manager.

    :param home: Empty folder for ``AIRFLOW_HOME`` and the processes' output.
    :param dags: Folder of the DAGs.
    """

    def __init__(self, home: Path, dags: Path) -> None:
        self.home = home
        self._dags = dags
        self._stack = ExitStack()
        self.peak = 0.0
        self._measured = 0.0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            database = stack.enter_context(Postgres())
            self.broker = stack.enter_context(Broker(self.home))
            self.kling = stack.enter_context(Kling(self.home, LATENCY, QUOTA))
            settings = _settings(database.address, self.broker.url)
            self.site = stack.enter_context(
                Deployment(self.home, database.address, self.kling.connection, self._dags, [DAG_ID], settings)
            )
            self._address = database.address
            leak_search.postgres.keep_deleted(self._address)
            self._database = psycopg2.connect(f"postgresql://{database.address}")
            stack.callback(self._database.close)
            self._database.autocommit = True
            self.site.add(TRIGGERERS[1], "triggerer", "--skip-serve-logs")
            for name in WORKERS:
                arguments = (
                    "--skip-serve-logs",
                    "--concurrency",
                    str(CONCURRENCY),
                    "--celery-hostname",
                    f"{name}@here",
                )
                self.site.add(name, "celery", "worker", *arguments)
            for name, slots in POOLS.items():
                self.site.post("pools", {"name": name, "slots": slots, "include_deferred": True})
            wait_until("both triggerers run", lambda: len(self.triggerer_ids()) == len(TRIGGERERS), START_LIMIT)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def task_instances(self) -> list[TaskInstance]:
        """Return those of all runs."""
        rows = self._ask(
            "select ti.task_id, ti.map_index, ti.state, ti.try_number, ti.pid, t.triggerer_id"
            " from task_instance ti left join trigger t on t.id = ti.trigger_id"
        )
        return [TaskInstance(*row) for row in rows]

    def run_state(self) -> str:
        """Return the state of the only run; components that died by themselves are started again."""
        self.site.revive()
        self._measure()
        return str(self._ask("select state from dag_run")[0][0])

    def triggerer_ids(self) -> list[int]:
        """Return the jobs of living triggerers, the first started first."""
        return [
            row[0]
            for row in self._ask("select id from job where job_type = 'TriggererJob' and state = 'running' order by id")
        ]

    def worker_of(self, pid: int | None) -> str | None:
        """Return the worker that a process belongs to."""
        return next((name for name in WORKERS if pid in self.site.family(name)), None)

    def said(self, words: str) -> int:
        """
        Return how often the workers' logs have it.

        :param words: What Celery or Airflow says.
        """
        return sum(path.read_text().count(words) for path in self.home.glob("worker-*.log"))

    def leaks(self) -> list[leak_search.Leak]:
        """Stop Airflow, and return what secret it has left in its folder and database."""
        self.site.stop()
        # The emulator tells its own key to whoever starts it.
        ours = [path for path in self.home.iterdir() if path != self.kling.log]
        return leak_search.search(ours) + leak_search.postgres.search(self._address)

    def _measure(self) -> None:
        """Remember the memory of all processes in GiB, shared pages counted once, if it is the most so far."""
        if time.monotonic() - self._measured < MEASURE_EVERY:
            return
        self._measured = time.monotonic()
        total = 0
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        self.peak = max(self.peak, total / 2**30)

    def _ask(self, query: str) -> list[Any]:
        with self._database.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()


def _settings(database: str, broker: str) -> dict[str, str]:
    return {
        "CORE__EXECUTOR": "CeleryExecutor",
        "CORE__PARALLELISM": str(2 * CONCURRENCY + 4),
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "100",
        "CELERY__BROKER_URL": broker,
        "CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{database}",
        # As a site would: longer than the longest task, for an unacknowledged message is delivered anew after it.
        "CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "86400",
        # The dead are found within a minute, where Airflow's defaults take five and ten.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
        "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
        "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
        "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
        "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    }
