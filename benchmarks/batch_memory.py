"""
Peak memory of a worker that makes a batch of 10,000 pictures of 5 MB, downloads included.

A server in a process of its own reads every body, calls each task done at once and gives 5 MB for its result, which
the batch stores. Pictures are links to one file with another tail each, so that the disk holds one; results are
removed as they come. The peer holds every picture (``base64`` of all, then ``requests.post``), measured for a few and
counted up. Goal: at most 300 MB peak, and flat: the second half takes no more than the first.

    .venv/bin/python benchmarks/batch_memory.py [pictures]
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

PICTURES = 10_000
SIZE = 5 * 1024 * 1024
GOAL = 300

SERVER = """
import asyncio, json, sys
from aiohttp import web

SIZE = int(sys.argv[1])
HEAD = bytes.fromhex("89504e470d0a1a0a") + bytes(24)
RESULT = HEAD + bytes(SIZE - len(HEAD))
tasks = 0

def told(task_id, base, word="succeed"):
    url = f"{base}/file/{task_id}"
    images = {"images": [{"index": 0, "url": url}]} if word == "succeed" else {}
    return {"task_id": task_id, "task_status": word, "task_result": images, "final_unit_deduction": "8"}

def answer(data):
    return web.json_response({"code": 0, "message": "SUCCEED", "request_id": "r", "data": data})

def base(request):
    return f"http://{request.host}"

async def create(request):
    global tasks
    async for _ in request.content.iter_chunked(1 << 16):
        pass
    tasks += 1
    return answer(told(str(tasks), base(request), "submitted"))

async def query(request):
    return answer(told(request.match_info["id"], base(request)))

async def rows(request):
    size = int(request.query["pageSize"])
    return answer([told(str(number), base(request)) for number in range(tasks, max(0, tasks - size), -1)])

async def file(request):
    return web.Response(body=RESULT)

async def main():
    application = web.Application()
    application.router.add_post("/v1/images/editing/expand", create)
    application.router.add_get("/v1/images/editing/expand", rows)
    application.router.add_get("/v1/images/editing/expand/{id}", query)
    application.router.add_get("/file/{id}", file)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Instance:
    """As much of a task instance as an operator asks for."""

    dag_id, run_id, task_id, map_index, try_number, max_tries = "bench", "run", "batch", -1, 1, 0

    def __init__(self, task: Any) -> None:
        self.task = task

    def xcom_push(self, key: str, value: Any) -> None:
        pass


def write_picture(path: Path) -> None:
    """Write a JPEG of 5 MB."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    path.write_bytes(path.read_bytes()[:SIZE].ljust(SIZE, b"\x00"))


def peak() -> float:
    """Return the most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def now() -> float:
    """Return the memory that this process has, in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Folder:
    """Gives pictures that differ in their last bytes, read from one file."""

    def __init__(self, path: Path) -> None:
        self.content = path

    def open(self, name: str) -> Any:
        """Open one of them."""
        import io

        class Tailed(io.FileIO):
            """A file whose last bytes are its name."""

            def readinto(self, buffer: Any) -> int:
                start = self.tell()
                count = super().readinto(buffer) or 0
                tail = name.encode().rjust(16, b"0")
                for index in range(max(0, SIZE - 16 - start), count):
                    buffer[index] = tail[start + index - (SIZE - 16)]
                return count

        return io.BufferedReader(Tailed(str(self.content)))


def remove_results(folder: Path, over: threading.Event) -> None:
    """Remove what is stored, so that it fits on any disk."""
    while not over.wait(0.5):
        for path in folder.glob("*.png"):
            if time.time() - path.stat().st_mtime > 2:
                path.unlink(missing_ok=True)


def run(url: str, folder: Path, count: int) -> None:
    """Make the batch, and print the peak in its middle and at its end."""
    from airflow_kling.hooks import storage
    from airflow_kling.operators import batch_run
    from airflow_kling.operators.kling import KlingExpandBatchOperator

    extra = {"gateway": "kling", "allow_private_hosts": True}
    connection = {"conn_type": "kling", "host": url, "password": "key", "extra": extra}
    os.environ["AIRFLOW_CONN_KLING_DEFAULT"] = json.dumps(connection)
    source, real = Folder(folder / "picture.jpg"), storage.storage_path

    def storage_path(name: str) -> Any:
        if not name.startswith("/bench/"):
            return real(name)

        class Path5:
            """A picture of the folder."""

            def open(self, mode: str) -> Any:
                return source.open(name)

        return Path5()

    for module in (batch_run, sys.modules["airflow_kling.operators.work"]):
        module.storage_path = storage_path  # type: ignore[attr-defined]
    rows = [f"/bench/{number:08}.jpg" for number in range(count)]
    out = folder / "out"
    operator = KlingExpandBatchOperator(
        task_id="batch", images=rows, left=0.5, output_path=str(out), deferrable=False, poll_interval=1
    )
    before = now()
    halfway, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            running = operator._running
            if running is not None and running.results.done < count / 2:
                halfway[0] = peak()

    for target in (watch, lambda: remove_results(out, over)):
        threading.Thread(target=target, daemon=True).start()
    made = operator.execute({"ti": Instance(operator)})
    over.set()
    assert made["counts"]["succeeded"] == count, made
    print(json.dumps({"before": before, "half": halfway[0], "peak": peak()}))


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
        return
    count = int(sys.argv[1]) if sys.argv[1:] else PICTURES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_picture(folder / "picture.jpg")
        environment = os.environ | {"AIRFLOW_HOME": str(folder / "home"), "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
        server = subprocess.Popen([sys.executable, "-c", SERVER, str(SIZE)], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            started = time.monotonic()
            command = [sys.executable, __file__, "run", url, str(folder), str(count)]
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            server.terminate()
            server.wait(10)
    made = json.loads(done.stdout.splitlines()[-1])
    held = count * SIZE * 4 / 3 / 1e6
    print(
        f"{count:,} pictures of 5 MB: peak {made['peak']:.0f} MB (goal: at most {GOAL}), {made['half']:.0f} at half, "
        f"{made['before']:.0f} before the first; in {time.monotonic() - started:.0f} s. Holding all of them as base64, "
        f"as a list of requests does: {held:,.0f} MB; ratio {made['peak'] / held:.4f}"
    )


if __name__ == "__main__":
    main()
