"""The callbacks' route, which asks for no login: forged, repeated, late, untrue and too large ones change nothing."""

from __future__ import annotations

import base64
import http.client
import io
import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from PIL import Image
from run_page_site.flood import BODY, FRAMINGS, flood
from run_page_site.server import Site

from airflow_kling.api.callback import ROUTE, Addressee, own_callback_url
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import EmulatorSettings

SECRET = "a secret of these tests alone, of enough characters"
RUN_ID = "manual__2026-11-20T10:00:00+00:00"
STORM = 10_000
WATCH = "airflow_kling.triggers.kling.KlingTaskTrigger"
SLOT = "airflow_kling.triggers.kling.KlingSlotTrigger"
#: What a request may not change.
TABLES = ("dag_run", "task_instance", "trigger", "xcom")


@pytest.fixture(scope="module")
def emulator():
    settings = EmulatorSettings(latency=10, virtual_clock=True, pictures="canned", quota=None)
    with EmulatorServer(settings) as running:
        yield running


@pytest.fixture(scope="module")
def site(emulator, tmp_path_factory):
    """An API server, and task instances that wait for tasks of the emulator, or do not."""
    remote = {name: create(emulator, prompt) for name, prompt in (("done", ""), ("busy", "[emulator:hang]"))}
    emulator.state.advance(10)
    settings = {
        "AIRFLOW__KLING__CALLBACK_SECRET": SECRET,
        "AIRFLOW_CONN_KLING_DEFAULT": emulator.connection_uri("kling"),
    }

    def deferred(task_id, kling_task_id, map_index=-1):
        watched = {"kling_task_id": kling_task_id, "family": "image-expansion", "kling_conn_id": "kling_default"}
        watched |= {"poll_interval": 3600.0, "deadline": time.time() + 7200, "called_back": True}
        return {"task_id": task_id, "state": "deferred", "trigger": (WATCH, watched), "map_index": map_index}

    slot = {"kling_conn_id": "kling_default", "until": 4e9, "since": 1.0, "deadline": 4e9, "attempts": 1}
    tasks = [
        *(deferred(name, remote["done"]) for name in ("woken", "untouched")),
        deferred("mapped", remote["done"], 1),
        deferred("busy", remote["busy"]),
        deferred("stormed", remote["busy"]),
        deferred("unknown", "no-such-task"),
        {"task_id": "slot", "state": "deferred", "trigger": (SLOT, slot)},
        {"task_id": "late", "state": "success"},
        # Airflow takes the trigger away a little later.
        deferred("stopped", remote["done"]) | {"state": "failed"},
        {"task_id": "running", "state": "running"},
    ]
    with Site(tmp_path_factory.mktemp("callbacks"), "", **settings) as running:
        running.seed({"dag_id": "ours", "run_id": RUN_ID, "tasks": tasks})
        yield running


def create(emulator, prompt):
    buffer = io.BytesIO()
    Image.new("RGB", (600, 450)).save(buffer, "PNG")
    ratios = {f"{side}_expansion_ratio": 0.5 * (side == "left") for side in ("up", "down", "left", "right")}
    answer = requests.post(
        f"{emulator.url}/v1/images/editing/expand",
        json={"image": base64.b64encode(buffer.getvalue()).decode(), "prompt": prompt, **ratios},
        headers={"Authorization": "Bearer emulator-key"},
        timeout=30,
    )
    return answer.json()["data"]["task_id"]


def rows(site):
    with sqlite3.connect(f"file:{site.home}/airflow.db?mode=ro", uri=True) as database:
        return {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}


def asked(emulator):
    """Return how often the account was asked for a task."""
    return emulator.state.ledger()["requests"]["query"]


@pytest.fixture(autouse=True)
def _nothing_changes():
    """Takes the place of the run page's, for here one test does change something."""


@pytest.fixture
def _same_rows(site):
    before = rows(site)
    yield
    assert rows(site) == before


nothing_changes = pytest.mark.usefixtures("_same_rows")


def path_of(task_id, map_index=-1, secret=SECRET):
    return own_callback_url("http://h", secret, Addressee("ours", RUN_ID, task_id, map_index)).removeprefix("http://h")


def told(word="succeed", task_id="T1"):
    return json.dumps({"task_id": task_id, "task_status": word}).encode()


def post(site, path, body=None, **headers):
    """Post as Kling would: without a login."""
    answer = requests.post(site.url + path, told() if body is None else body, headers=headers, timeout=60)
    assert answer.content == b""
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return answer.status_code


def logged(site, begun, text):
    """Return what was logged since, once the text is in it: Airflow logs a request after its answer."""
    end = time.monotonic() + 10
    while text not in (log := site.log.read_bytes()[begun:].decode()):
        assert time.monotonic() < end, log[-2000:]
        time.sleep(0.02)
    return log


def settled(emulator):
    """Wait until nobody asks for a task any more: longer than the looks at one are apart."""
    count, since = asked(emulator), time.monotonic()
    while time.monotonic() < since + 3:
        if asked(emulator) != count:
            count, since = asked(emulator), time.monotonic()
        time.sleep(0.05)
    return count


FORGED = [
    path_of("untouched")[:-1],
    path_of("untouched")[:-1] + "%00",
    path_of("untouched", secret=SECRET[::-1]),
    path_of("busy").replace("/busy/", "/untouched/"),
    path_of("mapped", 0).replace("/0/", "/1/"),
    path_of("untouched").replace("/ours/", "/theirs/"),
    path_of("untouched").rpartition("/")[0] + "/x",
]


@nothing_changes
@pytest.mark.parametrize("path", FORGED)
def test_a_forged_token(site, emulator, path):
    begun, before = site.log.stat().st_size, asked(emulator)
    assert post(site, path) == 403
    assert asked(emulator) == before
    log = logged(site, begun, "status_code=403")
    assert path.rpartition("/")[2] not in log or path.endswith("/x")


@nothing_changes
@pytest.mark.parametrize("tail", ["", "/", "/x", "/../../../dags", "/%2e%2e/%2e%2e/static/run.js", "?token=x"])
def test_other_addresses_below_the_route(site, tail):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=30)
    connection.request("POST", path_of("untouched").rpartition("/")[0] + tail, told())
    assert connection.getresponse().status in (403, 404)
    connection.request("GET", ROUTE + tail)
    assert connection.getresponse().status in (404, 405)


@nothing_changes
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_posting(site, method):
    assert requests.request(method, site.url + path_of("untouched"), timeout=30).status_code == 405


@nothing_changes
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"{}", b"[" * 99_999])
def test_a_body_that_is_no_task(site, body):
    assert post(site, path_of("untouched"), body) == 400


@nothing_changes
@pytest.mark.parametrize(
    ("task_id", "word", "looks"),
    [
        pytest.param("late", "succeed", 0, id="late"),
        pytest.param("stopped", "succeed", 0, id="stopped-by-a-user"),
        pytest.param("running", "succeed", 0, id="early"),
        pytest.param("slot", "succeed", 0, id="not-yet-submitted"),
        pytest.param("nonesuch", "succeed", 0, id="no-such-task"),
        pytest.param("untouched", "processing", 0, id="out-of-order"),
        pytest.param("busy", "succeed", 3, id="untrue"),
        pytest.param("busy", "failed", 3, id="untrue-failure"),
        pytest.param("unknown", "succeed", 3, id="unknown"),
    ],
)
def test_a_callback_that_is_not_so(site, emulator, task_id, word, looks):
    before = asked(emulator)
    assert post(site, path_of(task_id), told(word)) == 202
    assert settled(emulator) - before == looks


@nothing_changes
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(("path", "status"), [(path_of("untouched"), 413), (FORGED[0], 403), (f"{ROUTE}/x", 404)])
def test_a_body_of_50_mb(site, emulator, path, status, framing):
    members, asked_before = site.processes(), asked(emulator)
    before = sum(member.memory_info().rss for member in members)
    sent, answer = flood(site.port, f"POST {path}", framing)
    assert answer.startswith(b"HTTP/1.1 %d" % status) or not answer
    assert sent < BODY
    assert sum(member.memory_info().rss for member in members) - before < BODY // 2
    assert asked(emulator) == asked_before


def storm(site, path, count=STORM):
    """Post many times from some connections; returns how often each status came."""
    statuses, lock = [], threading.Lock()

    def send(number):
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        mine = []
        for _ in range(count // 8):
            connection.request("POST", path, told())
            answer = connection.getresponse()
            answer.read()
            mine.append(answer.status)
        with lock:
            statuses.extend(mine)

    with ThreadPoolExecutor(8) as senders:
        list(senders.map(send, range(8)))
    return {status: statuses.count(status) for status in set(statuses)}


@nothing_changes
@pytest.mark.parametrize(("path", "status"), [(FORGED[0], 403), (path_of("stormed"), 202)], ids=["forged", "replayed"])
def test_ten_thousand(site, emulator, path, status):
    storm(site, path, 400)  # what a first request loads
    settled(emulator)
    members, before, begun = site.processes(), asked(emulator), site.log.stat().st_size
    memory, started = sum(member.memory_info().rss for member in members), time.monotonic()
    assert storm(site, path) == {status: STORM}
    seconds = time.monotonic() - started
    assert sum(member.memory_info().rss for member in members) - memory < 32 << 20
    # At most one look in two seconds, and three when all is over.
    assert settled(emulator) - before <= (0 if status == 403 else seconds / 2 + 4)
    log = site.log.read_bytes()[begun:].decode()
    ours = [line for line in log.splitlines() if "Refused Kling callbacks" in line]
    assert len(ours) <= seconds / 5 + 4
    assert bool(ours) is (status == 403)
    assert path.rpartition("/")[2] not in log
    assert requests.get(f"{site.url}/api/v2/version", timeout=5).ok


def test_an_end_wakes_its_task_once(site, emulator):
    mine = (
        "select state, trigger_id, next_method, next_kwargs, scheduled_dttm from task_instance where task_id = 'woken'"
    )
    others = "select task_id, state, trigger_id from task_instance where task_id != 'woken'"

    def query(sql):
        with sqlite3.connect(f"file:{site.home}/airflow.db?mode=ro", uri=True) as database:
            return database.execute(sql).fetchall()

    before, asked_before = query(others), asked(emulator)
    with ThreadPoolExecutor(8) as senders:
        assert set(senders.map(lambda _: post(site, path_of("woken")), range(40))) == {202}
    end = time.monotonic() + 30
    while query(mine)[0][0] == "deferred":
        assert time.monotonic() < end, site.log.read_text()[-4000:]
        time.sleep(0.05)
    ((state, trigger_id, method, kwargs, _),) = woken = query(mine)
    assert (state, trigger_id, method) == ("scheduled", None, "execute_complete")
    assert '"succeeded"' in kwargs
    assert "http" not in kwargs
    # Repeated, when all is done.
    assert post(site, path_of("woken")) == 202
    assert settled(emulator) - asked_before == 1
    assert query(mine) == woken
    assert query(others) == before
