"""The fields of a connection name one account, or are refused."""

from __future__ import annotations

import pytest

from airflow_kling.api.auth import ApiKey, KeyPair
from airflow_kling.api.gateways import Account, resolve_account
from airflow_kling.api.inputs import InputFault

KEY = "sk-s3cr3t-key"


def account(login=None, password=KEY, host=None, schema=None, port=None, **extra) -> Account:
    return resolve_account(login=login, password=password, host=host, schema=schema, port=port, extra=extra)


def refusal(**fields) -> InputFault:
    with pytest.raises(InputFault) as caught:
        account(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "gateway", "address"),
    [
        ({}, "cometapi", "https://api.cometapi.com/kling/v1/r"),
        ({"login": ""}, "cometapi", "https://api.cometapi.com/kling/v1/r"),
        ({"login": "ak"}, "kling", "https://api-singapore.klingai.com/v1/r"),
        ({"gateway": "kling"}, "kling", "https://api-singapore.klingai.com/v1/r"),
        ({"gateway": "kling-cn"}, "kling-cn", "https://api-beijing.klingai.com/v1/r"),
        ({"gateway": "kling-cn", "login": "ak"}, "kling-cn", "https://api-beijing.klingai.com/v1/r"),
        ({"gateway": None}, "cometapi", "https://api.cometapi.com/kling/v1/r"),
        ({"gateway": ""}, "cometapi", "https://api.cometapi.com/kling/v1/r"),
    ],
)
def test_gateway_named_or_told_from_the_login(fields, gateway, address):
    named = account(**fields)

    assert (named.gateway, named.url("r"), named.url("r", "T1")) == (gateway, address, f"{address}/T1")


@pytest.mark.parametrize("gateway", ["fal", "Kling", 5, ["kling"], True])
def test_unknown_gateway_is_refused(gateway):
    fault = refusal(gateway=gateway)

    assert fault.field == "gateway"
    assert "kling-cn" in fault.limit


@pytest.mark.parametrize(
    ("fields", "credentials"),
    [
        ({}, ApiKey(KEY)),
        ({"password": f" {KEY}\n"}, ApiKey(KEY)),
        ({"login": "ak", "password": "sk"}, KeyPair("ak", "sk")),
        ({"login": " ak ", "password": " sk "}, KeyPair("ak", "sk")),
        ({"gateway": "kling"}, ApiKey(KEY)),
        ({"gateway": "kling-cn", "login": "ak", "password": "sk"}, KeyPair("ak", "sk")),
    ],
)
def test_credentials(fields, credentials):
    assert account(**fields).credentials == credentials


@pytest.mark.parametrize("login", [None, "ak"])
@pytest.mark.parametrize("password", [None, "", "  "])
def test_missing_key_is_refused(login, password):
    assert refusal(login=login, password=password).field == "password"


@pytest.mark.parametrize(
    "fields",
    [{"password": p} for p in ("s3cr3t key", "s3cr3t\nkey", "s3cr3t\x00", "s3cr3té", "s3cr3t\u200b")]
    + [{"login": "s3cr3t ak"}, {"login": "s3cr3t\tak"}],
)
def test_key_that_no_header_can_hold_is_refused_unshown(fields):
    fault = refusal(**fields)

    assert fault.field == "password"
    assert "s3cr3t" not in str(fault)


def test_kling_secret_is_never_given_to_cometapi():
    fault = refusal(gateway="cometapi", login="AK-s3cr3t", password=KEY)

    assert fault.field == "login"
    assert "s3cr3t" not in str(fault)


def test_login_of_blanks_is_no_login():
    assert account(login="  ").gateway == "cometapi"


@pytest.mark.parametrize(
    ("fields", "base_url"),
    [
        ({"host": ""}, "https://api.cometapi.com"),
        ({"host": " / "}, "https://api.cometapi.com"),
        ({"port": 8443}, "https://api.cometapi.com"),
        ({"host": "gw.example"}, "https://gw.example"),
        ({"host": " gw.example/ "}, "https://gw.example"),
        ({"host": "localhost", "schema": "http"}, "http://localhost"),
        ({"host": "gw.example", "schema": ""}, "https://gw.example"),
        ({"host": "gw.example", "port": 8443}, "https://gw.example:8443"),
        ({"host": "gw.example:8443"}, "https://gw.example:8443"),
        ({"host": "gw.example:8443", "port": 9}, "https://gw.example:8443"),
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "http://127.0.0.9", "schema": "https"}, "http://127.0.0.9"),
        ({"host": "HTTPS://gw.example"}, "https://gw.example"),
        ({"host": "https://gw.example/base/path/"}, "https://gw.example/base/path"),
        ({"host": "gw.example/base", "port": 8443}, "https://gw.example:8443/base"),
        ({"host": "[::1]", "schema": "http", "port": 8080}, "http://[::1]:8080"),
    ],
)
def test_base_url(fields, base_url):
    assert account(**fields).base_url == base_url


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "ftp://gw.example"},
        {"host": "gw.example", "schema": "ftp"},
        {"host": "https:///path"},
        {"host": "https://gw.example?key=s3cr3t"},
        {"host": "https://gw.example/#part"},
        {"host": "https://user:s3cr3t@gw.example"},
        {"host": "https://s3cr3t@gw.example"},
    ],
)
def test_other_host_is_refused(fields):
    fault = refusal(**fields)

    assert fault.field == "host"
    assert "s3cr3t" not in str(fault)


@pytest.mark.parametrize("host", ["gw.example:port", "gw.example:99999", "https://[::1"])
def test_host_that_cannot_be_split_is_refused(host):
    assert refusal(host=host).field == "host"


def test_scheme_alone_is_refused():
    assert refusal(host="https://").field == "host"


def test_host_with_a_password_alone_is_refused():
    assert refusal(host="https://:s3cr3t@gw.example").field == "host"


def test_refused_host_without_a_scheme_hides_its_password():
    assert "s3cr3t" not in str(refusal(host="user:s3cr3t@gw.example"))


@pytest.mark.parametrize("host", ["gw.example evil", "https://gw example", "https://gw.example\\x"])
def test_host_that_is_no_name_is_refused(host):
    assert refusal(host=host).field == "host"


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        (None, "/kling/v1"),
        ("", "/kling/v1"),
        ("/", ""),
        ("v1", "/v1"),
        ("/v1/", "/v1"),
        ("/api/kling/v1", "/api/kling/v1"),
    ],
)
def test_prefix(prefix, expected):
    assert account(prefix=prefix).prefix == expected


@pytest.mark.parametrize("prefix", ["/v1?x", "/v1#x", "/v 1", "\\v1", "/../admin", "..", 5, ["v1"], True])
def test_other_prefix_is_refused(prefix):
    assert refusal(prefix=prefix).field == "prefix"


@pytest.mark.parametrize("prefix", ["/v1\nx", "/v1\tx", "https://gw.example/v1"])
def test_prefix_that_is_no_path_is_refused(prefix):
    assert refusal(prefix=prefix).field == "prefix"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "down_expansion_ratio"),
        ("", "down_expansion_ratio"),
        ("bottom_expansion_ratio", "bottom_expansion_ratio"),
        ("lower", "lower"),
    ],
)
def test_spelling_of_the_lower_side(value, expected):
    assert account(down_ratio_field=value).down_ratio_field == expected


@pytest.mark.parametrize("value", ["a b", "a-b", '"', "1a", 5, ["a"], True])
def test_other_spelling_is_refused(value):
    assert refusal(down_ratio_field=value).field == "down_ratio_field"


@pytest.mark.parametrize("key", ["lookup_by_external_id", "list_tasks"])
@pytest.mark.parametrize("gateway", ["cometapi", "kling", "kling-cn"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        *(("auto", None), (None, None), ("", None), ("AUTO", None)),
        *(("yes", True), ("Yes", True), (True, True)),
        *(("no", False), ("NO", False), (False, False)),
    ],
)
def test_belief_is_given_or_the_gateways(key, gateway, given, expected):
    named = account(gateway=gateway, **{key: given})

    assert getattr(named, key) is ((gateway != "cometapi") if expected is None else expected)


@pytest.mark.parametrize("key", ["lookup_by_external_id", "list_tasks"])
@pytest.mark.parametrize("value", ["maybe", "true", 2, ["yes"]])
def test_other_belief_is_refused(key, value):
    assert refusal(**{key: value}).field == key


@pytest.mark.parametrize("value", [0, 1])
def test_belief_may_be_a_number_of_json(value):
    assert account(gateway="kling", lookup_by_external_id=value).lookup_by_external_id is bool(value)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        *((value, True) for value in (True, "true", " Yes ", "1", "on", 1)),
        *((value, False) for value in (False, "false", "no", "0", "", None, 0)),
    ],
)
def test_private_hosts(value, allowed):
    assert account(allow_private_hosts=value).allow_private_hosts is allowed


def test_private_hosts_are_not_allowed_by_themselves():
    assert account().allow_private_hosts is False


@pytest.mark.parametrize("login", [None, "AK-s3cr3t"])
def test_account_shows_no_secrets(login):
    named = account(login=login)

    assert "s3cr3t" not in f"{named!r} {named.credentials!r}"


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "http://gw.example"},
        {"host": "http://api.cometapi.com"},
        # A login makes the gateway Kling, whose tokens CometAPI must not see, and the other way round.
        {"login": "ak", "host": "https://api.cometapi.com"},
        {"gateway": "cometapi", "host": "https://api-singapore.klingai.com"},
    ],
)
def test_a_key_goes_to_its_own_gateway_and_never_in_the_clear(fields):
    assert refusal(**fields).field in ("host", "gateway")


def test_a_gateway_of_the_own_network_may_be_asked_in_the_clear():
    assert account(host="http://gw.internal", allow_private_hosts=True).base_url == "http://gw.internal"


def test_regions_of_kling_share_their_kind_of_key():
    assert account(gateway="kling-cn", host="https://api-singapore.klingai.com").gateway == "kling-cn"
