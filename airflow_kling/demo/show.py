"""What the demo does and shows: checks the picture, runs the DAG, prints what was sent and what came back."""

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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from PIL import Image, ImageOps
from rich.console import Console

from airflow_kling.api.checks import check_area, check_n, check_prompt, check_ratio
from airflow_kling.api.inputs import InputFault
from airflow_kling.demo.home import FOLDER, environment, free_port, ui_environment
from airflow_kling.emulator.pictures import before_after, encode_png, expanded_size, sample_picture
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings
from airflow_kling.media.picture import read_picture

SIDES = ("up", "down", "left", "right")
#: From the sample's 4:5 to 16:9.
DEFAULT_RATIOS = {"up": 0.0, "down": 0.0, "left": 0.61, "right": 0.61}
DAG_ID, TASK_ID = "kling_expand_image", "expand"
RESULT, COMPARISON = "result.json", "before-after.png"
LATENCY = 3.0
START_LIMIT = 180
#: What Airflow 3 puts behind a line of its log.
_LOGGER = re.compile(r"\s+\[(airflow|task)[\w.]*\].*")

console = Console(highlight=False, soft_wrap=True)


def run_once(arguments: argparse.Namespace) -> int:
    """
    Expand one picture; returns the exit code.

    :param arguments: What the command line said.
    """
    out = Path(arguments.out).resolve()
    try:
        ratios = _ratios(arguments)
        check_n(arguments.n)
        check_prompt(arguments.prompt)
        image = _image(arguments.image)
    except InputFault as fault:
        console.print(f"[red]{fault}[/red]")
        return 2
    out.mkdir(parents=True, exist_ok=True)
    conf = {"image": str(image), "prompt": arguments.prompt, "n": arguments.n, "output_path": str(out), **ratios}
    started = time.monotonic()
    with EmulatorServer(EmulatorSettings(latency=LATENCY)) as emulator:
        console.print(f"Emulator of Kling's API at {emulator.url} (nothing is sent to Kling, nothing is paid)")
        console.print(f"Airflow runs the DAG {DAG_ID}; its home is {FOLDER / 'airflow'}")
        result = out / RESULT
        result.unlink(missing_ok=True)
        log = FOLDER / "airflow.log"
        code = _run_dag(conf, result, environment(emulator.connection_uri()), log)
    if code or not result.exists():
        console.print(f"[red]The DAG run failed.[/red] Airflow's log: {log}")
        return 1
    manifest = json.loads(result.read_text())
    _write_comparison(image, manifest, ratios, out / COMPARISON)
    report = _report(image, ratios, arguments.n, manifest, out, time.monotonic() - started)
    console.print(report, markup=False)
    return 0


def run_ui(arguments: argparse.Namespace) -> int:
    """
    Run the whole Airflow UI until interrupted; returns the exit code.

    :param arguments: What the command line said.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = FOLDER / "airflow.log"
    with EmulatorServer(EmulatorSettings(latency=LATENCY)) as emulator:
        env = environment(emulator.connection_uri()) | ui_environment(port)
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


def _ratios(arguments: argparse.Namespace) -> dict[str, float]:
    given = {side: getattr(arguments, side) for side in SIDES}
    if all(ratio is None for ratio in given.values()):
        return DEFAULT_RATIOS
    ratios = {side: check_ratio(side, ratio or 0.0) for side, ratio in given.items()}
    check_area(**ratios)
    return ratios


def _image(name: str | None) -> Path:
    """Return the user's picture, once it is known to be one that Kling accepts, or a sample."""
    if name:
        path = Path(name).expanduser().resolve()
        read_picture(path, name)  # type: ignore[arg-type]  # pathlib's open is one of many shapes
        return path
    path = (FOLDER / "sample.png").resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    sample_picture().save(path)
    return path


def _run_dag(conf: dict[str, Any], result: Path, env: dict[str, str], log: Path) -> int:
    """Run the DAG in a process of its own; Airflow's log goes to a file, our lines of it to the screen."""
    command = [sys.executable, "-m", "airflow_kling.demo.run_dag", DAG_ID, TASK_ID, json.dumps(conf), str(result)]
    with (
        log.open("w") as file,
        console.status("Airflow starts") as status,
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            file.write(line)
            at = line.find("Kling task ")
            if at >= 0 and "DEBUG" not in line:
                text = _LOGGER.sub("", line[at:]).strip()
                console.print(f"  {text}", style="dim", markup=False)
                status.update(text)
    return process.returncode


def _write_comparison(image: Path, manifest: dict[str, Any], ratios: dict[str, float], target: Path) -> None:
    with Image.open(image) as opened:
        before = ImageOps.exif_transpose(opened).convert("RGB")
    with Image.open(_path(manifest["outputs"][0]["uri"])) as after:
        _, _, x, y = expanded_size(before.width, before.height, *(ratios[side] for side in SIDES))
        target.write_bytes(encode_png(before_after(before, after.convert("RGB"), x, y)))


def _path(uri: str) -> Path:
    return Path(url2pathname(urlsplit(uri).path))


def _report(image: Path, ratios: dict[str, float], n: int, manifest: dict[str, Any], out: Path, seconds: float) -> str:
    with Image.open(image) as opened:
        width, height = ImageOps.exif_transpose(opened).size
    rows = [
        ("sent", f"{image.name}, {width}x{height} px, {n} wanted"),
        ("", ", ".join(f"{side} {ratio:g}" for side, ratio in ratios.items())),
        ("came back", f"task {manifest['task_id']}, {manifest['status']}, {manifest['units']:g} units"),
    ]
    for output in manifest["outputs"]:
        pixels = f"{output['width']}x{output['height']} px, {output['size_bytes'] / 1e6:.1f} MB"
        rows.append(("picture", f"{_shown(_path(output['uri']))} ({pixels})"))
    rows += [("comparison", _shown(out / COMPARISON)), ("manifest", _shown(out / RESULT))]
    lines = [f"  {name:<12}{text}" for name, text in rows]
    return "\n".join([f"Done in {seconds:.0f} s", *lines])


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _wait_until_ready(address: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        for path in ("/api/v2/monitor/health", "/health"):
            try:
                with urllib.request.urlopen(address + path, timeout=2) as response:  # noqa: S310
                    if response.status == 200:
                        return True
            except (OSError, urllib.error.URLError):
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
