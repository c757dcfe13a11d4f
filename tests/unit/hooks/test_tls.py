"""Certificates: what the connection says is what both transports do."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from airflow_kling.api.models import ExpandRequest
from airflow_kling.exceptions import KlingConnectionError, KlingError, KlingInputError
from airflow_kling.hooks.kling import KlingHook


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """Self-signed certificates of 127.0.0.1 and of a stranger, each with its key in the same file and in another."""
    folder = tmp_path_factory.mktemp("pems")
    start = datetime.datetime(2020, 1, 1)
    for owner in ("ours", "stranger"):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, owner)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2090))
        made = made.add_extension(address, False).add_extension(x509.BasicConstraints(True, None), True)
        cert_pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{owner}.crt").write_bytes(cert_pem)
        (folder / f"{owner}.key").write_bytes(key_pem)
        (folder / f"{owner}.pem").write_bytes(cert_pem + key_pem)
    return folder


@pytest.fixture
def server(serve, pems):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pems / "ours.pem")
    return serve("processing", tls=context)


@pytest.fixture(params=["requests", "aiohttp"])
def get_task(request, sleeps):
    hook = KlingHook()
    return hook.get_task if request.param == "requests" else lambda task_id: asyncio.run(hook.aget_task(task_id))


@pytest.mark.parametrize("verify", [None, True, "true", "stranger.crt"])
def test_certificate_of_nobody_known_is_refused(server, connect, get_task, pems, verify):
    connect(server, extra={"verify": str(pems / verify) if verify == "stranger.crt" else verify})
    with pytest.raises(KlingConnectionError, match="Nothing was sent"):
        get_task("T1")
    assert server.requests == []


@pytest.mark.parametrize("extra", [{"verify": False}, {"verify": "false"}, {"verify_ssl": False}])
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_check_can_be_switched_off_whatever_the_environment_says(server, connect, get_task, pems, monkeypatch, extra):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pems / "stranger.crt"))
    connect(server, extra=extra)
    assert get_task("T1").task_id == "T1"


def test_bundle_of_the_connection_is_used(server, connect, get_task, pems):
    connect(server, extra={"verify": str(pems / "ours.crt")})
    assert get_task("T1").task_id == "T1"


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_bundle_of_the_environment_is_used(server, connect, get_task, pems, monkeypatch, name):
    monkeypatch.setenv(name, str(pems / "ours.crt"))
    connect(server)
    assert get_task("T1").task_id == "T1"


def test_bundle_of_the_connection_comes_before_that_of_the_environment(server, connect, get_task, pems, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pems / "stranger.crt"))
    connect(server, extra={"verify": str(pems / "ours.crt")})
    assert get_task("T1").task_id == "T1"


@pytest.mark.parametrize("files", [["ours.pem"], ["ours.crt", "ours.key"]])
@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_client_certificate_is_shown(server, connect, get_task, pems, files, verify):
    server.tls.verify_mode = ssl.CERT_REQUIRED
    server.tls.load_verify_locations(pems / "ours.crt")
    paths = [str(pems / file) for file in files]
    extra = {"verify": str(pems / "ours.crt") if verify else False, "cert": paths if paths[1:] else paths[0]}
    connect(server, extra=extra)
    assert get_task("T1").task_id == "T1"


@pytest.mark.parametrize("option", ["verify", "cert"])
def test_missing_file_is_an_error_of_ours(server, connect, get_task, option):
    connect(server, extra={option: "/no/such/file.pem"})
    with pytest.raises(KlingError, match=r"No such file|/no/such/file"):
        get_task("T1")
    assert server.requests == []


@pytest.mark.parametrize("option", ["verify", "cert"])
def test_missing_file_is_an_input_error_that_names_it(server, connect, get_task, sleeps, option):
    connect(server, extra={option: "/no/such/file.pem"})
    with pytest.raises(KlingInputError, match=r"/no/such/file\.pem"):
        get_task("T1")
    assert sleeps == []


def test_create_that_could_not_leave_made_nothing(server, connect, sleeps):
    connect(server, extra={"verify": "/no/such/file.pem"})
    with pytest.raises(KlingError) as refused:
        KlingHook().submit(ExpandRequest(image="https://example.com/cat.png", up=0.5))
    assert "may have arrived" not in str(refused.value)
