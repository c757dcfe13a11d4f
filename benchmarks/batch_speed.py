"""
Makespan of 1,000 pictures by the batch operator, against the http provider's operator and sensor, mapped, in one run.

An emulator in a process of its own answers with canned pictures after 3 s, at a quota of 20 and of 100. Measured from
the first create to the results manifest. Goals: at most 1.05 times the ideal N*t/quota at quota 20, 1.15 times at 100;
at quota 100 at least 25 times the pictures per second of the mapped pattern, which a LocalExecutor runs with fewer
pictures.

    .venv/bin/python benchmarks/batch_speed.py [quota ...]

``--no-peer`` leaves the comparison out.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PICTURES = 1000
SECONDS = 3.0
PEER_PICTURES = 100
PEER_QUOTA = 100
GOALS = {20: 1.05, 100: 1.15}
GOAL_RATIO = 25

PEER_DAG = """
from datetime import datetime
from pathlib import Path
import base64, json, os
from airflow.providers.common.compat.sdk import DAG
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor

image = base64.b64encode(Path(os.environ["PEER_PICTURE"]).read_bytes()).decode()
RATIOS = {f"{side}_expansion_ratio": 0.5 * (side == "left") for side in ("up", "down", "left", "right")}
KEY = {"Authorization": "Bearer emulator-key", "Content-Type": "application/json"}

with DAG("peer", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=1000):
    submit = HttpOperator.partial(
        task_id="submit",
        http_conn_id="peer",
        endpoint="v1/images/editing/expand",
        headers=KEY,
        response_filter=lambda response: "v1/images/editing/expand/" + response.json()["data"]["task_id"],
    ).expand(data=[json.dumps({"image": image, **RATIOS})] * int(os.environ["PEER_COUNT"]))
    HttpSensor.partial(
        task_id="watch",
        http_conn_id="peer",
        headers=KEY,
        poke_interval=1,
        response_check=lambda response: response.json()["data"]["task_status"] == "succeed",
    ).expand(endpoint=submit.output)
"""


@contextmanager
def emulator(quota: int) -> Iterator[str]:
    """Start an emulator in a process of its own; gives its URL."""
    code = (
        "from airflow_kling.emulator.server import serve; from airflow_kling.emulator.settings import EmulatorSettings;"
        f"serve(EmulatorSettings(latency={SECONDS}, quota={quota}, pictures='canned'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[3]
    finally:
        process.terminate()
        process.wait(10)


def ledger(url: str) -> Any:
    """Return the emulator's books."""
    with urllib.request.urlopen(f"{url}/_emulator/ledger") as answer:
        return json.load(answer)


def write_pictures(folder: Path, count: int) -> None:
    """Write small pictures, each another one."""
    from PIL import Image

    folder.mkdir()
    for number in range(count):
        colour = (number % 256, number // 256, 90)
        Image.new("RGB", (320, 320), colour).save(folder / f"{number:05}.png")


class Instance:
    """As much of a task instance as an operator asks for."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "bench", "run", "batch", -1, 1, 0

    def __init__(self, task: Any) -> None:
        self.task = task

    def xcom_push(self, key: str, value: Any) -> None:
        pass


def ours(url: str, folder: Path, pictures: Path, count: int) -> tuple[float, Any]:
    """Return the seconds from the first create to the results manifest, and the emulator's books."""
    from airflow_kling.operators.kling import KlingExpandBatchOperator

    extra = {"gateway": "kling", "allow_private_hosts": True}
    connection = {"conn_type": "kling", "host": url, "password": "emulator-key", "extra": extra}
    os.environ["AIRFLOW_CONN_KLING_DEFAULT"] = json.dumps(connection)
    operator = KlingExpandBatchOperator(
        task_id="batch", images=str(pictures), left=0.5, output_path=str(folder), deferrable=False
    )
    made = operator.execute({"ti": Instance(operator)})
    ended = time.time()
    books = ledger(url)
    assert made["counts"]["succeeded"] == books["billed_tasks"] == count
    return ended - books["creates"][0]["at"] / 1000, books


def peer(folder: Path, picture: Path) -> float:
    """Return the pictures per second of the http provider's operator and sensor, mapped, on a LocalExecutor."""
    home, dags = folder / "airflow", folder / "dags"
    dags.mkdir()
    (dags / "peer.py").write_text(PEER_DAG)
    with emulator(PEER_QUOTA) as url:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": "32",
            "AIRFLOW__API__PORT": "18473",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://localhost:18473/execution/",
            "AIRFLOW_CONN_PEER": json.dumps({"conn_type": "http", "host": url}),
            "PEER_PICTURE": str(picture),
            "PEER_COUNT": str(PEER_PICTURES),
        }
        airflow = [sys.executable, "-m", "airflow"]
        with (folder / "airflow.log").open("w") as log:
            server = subprocess.Popen(
                [*airflow, "standalone"], env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                wait_for(lambda: "peer" in output([*airflow, "dags", "list", "-o", "json"], environment), 120)
                output([*airflow, "dags", "trigger", "peer", "-r", "run"], environment)
                states = [*airflow, "tasks", "states-for-dag-run", "peer", "run", "-o", "json"]
                wait_for(lambda: watched(output(states, environment)) == PEER_PICTURES, 600)
                rows = [row for row in json.loads(output(states, environment)) if row["end_date"]]
            finally:
                os.killpg(server.pid, signal.SIGKILL)  # all its parts
                server.wait(30)
    first = min(row["start_date"] for row in rows)
    last = max(row["end_date"] for row in rows)
    return PEER_PICTURES / (seconds_of(last) - seconds_of(first))


def watched(states: str) -> int:
    """Return how many pictures were waited for."""
    rows = json.loads(states) if states.strip().startswith("[") else []
    return sum(row["task_id"].startswith("watch") and row["state"] == "success" for row in rows)


def seconds_of(moment: str) -> float:
    """Return seconds since the epoch."""
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


def output(command: list[str], environment: dict[str, str]) -> str:
    """Return what a command prints, from where its JSON begins."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    rows = re.search(r"^\[(\{|\n|\]).*", done.stdout, re.DOTALL | re.MULTILINE)
    return rows[0] if rows else ""


def wait_for(condition: Any, seconds: float) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the peer did not get there")
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("quotas", nargs="*", type=int, default=sorted(GOALS))
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--no-peer", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["AIRFLOW_HOME"] = str(folder / "home")
        os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
        pictures = folder / "pictures"
        write_pictures(pictures, options.pictures)
        rates = {}
        for quota in options.quotas:
            with emulator(quota) as url:
                cpu = time.process_time()
                seconds, books = ours(url, folder / f"out-{quota}", pictures, options.pictures)
                cpu = time.process_time() - cpu
            ideal = options.pictures * SECONDS / quota
            rates[quota] = options.pictures / seconds
            goal = f" (goal: at most {GOALS[quota]})" if quota in GOALS else ""
            refused = sum(row["outcome"] == "refused" for row in books["creates"])
            print(
                f"{options.pictures:,} pictures, quota {quota}: {seconds:.1f} s = {seconds / ideal:.3f} x the ideal "
                f"{ideal:.0f} s{goal}; {rates[quota]:.1f} per second, CPU {cpu / seconds:.0%} of a core, "
                f"{refused} creates refused, requests {books['requests']}",
                flush=True,
            )
        if not options.no_peer:
            rate = peer(folder, next(pictures.iterdir()))
            for quota, ours_rate in rates.items():
                print(
                    f"quota {quota}: {ours_rate:.1f} pictures per second, http provider mapped {rate:.2f} "
                    f"({PEER_PICTURES} pictures, quota {PEER_QUOTA}); ratio {ours_rate / rate:.1f}"
                    + (f" (goal: at least {GOAL_RATIO})" if quota == 100 else "")
                )


if __name__ == "__main__":
    main()
