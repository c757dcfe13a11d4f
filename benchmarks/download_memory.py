"""
Memory and speed of storing a clip of 200 MB, in a folder and on S3, against a bare streamed copy.

The peer is ``requests`` in pieces of a megabyte into ``open().write`` of the same storage: no checksum, no type check,
no partial file. Every download runs in a process of its own, ours and the peer's by turns; the server of the clip and
S3 (moto) are processes of their own, too. Loopback is as fast as memory, and SHA-256 hardly faster: the third line is
over a link of 2 Gbit/s. Goals: peak at most 32 MB over idle, at least 0.9 times the peer's speed.

    .venv/bin/python benchmarks/download_memory.py
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

MEGABYTES = 200
REPETITIONS = 5
LINK = 250
PIECE = b"\x00\x00\x00\x18ftypmp42".ljust(1 << 20, b"\x5a")
BUCKET = "clips"


class Clip(BaseHTTPRequestHandler):
    """Sends as many megabytes as the path says, and as many a second, 0 for all at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        rate, pieces = (int(part) for part in self.path.strip("/").split("/"))
        self.send_response(200)
        self.send_header("Content-Length", str(pieces * len(PIECE)))
        self.end_headers()
        started = time.monotonic()
        for sent in range(pieces):
            if rate:
                time.sleep(max(0.0, started + sent / rate - time.monotonic()))
            self.wfile.write(PIECE)

    def log_message(self, *arguments: object) -> None:
        pass


def serve_clip(ready: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Clip)
    ready.send(server.server_port)
    server.serve_forever()


def serve_s3(ready: Connection) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    port = server.get_host_and_port()[1]
    keys = {"aws_access_key_id": "benchmark", "aws_secret_access_key": "benchmark", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **keys).create_bucket(Bucket=BUCKET)
    ready.send(port)
    while True:
        time.sleep(60)


def in_process(serve: Callable[[Connection], None]) -> tuple[Process, int]:
    ours, theirs = Pipe()
    process = Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    return process, ours.recv()


def memory(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1]) / 1000


def download(way: str, place: str, url: str) -> None:
    """Store a small clip, for what only the first one needs does not count, then the large one; print what it took."""
    import requests

    from airflow_kling.api.families import OutputKind
    from airflow_kling.api.models import Output, Task, TaskStatus
    from airflow_kling.hooks.options import TransportOptions
    from airflow_kling.hooks.storage import fetcher, storage_path
    from airflow_kling.lifecycle.collect import collect

    def ours(megabytes: int) -> None:
        output = Output(0, OutputKind.VIDEO, f"{url}/{megabytes}")
        task = Task("video", "clip", status=TaskStatus.SUCCEEDED, outputs=(output,))
        fetch = fetcher(TransportOptions(), allow_private_hosts=True)
        (stored,) = collect(task, storage_path(place), fetch, name="ours").values()
        assert stored.size_bytes == megabytes << 20

    def peer(megabytes: int) -> None:
        target = f"{place}/peer.mp4"
        with (
            requests.get(f"{url}/{megabytes}", stream=True, timeout=60) as response,
            open(target, "wb") if target.startswith("/") else storage_path(target).open("wb") as file,
        ):
            for piece in response.iter_content(1 << 20):
                file.write(piece)

    store = {"ours": ours, "peer": peer}[way]
    store(1)
    idle = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    started = time.perf_counter()
    store(MEGABYTES)
    took = time.perf_counter() - started
    print(json.dumps({"seconds": took, "peak": memory("VmHWM") - idle}))


def measure(place: str, url: str) -> str:
    results: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for repetition in range(REPETITIONS):
        for way in ("ours", "peer") if repetition % 2 else ("peer", "ours"):
            child = [sys.executable, __file__, way, place, url]
            done = subprocess.run(child, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            results[way].append(json.loads(done.stdout.splitlines()[-1]))
    seconds = {way: statistics.median(row["seconds"] for row in rows) for way, rows in results.items()}
    peaks = {way: max(row["peak"] for row in rows) for way, rows in results.items()}
    return (
        f"peak {peaks['ours']:.1f} MB over idle (goal: at most 32), peer {peaks['peer']:.1f} MB; "
        f"{MEGABYTES / seconds['ours']:.0f} MB/s, peer {MEGABYTES / seconds['peer']:.0f} MB/s, "
        f"ratio {seconds['peer'] / seconds['ours']:.2f} (goal: at least 0.9)"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        clip, port = in_process(serve_clip)
        s3, s3_port = in_process(serve_s3)
        extra = {"endpoint_url": f"http://127.0.0.1:{s3_port}", "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "benchmark", "password": "benchmark", "extra": extra}
        os.environ["AIRFLOW_CONN_AWS_LOOPBACK"] = json.dumps(connection)
        s3_place = f"s3://aws_loopback@{BUCKET}/out"
        for name, place, rate in (
            ("a folder", home, 0),
            ("S3", s3_place, 0),
            (f"a folder over a link of {LINK} MB/s", home, LINK),
        ):
            print(f"{MEGABYTES} MB to {name}: {measure(place, f'http://127.0.0.1:{port}/{rate}')}", flush=True)
        for process in (clip, s3):
            process.terminate()


if __name__ == "__main__":
    if sys.argv[1:]:
        download(*sys.argv[1:])
    else:
        main()
