"""The emulator over real sockets: both dialects, results, control, and faults as a client meets them."""

from __future__ import annotations

import base64
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from PIL import Image

from airflow_kling import __version__
from airflow_kling.api.auth import KeyPair, sign_token
from airflow_kling.api.envelope import Answer, parse_task, parse_tasks
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.api.gateways import resolve_account
from airflow_kling.api.models import TaskStatus
from airflow_kling.emulator.faults import FAULTS, Place
from airflow_kling.emulator.server import EmulatorServer
from airflow_kling.emulator.settings import DAY, EmulatorSettings
from airflow_kling.emulator.testing import kling_emulator, kling_emulator_factory  # noqa: F401

FAMILY = FAMILIES["image-expansion"]
KLING, GATEWAY = "/v1/images/editing/expand", "/kling/v1/images/editing/expand"
KEY = {"Authorization": "Bearer emulator-key"}
BOTH = pytest.mark.parametrize("path", [KLING, GATEWAY])


def picture(width=320, height=300, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, kind, **options)
    return buffer.getvalue()


PICTURE = base64.b64encode(picture()).decode()


class Client:
    """Speaks to one emulator, as one account, in one dialect."""

    def __init__(self, server, path=KLING, headers=KEY):
        self.server, self.state, self.path, self.headers = server, server.state, path, headers
        self.session = requests.Session()
        self.session.trust_env = False

    def post(self, timeout=10, **changes):
        ratios = {f"{side}_expansion_ratio": 0.1 for side in ("up", "down", "left", "right")}
        body = {"image": PICTURE} | ratios | changes
        return self.session.post(self.server.url + self.path, json=body, headers=self.headers, timeout=timeout)

    def create(self, **changes):
        answer = self.post(**changes)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["task_id"]

    def get(self, ident="", **params):
        address = f"{self.server.url}{self.path}/{ident}".rstrip("/")
        return self.session.get(address, params=params, headers=self.headers, timeout=10)

    def finish(self, task_id, latency=4):
        self.server.wait_for_pictures(30)
        self.state.advance(latency)
        return self.task(task_id)

    def task(self, ident):
        return parse_task(FAMILY, as_answer(self.get(ident)))

    def control(self, method, name, body=None):
        return self.session.request(method, f"{self.server.url}/_emulator/{name}", json=body, timeout=10)

    def ledger(self):
        return self.control("GET", "ledger").json()


def as_answer(response):
    return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.content)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)
    return result


def fault_of(response):
    with pytest.raises(ApiFault) as caught:
        parse_task(FAMILY, as_answer(response))
    return caught.value.info


@pytest.fixture(scope="module")
def shared_server():
    settings = EmulatorSettings(virtual_clock=True, latency=4, engine="reflect", stall_seconds=0.5)
    with EmulatorServer(settings) as server:
        yield server


@pytest.fixture
def client(shared_server):
    shared_server.wait_for_pictures()
    shared_server.state.reset()
    return Client(shared_server)


@pytest.fixture
def client_of(client, shared_server):
    return lambda path, headers=KEY: Client(shared_server, path, headers)


@contextmanager
def client_with(path=KLING, **settings):
    options = {"virtual_clock": True, "latency": 4, "pictures": "canned"} | settings
    with EmulatorServer(EmulatorSettings(**options)) as server:
        yield Client(server, path)


class TestTasks:
    @BOTH
    def test_from_create_to_download(self, client_of, path):
        client = client_of(path)
        created = client.post(n=2, external_task_id="shop-42")
        assert created.headers["X-Kling-Emulator"] == __version__
        task = parse_task(FAMILY, as_answer(created))
        assert (task.status, task.external_task_id) == (TaskStatus.SUBMITTED, "shop-42")
        assert client.task("shop-42").task_id == task.task_id
        done = client.finish(task.task_id)
        assert (done.status, done.units, len(done.outputs)) == (TaskStatus.SUCCEEDED, 16.0, 2)
        pictures = [requests.get(output.url, timeout=10).content for output in done.outputs]
        for content in pictures:
            with Image.open(io.BytesIO(content)) as image:
                assert image.size == (384, 360)
        assert [row["task_id"] for row in client.get().json()["data"]] == [task.task_id]

    def test_a_real_picture_keeps_its_middle_and_its_variants_differ(self, client):
        drawn = Image.effect_noise((320, 300), 80).convert("RGB")
        buffer = io.BytesIO()
        drawn.save(buffer, "PNG")
        text = base64.b64encode(buffer.getvalue()).decode()
        done = client.finish(client.create(image=text, n=2))
        first, second = (Image.open(io.BytesIO(requests.get(o.url, timeout=10).content)) for o in done.outputs)
        assert first.crop((32, 30, 352, 330)).tobytes() == drawn.tobytes()
        assert first.size == second.size

    def test_pictures_are_turned_as_exif_says(self, client):
        exif = Image.Exif()
        exif[0x0112] = 6
        text = base64.b64encode(picture(320, 400, "JPEG", exif=exif)).decode()
        url = client.finish(client.create(image=text)).outputs[0].url
        with Image.open(io.BytesIO(requests.get(url, timeout=10).content)) as image:
            assert image.size == (480, 384)

    def test_a_watermark_makes_a_twin(self, client):
        done = client.finish(client.create(watermark_info={"enabled": True}))
        plain, marked = (
            requests.get(url, timeout=10).content for url in (done.outputs[0].url, done.outputs[0].watermark_url)
        )
        assert plain != marked
        with Image.open(io.BytesIO(marked)) as image:
            assert image.size == (384, 360)

    def test_a_picture_that_cannot_be_read_fails_the_task(self, client):
        noise = io.BytesIO()
        Image.effect_noise((320, 300), 80).save(noise, "PNG")
        broken = base64.b64encode(noise.getvalue()[:2000]).decode()
        task = client.finish(client.create(image=broken))
        assert task.status is TaskStatus.FAILED
        assert "could not make" in task.message

    def test_words_of_the_status(self, client):
        task_id = client.create()
        seen = [client.task(task_id).status_word]
        client.state.advance(2)
        seen.append(client.task(task_id).status_word)
        assert seen == ["submitted", "processing"]
        assert client.finish(task_id).status_word == "succeed"

    def test_duplicates_are_refused(self, client):
        client.create(external_task_id="shop-42")
        info = fault_of(client.post(external_task_id="shop-42"))
        assert (info.http_status, info.code, info.kind) == (400, 1201, FaultKind.DUPLICATE)
        ledger = client.ledger()
        assert [row["outcome"] for row in ledger["creates"]] == ["accepted", "refused"]
        assert ledger["accepted_tasks"] == 1

    def test_the_concurrency_limit_counts_n(self, client):
        first = client.create(n=7)
        info = fault_of(client.post(n=3, external_task_id="late"))
        assert (info.http_status, info.code, info.kind) == (429, 1303, FaultKind.CONCURRENCY)
        client.create(n=2)
        client.finish(first)
        client.create(n=9)
        ledger = client.ledger()
        assert (ledger["max_slots_in_use"], ledger["creates"][1]["units"]) == (9, 0.0)

    @pytest.mark.parametrize(("path", "code"), [(KLING, 1201), (GATEWAY, "task_not_exist")])
    def test_unknown_ids(self, client_of, path, code):
        info = fault_of(client_of(path).get("nope"))
        assert (info.http_status, info.code, info.kind) == (400, code, FaultKind.NOT_FOUND)

    @BOTH
    def test_invalid_requests_name_the_field(self, client_of, path):
        client = client_of(path)
        info = fault_of(client.post(up_expansion_ratio=2.5))
        assert (info.http_status, info.code, info.kind) == (400, 1201, FaultKind.INPUT)
        assert "up_expansion_ratio" in info.message
        row = client.ledger()["creates"][0]
        assert (row["outcome"], row["code"], row["task_id"]) == ("refused", 1201, None)

    def test_a_body_that_is_too_large(self, client):
        assert fault_of(client.post(image="A" * (25 * 1024 * 1024))).http_status == 413
        assert client.create()


class TestList:
    @BOTH
    def test_pages_are_newest_first(self, client_of, path):
        client = client_of(path)
        ids = [client.create() for _ in range(3)]
        page = [task.task_id for task in parse_tasks(FAMILY, as_answer(client.get(pageNum=1, pageSize=2)))]
        rest = [task.task_id for task in parse_tasks(FAMILY, as_answer(client.get(pageNum=2, pageSize=2)))]
        assert (page, rest) == ([ids[2], ids[1]], [ids[0]])
        assert client.get(pageNum=3, pageSize=2).json()["data"] == []

    @pytest.mark.parametrize(
        "params", [{"pageNum": 0}, {"pageNum": 1001}, {"pageSize": 501}, {"pageSize": 0}, {"pageSize": "many"}]
    )
    def test_pages_out_of_range(self, client, params):
        info = fault_of(client.get(**params))
        assert (info.code, info.http_status) == (1201, 400)
        assert next(iter(params)) in info.message


class TestAccess:
    @pytest.mark.parametrize(
        ("path", "header", "code"),
        [
            (KLING, {}, 1001),
            (KLING, {"Authorization": "Bearer wrong"}, 1002),
            (GATEWAY, {}, None),
            (GATEWAY, {"Authorization": "Bearer wrong"}, None),
        ],
    )
    def test_wrong_keys(self, client_of, path, header, code):
        client = client_of(path, header)
        for answer in (client.post(), client.get("any"), client.get()):
            info = fault_of(answer)
            assert (info.http_status, info.code, info.kind) == (401, code, FaultKind.AUTH)
        assert client.ledger()["creates"][0]["outcome"] == "refused"

    @pytest.mark.parametrize(("offset", "code"), [(-10_000, 1004), (10_000, 1003)])
    def test_signed_tokens(self, client_of, shared_server, offset, code):
        account = _account(shared_server.connection_uri("kling", key_pair=True))
        assert isinstance(account.credentials, KeyPair)
        token = sign_token(account.credentials, time.time())
        task_id = client_of(KLING, {"Authorization": f"Bearer {token}"}).create()
        assert client_of(KLING).task(task_id).task_id == task_id
        skewed = sign_token(account.credentials, time.time() + offset)
        assert fault_of(client_of(KLING, {"Authorization": f"Bearer {skewed}"}).post()).code == code
        assert fault_of(client_of(GATEWAY, {"Authorization": f"Bearer {token}"}).post()).http_status == 401

    @pytest.mark.parametrize(("gateway", "path"), [("cometapi", GATEWAY), ("kling", KLING)])
    def test_the_connection_leads_here(self, shared_server, gateway, path):
        account = _account(shared_server.connection_uri(gateway))
        assert account.url(FAMILY.route) == shared_server.url + path
        assert account.allow_private_hosts

    def test_no_key_pair_for_a_gateway(self, shared_server):
        with pytest.raises(ValueError, match="only kling"):
            shared_server.connection_uri("cometapi", key_pair=True)


def _account(uri):
    fields = json.loads(uri)
    names = ("login", "password", "host", "schema", "port")
    return resolve_account(**{name: fields.get(name) for name in names}, extra=fields["extra"])


class TestRoutes:
    def test_the_gateways_older_spelling(self, client_of):
        client = client_of(GATEWAY)
        fields = {"image": PICTURE, "up_expansion_ratio": 0.1, "left_expansion_ratio": 0, "right_expansion_ratio": 0}
        answers = [
            requests.post(
                client.server.url + path, json=fields | {"bottom_expansion_ratio": 0.3}, headers=KEY, timeout=10
            )
            for path in (GATEWAY, KLING)
        ]
        assert [answer.status_code for answer in answers] == [200, 400]
        assert "down_expansion_ratio is required" in answers[1].json()["message"]

    @pytest.mark.parametrize("prefix", ["/v1", "/kling/v1"])
    def test_families_known_by_name_only(self, client, prefix):
        for address in ("videos/avatar/image2video", "videos/avatar/image2video/x"):
            url = f"{client.server.url}{prefix}/{address}"
            answer = client.session.get(url, headers=KEY, timeout=10)
            assert (answer.status_code, answer.json()["code"]) == (404, 1203)
            assert "not emulated" in answer.json()["message"]

    def test_unknown_routes_and_methods(self, client, client_of):
        assert fault_of(client_of("/v1/nothing").post()).code == 1202
        assert fault_of(client_of("/kling/v1/nothing").post()).kind is FaultKind.ROUTE
        answer = client.session.delete(f"{client.server.url}{KLING}/x", headers=KEY, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (404, 1202)
        elsewhere = client.session.get(f"{client.server.url}/images/editing/expand", timeout=10)
        assert (elsewhere.status_code, elsewhere.headers["X-Kling-Emulator"]) == (404, __version__)

    def test_a_gateway_without_the_route(self):
        with client_with(GATEWAY, gateway_routes=["image-to-video"]) as client:
            for answer in (client.post(), client.get("x"), client.get()):
                assert (answer.status_code, answer.json()) == (200, {"code": None, "message": "404"})
                assert fault_of(answer).kind is FaultKind.ROUTE
            client.path = KLING
            client.create()

    def test_a_gateway_without_look_up_or_list(self):
        with client_with(GATEWAY, gateway_lookup=False, gateway_list=False) as client:
            task_id = client.create(external_task_id="shop-42")
            assert client.create(external_task_id="shop-42") != task_id
            assert client.task(task_id).task_id == task_id
            assert fault_of(client.get("shop-42")).code == "task_not_exist"
            assert fault_of(client.get()).kind is FaultKind.ROUTE

    def test_a_gateway_that_wraps(self):
        with client_with(GATEWAY, gateway_envelope="wrapped") as client:
            task_id = client.create()
            assert client.get(task_id).json()["code"] == "success"
            client.state.advance(4)
            assert client.task(task_id).status is TaskStatus.SUCCEEDED
            client.path = KLING
            assert client.get(task_id).json()["code"] == 0


class TestImageUrls:
    def test_own_results(self, client):
        first = client.finish(client.create(up_expansion_ratio=0.5)).outputs[0].url
        second = client.finish(client.create(image=first, n=1))
        assert second.status is TaskStatus.SUCCEEDED
        assert client.ledger()["downloads"] == []

    def test_a_server_on_loopback(self, client):
        with _file_server({"/a.png": picture()}) as base:
            client.create(image=f"{base}/a.png")
            info = fault_of(client.post(image=f"{base}/gone.png"))
            assert (info.code, "404" in info.message) == (1201, True)
            info = fault_of(client.post(image=f"{base}/away"))
            assert "loopback" in info.message

    def test_the_internet_is_not_read(self, client):
        client.create(image="https://images.example.com/cat.jpg", up_expansion_ratio=0.5, left_expansion_ratio=0)
        assert "stands in" in client.ledger()["creates"][0]["note"]

    def test_nothing_listens(self, client):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        assert fault_of(client.post(image=f"http://127.0.0.1:{port}/a.png")).code == 1201


@contextmanager
def _file_server(files):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = files.get(self.path)
            self.send_response(302 if self.path == "/away" else 200 if content else 404)
            if self.path == "/away":
                self.send_header("Location", "http://images.example.com/a.png")
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class TestDownloads:
    @pytest.fixture
    def url(self, client):
        return client.finish(client.create()).outputs[0].url

    def test_the_link_ends_thirty_days_after_the_task(self, client, url):
        end = int(parse_qs(urlsplit(url).query)["Expires"][0])
        assert end == 1_740_000_004 + 30 * DAY
        client.state.advance(30 * DAY - 1)
        assert requests.get(url, timeout=10).status_code == 200
        client.state.advance(1)
        assert requests.get(url, timeout=10).status_code == 403

    @pytest.mark.parametrize(("old", "new"), [("Signature=", "Signature=0"), ("Expires=1", "Expires=2"), ("?", "?x=")])
    def test_only_signed_links(self, url, old, new):
        assert requests.get(url.replace(old, new), timeout=10).status_code == 403

    def test_other_files(self, client, url):
        assert requests.get(url.replace("0.png", "1.png"), timeout=10).status_code == 404
        assert requests.get(url.replace("0.png", "source"), timeout=10).status_code == 404

    def test_the_journal_tells_of_keys_sent_along(self, client, url):
        requests.get(url, timeout=10)
        answer = requests.get(url, headers=KEY, timeout=10)
        assert "authorization" not in str(answer.headers).lower()
        assert [row["authorization"] for row in client.ledger()["downloads"]] == [False, True]

    def test_not_before_the_end(self, client):
        task_id = client.create()
        client.server.wait_for_pictures()
        assert "task_result" not in client.get(task_id).json()["data"]


class TestControl:
    def test_index(self, client):
        index = client.control("GET", "").json()
        assert (index["emulator"], index["version"], index["families"]) == (
            "kling",
            __version__,
            ["image-expansion", "image-generation", "image-to-video", "text-to-video", "video-extension"],
        )

    def test_clock(self, client):
        before = client.control("GET", "clock").json()
        after = client.control("POST", "clock", {"advance": 90}).json()
        assert after == before | {"now": before["now"] + 90_000, "advanced": 90.0}

    @pytest.mark.parametrize(
        ("name", "body"),
        [
            ("clock", {}),
            ("clock", {"advance": -1}),
            ("clock", {"advance": 10**400}),
            ("clock", {"advance": "1"}),
            ("clock", []),
            ("faults", {"fault": "x"}),
        ],
    )
    def test_what_cannot_be_meant(self, client, name, body):
        answer = client.control("POST", name, body)
        assert answer.status_code == 400
        assert answer.json()["error"]

    def test_reset(self, client):
        client.control("POST", "faults", {"fault": "rate"})
        client.post()
        assert client.control("POST", "reset").status_code == 200
        ledger = client.ledger()
        assert (ledger["creates"], ledger["faults"], ledger["requests"]["create"]) == ([], {}, 0)
        task = client.finish(client.create(external_task_id="again"))
        assert task.status is TaskStatus.SUCCEEDED

    def test_faults(self, client):
        rule = client.control("POST", "faults", {"fault": "rate", "on": "query", "times": 1}).json()
        assert rule == {"fault": "rate", "on": ["query"], "times": 1, "probability": 1.0, "match": None, "fired": 0}
        task_id = client.create()
        assert fault_of(client.get(task_id)).code == 1302
        assert client.task(task_id).task_id == task_id
        assert client.control("GET", "faults").json()["faults"] == [rule | {"times": 0, "fired": 1}]
        assert client.control("DELETE", "faults").json() == {"faults": []}
        assert client.ledger()["faults"] == {"rate": 1}

    def test_requests_are_counted(self, client):
        done = client.finish(client.create())
        client.get()
        requests.get(done.outputs[0].url, timeout=10)
        assert client.ledger()["requests"] == {"create": 1, "query": 1, "list": 1, "download": 1}


#: What a client sees of a fault at a create, and whether a task exists then: HTTP status, or the error it meets.
AT_CREATE = {
    "reset-before-reading": (ConnectionResetError, False),
    "reset-after-accepting": (ConnectionResetError, True),
    "stall-after-accepting": (requests.ReadTimeout, True),
    "error-before-accepting": (500, False),
    "error-after-accepting": (500, True),
    "bad-gateway-after-accepting": (502, True),
    "truncated-json": (200, False),
    "truncated-json-after-accepting": (200, True),
    "html-page": (200, False),
    "html-page-after-accepting": (200, True),
    "clock-skew": (401, False),
    "content": (400, False),
    "rate": (429, False),
    "concurrency": (429, False),
    "balance": (429, False),
}
KINDS = {
    "clock-skew": FaultKind.AUTH,
    "content": FaultKind.CONTENT,
    "rate": FaultKind.RATE,
    "concurrency": FaultKind.CONCURRENCY,
    "balance": FaultKind.ACCOUNT,
}


class TestFaults:
    @pytest.mark.parametrize("by", ["rule", "match", "prompt"])
    @pytest.mark.parametrize("name", AT_CREATE)
    def test_at_a_create(self, client, name, by):
        seen, exists = AT_CREATE[name]
        prompt = f"a hill [emulator:{name}=1]" if by == "prompt" else "a hill"
        if by != "prompt":
            client.state.add_fault({"fault": name, "times": 1} | ({"match": "shop"} if by == "match" else {}))
        patience = 0.2 if seen is requests.ReadTimeout else 10
        self._meets(seen, name, lambda: client.post(patience, prompt=prompt, external_task_id="shop-1"))
        until(lambda: client.ledger()["creates"])  # where the client gave up, the server may be still at it
        ledger = client.ledger()
        assert ledger["faults"] == {name: 1}
        assert ledger["accepted_tasks"] == exists
        row = ledger["creates"][0]
        assert (row["outcome"], row["fault"]) == ("accepted" if exists else "refused", name)
        if exists:
            assert client.task("shop-1").task_id == row["task_id"]
        else:
            assert fault_of(client.get("shop-1")).kind is FaultKind.NOT_FOUND
            client.create(prompt=prompt, external_task_id="shop-1")

    def _meets(self, seen, name, call):
        if not isinstance(seen, int):
            with pytest.raises(requests.RequestException) as caught:
                call()
            assert isinstance(caught.value, seen) or _caused_by(caught.value, seen)
            return
        answer = call()
        assert (answer.status_code, answer.headers["X-Kling-Emulator"]) == (seen, __version__)
        info = fault_of(answer)
        assert info.kind is KINDS.get(name, FaultKind.SERVER)
        assert info.created is (Created.NO if name in KINDS else Created.MAY_EXIST)

    def test_every_answering_fault_of_creates_is_in_the_table(self):
        fates = {"hang", "fail", "unknown-word", "no-lookup"}
        assert {name for name, fault in FAULTS.items() if Place.CREATE in fault.default_places} - fates == set(
            AT_CREATE
        )

    def test_a_large_body_is_reset_unread(self, client):
        client.state.add_fault({"fault": "reset-before-reading", "times": 1})
        with pytest.raises(requests.ConnectionError):
            client.post(image="A" * (12 * 1024 * 1024))
        assert client.ledger()["creates"][0]["external_task_id"] is None
        client.create()

    def test_a_reset_is_a_real_one(self, client):
        client.state.add_fault({"fault": "reset-before-reading", "on": "list"})
        with socket.create_connection(("127.0.0.1", urlsplit(client.server.url).port), timeout=5) as raw:
            raw.sendall(f"GET {KLING} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer emulator-key\r\n\r\n".encode())
            with pytest.raises(ConnectionResetError):
                raw.recv(1)

    @pytest.mark.parametrize("name", ["reset-before-reading", "truncated-json", "html-page", "error-before-accepting"])
    def test_at_a_query_by_prompt(self, client, name):
        seen = AT_CREATE[name][0]
        task_id = client.create(prompt=f"[emulator:{name}@query=1]")
        other = client.create()
        assert client.task(other).task_id == other
        self._meets(seen, name, lambda: client.get(task_id))
        assert client.task(task_id).task_id == task_id

    def test_a_stalled_query_is_answered_late(self, client):
        task_id = client.create()
        client.state.add_fault({"fault": "stall-after-accepting", "on": "query", "times": 1})
        started = time.monotonic()
        assert client.task(task_id).task_id == task_id
        assert time.monotonic() - started >= 0.5

    def test_other_requests_are_answered_during_a_stall(self, client):
        client.state.add_fault({"fault": "stall-after-accepting", "times": 1})
        with ThreadPoolExecutor(1) as pool:
            stalled = pool.submit(client.post)
            until(lambda: client.state.ledger()["accepted_tasks"])
            started = time.monotonic()
            requests.get(f"{client.server.url}/_emulator/", timeout=10)
            assert time.monotonic() - started < 0.4
            assert stalled.result().status_code == 200

    @pytest.mark.parametrize("name", ["expired-download", "corrupt-download", "reset-before-reading", "html-page"])
    def test_at_a_download(self, client, name):
        url = client.finish(client.create(prompt=f"[emulator:{name}@download=1]")).outputs[0].url
        if name == "reset-before-reading":
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=10)
        else:
            answer = requests.get(url, timeout=10)
            assert (answer.status_code, answer.content[:4] == b"\x89PNG") == (
                {"expired-download": 403}.get(name, 200),
                False,
            )
        assert requests.get(url, timeout=10).content[:4] == b"\x89PNG"
        assert client.ledger()["faults"] == {name: 1}

    @pytest.mark.parametrize(
        ("name", "status", "word"),
        [
            ("hang", TaskStatus.PROCESSING, "processing"),
            ("fail", TaskStatus.FAILED, "failed"),
            ("unknown-word", TaskStatus.PROCESSING, "archived"),
        ],
    )
    def test_fates(self, client, name, status, word):
        task = client.finish(client.create(prompt=f"[emulator:{name}]"), latency=DAY)
        assert (task.status, task.status_word) == (status, word)

    def test_no_lookup(self, client):
        client.create(prompt="[emulator:no-lookup]", external_task_id="shop-1")
        assert fault_of(client.get("shop-1")).kind is FaultKind.NOT_FOUND

    def test_probability_is_the_same_after_a_reset(self, client):
        def run():
            client.state.reset()
            client.state.add_fault({"fault": "rate", "probability": 0.5, "on": "list"})
            return [client.get().status_code for _ in range(20)]

        first = run()
        assert first == run()
        assert set(first) == {200, 429}


def _caused_by(error, kind):
    while error is not None:
        if isinstance(error, kind) or any(isinstance(part, kind) for part in error.args):
            return True
        nested = [part for part in error.args if isinstance(part, BaseException)]
        error = error.__cause__ or error.__context__ or (nested[0] if nested else None)
    return False


class TestServer:
    def test_many_at_once(self):
        with client_with(quota=9) as client:

            def attempt(number):
                return Client(client.server).post(external_task_id=f"shop-{number % 20}").json()["code"]

            with ThreadPoolExecutor(8) as pool:
                codes = list(pool.map(attempt, range(60)))
            ledger = client.ledger()
            assert codes.count(0) == ledger["accepted_tasks"] == ledger["max_slots_in_use"] == 9
            accepted = [row["external_task_id"] for row in ledger["creates"] if row["outcome"] == "accepted"]
            assert len(accepted) == len(set(accepted))
            assert len(ledger["creates"]) == 60

    def test_canned_pictures(self):
        with client_with(latency=0) as client:
            task = client.task(client.create(n=3, watermark_info={"enabled": True}))
            contents = {requests.get(output.url, timeout=10).content for output in task.outputs}
            assert len(contents) == 1
            assert requests.get(task.outputs[0].watermark_url, timeout=10).content in contents

    def test_starts_and_stops_quickly_and_cleans_up(self):
        started = time.monotonic()
        with EmulatorServer(EmulatorSettings(engine="reflect")) as server:
            assert time.monotonic() - started < 1
            client = Client(server)
            client.create()
            server.wait_for_pictures()
            root = server.app.studio.root
            assert list(root.iterdir())
            stopping = time.monotonic()
        assert time.monotonic() - stopping < 2
        assert not root.exists()
        with pytest.raises(requests.ConnectionError):
            client.get()

    def test_stops_during_a_stall(self):
        with client_with(stall_seconds=60) as client, ThreadPoolExecutor(1) as pool:
            client.state.add_fault({"fault": "stall-after-accepting"})
            stalled = pool.submit(client.post)
            until(lambda: client.state.ledger()["accepted_tasks"])
            started = time.monotonic()
            client.server.stop()
            assert time.monotonic() - started < 2
            with pytest.raises(requests.ConnectionError):
                stalled.result()

    def test_stops_in_the_midst_of_a_create(self, monkeypatch):
        with client_with(stall_seconds=60) as client, ThreadPoolExecutor(1) as pool:
            begun, server = threading.Event(), client.server
            start = server.app.studio.start

            def late(*arguments):
                begun.set()
                until(lambda: server._server.should_exit)
                start(*arguments)

            monkeypatch.setattr(server.app.studio, "start", late)
            client.state.add_fault({"fault": "stall-after-accepting"})
            stalled = pool.submit(client.post)
            assert begun.wait(10)
            server.stop()
            with pytest.raises(requests.ConnectionError):
                stalled.result()

    def test_a_port_of_ones_choice_once(self):
        with EmulatorServer() as server:
            port = urlsplit(server.url).port
            with pytest.raises(OSError, match="in use"):
                EmulatorServer(port=port).start()
        with EmulatorServer(port=port) as server:
            assert urlsplit(server.url).port == port

    def test_no_host_is_refused(self):
        with pytest.raises(ValueError, match="host"):
            EmulatorServer(host="")

    def test_the_fixture(self, kling_emulator):  # noqa: F811
        client = Client(kling_emulator, GATEWAY)
        task_id = client.create()
        until(lambda: client.task(task_id).status.ended)
        assert client.task(task_id).status is TaskStatus.SUCCEEDED

    def test_the_factory_of_fixtures(self, kling_emulator_factory):  # noqa: F811
        first, second = (kling_emulator_factory(EmulatorSettings(pictures="canned", latency=0)) for _ in range(2))
        assert first.url != second.url
        Client(first).create(external_task_id="one")
        assert Client(second).ledger()["accepted_tasks"] == 0

    @pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
    def test_the_command_ends_cleanly(self, sign):
        command = [sys.executable, "-m", "airflow_kling.emulator", "--port", "0", "--latency", "0", "--quota", "3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            lines = [process.stdout.readline() for _ in range(4)]
            uri = lines[2].split("'")[1]
            assert requests.get(f"{json.loads(uri)['host']}/_emulator/", timeout=10).status_code == 200
            process.send_signal(sign)
            out, err = process.communicate(timeout=15)
        assert (process.returncode, out, err) == (0, "stopped\n", "")


def test_callbacks_to_loopback_are_posted_at_each_change(serve):
    receiver = serve((204, b""))
    with client_with(latency=5, quota=None) as client:
        failing = client.create(prompt="[emulator:fail]", callback_url=f"{receiver.url}/failing")
        task_id = client.create(callback_url=f"{receiver.url}/mine", external_task_id="shop-42")
        client.create(callback_url="http://127.0.0.1:1/nobody-is-there")
        client.create(callback_url="https://example.com/elsewhere")
        until(lambda: len(client.state.ledger()["callbacks"]) >= 3)
        for seconds in (1.5, 4):
            before = len(client.state.ledger()["callbacks"])
            client.state.advance(seconds)
            until(lambda before=before: len(client.state.ledger()["callbacks"]) == before + 3)

        told = [(seen.target, json.loads(seen.body)) for seen in receiver.requests]
        words = {target: [body["task_status"] for at, body in told if at == target] for target in ("/mine", "/failing")}
        assert words == {
            "/mine": ["submitted", "processing", "succeed"],
            "/failing": ["submitted", "processing", "failed"],
        }
        (last,) = [body for target, body in told if (target, body["task_status"]) == ("/mine", "succeed")]
        assert (last["task_id"], last["task_info"]["external_task_id"]) == (task_id, "shop-42")
        assert requests.get(last["task_result"]["images"][0]["url"], timeout=10).ok
        answered = {(row["task_id"], row["http_status"]) for row in client.state.ledger()["callbacks"]}
        assert {(task_id, 204), (failing, 204)} < answered
        assert {status for _, status in answered} == {204, None}
