"""What really leaves the machine, byte by byte, and when it leaves again: both transports against a raw server."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import socket
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from types import SimpleNamespace

import jwt
import pytest

from airflow_kling import __version__
from airflow_kling.api.calls import ATTEMPTS, Call
from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest
from airflow_kling.exceptions import KlingRouteUnavailable, errors_for
from airflow_kling.hooks import client as transports
from airflow_kling.hooks.kling import KlingHook

REQUEST = ExpandRequest(image="https://example.com/cat.png", up=0.5, external_task_id="af-1")
SECRET = "a-secret-key-of-more-than-32-letters"
KEYS = {"api-key": {}, "key-pair": {"login": "ACCESS", "password": SECRET}}
JUNK = {
    "X-Evil": "1",
    "headers": {"X-Nested": "b"},
    "Authorization": "Basic QUs6U0s=",
    "Cookie": "a=b",
    "auth_type": "requests.auth.HTTPBasicAuth",
    "timeout": 1,
    "stream": False,
    "allow_redirects": True,
    "check_response": False,
    "max_redirects": 9,
}
SENT = {
    "GET": ["accept", "accept-encoding", "authorization", "host", "user-agent"],
    "POST": ["accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent"],
}
INTERNAL = (500, {"code": 5000, "message": "internal error"})
TOO_FAST = {"code": 1302, "message": "too fast"}


@pytest.fixture(params=["requests", "aiohttp"])
def open_client(request, sleeps):
    """Open the transport below the hook; both look synchronous here."""
    loop, stack = asyncio.new_event_loop(), AsyncExitStack()

    def synchronous(method):
        return lambda *args, **kwargs: loop.run_until_complete(method(*args, **kwargs))

    def make(conn_id="kling_default"):
        hook = KlingHook(conn_id)
        if request.param == "requests":
            return hook.client
        client = loop.run_until_complete(stack.enter_async_context(hook.async_client()))
        return SimpleNamespace(
            **{name: synchronous(getattr(client, name)) for name in ("submit", "get_task", "list_tasks")}
        )

    yield make
    loop.run_until_complete(stack.aclose())
    loop.close()


def send(client, method):
    return client.submit(REQUEST) if method == "POST" else client.get_task("T1")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return unused.getsockname()[1]


# -- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [{}, JUNK], ids=["plain", "junk"])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("method", SENT)
def test_only_our_headers_leave(serve, connect, open_client, tmp_path, monkeypatch, method, key, extra):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password stolen\ndefault login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = serve("submitted")
    connect(server, extra=extra, **KEYS[key])
    send(open_client(), method)
    (seen,) = server.requests
    assert seen.header_names == SENT[method]
    assert seen.header("user-agent") == f"airflow-provider-kling/{__version__}"
    assert seen.header("accept") == "application/json"
    assert seen.header("host") == f"127.0.0.1:{server.port}"
    assert seen.header("authorization").startswith("Bearer ")
    assert b"Basic" not in seen.raw
    assert SECRET.encode() not in seen.raw


def test_api_key_is_sent_as_it_is(serve, connect, open_client):
    server = serve("submitted")
    connect(server, password="sk-mine")
    open_client().get_task("T1")
    assert server.requests[0].header("authorization") == "Bearer sk-mine"


def test_key_pair_becomes_a_signed_token(serve, connect, open_client):
    server = serve("submitted")
    connect(server, **KEYS["key-pair"])
    open_client().get_task("T1")
    token = server.requests[0].header("authorization").removeprefix("Bearer ")
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims["iss"] == "ACCESS"
    assert claims["nbf"] < time.time() < claims["exp"] <= time.time() + 1800
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}


def test_no_cookie_is_sent_back(serve, connect, open_client):
    server = serve((*serve().task("submitted"), {"Set-Cookie": "session=1; Path=/"}))
    connect(server)
    client = open_client()
    client.get_task("T1")
    client.get_task("T1")
    assert [seen.header("cookie") for seen in server.requests] == [None, None]


@pytest.mark.parametrize("method", SENT)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(serve, connect, open_client, method, status):
    elsewhere = serve("succeed")
    server = serve((status, b"", {"Location": f"{elsewhere.url}/v1"}))
    connect(server)
    with pytest.raises(KlingRouteUnavailable, match="redirects"), errors_for():
        send(open_client(), method)
    assert (len(server.requests), elsewhere.connections) == (1, 0)


@pytest.mark.parametrize(
    ("extra", "fields", "path"),
    [
        ({}, {}, "/kling/v1/images/editing/expand"),
        ({"gateway": "kling"}, {}, "/v1/images/editing/expand"),
        ({"prefix": "/some/where/"}, {}, "/some/where/images/editing/expand"),
    ],
)
def test_addresses_are_those_of_the_gateway(serve, connect, open_client, extra, fields, path):
    server = serve("submitted", "submitted", (200, {"code": 0, "data": []}))
    connect(server, extra=extra, **fields)
    client = open_client()
    client.submit(REQUEST)
    client.get_task("a/b c")
    assert client.list_tasks(page=2, page_size=5) == []
    assert [(seen.method, seen.target) for seen in server.requests] == [
        ("POST", path),
        ("GET", f"{path}/a%2Fb%20c"),
        ("GET", f"{path}?pageNum=2&pageSize=5"),
    ]


def test_large_body_has_its_length_and_is_not_chunked(serve, connect, open_client):
    picture = base64.b64encode(b"\xff\xd8" + bytes(1_500_000)).decode()
    server = serve("submitted")
    connect(server)
    open_client().submit(ExpandRequest(image=picture, up=0.5))
    (seen,) = server.requests
    assert seen.header("transfer-encoding") is None
    assert seen.header("expect") is None
    assert int(seen.header("content-length")) == len(seen.body) > 2_000_000
    assert json.loads(seen.body)["image"] == picture


def bodies_left(submit):
    """Return the creates that only the collector would find: each keeps up to 10 MB until it comes."""
    gc.collect()
    gc.disable()
    try:
        with suppress(ApiFault):
            submit(REQUEST)
        # By its type, for what is lazy in Airflow imports when it is asked for its class.
        return [each for each in gc.get_objects() if type(each) is Call and each.body]
    finally:
        gc.enable()


def test_a_body_is_let_go_with_its_answer(serve, connect, open_client):
    connect(serve("submitted"))
    assert bodies_left(open_client().submit) == []


def test_a_refused_body_is_let_go(serve, connect, sleeps):
    connect(serve((429, TOO_FAST)))
    assert bodies_left(KlingHook().client.submit) == []


def test_extra_names_the_field_of_the_lower_side(serve, connect, open_client):
    server = serve("submitted")
    connect(server, extra={"down_ratio_field": "bottom_expansion_ratio"})
    open_client().submit(ExpandRequest(image="https://example.com/cat.png", down=0.5))
    body = json.loads(server.requests[0].body)
    assert body["bottom_expansion_ratio"] == 0.5
    assert "down_expansion_ratio" not in body


# -- proxies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["proxies", "proxy", "environment"])
@pytest.mark.parametrize("method", SENT)
def test_proxy_is_honoured(serve, connect, open_client, monkeypatch, spelling, method):
    proxy = serve("submitted")
    extra = (
        {"proxies": {"http": proxy.url}}
        if spelling == "proxies"
        else {"proxy": proxy.url}
        if spelling == "proxy"
        else {}
    )
    if spelling == "environment":
        monkeypatch.setenv("http_proxy", proxy.url)
    connect("http://kling.invalid", extra=extra)
    send(open_client(), method)
    (seen,) = proxy.requests
    assert seen.target.startswith("http://kling.invalid/kling/v1/images/editing/expand")
    assert seen.header("host") == "kling.invalid"


def test_proxy_of_the_connection_comes_before_that_of_the_environment(serve, connect, open_client, monkeypatch):
    ours, other = serve("submitted"), serve("submitted")
    monkeypatch.setenv("http_proxy", other.url)
    connect("http://kling.invalid", extra={"proxies": {"http": ours.url}})
    open_client().get_task("T1")
    assert (len(ours.requests), len(other.requests)) == (1, 0)


@pytest.mark.parametrize("how", ["trust_env", "no_proxy"])
def test_proxy_of_the_environment_can_be_left_out(serve, connect, open_client, monkeypatch, how):
    server, proxy = serve("submitted"), serve("submitted")
    monkeypatch.setenv("http_proxy", proxy.url)
    if how == "no_proxy":
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    connect(server, extra={"trust_env": False} if how == "trust_env" else {})
    open_client().get_task("T1")
    assert (len(server.requests), len(proxy.requests)) == (1, 0)


def test_password_of_a_proxy_is_not_in_the_error(connect, open_client):
    connect("http://kling.invalid", extra={"proxies": {"http": f"http://user:hunter2@127.0.0.1:{free_port()}"}})
    with pytest.raises(ApiFault) as refused:
        open_client().get_task("T1")
    assert refused.value.info.created is Created.NO
    assert "hunter2" not in str(refused.value)


# -- sending again -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(INTERNAL, id="5000"),
        pytest.param((503, {"code": 5001, "message": "maintenance"}), id="5001"),
        pytest.param((502, b"<html>Bad Gateway</html>"), id="page-502"),
        pytest.param((200, b"{"), id="cut-json"),
        pytest.param((429, {"code": 1303, "message": "busy"}), id="1303"),
        pytest.param((429, TOO_FAST), id="1302"),
        pytest.param("reset", id="reset"),
        pytest.param("hang", id="no-answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\n{}", id="cut-body"),
        pytest.param(b"no HTTP at all\r\n\r\nConnection: close", id="no-http"),
    ],
)
def test_read_is_sent_again_after_what_passes(serve, connect, open_client, sleeps, monkeypatch, entry):
    monkeypatch.setattr("airflow_kling.api.calls.READ_TIMEOUT", 0.1)
    server = serve(entry, entry, "processing")
    connect(server)
    assert open_client().get_task("T1").status == "processing"
    assert len(server.requests) == 3
    assert all(0.5 * 2**n <= delay <= 2**n for n, delay in enumerate(sleeps))


@pytest.mark.parametrize("entry", [INTERNAL, "reset"], ids=["5000", "reset"])
def test_read_gives_up_after_its_attempts(serve, connect, open_client, sleeps, request, entry):
    server = serve(entry)
    connect(server)
    with pytest.raises(ApiFault):
        open_client().get_task("T1")
    assert len(sleeps) == ATTEMPTS - 1
    # After a lost connection aiohttp sends each read once more by itself.
    sendings = 2 if request.node.callspec.id == "aiohttp-reset" else 1
    assert len(server.requests) == ATTEMPTS * sendings


@pytest.mark.parametrize("retry_after", [7, 0])
def test_server_says_when_to_ask_again(serve, connect, open_client, sleeps, retry_after):
    server = serve((429, TOO_FAST, {"Retry-After": str(retry_after)}), "processing")
    connect(server)
    open_client().get_task("T1")
    (slept,) = sleeps
    assert retry_after <= slept <= retry_after + 0.5


def test_read_does_not_sleep_through_a_long_retry_after(serve, connect, open_client, sleeps):
    server = serve((429, TOO_FAST, {"Retry-After": "120"}))
    connect(server)
    with pytest.raises(ApiFault) as refused:
        open_client().get_task("T1")
    assert refused.value.info.retry_after == 120
    assert (len(server.requests), sleeps) == (1, [])


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ((401, {"code": 1002, "message": "invalid"}), FaultKind.AUTH),
        ((429, {"code": 1102, "message": "used up"}), FaultKind.ACCOUNT),
        ((400, {"code": 1201, "message": "bad value"}), FaultKind.INPUT),
        ((400, {"code": 1301, "message": "policy"}), FaultKind.CONTENT),
        ((200, {"code": None, "message": "404"}), FaultKind.ROUTE),
    ],
)
def test_read_is_not_sent_again_after_what_stays(serve, connect, open_client, sleeps, entry, kind):
    server = serve(entry)
    connect(server)
    with pytest.raises(ApiFault) as refused:
        open_client().get_task("T1")
    assert refused.value.info.kind is kind
    assert (len(server.requests), sleeps) == (1, [])


@pytest.mark.parametrize(
    ("entry", "created"),
    [
        pytest.param("reset", Created.MAY_EXIST, id="reset"),
        pytest.param("hang", Created.MAY_EXIST, id="no-answer"),
        pytest.param(INTERNAL, Created.MAY_EXIST, id="5000"),
        pytest.param((502, b""), Created.MAY_EXIST, id="502"),
        pytest.param((504, {"code": 5002, "message": "backlog"}), Created.MAY_EXIST, id="5002"),
        pytest.param((200, b"<html>"), Created.MAY_EXIST, id="page"),
        pytest.param((429, TOO_FAST), Created.NO, id="1302"),
        pytest.param((429, {"code": 1303, "message": "busy"}), Created.NO, id="1303"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\n{}", Created.MAY_EXIST, id="cut"
        ),
    ],
)
def test_create_that_arrived_is_never_sent_again(serve, connect, open_client, sleeps, monkeypatch, entry, created):
    monkeypatch.setattr("airflow_kling.api.calls.READ_TIMEOUT", 0.1)
    server = serve(entry)
    connect(server)
    with pytest.raises(ApiFault) as refused:
        open_client().submit(REQUEST)
    assert refused.value.info.created is created
    assert (len(server.requests), sleeps) == (1, [])


def test_create_over_a_connection_that_went_stale_is_not_sent_twice(serve, connect, open_client):
    server = serve("processing", "reset", "submitted")
    connect(server)
    client = open_client()
    client.get_task("T1")
    with pytest.raises(ApiFault) as refused:
        client.submit(REQUEST)
    assert refused.value.info.created is Created.MAY_EXIST
    assert [seen.method for seen in server.requests] == ["GET", "POST"]


def test_create_is_sent_again_where_nobody_listened(serve, connect, open_client, sleeps):
    port = free_port()
    servers = []
    sleeps.meanwhile = lambda: servers.append(serve("submitted", port=port)) if len(sleeps) == 2 else None
    connect(f"http://127.0.0.1:{port}")
    assert open_client().submit(REQUEST).task_id == "T1"
    assert [len(server.requests) for server in servers] == [1]
    assert len(sleeps) == 2


@pytest.fixture
def deaf_port():
    """A port whose queue is full: connecting to it never ends."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(3):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        yield deaf.getsockname()[1]


@pytest.mark.parametrize("method", SENT)
def test_connection_that_never_comes_about_made_nothing(connect, open_client, sleeps, monkeypatch, deaf_port, method):
    monkeypatch.setattr(transports, "CONNECT_TIMEOUT", 0.05)
    connect(f"http://127.0.0.1:{deaf_port}")
    with pytest.raises(ApiFault, match="no connection") as refused:
        send(open_client(), method)
    assert (refused.value.info.kind, refused.value.info.created) == (FaultKind.CONNECTION, Created.NO)
    assert len(sleeps) == ATTEMPTS - 1


@pytest.mark.parametrize("method", SENT)
@pytest.mark.parametrize("host", ["refused", "kling.invalid"])
def test_network_that_stays_dead_is_a_connection_fault_that_made_nothing(connect, open_client, sleeps, method, host):
    connect(f"http://127.0.0.1:{free_port()}" if host == "refused" else f"http://{host}")
    with pytest.raises(ApiFault) as refused:
        send(open_client(), method)
    assert (refused.value.info.kind, refused.value.info.created) == (FaultKind.CONNECTION, Created.NO)
    assert "Nothing was sent" in str(refused.value)
    assert len(sleeps) == ATTEMPTS - 1


def test_host_that_is_none_made_nothing(connect, open_client):
    connect("http://kling..com")
    with pytest.raises((ApiFault, InputFault)) as refused:
        open_client().submit(REQUEST)
    assert isinstance(refused.value, InputFault) or refused.value.info.created is Created.NO


@pytest.mark.parametrize("method", SENT)
@pytest.mark.parametrize("code", [1003, 1004])
@pytest.mark.parametrize(("key", "requests"), [("key-pair", 2), ("api-key", 1)])
def test_refused_token_is_signed_anew_once(serve, connect, open_client, monkeypatch, method, code, key, requests):
    clock = iter(range(1_800_000_000, 1_900_000_000, 10))
    monkeypatch.setattr(transports, "time", SimpleNamespace(time=lambda: float(next(clock))))
    server = serve((401, {"code": code, "message": "token"}))
    connect(server, **KEYS[key])
    with pytest.raises(ApiFault) as refused:
        send(open_client(), method)
    assert refused.value.info.kind is FaultKind.AUTH
    assert len({seen.header("authorization") for seen in server.requests}) == len(server.requests) == requests


def test_token_is_kept_between_requests_and_signed_anew_before_it_ends(serve, connect, open_client, monkeypatch):
    clock = iter([1_800_000_000.0, 1_800_000_100.0, 1_800_001_600.0])
    monkeypatch.setattr(transports, "time", SimpleNamespace(time=lambda: next(clock)))
    server = serve("processing")
    connect(server, **KEYS["key-pair"])
    client = open_client()
    for _ in range(3):
        client.get_task("T1")
    first, second, third = (seen.header("authorization") for seen in server.requests)
    assert first == second != third


# -- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [False, True])
def test_big_answers_are_not_read_to_their_end(serve, connect, open_client, monkeypatch, zipped):
    sizes = []
    real = transports.Answer
    monkeypatch.setattr(
        transports, "Answer", lambda status, headers, body: sizes.append(len(body)) or real(status, headers, body)
    )
    content = b"[" + b" " * 50_000_000
    headers = {"Content-Encoding": "gzip"} if zipped else {}
    server = serve((200, gzip.compress(content, 1) if zipped else content, headers))
    connect(server)
    with pytest.raises(ApiFault) as refused:
        open_client().get_task("T1")
    assert refused.value.info.kind is FaultKind.SERVER
    assert max(sizes) < 2_000_000


def test_zipped_answers_are_read(serve, connect, open_client):
    status, body = serve().task("processing")
    server = serve((status, gzip.compress(json.dumps(body).encode()), {"Content-Encoding": "gzip"}))
    connect(server)
    assert open_client().get_task("T1").status == "processing"


def test_request_id_of_the_headers_is_told(serve, connect, open_client):
    server = serve((401, {"code": 1002, "message": "no"}, {"X-Request-Id": "r-77"}))
    connect(server)
    with pytest.raises(ApiFault, match="request id r-77"):
        open_client().get_task("T1")


# -- the shared session of the triggerer ---------------------------------------------------------------------------


async def test_concurrent_users_share_a_session_and_the_last_one_closes_it(serve, connect):
    connect(serve("processing"))
    async with AsyncExitStack() as stack:
        contexts = [KlingHook().async_client() for _ in range(8)]
        clients = await asyncio.gather(*(stack.enter_async_context(context) for context in contexts[1:]))
        async with contexts[0] as first:
            session = first._session
        assert {id(client._session) for client in clients} == {id(session)}
        assert not session.closed
    assert session.closed


async def test_user_that_fails_leaves_the_session_to_the_others(serve, connect):
    connect(serve(INTERNAL, "processing"))
    async with KlingHook().async_client() as other:

        async def fail():
            async with KlingHook().async_client() as client:
                await client.get_task("T1", resend=False)

        async def be_cancelled():
            async with KlingHook().async_client():
                raise asyncio.CancelledError

        with pytest.raises(ApiFault):
            await fail()
        with pytest.raises(asyncio.CancelledError):
            await be_cancelled()
        assert (await other.get_task("T1")).status == "processing"
        session = other._session
    assert session.closed


async def test_session_is_made_anew_after_the_last_user_left(serve, connect):
    connect(serve("processing"))
    async with KlingHook().async_client() as first:
        pass
    async with KlingHook().async_client() as second:
        assert (await second.get_task("T1")).task_id == "T1"
    assert first._session is not second._session


async def test_connections_and_changed_options_do_not_share(serve, connect):
    server = serve("processing")
    connect(server)
    connect(server, "kling_other")
    async with KlingHook().async_client() as one, KlingHook("kling_other").async_client() as other:
        assert one._session is not other._session
        connect(server, extra={"verify": False})
        async with KlingHook().async_client() as changed:
            assert changed._session is not one._session


def test_event_loops_do_not_share(serve, connect):
    connect(serve("processing"))
    loops = [asyncio.new_event_loop() for _ in range(2)]
    contexts = [KlingHook().async_client() for _ in loops]
    clients = [loop.run_until_complete(context.__aenter__()) for loop, context in zip(loops, contexts, strict=True)]
    assert clients[0]._session is not clients[1]._session
    for loop, client, context in zip(loops, clients, contexts, strict=True):
        assert loop.run_until_complete(client.get_task("T1")).task_id == "T1"
        loop.run_until_complete(context.__aexit__(None, None, None))
        loop.close()
    assert all(client._session.closed for client in clients)


async def test_fifty_polls_use_one_connection(serve, connect):
    server = serve("processing")
    connect(server)
    async with KlingHook().async_client() as client:
        for _ in range(50):
            await client.get_task("T1")
    assert (len(server.requests), server.connections) == (50, 1)


def test_polls_of_a_worker_use_one_connection(serve, connect):
    server = serve("processing")
    connect(server)
    hook = KlingHook()
    for _ in range(10):
        hook.get_task("T1")
    assert (len(server.requests), server.connections) == (10, 1)


def test_an_answer_that_drips_ends_with_its_time(serve, connect, monkeypatch):
    connect(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n "))  # and nothing after it
    monkeypatch.setattr(transports, "monotonic", iter((0.0, 1e6)).__next__)
    with pytest.raises(ApiFault, match=r"no answer in time .* came too slowly"):
        KlingHook().client.get_task("T1", resend=False)


async def test_as_many_requests_at_a_time_as_two_families_send(connect, monkeypatch):
    monkeypatch.setattr(transports, "CONNECT_TIMEOUT", 3.0)
    waiting, all_there = [], asyncio.Event()

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        waiting.append(writer)
        if len(waiting) == 200:
            all_there.set()
        await all_there.wait()
        body = json.dumps({"code": 0, "data": {"task_id": "T1", "task_status": "processing"}}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, backlog=256) as server:
        connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with KlingHook().async_client() as client:
            tasks = await asyncio.gather(
                *(client.get_task("T1", name, resend=False) for name in ("image-expansion", "image-to-video") * 100)
            )
    assert len(tasks) == 200
