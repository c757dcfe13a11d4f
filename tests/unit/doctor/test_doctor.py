"""``airflow-kling doctor``: what it tells of a connection, over real sockets, and that it never creates."""

from __future__ import annotations

import argparse
import json
import socket
import time
from email.utils import formatdate

import pytest

from airflow_kling.doctor import deployment
from airflow_kling.doctor.command import add_arguments, run
from airflow_kling.doctor.findings import Finding, State, as_text, exit_code
from airflow_kling.emulator.settings import EmulatorSettings

PAGE = b"<!doctype html><title>Welcome</title>"
MISSING = (400, {"code": 1201, "message": "Task not found by id/external id: x"})
NO_ROUTE = (200, {"code": None, "message": "404"})
SECRETS = ("sk-0123", "emulator-key", "emulator-secret", "Signature=")


@pytest.fixture
def doctor(capsys, monkeypatch):
    """Run the command for one connection; return exit code, lines by check, and all that was written."""
    monkeypatch.setattr(deployment, "findings", lambda concurrency, fix_pools: iter(()))

    def examine(*arguments, conn_id="kling_default"):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        capsys.readouterr()  # what servers said when they began
        code = run(parser.parse_args(["--conn-id", conn_id, "--json", *arguments]))
        out, err = capsys.readouterr()
        assert [secret for secret in SECRETS if secret in out + err] == []
        checks = {row["check"]: row for row in json.loads(out)["checks"]}
        assert json.loads(out)["ok"] == (code == 0)
        return code, checks

    return examine


@pytest.mark.parametrize(
    ("script", "check", "state", "told"),
    [
        pytest.param([MISSING], "key", "ok", "accepted", id="fine"),
        pytest.param([(401, {"code": 1002, "message": "invalid"})], "key", "FAIL", "refused: invalid", id="wrong-key"),
        pytest.param([(401, {"error": {"message": "bad"}})], "key", "FAIL", "refused: bad", id="wrong-comet-key"),
        pytest.param([(429, {"code": 1101, "message": "arrears"})], "key", "FAIL", "may not be used", id="arrears"),
        pytest.param([(500, {"code": 5000, "message": ""})], "key", "unknown", "not confirmed", id="server"),
        pytest.param([(200, PAGE)], "base url", "FAIL", "a web page", id="page"),
        pytest.param([(404, PAGE)], "base url", "FAIL", "a web page", id="page-404"),
        pytest.param([(301, b"", {"Location": "/"})], "base url", "FAIL", "redirects", id="redirect"),
        pytest.param([(200, b"")], "base url", "FAIL", "an empty body", id="empty"),
        pytest.param([NO_ROUTE], "routes", "FAIL", "image-expansion is missing", id="no-route"),
        pytest.param([MISSING, NO_ROUTE], "routes", "ok", "1 of 19 families", id="only-one-route"),
        pytest.param([MISSING], "list", "ok", "is not there", id="no-list"),
        pytest.param([MISSING], "look-up", "warn", "KlingSubmissionUnknown", id="no-look-up"),
        pytest.param([MISSING], "clock", "unknown", "does not tell the time", id="no-date"),
        pytest.param(["reset"], "network", "FAIL", "was not reached", id="reset"),
    ],
)
def test_what_is_told_of_an_answer(doctor, serve, connect, sleeps, script, check, state, told):
    server = serve(*script)
    connect(server)
    code, checks = doctor()
    assert checks[check]["state"] == state
    assert told in checks[check]["text"]
    assert code == any(row["state"] == "FAIL" for row in checks.values())
    if state == "FAIL" and check in ("key", "base url"):
        assert "everything else" in checks
        assert len(server.requests) == 1
    assert {seen.method for seen in server.requests} == {"GET"}
    assert all(seen.body == b"" for seen in server.requests)


@pytest.mark.parametrize(
    ("offset", "login", "state"),
    [(0, "", "ok"), (90, "", "warn"), (-90, "", "warn"), (30, "AK", "FAIL"), (-30, "AK", "ok"), (-1700, "AK", "FAIL")],
)
def test_clock(doctor, serve, connect, offset, login, state):
    date = formatdate(time.time() - offset, usegmt=True)
    fields = {"login": login, "password": "s" * 40} if login else {}
    connect(serve((*MISSING, {"Date": date})), extra={"gateway": "kling"}, **fields)
    assert doctor()[1]["clock"]["state"] == state


def test_dead_network_is_one_plain_sentence(doctor, connect, sleeps):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    connect(f"http://127.0.0.1:{port}")
    code, checks = doctor()
    assert code == 1
    assert checks["network"]["text"] == f"http://127.0.0.1:{port} was not reached: Connection refused"
    assert set(checks) == {"connection", "network", "everything else"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [({"conn_type": "http"}, "of type http"), ({"password": ""}, "password"), ({"extra": {"gateway": "x"}}, "gateway")],
)
def test_a_connection_that_cannot_be_meant_is_not_asked(doctor, serve, connect, fields, told):
    server = serve(MISSING)
    connect(server, **fields)
    code, checks = doctor()
    assert (code, list(checks)) == (1, ["connection"])
    assert told in checks["connection"]["text"]
    assert server.connections == 0


def test_an_unknown_connection(doctor):
    code, checks = doctor(conn_id="kling_nowhere")
    assert code == 1
    assert "isn't defined" in checks["connection"]["text"]
    assert "AIRFLOW_CONN_KLING_NOWHERE" in checks["connection"]["advice"]


def task_of(emulator, dialect="kling", external_id="ours-1"):
    """Make a task by hand, as an operator would."""
    from airflow_kling.emulator.orders import Order
    from airflow_kling.emulator.settings import Dialect

    order = Order(family=emulator_family(), external_task_id=external_id)
    place = Dialect.KLING if dialect == "kling" else Dialect.GATEWAY
    emulator.state.create(order, account="emulator", dialect=place)


def emulator_family():
    from airflow_kling.api.families import FAMILIES

    return FAMILIES["image-expansion"]


@pytest.mark.parametrize(
    ("gateway", "extra", "settings", "expected"),
    [
        ("kling", {}, {}, {"look-up": ("ok", "proven"), "list": ("ok", "1 task")}),
        ("cometapi", {}, {}, {"look-up": ("ok", "proven"), "list": ("ok", "not counted on")}),
        (
            "cometapi",
            {"lookup_by_external_id": "yes"},
            {"gateway_lookup": False},
            {"look-up": ("FAIL", "counted on, but does not work")},
        ),
        ("cometapi", {}, {"gateway_lookup": False}, {"look-up": ("ok", "and is not counted on")}),
        ("cometapi", {"list_tasks": "yes"}, {"gateway_list": False}, {"list": ("FAIL", "is counted on, but")}),
    ],
)
def test_look_ups_are_proven_with_a_task_of_the_list(
    doctor,
    kling_emulator_factory,
    connect,
    gateway,
    extra,
    settings,
    expected,
):
    emulator = kling_emulator_factory(EmulatorSettings(**settings))
    task_of(emulator, gateway)
    connect(emulator, password="emulator-key", extra={"gateway": gateway, **extra})
    creates = len(emulator.state.ledger()["creates"])
    _, checks = doctor()
    for check, (state, told) in expected.items():
        assert checks[check]["state"] == state
        assert told in checks[check]["text"]
    assert len(emulator.state.ledger()["creates"]) == creates
    assert emulator.state.ledger()["requests"]["create"] == 0


def test_units_and_key_pair(doctor, kling_emulator, connect):
    access, secret = next(iter(kling_emulator.state.settings.key_pairs.items()))
    connect(kling_emulator, login=access, password=secret)
    code, checks = doctor()
    assert code == 0
    assert "AccessKey and SecretKey: accepted" in checks["key"]["text"]
    assert "Trial-Image-1000Units-9Con-1Months: 1,000 of 1,000 units left" in checks["units"]["text"]
    kling_emulator.state._books.spent["emulator", "image"] = 950
    units = doctor()[1]["units"]
    assert (units["state"], "50 of 1,000 units left" in units["text"]) == ("warn", True)
    connect(kling_emulator, password="emulator-key")
    assert "cometapi documents no way" in doctor()[1]["units"]["text"]


def test_lines_and_exit_codes():
    found = [Finding("a", "key", State.OK, "fine"), Finding("b", "pools", State.WARN, "missing", "make them")]
    assert as_text(found).splitlines() == [
        "a",
        "  key    ok    fine",
        "",
        "b",
        "  pools  warn  missing -> make them",
        "",
        "1 ok, 1 warn. Nothing was created, and nothing was paid.",
    ]
    assert exit_code(found) == 0
    assert exit_code([*found, Finding("b", "key", State.FAIL, "wrong")]) == 1
