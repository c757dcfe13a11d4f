"""What the demo does and shows: has the order checked, runs the DAG, or starts the whole UI."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from rich.console import Console

from airflow_kling.api.inputs import InputFault
from airflow_kling.demo.home import FOLDER, environment, free_port, ui_environment
from airflow_kling.demo.order import Order, order_of, target_of, told
from airflow_kling.demo.report import BEFORE, COMPARISON, RESULT, Report
from airflow_kling.emulator.pictures import sample_picture
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings

DAG_ID = "kling_expand_to_video"
LATENCY, POLL_INTERVAL = 2.0, 1.0
"""Seconds that a remote task takes, and between two looks at it."""
START_LIMIT = 180
#: What is worth showing of Airflow's log.
_NEWS = re.compile(r"(Kling task |Pass \d+ of |No pass is needed).*")
#: What Airflow 3 puts behind a line of its log.
_LOGGER = re.compile(r"\s+\[(airflow|task)[\w.]*\].*")

console = Console(highlight=False, soft_wrap=True)


def run(arguments: argparse.Namespace) -> int:
    """Expand and film one picture, or run the whole Airflow UI until interrupted; returns the exit code."""
    out = Path(arguments.out).resolve()
    try:
        order = _order(arguments, out)
    except InputFault as fault:
        console.print(told(fault), style="red", markup=False)
        return 2
    return _run_ui(order, out) if arguments.ui else _run_once(order, out)


def _run_once(order: Order, out: Path) -> int:
    started = time.monotonic()
    result, log = out / RESULT, FOLDER / "airflow.log"
    result.unlink(missing_ok=True)
    with EmulatorServer(EmulatorSettings(latency=LATENCY)) as emulator:
        console.print(f"Emulator of Kling's API at {emulator.url} (nothing is sent to Kling, nothing is paid)")
        console.print(f"Airflow runs the DAG {DAG_ID}; its home is {FOLDER / 'airflow'}")
        env = environment(emulator.connection_uri()) | {"KLING_POLL_INTERVAL": str(POLL_INTERVAL)}
        code = _run_dag({**order.params, "output_path": str(out)}, result, env, log)
    if code or not result.exists():
        console.print(f"[red]The DAG run failed.[/red] Airflow's log: {log}")
        return 1
    manifests = json.loads(result.read_text())
    report = Report(order, manifests["expand"], manifests["film"], out, time.monotonic() - started)
    report.write()
    console.print(report.lines(), markup=False)
    return 0


def _run_ui(order: Order, out: Path) -> int:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = FOLDER / "airflow.log"
    with EmulatorServer(EmulatorSettings(latency=LATENCY)) as emulator:
        env = environment(emulator.connection_uri()) | ui_environment(port)
        # What the example DAGs begin with, unless they are told otherwise.
        env |= {"KLING_EXAMPLE_IMAGE": str(order.image), "KLING_EXAMPLE_OUTPUT": str(out)}
        console.print(f"Emulator of Kling's API at {emulator.url}")
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", "standalone"],
                env=env,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that all its parts can be ended together
            )
            try:
                with console.status("Airflow starts (about half a minute)"):
                    ready = _wait_until_ready(address, process)
                if not ready:
                    console.print(f"[red]Airflow did not start.[/red] Its log: {log}")
                    return 1
                console.print(f"Airflow's UI: [bold]{address}[/bold]  (Ctrl-C ends it; log: {log})")
                _print_password()
                return process.wait()
            finally:
                _end_all(process)


def _order(arguments: argparse.Namespace, out: Path) -> Order:
    target = target_of(arguments)
    image = Path(arguments.image).expanduser().resolve() if arguments.image else _sample()
    order = order_of(target, image, arguments.prompt)
    if image in (out / COMPARISON, out / f"{BEFORE}{order.ending}"):
        raise InputFault("image", str(image), "another file than those that the demo writes", "choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        limit = f"a folder that can be written to ({error.strerror or error})"
        raise InputFault("--out", arguments.out, limit, "name another") from None
    return order


def _sample() -> Path:
    path = (FOLDER / "sample.png").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    sample_picture().save(path)
    return path


def _run_dag(conf: dict[str, Any], result: Path, env: dict[str, str], log: Path) -> int:
    """Run the DAG in a process of its own; Airflow's log goes to a file, our lines of it to the screen."""
    command = [sys.executable, "-m", "airflow_kling.demo.run_dag", DAG_ID, json.dumps(conf), str(result)]
    with (
        log.open("w") as file,
        console.status("Airflow starts") as status,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            found = _NEWS.search(line)
            if found and "DEBUG" not in line:
                text = _LOGGER.sub("", found[0]).strip()
                console.print(f"  {text}", style="dim", markup=False)
                status.update(text)
    return process.returncode


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        for path in ("/api/v2/monitor/health", "/health"):
            try:
                with urllib.request.urlopen(address + path, timeout=2) as response:  # noqa: S310
                    if response.status == 200:
                        return True
            except OSError:
                continue
        time.sleep(0.5)
    return False


def _end_all(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)


def _print_password() -> None:
    """Airflow 2 makes a user of its own for standalone."""
    password = FOLDER / "airflow" / "standalone_admin_password.txt"
    if password.exists():
        console.print(f"Log in as admin, password {password.read_text().strip()}")
