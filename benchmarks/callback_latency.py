"""
Seconds from the end of a Kling task until its task instance has left ``deferred``, by callback and by poll.

All of Airflow (``standalone``: API server, scheduler, triggerer, SQLite) and the emulator on loopback. 20 expansions
are deferred; they end as they were submitted, or all at once. With callbacks the polls come once in an hour, for the
comparison every 10 s, the default. Goal: p95 at most 2 s by callback.

    .venv/bin/python benchmarks/callback_latency.py [number of tasks]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from standalone.site import LIMIT, Site

DAGS = Path(__file__).parents[1] / "tests" / "integration" / "dags"
DAG_ID = "kling_called_back"
GOAL = 2.0
LATENCY = 90.0
STEP = 0.02
REMOTE_IDS = "select map_index, value from xcom where key = 'task_id' and run_id = ?"
STATES = "select map_index, state from task_instance where task_id = 'make' and run_id = ?"


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else 20
    met = True
    with tempfile.TemporaryDirectory() as folder:
        for number, (by, secret, at_once) in enumerate(
            [
                ("callback, one by one", "x" * 40, False),
                ("callback, all at once", "x" * 40, True),
                ("poll, one by one", "", False),
            ]
        ):
            seconds = measure(Path(folder) / str(number), count, secret, at_once=at_once)
            p95 = seconds[-(-95 * count // 100) - 1]
            median = statistics.median(seconds)
            print(f"{by}: median {median:.2f} s, p95 {p95:.2f} s, worst {seconds[-1]:.2f} s, {count} tasks", flush=True)
            met = met and (not secret or p95 <= GOAL)
    raise SystemExit(0 if met else "the goal is not met")


def measure(home: Path, count: int, secret: str, *, at_once: bool) -> list[float]:
    """Return the seconds between each task's end and its leaving ``deferred``, sorted."""
    home.mkdir()
    settings = EmulatorSettings(latency=LATENCY, quota=None, virtual_clock=at_once, pictures="canned")
    with EmulatorServer(settings) as emulator, Site(home, environment(home, emulator, count, secret)) as site:
        site.wait("Airflow is up", lambda: site.answers() and site.query("select 1 from dag where dag_id = ?", DAG_ID))
        run_id = site.ask("POST", f"dags/{DAG_ID}/dagRuns", json={"logical_date": None})["dag_run_id"]
        was_deferred: set[int] = set()
        left: dict[int, float] = {}

        def look() -> bool:
            for index, state in site.query(STATES, run_id):
                if state == "deferred":
                    was_deferred.add(index)
                elif index in was_deferred:
                    left.setdefault(index, time.time())
            return len(was_deferred) == count

        end = time.monotonic() + LIMIT
        while not look():
            site.state(DAG_ID)  # raises where the run has failed
            assert time.monotonic() < end, f"only {len(was_deferred)} were deferred"
            time.sleep(STEP)
        if at_once:
            time.sleep(15)  # the first poll of every trigger is over
            emulator.state.advance(LATENCY)
        advanced = time.time()
        while len(left) < count:
            look()
            assert time.monotonic() < end, f"{count - len(left)} are still deferred"
            time.sleep(STEP)
        remote = {index: value.strip('"') for index, value in site.query(REMOTE_IDS, run_id)}
        return sorted(
            left[index] - (advanced if at_once else emulator.state.task(remote[index]).updated_at / 1000)
            for index in left
        )


def environment(home: Path, emulator: EmulatorServer, count: int, secret: str) -> dict[str, str]:
    """Return the environment of Airflow's processes."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    return kept | {
        "AIRFLOW_CONN_KLING_DEFAULT": emulator.connection_uri("kling"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS / "kling_called_back.py"),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__KLING__CALLBACK_SECRET": secret,
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "KLING_TEST_COUNT": str(count),
        "KLING_TEST_INTERVAL": "3600" if secret else "10",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


if __name__ == "__main__":
    main()
