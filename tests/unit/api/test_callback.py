"""Callbacks: the address with its token, and the body, which is a bare task or refused."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote, urlsplit

import pytest

from airflow_kling.api.callback import (
    ROUTE,
    Addressee,
    hints_at_end,
    is_token,
    own_callback_url,
    parse_callback,
    token_of,
)
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import TaskStatus

VIDEO = FAMILIES["image-to-video"]
SECRET = "0123456789abcdef0123456789abcdef"
RUN = Addressee("shop", "manual__2026-11-20T10:00:00+00:00", "make.wide", -1)


@pytest.mark.parametrize(
    ("fields", "status", "outputs"),
    [
        ({"task_status": "submitted"}, TaskStatus.SUBMITTED, 0),
        ({"task_status": "processing"}, TaskStatus.PROCESSING, 0),
        ({"task_status": "failed", "task_status_msg": "why"}, TaskStatus.FAILED, 0),
        ({"task_status": "succeed", "task_result": {"videos": [{"url": "https://h/v"}]}}, TaskStatus.SUCCEEDED, 1),
    ],
)
def test_callback_of_every_state(fields, status, outputs):
    told = parse_callback(VIDEO, json.dumps({"task_id": "T1"} | fields).encode())

    assert (told.family, told.task_id, told.status, len(told.outputs)) == ("image-to-video", "T1", status, outputs)
    assert told.message == fields.get("task_status_msg", "")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"T1"', b"null", b"\xff\xff", b"[" * 100_000])
def test_body_that_is_no_object_is_refused(body):
    with pytest.raises(ApiFault) as caught:
        parse_callback(VIDEO, body)

    assert caught.value.info.kind is FaultKind.INPUT


@pytest.mark.parametrize("fields", [{}, {"task_status": "succeed"}, {"task_id": "T1", "task_status": "succeed"}])
def test_object_that_is_no_task_is_refused(fields):
    with pytest.raises(ApiFault, match="unexpected answer"):
        parse_callback(VIDEO, json.dumps(fields).encode())


@pytest.mark.parametrize("base", ["https://airflow.example", "https://airflow.example/", "http://h:8080/below/a/path"])
def test_address_leads_to_the_route_and_names_the_task_instance(base):
    url = own_callback_url(base, SECRET, RUN._replace(task_id="größer 50%"))
    path = urlsplit(url).path
    assert re.fullmatch(r"[\w./%~-]+", path, re.ASCII)
    assert url.startswith(base.rstrip("/") + ROUTE + "/")
    *names, token = map(unquote, path.rsplit("/", 5)[1:])
    assert names == ["shop", RUN.run_id, "größer 50%", "-1"]
    assert is_token(token, SECRET, RUN._replace(task_id="größer 50%"))


def test_token_is_the_same_for_every_try_and_reveals_nothing():
    assert token_of(SECRET, RUN) == token_of(SECRET, Addressee(*RUN))
    assert re.fullmatch(r"[\w-]{43}", token_of(SECRET, RUN), re.ASCII)


@pytest.mark.parametrize(
    "other",
    [
        RUN._replace(dag_id="Shop"),
        RUN._replace(run_id="manual__2026-11-20T10:00:00+00:01"),
        RUN._replace(task_id="make"),
        RUN._replace(map_index=1),
        Addressee("shop/manual", "__2026-11-20T10:00:00+00:00", "make.wide", -1),
        Addressee("", f"shop{RUN.run_id}", "make.wide", -1),
    ],
)
def test_token_is_of_one_task_instance_alone(other):
    assert not is_token(token_of(SECRET, RUN), SECRET, other)
    assert not is_token(token_of(SECRET.swapcase(), RUN), SECRET, RUN)


@pytest.mark.parametrize(
    "token", ["", "x", "ü" * 43, "\udcff", token_of(SECRET, RUN)[:-1], token_of(SECRET, RUN) + "="]
)
def test_forged_token_is_refused(token):
    assert not is_token(token, SECRET, RUN)


@pytest.mark.parametrize(
    ("base", "secret", "addressee", "field"),
    [
        ("", SECRET, RUN, "[kling] callback_base_url"),
        ("airflow.example", SECRET, RUN, "[kling] callback_base_url"),
        ("https://airflow.example", "", RUN, "[kling] callback_secret"),
        ("https://airflow.example", SECRET[1:], RUN, "[kling] callback_secret"),
        ("https://airflow.example", SECRET, RUN._replace(run_id="a/b"), "callback_url"),
    ],
)
def test_what_makes_no_address_is_refused_without_the_secret(base, secret, addressee, field):
    with pytest.raises(InputFault) as caught:
        own_callback_url(base, secret, addressee)
    assert caught.value.field == field
    assert not secret or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"task_id": "T1", "task_status": "submitted"}, False),
        ({"task_id": "T1", "task_status": "processing"}, False),
        ({"task_id": "T1", "task_status": "a word of tomorrow"}, False),
        ({"task_id": "T1", "task_status": "succeed"}, True),  # whatever it made
        ({"task_id": "T1", "task_status": "failed"}, True),
        ({"id": "1", "status": "succeeded", "outputs": [], "create_time": 1781080778802}, True),
    ],
)
def test_hint_of_a_body(fields, ended):
    assert hints_at_end(json.dumps(fields).encode()) is ended


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b"[" * 100_000, b"{}", b'{"task_status": "succeed"}', b"9" * 9_999]
)
def test_body_that_hints_at_nothing_is_refused(body):
    with pytest.raises(ApiFault):
        hints_at_end(body)
