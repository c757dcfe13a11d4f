"""The requests of the API as data, and when a transport may send one again."""

from __future__ import annotations

import itertools
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_kling.api.calls import create_call, list_call, may_resend, query_call, resend_delay
from airflow_kling.api.envelope import Answer
from airflow_kling.api.faults import Created, FaultInfo, FaultKind
from airflow_kling.api.gateways import Account, resolve_account
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import ExpandRequest

BASE = "https://api-singapore.klingai.com/v1/images/editing/expand"
EXPANSION = ExpandRequest(image="https://h/x.png", up=0.5, down=0.25)
PASSING = {FaultKind.SERVER, FaultKind.CONNECTION, FaultKind.RATE, FaultKind.CONCURRENCY}


def account(**extra) -> Account:
    extra = {"gateway": "kling"} | extra
    return resolve_account(login=None, password="s3cr3t", host=None, schema=None, port=None, extra=extra)


def answer(data) -> Answer:
    return Answer(200, {}, json.dumps({"code": 0, "data": data}).encode())


@pytest.mark.parametrize("spelling", ["down_expansion_ratio", "bottom_expansion_ratio"])
def test_create(spelling):
    call = create_call(account(down_ratio_field=spelling), EXPANSION)

    assert (call.method, call.url) == ("POST", BASE)
    assert json.loads(call.body)[spelling] == 0.25
    assert call.headers == {"Accept": "application/json", "Content-Type": "application/json"}
    assert call.parse(answer({"task_id": "T1"})).task_id == "T1"


@pytest.mark.parametrize(
    ("task_id", "segment"), [("T1", "T1"), (" T1 ", "T1"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("a:b~c", "a%3Ab~c")]
)
def test_query_of_one(task_id, segment):
    call = query_call(account(), "image-expansion", task_id)

    assert (call.method, call.url, call.body) == ("GET", f"{BASE}/{segment}", None)
    assert call.headers == {"Accept": "application/json"}
    assert call.parse(answer([{"task_id": "T1"}])).family == "image-expansion"


@pytest.mark.parametrize("task_id", ["", "  ", None, 5])
def test_query_of_nothing_is_refused(task_id):
    with pytest.raises(InputFault) as caught:
        query_call(account(), "image-expansion", task_id)

    assert caught.value.field == "task_id"


@pytest.mark.parametrize("task_id", [".", ".."])
def test_query_never_leaves_its_route(task_id):
    with pytest.raises(InputFault):
        query_call(account(), "image-expansion", task_id)


@pytest.mark.parametrize(("page", "page_size"), [(1, 1), (1000, 500), (2, 30)])
def test_query_of_a_page(page, page_size):
    call = list_call(account(), "image-expansion", page, page_size)

    assert (call.method, call.body) == ("GET", None)
    assert call.url.startswith(f"{BASE}?")
    assert parse_qs(urlsplit(call.url).query) == {"pageNum": [str(page)], "pageSize": [str(page_size)]}
    assert [task.task_id for task in call.parse(answer([{"task_id": "T1"}, {"task_id": "T2"}]))] == ["T1", "T2"]


@pytest.mark.parametrize(
    ("page", "page_size", "field"),
    [
        *((page, 30, "page") for page in (0, 1001, -1, 1.0, "1", True, None)),
        *((1, size, "page_size") for size in (0, 501, True)),
    ],
)
def test_other_page_is_refused(page, page_size, field):
    with pytest.raises(InputFault) as caught:
        list_call(account(), "image-expansion", page, page_size)

    assert caught.value.field == field


@pytest.mark.parametrize("call", [query_call, list_call])
def test_unknown_family_is_refused(call):
    with pytest.raises(InputFault, match="family"):
        call(account(), "text-to-speech", *("T1",) if call is query_call else (1, 30))


def test_large_body_gets_more_time():
    small = create_call(account(), EXPANSION)
    large = create_call(account(), ExpandRequest(image="QUJD" * 1_000_000, up=1))

    assert query_call(account(), "image-expansion", "T1").read_timeout == 30
    assert 30 < small.read_timeout < 30.1
    assert 46 < large.read_timeout < 46.1


def test_call_shows_neither_key_nor_picture():
    shown = repr(create_call(account(), ExpandRequest(image="QUJD" * 10, up=1)))

    assert "s3cr3t" not in shown
    assert "QUJD" not in shown


def info(kind=FaultKind.SERVER, code=None, created=Created.MAY_EXIST, retry_after=None) -> FaultInfo:
    return FaultInfo(kind, "m", code, 500, None, created, retry_after)


@pytest.mark.parametrize("renewable", [True, False])
@pytest.mark.parametrize("created", Created)
@pytest.mark.parametrize("kind", FaultKind)
def test_read_is_sent_again_where_the_fault_passes(kind, created, renewable):
    assert may_resend("GET", info(kind, created=created), 1, token_renewable=renewable) is (kind in PASSING)


@pytest.mark.parametrize("created", Created)
@pytest.mark.parametrize("kind", FaultKind)
def test_create_is_sent_again_only_where_nothing_was_reached(kind, created):
    never_reached = kind is FaultKind.CONNECTION and created is Created.NO

    assert may_resend("POST", info(kind, created=created), 1, token_renewable=True) is never_reached


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("code", [1003, 1004])
@pytest.mark.parametrize(
    ("attempt", "renewable", "again"), [(1, True, True), (1, False, False), (2, True, False), (2, False, False)]
)
def test_refused_token_is_replaced_once(method, code, attempt, renewable, again):
    refused = info(FaultKind.AUTH, code, Created.NO)

    assert may_resend(method, refused, attempt, token_renewable=renewable) is again


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1103])
def test_other_refused_key_is_not_tried_again(code):
    assert not may_resend("GET", info(FaultKind.AUTH, code), 1, token_renewable=True)


@pytest.mark.parametrize("code", [None, 5000, "odd"])
@pytest.mark.parametrize(("attempt", "again"), [(1, True), (3, True), (4, False), (5, False)])
def test_attempts_end(code, attempt, again):
    assert may_resend("GET", info(code=code), attempt, token_renewable=False) is again


@pytest.mark.parametrize(("retry_after", "again"), [(None, True), (0, True), (30, True), (30.1, False), (3600, False)])
def test_long_waits_are_left_to_the_caller(retry_after, again):
    assert may_resend("GET", info(retry_after=retry_after), 1, token_renewable=False) is again


@pytest.mark.parametrize(("attempt", "least", "most"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (6, 15, 30), (50, 15, 30)])
def test_delay_doubles_with_jitter_up_to_half_a_minute(attempt, least, most):
    assert resend_delay(info(), attempt, uniform=lambda low, high: low) == least
    assert resend_delay(info(), attempt, uniform=lambda low, high: high) == most


@pytest.mark.parametrize("retry_after", [0.0, 7.0, 30.0])
def test_delay_is_never_less_than_the_server_asks(retry_after):
    asked = info(retry_after=retry_after)

    for attempt, edge in itertools.product((1, 4), (min, max)):
        assert (
            0 <= resend_delay(asked, attempt, uniform=lambda low, high, edge=edge: edge(low, high)) - retry_after <= 1
        )


def test_delays_differ_by_default():
    assert len({resend_delay(info(), 3) for _ in range(20)}) > 1
