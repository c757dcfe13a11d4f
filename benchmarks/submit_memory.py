"""
Peak memory of submitting a 10 MB file, against the usual way (read, base64, ``requests.post(json=…)``).

Each way runs in a process of its own, against a server that swallows the body. Goal: at most 2.5 times the encoded
body. Also: how many bytes of the file probing it reads.

    .venv/bin/python benchmarks/submit_memory.py
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SIZE = 10 * 1024 * 1024
ANSWER = b'{"code": 0, "message": "SUCCEED", "data": {"task_id": "T1", "task_status": "submitted"}}'

OURS = """
from pathlib import Path
from airflow_kling.api.auth import ApiKey, TokenSource
from airflow_kling.api.gateways import resolve_account
from airflow_kling.api.models import ExpandRequest
from airflow_kling.hooks.client import BearerAuth, SyncClient, make_session
from airflow_kling.hooks.options import TransportOptions
from airflow_kling.media.picture import read_picture

tokens = TokenSource(ApiKey("key"))
account = resolve_account(login=None, password="key", host=url, schema=None, port=None, extra={})
client = SyncClient(account, make_session(BearerAuth(tokens, url), TransportOptions()), tokens, TransportOptions())

def call():
    client.submit(ExpandRequest(image=read_picture(Path(path), path).base64, left=0.5))
"""
PEER = """
import base64, requests

def call():
    with open(path, "rb") as file:
        image = base64.b64encode(file.read()).decode()
    body = {"image": image, "left_expansion_ratio": 0.5}
    requests.post(url, json=body, headers={"Authorization": "Bearer key"}).json()
"""
CHILD = """
import sys, tracemalloc
url, path, small = sys.argv[1:]
{way}
path, whole = small, path
call()  # what only the first call needs does not count
path = whole
tracemalloc.start()
call()
print(tracemalloc.get_traced_memory()[1])
"""


class Sink(BaseHTTPRequestHandler):
    """Reads a body in pieces and answers that it was accepted."""

    largest = 0

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        Sink.largest = max(Sink.largest, left)
        while left > 0:
            left -= len(self.rfile.read(min(left, 1 << 16)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *arguments: object) -> None:
        pass


def write_pictures(folder: Path) -> tuple[Path, Path, tuple[int, int]]:
    """Write a JPEG of just 10 MB and a small one; return them and the larger one's pixels."""
    import numpy as np
    from PIL import Image

    side = 2400
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    whole, small = folder / "whole.jpg", folder / "small.jpg"
    for quality in range(98, 20, -2):
        Image.fromarray(noise).save(whole, quality=quality)
        if whole.stat().st_size <= SIZE:
            break
    # Bytes behind the end of the picture, as phones append them, make it 10 MB to the byte.
    whole.write_bytes(whole.read_bytes().ljust(SIZE, b"\x00"))
    Image.fromarray(noise[:300, :300]).save(small)
    return whole, small, (side, side)


class Counting(io.FileIO):
    """A file that counts what is read of it."""

    read_bytes = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        Counting.read_bytes += len(data)
        return data


def main() -> None:
    from airflow_kling.media.picture import probe_picture

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    with tempfile.TemporaryDirectory() as folder:
        whole, small, pixels = write_pictures(Path(folder))
        peaks = []
        for way in (OURS, PEER):
            child = [sys.executable, "-c", CHILD.format(way=way), url, str(whole), str(small)]
            peaks.append(json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout))
        with Counting(whole) as file:
            probe = probe_picture(file, "whole.jpg")
        assert (probe.width, probe.height) == pixels
    server.shutdown()
    ours, peer = peaks
    print(
        f"submit of 10 MB: peak {ours / 1e6:.1f} MB = {ours / Sink.largest:.2f} x the body of "
        f"{Sink.largest / 1e6:.1f} MB (goal: at most 2.5), requests.post(json=) {peer / 1e6:.1f} MB = "
        f"{peer / Sink.largest:.2f} x; ratio {ours / peer:.2f}; probing read {Counting.read_bytes:,} of {SIZE:,} bytes"
    )


if __name__ == "__main__":
    main()
