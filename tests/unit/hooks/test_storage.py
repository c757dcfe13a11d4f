"""Results are downloaded without a key and stored where the user says."""

from __future__ import annotations

import hashlib
import io
import re

import pytest
from PIL import Image

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import ExpandRequest
from airflow_kling.exceptions import KlingConnectionError, KlingServerError
from airflow_kling.hooks import storage
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.options import TransportOptions
from airflow_kling.hooks.storage import _is_public, fetcher, storage_path

PLAIN = TransportOptions()


def png(width=30, height=20):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def made(serve, connect):
    """A server with a finished task of two pictures, and the hook to ask it."""

    def make(*, files=None, **options):
        server = serve("succeed")
        server.files |= {"/out/0.png": (200, png()), "/out/1.png": (200, png(40, 25))} if files is None else files
        connect(server, **options)
        return server, KlingHook()

    return make


def test_download_sends_no_key_and_no_password_of_netrc(serve, tmp_path, monkeypatch):
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve((200, b"abc"))
    assert b"".join(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/0.png?sign=1")) == b"abc"
    assert server.requests[0].header_names == ["accept-encoding", "host", "user-agent"]


def test_download_follows_a_redirect(serve):
    server = serve((302, b"", {"Location": "/there"}), (200, b"abc"))
    assert b"".join(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/here")) == b"abc"
    assert [seen.target for seen in server.requests] == ["/here", "/there"]


def test_download_that_is_redirected_keeps_no_cookie(serve):
    server = serve((302, b"", {"Location": "/there", "Set-Cookie": "a=b; Path=/"}), (200, b"abc"))
    assert b"".join(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/here")) == b"abc"
    assert [seen.header("cookie") for seen in server.requests] == [None, None]


def test_download_gives_large_files_in_pieces(serve):
    server = serve((200, b"x" * 3_000_000))
    pieces = list(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/0.mp4"))
    assert sum(map(len, pieces)) == 3_000_000
    assert max(map(len, pieces)) <= 1 << 20


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        pytest.param((403, b"<Error>expired</Error>"), "HTTP 403", id="expired"),
        pytest.param((404, b""), "HTTP 404", id="gone"),
        pytest.param((302, b"", {"Location": "/again"}), "more than 5 redirects", id="loop"),
        pytest.param("reset", "ConnectionError", id="reset"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\nConnection: close\r\n\r\nabc", "ChunkedEncodingError", id="cut"
        ),
    ],
)
def test_download_that_fails_says_that_a_retry_costs_nothing(serve, entry, told):
    server = serve(entry)
    with pytest.raises(ApiFault, match=told) as failed:
        list(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/0.png?signature=hunter2"))
    assert failed.value.info.kind is FaultKind.CONNECTION
    assert "creates none" in str(failed.value)
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize("as_uri", [True, False])
def test_results_are_stored_beside_each_other(made, tmp_path, as_uri):
    server, hook = made()
    folder = tmp_path / "a new" / "folder"
    manifest = hook.collect(hook.get_task("T1"), f"file://{folder}" if as_uri else str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["T1-0.png", "T1-1.png", "T1-manifest.json"]
    for row, (_, content), (width, height) in zip(
        manifest["outputs"], server.files.values(), [(30, 20), (40, 25)], strict=True
    ):
        assert storage_path(row["uri"]).read_bytes() == content
        assert (row["width"], row["height"], row["size_bytes"]) == (width, height, len(content))
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert "url" not in row


def test_nothing_is_downloaded_without_a_place_for_it(made):
    server, hook = made()
    manifest = hook.collect(hook.get_task("T1"), include_urls=True)
    assert server.downloads == []
    assert [row["uri"] for row in manifest["outputs"]] == [None, None]
    assert [row["url"] for row in manifest["outputs"]] == [server.url + path for path in server.files]


@pytest.mark.parametrize(
    ("files", "error"),
    [
        ({"/0.png": (403, b"")}, KlingConnectionError),
        ({"/0.png": (200, b"<html>Sign in</html>")}, KlingServerError),
        ({"/0.png": (200, b"")}, KlingServerError),
    ],
)
def test_result_that_cannot_be_collected_names_its_task(made, tmp_path, files, error):
    _, hook = made(files=files)
    with pytest.raises(error, match="task T1"):
        hook.collect(hook.get_task("T1"), str(tmp_path))


def test_private_hosts_are_refused_unless_the_connection_allows_them(made, tmp_path):
    server, hook = made(extra={"allow_private_hosts": False})
    with pytest.raises(KlingConnectionError, match="private"):
        hook.collect(hook.get_task("T1"), str(tmp_path))
    assert server.downloads == []


@pytest.mark.parametrize(
    "name", ["cat.png", "a b.png", "50%.png", "%20.png", "ä.png", "a@b.png", "a#b.png", "a?b.png", "a:b.png", "[a].png"]
)
def test_local_names_of_any_letters_are_found(tmp_path, name):
    (tmp_path / name).write_bytes(b"here")
    with storage_path(str(tmp_path / name)).open("rb") as file:
        assert file.read() == b"here"


@pytest.mark.parametrize("name", ["cat.png", "./cat.png", "~/cat.png"])
def test_relative_names_are_those_of_the_worker(tmp_path, monkeypatch, name):
    (tmp_path / "cat.png").write_bytes(b"here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage_path(name).read_bytes() == b"here"


async def test_submitting_from_a_coroutine_is_the_same_request(serve, connect):
    server = serve("submitted")
    connect(server)
    request = ExpandRequest(image="https://example.com/cat.png", up=0.5)
    KlingHook().submit(request)
    await KlingHook().asubmit(request)
    assert server.requests[0].body == server.requests[1].body
    assert re.search(rb'"up_expansion_ratio": 0.5', server.requests[0].body)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        *((private, False) for private in (
            "127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1", "fe80::1%eth0",
            "fd00::1", "::ffff:127.0.0.1", "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe", "168.63.129.16", "224.0.0.1",
        )),
    ],
)  # fmt: skip
def test_addresses_of_the_own_network_are_told_from_public_ones(address, public):
    assert _is_public(address) is public


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.1:{port}\\@1.1.1.1", "2130706433"])
def test_no_way_of_writing_a_private_host_is_asked(serve, host):
    server = serve((200, b"abc"))
    host = host.format(port=server.port)
    url = f"http://{host}/x" if ":" in host else f"http://{host}:{server.port}/x"
    with pytest.raises(ApiFault):
        list(fetcher(PLAIN)(url))
    assert server.requests == []


@pytest.mark.parametrize("url", ["http://[::1/x", "http://" + "a" * 70 + ".example/x", "http:///x", "http://a b/"])
def test_a_link_that_is_none_is_a_fault_of_ours(url):
    with pytest.raises(ApiFault, match="download of a result failed"):
        list(fetcher(PLAIN)(url))


def test_a_failure_never_shows_the_signed_link(serve):
    server = serve("reset")
    with pytest.raises(ApiFault) as failed:
        list(fetcher(PLAIN, allow_private_hosts=True)(f"{server.url}/0.png?Signature=hunter2&pkey=hunter3"))
    assert "hunter" not in str(failed.value)


def test_no_certificate_of_the_connection_goes_to_a_download(serve, monkeypatch):
    seen = []
    real = storage.make_session
    monkeypatch.setattr(storage, "make_session", lambda auth, options: seen.append(options.cert) or real(auth, options))
    server = serve((200, b"abc"))
    options = TransportOptions(cert="/no/such/file.pem")
    assert b"".join(fetcher(options, allow_private_hosts=True)(f"{server.url}/0.png")) == b"abc"
    assert seen == [None]
