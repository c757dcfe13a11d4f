"""The connection: what the test button tells apart, what its fields mean, what its form shows."""

from __future__ import annotations

import socket
import sys
from itertools import pairwise
from types import ModuleType, SimpleNamespace

import pytest

from airflow_kling.exceptions import KlingAuthError, KlingError, KlingInputError, KlingTaskFailed
from airflow_kling.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.options import TransportOptions, account_from_connection, options_from_extra

PAGE = b"<!doctype html><title>Welcome</title>"


@pytest.mark.parametrize(
    ("answer", "ok", "told"),
    [
        pytest.param(
            (400, {"code": 1201, "message": "Task not found by id/external id: x"}), True, "knows the key", id="kling"
        ),
        pytest.param((400, {"code": "task_not_exist", "message": "", "data": None}), True, "knows the key", id="comet"),
        pytest.param("processing", True, "knows the key", id="a-task"),
        pytest.param((401, {"code": 1002, "message": "Authorization is invalid"}), False, "Wrong key", id="wrong-key"),
        pytest.param((401, {"error": {"message": "invalid token"}}), False, "Wrong key", id="wrong-comet-key"),
        pytest.param((429, {"code": 1101, "message": "in arrears"}), False, "account may not be used", id="arrears"),
        pytest.param((200, {"code": None, "message": "404"}), False, "route is missing", id="no-route"),
        pytest.param((404, PAGE), False, "route is missing", id="no-such-page"),
        pytest.param((301, b"", {"Location": "/"}), False, "route is missing", id="redirect"),
        pytest.param((200, PAGE), False, "web page", id="page"),
        pytest.param((500, {"code": 5000, "message": ""}), False, "server fails", id="server"),
        pytest.param((429, {"code": 1302, "message": ""}), False, "asks to wait", id="too-fast"),
        pytest.param((400, {"code": 1200, "message": "odd"}), False, "answered with an error", id="other"),
    ],
)
def test_button_tells_what_is_wrong(serve, connect, sleeps, answer, ok, told):
    server = serve(answer)
    connect(server)
    success, message = KlingHook().test_connection()
    assert success is ok
    assert told in message
    assert all(seen.method == "GET" for seen in server.requests)


def test_button_tells_a_dead_network(connect, sleeps):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connect(f"http://127.0.0.1:{port}")
    success, message = KlingHook().test_connection()
    assert not success
    assert "Not reached" in message


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"password": ""}, "password"),
        ({"password": "with a\nbreak"}, "without breaks"),
        ({"login": "AK", "extra": {"gateway": "cometapi"}}, "must not be sent to a third party"),
        ({"extra": {"gateway": "klong"}}, "one of cometapi, kling, kling-cn"),
        ({"conn_type": "http"}, "another type's password must not be sent"),
        ({"host": "ftp://kling"}, "host name or a base URL"),
        ({"extra": {"proxies": 7}}, "proxies"),
    ],
)
def test_button_tells_what_the_connection_lacks_without_asking(serve, connect, fields, told):
    server = serve("processing")
    connect(server, **fields)
    success, message = KlingHook().test_connection()
    assert not success
    assert message.startswith("Not tested")
    assert told in message
    assert server.connections == 0


def test_button_tells_a_missing_connection():
    assert KlingHook("kling_nowhere").test_connection()[0] is False


@pytest.mark.parametrize(
    ("fields", "base_url", "gateway"),
    [
        ({"host": ""}, "https://api.cometapi.com", "cometapi"),
        ({"host": "", "login": "AK"}, "https://api-singapore.klingai.com", "kling"),
        ({"host": "", "extra": {"gateway": "kling-cn"}}, "https://api-beijing.klingai.com", "kling-cn"),
        ({"host": "my.host", "port": 8443}, "https://my.host:8443", "cometapi"),
        ({"host": "my.host", "schema": "http"}, "http://my.host", "cometapi"),
    ],
)
def test_fields_of_the_connection_make_the_account(connect, fields, base_url, gateway):
    connect("unused", **fields)
    account = KlingHook().account
    assert (account.base_url, account.gateway) == (base_url, gateway)


def test_connection_is_read_with_the_hook_and_not_before(serve, connect):
    hook = KlingHook("kling_later")
    connect(serve("processing"), "kling_later")
    assert hook.get_task("T1").task_id == "T1"


async def test_both_transports_read_the_same_connection(serve, connect):
    server = serve("processing", "processing", (200, {"code": 0, "data": []}), "submitted")
    connect(server, "kling_two", extra={"prefix": "/p"}, password="sk-two")
    hook = KlingHook("kling_two")
    hook.get_task("T1")
    await hook.aget_task("T1")
    await hook.alist_tasks()
    assert {seen.header("authorization") for seen in server.requests} == {"Bearer sk-two"}
    assert [seen.target.split("?")[0] for seen in server.requests] == [
        "/p/images/editing/expand/T1",
        "/p/images/editing/expand/T1",
        "/p/images/editing/expand",
    ]


@pytest.mark.parametrize("options", [{"headers": {"X": "1"}}, {"extra_options": {"verify": False}}])
def test_session_takes_no_headers_and_options_of_others(serve, connect, options):
    connect(serve("processing"))
    with pytest.raises(ValueError, match="no other headers"):
        KlingHook().get_conn(**options)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((401, {"code": 1002, "message": "no"}), KlingAuthError),
        ((400, {"code": 1201, "message": "Task not found by id/external id: T1"}), KlingTaskFailed),
        ((400, {"code": 1201, "message": "bad value"}), KlingInputError),
    ],
)
async def test_hook_raises_the_errors_of_dag_authors(serve, connect, answer, error):
    connect(serve(answer))
    with pytest.raises(error, match="task T1"):
        KlingHook().get_task("T1")
    with pytest.raises(error, match="task T1") as raised:
        await KlingHook().aget_task("T1")
    assert isinstance(raised.value, KlingError)
    assert raised.value.http_status == answer[0]


@pytest.mark.parametrize(
    "call", [("get_task", ""), ("get_task", "T1", "image-expanding"), ("list_tasks", "image-expansion", 0)]
)
def test_calls_that_cannot_be_meant_are_refused_before_they_are_sent(serve, connect, call):
    server = serve("processing")
    connect(server)
    with pytest.raises(KlingInputError):
        getattr(KlingHook(), call[0])(*call[1:])
    assert server.connections == 0


# -- options of the transport --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({}, {}),
        ({"verify": "False"}, {"verify": False}),
        ({"verify": "0"}, {"verify": False}),
        ({"verify": ""}, {"verify": True}),
        ({"verify": None}, {"verify": True}),
        ({"verify": "/ca.pem"}, {"verify": "/ca.pem"}),
        ({"verify_ssl": False}, {"verify": False}),
        ({"cert": ""}, {"cert": None}),
        ({"cert": "/both.pem"}, {"cert": "/both.pem"}),
        ({"cert": ["/a", "/b"]}, {"cert": ("/a", "/b")}),
        ({"proxy": "http://p"}, {"proxies": {"http": "http://p", "https": "http://p"}}),
        ({"proxies": {"https": "http://p"}}, {"proxies": {"https": "http://p"}}),
        ({"trust_env": "no"}, {"trust_env": False}),
        ({"headers": {"a": "b"}}, {}),
    ],
)
def test_extras_become_options(extra, expected):
    assert options_from_extra(extra) == TransportOptions(**expected)


@pytest.mark.parametrize(
    "extra", [{"cert": ["/a"]}, {"cert": 7}, {"proxies": ["http://u:hunter2@p"]}, {"proxies": {"http": 1}}]
)
def test_extras_that_cannot_be_meant_are_refused_without_showing_a_password(extra):
    with pytest.raises(KlingInputError, match="correct the connection's extra") as refused:
        options_from_extra(extra)
    assert "hunter2" not in str(refused.value)


def test_options_do_not_show_the_password_of_a_proxy():
    assert "hunter2" not in repr(options_from_extra({"proxy": "http://u:hunter2@p"}))


@pytest.mark.parametrize(
    ("conn_type", "taken"), [("kling", True), (None, True), ("", True), ("http", False), ("aws", False)]
)
def test_passwords_of_other_types_are_not_sent(conn_type, taken):
    connection = SimpleNamespace(
        conn_type=conn_type, conn_id="c", login="", password="k", host="", schema="", port=None
    )
    if taken:
        assert account_from_connection(connection, {}).gateway == "cometapi"
        return
    with pytest.raises(KlingInputError, match=conn_type):
        account_from_connection(connection, {})


# -- the form ------------------------------------------------------------------------------------------------------


@pytest.fixture
def form(monkeypatch):
    """Stand in for the modules of the connection form, which Airflow 3 may lack."""

    def field(kind):
        return lambda label, **options: SimpleNamespace(kind=kind, label=label, **options)

    modules = {
        "flask_appbuilder": {},
        "flask_appbuilder.fieldwidgets": {"BS3TextFieldWidget": lambda: "a text widget"},
        "flask_babel": {"lazy_gettext": lambda text: text},
        "wtforms": {"StringField": field("text"), "BooleanField": field("switch")},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)


def test_form_shows_each_field_that_the_metadata_names(form):
    widgets = KlingHook.get_connection_form_widgets()
    assert list(widgets) == list(CONNECTION_FIELDS)
    for name, widget in widgets.items():
        row = CONNECTION_FIELDS[name]
        assert (widget.label, widget.description) == (row["label"], row["description"])
        assert widget.kind == ("switch" if row["schema"]["type"] == "boolean" else "text")


def test_older_airflow_sees_the_behaviour_of_newer():
    behaviour = KlingHook.get_ui_field_behaviour()
    assert {name.replace("_", "-"): value for name, value in behaviour.items()} == UI_FIELD_BEHAVIOUR
    assert "port" not in behaviour["hidden_fields"]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("gateway", ["cometapi", "kling", "kling-cn"]),
        ("prefix", ["/a", "/b"]),
        ("down_ratio_field", ["down_expansion_ratio", "bottom_expansion_ratio"]),
        ("lookup_by_external_id", ["auto", "yes"]),
        ("list_tasks", ["no", "yes"]),
        ("allow_private_hosts", [False, True]),
    ],
)
def test_each_field_of_the_form_changes_the_account(connect, name, values):
    assert name in CONNECTION_FIELDS
    accounts = []
    for value in values:
        connect("https://unused", extra={name: value})
        accounts.append(KlingHook().account)
    assert all(one != other for one, other in pairwise(accounts))


def test_the_test_above_knows_each_field():
    marks = test_each_field_of_the_form_changes_the_account.pytestmark
    assert [name for name, _ in marks[0].args[1]] == list(CONNECTION_FIELDS)
