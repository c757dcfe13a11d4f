"""
What a new user does on the first day, with the wheel, in a clean environment and an empty folder.

``python first_day.py README.md`` writes the README's DAG down word for word, starts the emulator, and runs the DAG with
``airflow standalone``. ``KLING_S3`` is a command that serves S3 at the port after it, for a DAG with a bucket.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree import ElementTree

LIMIT = 300
LINES = 15
BIN = Path(sys.executable).parent
HERE = Path.cwd()
#: All is on loopback, whatever proxy is set.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
ASK = """
import importlib.metadata, json, sys
import airflow_kling
found = {}
exec(compile(open(sys.argv[1]).read(), sys.argv[1], "exec"), found)
dag = next(each.dag for each in found.values() if hasattr(each, "task_id"))
tasks = {task.task_id: [getattr(task, name) for name in ("task_type", "image", "output_path")] for task in dag.tasks}
told = {"dag_id": dag.dag_id, "tasks": tasks, "package": airflow_kling.__file__}
print(json.dumps(told | {"version": importlib.metadata.version("airflow-provider-kling")}, default=str))
"""


def step(text):
    print(f"== {time.strftime('%X')} {text}", flush=True)


def dag_of(readme):
    """Return the README's DAG, word for word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    (dag,) = (block for block in blocks if "with DAG(" in block and "ImageToVideo" in block)
    lines = dag.count("\n")
    assert lines <= LINES, f"the README's DAG has {lines} lines, more than {LINES}"
    return dag


def plain_environment():
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW_", "KLING_", "PYTHON"))}
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None), kept.pop(name.upper(), None)
    address = f"http://127.0.0.1:{(port := free_port())}"
    return kept | {
        "PATH": os.pathsep.join([str(BIN), kept.get("PATH", os.defpath)]),
        "AIRFLOW_HOME": str(HERE / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Only so that several of these can run at once on one machine.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{HERE / 'airflow' / 'airflow.db'}?timeout=60",
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(port),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run(environment, *command):
    done = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def tail(log):
    return f"-- {log.relative_to(HERE)}\n{log.read_text(errors='replace')[-4000:]}"


@contextmanager
def started(environment, name, *command):
    """Run a command beside the rest; gives the file that it prints to, and ends it with all its children."""
    log = HERE / f"{name}.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, env=environment, cwd=HERE, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield log
    except BaseException:
        print(tail(log), flush=True)
        raise
    finally:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)


def wait(what, ready):
    end = time.monotonic() + LIMIT
    while not (found := ready()):
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        time.sleep(0.5)
    return found


class Place:
    """Where pictures are and results go: a folder below this one, or a bucket on loopback."""

    def __init__(self, s3=""):
        self.s3 = s3

    def put(self, uri, content):
        if self.s3:
            key = urlsplit(uri)
            for path, body in ((f"/{key.hostname}", b""), (f"/{key.hostname}{key.path}", content)):
                self._ask("PUT", path, body)
        else:
            (HERE / uri).parent.mkdir(parents=True, exist_ok=True)
            (HERE / uri).write_bytes(content)

    def files(self, uri):
        """Return what lies below a place, by suffix."""
        if not self.s3:
            found = {str(path): path.read_bytes() for path in (HERE / uri).glob("*.*") if path.is_file()}
        else:
            place = urlsplit(uri)
            listed = self._ask("GET", f"/{place.hostname}?list-type=2&prefix={place.path.lstrip('/')}")
            keys = [item.text for item in ElementTree.fromstring(listed).iter() if item.tag.endswith("}Key")]
            found = {key: self._ask("GET", f"/{place.hostname}/{key}") for key in keys}
        return {Path(name).suffix: content for name, content in found.items()}

    def _ask(self, method, path, body=None):
        # The server asks who it is, and believes it.
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
        headers["Content-Type"] = "application/octet-stream"
        asked = urllib.request.Request(self.s3 + path, body, headers, method=method)
        with DIRECT.open(asked, timeout=30) as answer:
            return answer.read()


def photograph():
    """A portrait picture, as a phone makes them."""
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.radial_gradient("L").resize((600, 800)).convert("RGB").save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def state_of(dag_id):
    database = f"file:{HERE / 'airflow' / 'airflow.db'}?mode=ro"
    with suppress(sqlite3.OperationalError), sqlite3.connect(database, uri=True, timeout=10) as connection:
        known = connection.execute("select count(*) from dag where dag_id = ?", [dag_id]).fetchone()[0]
        states = connection.execute("select state from dag_run where dag_id = ?", [dag_id]).fetchall()
        return [state for (state,) in states] if known else None
    return None


def check_results(place, tasks):
    import io

    import av
    from PIL import Image

    (wide,) = (uri for kind, _, uri in tasks if kind == "KlingExpandImageOperator")
    (clips,) = (uri for kind, _, uri in tasks if kind == "KlingImageToVideoOperator")
    with Image.open(io.BytesIO(place.files(wide)[".png"])) as picture:
        assert abs(picture.width * 9 - picture.height * 16) <= 16, f"{picture.size} is not 16:9"
        told = f"picture of {picture.width} x {picture.height} px"
    with av.open(io.BytesIO(place.files(clips)[".mp4"])) as clip:
        frames = sum(1 for _ in clip.decode(video=0))
    assert frames > 100, f"a clip of {frames} frames"
    step(f"{told}, clip of {frames} frames")


def main(readme):
    assert not any(HERE.iterdir()), f"{HERE} is not empty"
    dag_file = HERE / "dags" / "first.py"
    dag_file.parent.mkdir()
    dag_file.write_text(dag_of(Path(readme).read_text()))
    environment = plain_environment()
    with ExitStack() as stack:
        step("airflow-kling emulator")
        emulator = started(environment, "emulator", str(BIN / "airflow-kling"), "emulator", "--port", "0")
        printed = stack.enter_context(emulator)
        line = re.compile(r"export (AIRFLOW_CONN_KLING_DEFAULT=.*)\n")
        (exported,) = shlex.split(wait("the emulator", lambda: line.search(printed.read_text()))[1])
        name, _, connection = exported.partition("=")
        environment[name] = connection

        told = json.loads(run(environment, sys.executable, "-c", ASK, str(dag_file)).splitlines()[-1])
        assert Path(told["package"]).is_relative_to(sys.prefix), told["package"]
        dag_id, tasks = told["dag_id"], list(told["tasks"].values())
        step(f"{told['package']} {told['version']}: {dag_id} {tasks}")
        source = next(image for kind, image, _ in tasks if kind == "KlingExpandImageOperator")
        place = Place()
        if source.startswith("s3://"):
            place = Place(f"http://127.0.0.1:{(port := free_port())}")
            stack.enter_context(started(environment, "s3", *shlex.split(os.environ["KLING_S3"]), str(port)))
            wait("S3", lambda: listens(port))
            fields = {"conn_type": "aws", "login": "key", "password": "secret"}
            fields["extra"] = {"endpoint_url": place.s3, "region_name": "us-east-1"}
            conn_id = urlsplit(source).username
            environment[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
            source = source.replace(f"{conn_id}@", "")
        place.put(source, photograph())

        step("airflow db migrate")
        run(environment, str(BIN / "airflow"), "db", "migrate")
        providers = run(environment, str(BIN / "airflow"), "providers", "list", "--output", "json")
        # Airflow 3.0 logs before it answers.
        listed = json.loads(providers[providers.index("[{") :])
        (ours,) = (row for row in listed if "kling" in row["package_name"])
        assert ours["version"] == told["version"], ours

        step("airflow standalone")
        stack.enter_context(started(environment, "standalone", str(BIN / "airflow"), "standalone"))
        wait("the DAG is read", lambda: state_of(dag_id) is not None)
        # Airflow 3's tasks need it: one that starts before it does costs a try.
        wait("the API server", lambda: listens(int(environment["AIRFLOW__API__PORT"])))
        run(environment, str(BIN / "airflow"), "dags", "trigger", dag_id)
        step("the run has begun")
        (state,) = wait("the run ends", lambda: {"success", "failed"} & set(state_of(dag_id) or ()))
        logs = sorted((HERE / "airflow" / "logs").rglob(f"dag_id={dag_id}/**/*.log"))
        assert state == "success", "\n".join(map(tail, logs))
        check_results(place, tasks)

        step("airflow-kling doctor")
        print(run(environment, str(BIN / "airflow-kling"), "doctor"))


if __name__ == "__main__":
    main(*sys.argv[1:])
