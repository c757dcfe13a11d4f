"""One parser reads every envelope, and says of everything else what it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_kling.api.envelope import (
    Answer,
    parse_bare_task,
    parse_page,
    parse_retry_after,
    parse_task,
    parse_tasks,
)
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus

EXPAND = FAMILIES["image-expansion"]
HTML = b"<!DOCTYPE html><html><body>Bad Gateway</body></html>"
PICTURE = {"images": [{"index": 0, "url": "https://cdn.example.com/0.png"}]}
K, NO, MAY_EXIST = FaultKind, Created.NO, Created.MAY_EXIST


def answer(body: Any, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def task_of(data: Any, family: str = "image-expansion", **payload: Any) -> Task:
    return parse_task(FAMILIES[family], answer({"code": 0, "data": data} | payload))


def fault_of(body: Any, status: int = 200, parse=parse_task, **headers: str) -> FaultInfo:
    with pytest.raises(ApiFault) as caught:
        parse(EXPAND, answer(body, status, **headers))
    return caught.value.info


def wrapped(inner: Any, status: str = "IN_PROGRESS", **outer: Any) -> dict[str, Any]:
    return {"code": "success", "message": "", "data": {"task_id": "W1", "status": status, "data": inner} | outer}


# Answers that are no JSON object.


@pytest.mark.parametrize("parse", [parse_task, parse_tasks])
@pytest.mark.parametrize(
    ("status", "body", "kind", "created", "said"),
    [
        pytest.param(200, HTML, K.SERVER, MAY_EXIST, "a web page", id="html 200"),
        pytest.param(403, HTML, K.AUTH, NO, "a web page", id="html 403"),
        pytest.param(404, HTML, K.ROUTE, NO, "a web page", id="html 404"),
        pytest.param(413, HTML, K.INPUT, NO, "a web page", id="html 413"),
        pytest.param(502, HTML, K.SERVER, MAY_EXIST, "a web page", id="html 502"),
        pytest.param(200, b"\n <HTML>", K.SERVER, MAY_EXIST, "a web page", id="html, indented and shouted"),
        pytest.param(403, b"<?xml version='1.0'?><Error/>", K.AUTH, NO, "a web page", id="xml of a store"),
        pytest.param(200, b"", K.SERVER, MAY_EXIST, "an empty body", id="empty"),
        pytest.param(204, b" \r\n", K.SERVER, MAY_EXIST, "an empty body", id="white space"),
        pytest.param(500, b"", K.SERVER, MAY_EXIST, "an empty body", id="empty 500"),
        pytest.param(429, b"", K.RATE, NO, "an empty body", id="empty 429"),
        pytest.param(200, b'{"code": 0, "data": {"task_id": "T', K.SERVER, MAY_EXIST, "no readable JSON", id="cut"),
        pytest.param(401, b'{"code": 1002', K.AUTH, NO, "no readable JSON", id="cut 401"),
        pytest.param(200, b"\xff\xfe\x00", K.SERVER, MAY_EXIST, "no readable JSON", id="no text"),
        pytest.param(200, b"[" * 100_000, K.SERVER, MAY_EXIST, "no readable JSON", id="too deep"),
        pytest.param(200, b"[]", K.SERVER, MAY_EXIST, "no readable JSON", id="list"),
        pytest.param(200, b'"ok"', K.SERVER, MAY_EXIST, "no readable JSON", id="string"),
        pytest.param(200, b"null", K.SERVER, MAY_EXIST, "no readable JSON", id="null"),
        pytest.param(301, HTML, K.ROUTE, NO, "redirects", id="301"),
        pytest.param(302, HTML, K.ROUTE, NO, "redirects", id="302"),
        pytest.param(307, b'{"code": 0, "data": {"task_id": "T1"}}', K.ROUTE, NO, "redirects", id="307 with a task"),
    ],
)
def test_no_json_object(status, body, kind, created, said, parse):
    info = fault_of(body, status, parse)

    assert (info.kind, info.created, info.code, info.http_status) == (kind, created, None, status)
    assert said in info.message


@pytest.mark.parametrize(("body", "hinted"), [(HTML, True), (b"", False), (b"{", False)])
def test_a_page_at_http_200_hints_at_the_address(body, hinted):
    assert ("base URL" in fault_of(body).hint) is hinted


# Objects that are refusals.


@pytest.mark.parametrize("parse", [parse_task, parse_tasks])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_missing_route_at_any_status(status, parse):
    info = fault_of({"code": None, "message": "404"}, status, parse)

    assert (info.kind, info.created, info.code, info.http_status) == (K.ROUTE, NO, None, status)


@pytest.mark.parametrize(
    ("status", "body", "kind", "created", "code"),
    [
        pytest.param(200, {"code": 1303, "message": "m"}, K.CONCURRENCY, NO, 1303, id="refusal at 200"),
        pytest.param(429, {"code": "1303", "message": "m"}, K.CONCURRENCY, NO, 1303, id="code in words"),
        pytest.param(429, {"code": 1100, "message": "m"}, K.ACCOUNT, NO, 1100, id="429 that stays"),
        pytest.param(500, {"code": 1301, "message": "m"}, K.CONTENT, NO, 1301, id="code beats status"),
        pytest.param(400, {"code": 5000, "message": "m"}, K.SERVER, MAY_EXIST, 5000, id="code beats status 400"),
        pytest.param(400, {"code": 777, "message": "m"}, K.INPUT, NO, 777, id="unknown code 400"),
        pytest.param(429, {"code": 777, "message": "m"}, K.RATE, NO, 777, id="unknown code 429"),
        pytest.param(500, {"code": 777, "message": "m"}, K.SERVER, MAY_EXIST, 777, id="unknown code 500"),
        pytest.param(200, {"code": 777, "message": "m"}, K.SERVER, MAY_EXIST, 777, id="unknown code 200"),
        pytest.param(400, {"code": "odd", "message": "m"}, K.INPUT, NO, "odd", id="unknown word"),
        pytest.param(200, {"code": -1, "message": "m"}, K.SERVER, MAY_EXIST, -1, id="negative code"),
        pytest.param(200, {"code": None, "message": "m"}, K.SERVER, MAY_EXIST, None, id="null code"),
        pytest.param(200, {"code": True, "data": {"task_id": "T"}}, K.SERVER, MAY_EXIST, None, id="code true"),
        pytest.param(200, {"code": "", "data": {"task_id": "T"}}, K.SERVER, MAY_EXIST, None, id="code empty"),
        pytest.param(200, {"code": [0], "data": {"task_id": "T"}}, K.SERVER, MAY_EXIST, None, id="code a list"),
        pytest.param(200, {"code": "9" * 30, "message": "m"}, K.SERVER, MAY_EXIST, "9" * 30, id="long code"),
        pytest.param(500, {"code": 0, "message": "SUCCEED"}, K.SERVER, MAY_EXIST, None, id="code 0 at 500"),
        pytest.param(500, {"code": 0, "data": {"task_id": "T"}}, K.SERVER, MAY_EXIST, None, id="task at 500"),
        pytest.param(404, {"detail": "Not Found"}, K.ROUTE, NO, None, id="another server's 404"),
        pytest.param(501, {"detail": "no"}, K.ROUTE, NO, None, id="not implemented"),
        pytest.param(418, {"detail": "no"}, K.INPUT, NO, None, id="status without a row, refused"),
        pytest.param(524, {"detail": "no"}, K.SERVER, MAY_EXIST, None, id="status without a row, failing"),
        pytest.param(200, {"detail": "hello"}, K.SERVER, MAY_EXIST, None, id="another server's 200"),
        pytest.param(400, {"code": "task_not_exist"}, K.NOT_FOUND, NO, "task_not_exist", id="gateway: no task"),
        pytest.param(
            500, {"code": "fail_to_fetch_task"}, K.SERVER, MAY_EXIST, "fail_to_fetch_task", id="gateway: late"
        ),
    ],
)
def test_refusal_is_classed_by_code_then_by_status(status, body, kind, created, code):
    info = fault_of(body, status)

    assert (info.kind, info.created, info.code, info.http_status) == (kind, created, code, status)
    assert info.message


@pytest.mark.parametrize(
    ("status", "error", "kind", "created", "code"),
    [
        pytest.param(401, "invalid token", K.AUTH, NO, None, id="string"),
        pytest.param(401, {"message": "invalid token", "code": ""}, K.AUTH, NO, None, id="no code"),
        pytest.param(500, {"message": "m", "code": "invalid_request"}, K.INPUT, NO, "invalid_request", id="500 stays"),
        pytest.param(503, {"message": "m", "code": "model_not_found"}, K.ROUTE, NO, "model_not_found", id="no model"),
        pytest.param(
            403,
            {"message": "m", "code": "insufficient_user_quota"},
            K.ACCOUNT,
            NO,
            "insufficient_user_quota",
            id="quota",
        ),
        pytest.param(429, {"message": "m", "code": "1303"}, K.CONCURRENCY, NO, 1303, id="code of Kling"),
        pytest.param(400, {"message": "Unsupported relay mode"}, K.ROUTE, NO, None, id="relay mode"),
        pytest.param(500, {"message": "unsupported relay mode"}, K.ROUTE, NO, None, id="relay mode at 500"),
        pytest.param(200, {"message": "upstream"}, K.SERVER, MAY_EXIST, None, id="at 200"),
        pytest.param(502, ["odd"], K.SERVER, MAY_EXIST, None, id="list"),
        pytest.param(400, 42, K.INPUT, NO, None, id="number"),
    ],
)
def test_error_object_of_a_gateway(status, error, kind, created, code):
    info = fault_of({"error": error}, status)

    assert (info.kind, info.created, info.code) == (kind, created, code)


@pytest.mark.parametrize("error", [None, "", {}, False])
def test_empty_error_beside_a_task_is_no_error(error):
    assert task_of({"task_id": "T1"}, error=error).task_id == "T1"


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Task not found by id/external id: nope", K.NOT_FOUND),
        ("TASK NOT FOUND by id", K.NOT_FOUND),
        ("External_task_id shop-42 already exists", K.DUPLICATE),
        ("External_task_id is too long", K.INPUT),
        ("The image of the task not found", K.INPUT),
        ("", K.INPUT),
    ],
)
def test_words_tell_the_meanings_of_1201_apart(message, kind):
    info = fault_of({"code": 1201, "message": message}, 400)

    assert (info.kind, info.code, info.created) == (kind, 1201, NO)


def test_words_of_1201_mean_nothing_beside_another_code():
    assert fault_of({"code": 1200, "message": "Task not found by id"}, 400).kind is K.INPUT


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"code": 1303, "message": "in message"}, "in message"),
        ({"code": 1303, "msg": "in msg"}, "in msg"),
        ({"code": 777, "message": {"odd": 1}}, "HTTP 429"),
        ({"code": 777, "message": 404}, "404"),
        ({"code": 777, "message": "two\nlines, Bearer abcdefghijk"}, "two lines, Bearer ***"),
    ],
)
def test_message_of_a_refusal(body, message):
    assert fault_of(body, 429).message == message


def test_refusal_without_words_tells_the_meaning_of_its_code():
    assert fault_of({"code": 1303}, 429).message == "concurrency of the resource pack exceeded"


def test_code_in_words_is_redacted():
    assert fault_of({"code": "Bearer abcdefghijk " + "x" * 100}, 400).code == ("Bearer *** " + "x" * 100)[:80]


# Request id and Retry-After.


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        ({"request_id": "body-1"}, {"x_request_id": "head-1"}, "body-1"),
        ({"request_id": 42}, {}, "42"),
        ({}, {"x_request_id": "head-1", "x_trace_id": "trace-1"}, "head-1"),
        ({}, {"x_oneapi_request_id": "head-2"}, "head-2"),
        ({}, {"x_trace_id": "trace-1"}, "trace-1"),
        ({"request_id": ""}, {"x_request_id": "head-1"}, "head-1"),
        ({"request_id": "two words"}, {"x_request_id": "head-1"}, "head-1"),
        ({"request_id": "x" * 257}, {}, None),
        ({"request_id": ["a"]}, {}, None),
        ({"error": {"message": "bad (request id: 2026-abc)"}}, {}, "2026-abc"),
        ({"error": {"message": "bad (Request ID: 2026-abc)"}}, {"x_request_id": "head-1"}, "head-1"),
        ({"error": {"message": "bad (request id: )"}}, {}, None),
        ({"error": "bad"}, {}, None),
        ({}, {}, None),
    ],
)
def test_request_id_of_a_fault(body, headers, expected):
    assert fault_of({"code": 777} | body, 400, **headers).request_id == expected


def test_request_id_around_a_wrapped_fault():
    assert fault_of(wrapped({"code": 1301, "message": "m"}) | {"request_id": "outer-1"}).request_id == "outer-1"


def test_request_id_of_a_task_can_come_from_a_header():
    told = parse_task(EXPAND, answer({"code": 0, "data": {"task_id": "T1"}}, x_request_id="head-1"))

    assert told.request_id == "head-1"


NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("3600", 3600.0),
        ("3601", 3600.0),
        ("1e300", 3600.0),
        ("-5", 0.0),
        ("inf", None),
        ("nan", None),
        ("", None),
        ("  ", None),
        ("soon", None),
        ("Fri, 99 Nov 2026", None),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30.0),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30.0),
        ("Fri, 20 Nov 2026 13:00:30 +0100", 30.0),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0.0),
        ("Sat, 20 Nov 2027 12:00:00 GMT", 3600.0),
        ("Fri, 20 Nov 2026 12:00:30 +99999999999999", None),
    ],
)
def test_retry_after(value, seconds):
    assert parse_retry_after({"retry-after": value}, NOW) == seconds


def test_retry_after_absent():
    assert parse_retry_after({}) is None


def test_retry_after_of_a_past_date_counts_from_today_by_default():
    assert parse_retry_after({"retry-after": "Fri, 20 Nov 2015 12:00:00 GMT"}) == 0.0


def test_fault_carries_retry_after():
    assert fault_of({"code": 1302}, 429, retry_after="12").retry_after == 12.0


# Tasks.


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("submitted", TaskStatus.SUBMITTED),
        ("NOT_START", TaskStatus.SUBMITTED),
        ("QUEUED", TaskStatus.SUBMITTED),
        ("pending", TaskStatus.SUBMITTED),
        ("processing", TaskStatus.PROCESSING),
        ("IN_PROGRESS", TaskStatus.PROCESSING),
        ("succeed", TaskStatus.SUCCEEDED),
        ("succeeded", TaskStatus.SUCCEEDED),
        ("SUCCESS", TaskStatus.SUCCEEDED),
        ("failed", TaskStatus.FAILED),
        ("FAILURE", TaskStatus.FAILED),
        ("rendering", TaskStatus.PROCESSING),
        ("completed?", TaskStatus.PROCESSING),
        ("7", TaskStatus.PROCESSING),
        ("", TaskStatus.SUBMITTED),
    ],
)
def test_status_word(word, status):
    told = task_of({"task_id": "T1", "task_status": word, "task_result": PICTURE})

    assert (told.status, told.status_word) == (status, word)


@pytest.mark.parametrize("data", [{"task_id": "T1"}, {"task_id": "T1", "task_status": None}, {"id": "T1"}])
def test_create_without_a_status_is_submitted(data):
    told = task_of(data)

    assert (told.task_id, told.status, told.status_word) == ("T1", TaskStatus.SUBMITTED, "")


@pytest.mark.parametrize(
    ("outer", "inner", "status", "word"),
    [
        ("FAILURE", "processing", TaskStatus.FAILED, "FAILURE"),
        ("FAILURE", "succeed", TaskStatus.SUCCEEDED, "succeed"),
        ("FAILURE", "rendering", TaskStatus.FAILED, "FAILURE"),
        ("SUCCESS", "processing", TaskStatus.PROCESSING, "processing"),
        ("SUCCESS", "rendering", TaskStatus.PROCESSING, "rendering"),
        ("SUCCESS", "failed", TaskStatus.FAILED, "failed"),
        ("SUCCESS", "", TaskStatus.SUCCEEDED, "SUCCESS"),
        ("IN_PROGRESS", "succeed", TaskStatus.SUCCEEDED, "succeed"),
        ("IN_PROGRESS", "", TaskStatus.PROCESSING, "IN_PROGRESS"),
        ("UNKNOWN", "submitted", TaskStatus.SUBMITTED, "submitted"),
        ("UNKNOWN", "", TaskStatus.SUBMITTED, ""),
    ],
)
def test_klings_own_status_counts_unless_the_gateway_gave_up(outer, inner, status, word):
    told = task_of_payload(wrapped({"task_id": "W1", "task_status": inner, "task_result": PICTURE}, outer))

    assert (told.status, told.status_word) == (status, word)


def task_of_payload(payload: dict[str, Any]) -> Task:
    return parse_task(EXPAND, answer(payload))


@pytest.mark.parametrize("depth", range(4))
def test_wrapped_task_is_found_at_every_depth(depth):
    data: Any = {"task_id": "T1", "task_status": "succeed", "task_result": PICTURE}
    for _ in range(depth):
        data = {"data": data}

    told = task_of(data)

    assert (told.task_id, told.status, len(told.outputs)) == ("T1", TaskStatus.SUCCEEDED, 1)


def test_task_wrapped_deeper_than_ever_seen_is_no_task():
    data: Any = {"task_id": "T1", "task_status": "succeed", "task_result": PICTURE}
    for _ in range(4):
        data = {"data": data}

    assert fault_of({"code": 0, "data": data}).kind is K.SERVER


@pytest.mark.parametrize(
    "inner",
    [
        {"task_id": "W1", "task_status": "processing"},
        [{"task_id": "W1", "task_status": "processing"}],
        {"code": 0, "data": {"task_id": "W1", "task_status": "processing"}},
        {"code": "0", "data": [{"task_id": "W1", "task_status": "processing"}]},
    ],
)
def test_wrapped_forms(inner):
    assert task_of_payload(wrapped(inner)).status_word == "processing"


@pytest.mark.parametrize("inner", [None, "", {}, [], [1, 2], {"progress": "30%"}, {"code": 0, "data": None}])
def test_wrapper_alone_is_a_task(inner):
    told = task_of_payload(wrapped(inner, fail_reason="why", created_at=1_740_000_000_123))

    assert (told.task_id, told.status, told.message) == ("W1", TaskStatus.PROCESSING, "why")
    assert told.created_at == datetime(2025, 2, 19, 21, 20, 0, 123_000, tzinfo=UTC)


def test_innermost_facts_win_over_the_wrappers():
    inner = {"task_id": "W1", "task_status": "failed", "task_status_msg": "inner", "updated_at": 2000}
    told = task_of_payload(wrapped(inner, "FAILURE", fail_reason="outer", updated_at=1000))

    assert (told.message, told.updated_at) == ("inner", datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("inner", "kind", "code", "created"),
    [
        ({"code": 1301, "message": "policy"}, K.CONTENT, 1301, NO),
        ({"code": "1303", "message": "policy"}, K.CONCURRENCY, 1303, NO),
        ({"code": 5000, "message": "policy", "data": {"task_id": "W1"}}, K.SERVER, 5000, MAY_EXIST),
        ({"code": 0, "data": {"code": 1301, "message": "policy"}}, K.CONTENT, 1301, NO),
    ],
)
def test_refusal_inside_a_wrapper(inner, kind, code, created):
    info = fault_of(wrapped(inner))

    assert (info.kind, info.code, info.created, info.message) == (kind, code, created, "policy")


@pytest.mark.parametrize("code", [5000, 1303])
def test_gateway_that_gave_up_ends_the_task_whatever_code_it_kept(code):
    told = task_of_payload(wrapped({"code": code, "message": "m"}, "FAILURE", fail_reason="upstream failed"))

    assert (told.status, told.message) == (TaskStatus.FAILED, "upstream failed")


@pytest.mark.parametrize("data", [[{"task_id": "T1", "task_status": "processing"}], {"task_id": "T1"}])
def test_single_query_may_answer_with_a_list_of_one(data):
    assert task_of(data).task_id == "T1"


@pytest.mark.parametrize("data", [[], [{"task_id": "T1"}, {"task_id": "T2"}]])
def test_single_query_never_picks_from_a_list(data):
    info = fault_of({"code": 0, "data": data})

    assert (info.kind, info.created) == (K.SERVER, MAY_EXIST)
    assert f"{len(data)} tasks" in info.message


@pytest.mark.parametrize(
    "data",
    [None, "T1", 5, {}, {"task_status": "processing"}, {"task_id": ""}, {"task_id": None}, {"task_id": True}]
    + [{"task_id": bad} for bad in ("a/b", "a b", "a?b", "a\n", "x" * 257, ["a"], 1.5)],
)
def test_no_task_id_no_task(data):
    info = fault_of({"code": 0, "data": data})

    assert (info.kind, info.created) == (K.SERVER, MAY_EXIST)


@pytest.mark.parametrize("task_id", [".", ".."])
def test_task_id_that_would_change_the_path_is_no_task_id(task_id):
    fault_of({"code": 0, "data": {"task_id": task_id}})


@pytest.mark.parametrize(
    ("task_id", "expected"), [(123, "123"), ("x" * 256, "x" * 256), ("a-B_1.c:~+=", "a-B_1.c:~+=")]
)
def test_task_ids(task_id, expected):
    assert task_of({"task_id": task_id}).task_id == expected


def test_code_may_be_missing_where_data_is_there():
    assert task_of_payload({"data": {"task_id": "T1"}}).task_id == "T1"


@pytest.mark.parametrize("code", [0, "0", "success"])
def test_words_for_no_error(code):
    assert task_of_payload({"code": code, "data": {"task_id": "T1"}}).task_id == "T1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"task_info": {"external_task_id": "shop-1"}}, "shop-1"),
        ({"external_task_id": "shop-2"}, "shop-2"),
        ({"task_info": {"external_task_id": "shop-1"}, "external_task_id": "shop-2"}, "shop-1"),
        ({"task_info": {"external_task_id": None}, "external_task_id": "shop-2"}, "shop-2"),
        ({"task_info": {"external_task_id": ""}}, None),
        ({"task_info": "odd"}, None),
        ({}, None),
    ],
)
def test_external_task_id(fields, expected):
    assert task_of({"task_id": "T1"} | fields).external_task_id == expected


@pytest.mark.parametrize(
    ("value", "units"),
    [("8", 8.0), (8, 8.0), ("0.5", 0.5), (0, 0.0)]
    + [(bad, None) for bad in (None, "", "eight", True, -1, "nan", "inf", [8], 10**400)],
)
def test_units(value, units):
    assert task_of({"task_id": "T1", "final_unit_deduction": value}).units == units


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_740_000_000_123, datetime(2025, 2, 19, 21, 20, 0, 123_000, tzinfo=UTC)),
        ("1740000000123", datetime(2025, 2, 19, 21, 20, 0, 123_000, tzinfo=UTC)),
    ]
    + [(bad, None) for bad in (0, -1, None, "", "today", True, 1e30, 1e300)],
)
def test_times_are_unix_milliseconds(value, moment):
    assert task_of({"task_id": "T1", "created_at": value}).created_at == moment


def test_message_of_a_task_is_redacted():
    told = task_of({"task_id": "T1", "task_status": "failed", "task_status_msg": "see https://h/x?Signature=abc\nnow"})

    assert told.message == "see https://h/x?*** now"


# Outputs.


def outputs_of(result: Any, family: str = "image-expansion"):
    return task_of({"task_id": "T1", "task_status": "succeed", "task_result": result}, family).outputs


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        [],
        "odd",
        {"images": None},
        {"images": []},
        {"images": {"url": "https://h/x"}},
        {"images": [None, "https://h/x", {}, {"url": None}, {"url": ""}, {"url": "file:///etc/passwd"}, {"url": 5}]},
        {"videos": [{"url": "https://h/x"}]},
    ],
)
def test_success_without_an_output_is_no_success(result):
    info = fault_of({"code": 0, "data": {"task_id": "T1", "task_status": "succeed", "task_result": result}})

    assert (info.kind, info.created) == (K.SERVER, MAY_EXIST)
    assert "T1" in info.message


@pytest.mark.parametrize("word", ["processing", "failed", "rendering"])
def test_outputs_count_only_when_the_task_succeeded(word):
    assert task_of({"task_id": "T1", "task_status": word, "task_result": PICTURE}).outputs == ()


@pytest.mark.parametrize(
    ("indexes", "expected"),
    [
        ([0, 1, 2], [(0, "a"), (1, "b"), (2, "c")]),
        ([2, 0, 1], [(0, "b"), (1, "c"), (2, "a")]),
        ([None, None, None], [(0, "a"), (1, "b"), (2, "c")]),
        ([0, 0, 0], [(0, "a"), (1, "b"), (2, "c")]),
        ([1, 1, 0], [(0, "a"), (1, "b"), (2, "c")]),
        ([1, None, 5], [(0, "a"), (1, "b"), (2, "c")]),
        ([-1, True, "2"], [(0, "a"), (1, "b"), (2, "c")]),
        ([0, 3, 7], [(0, "a"), (3, "b"), (7, "c")]),
    ],
)
def test_index_of_outputs_is_unique_and_sorted(indexes, expected):
    rows = [{"index": index, "url": f"https://h/{name}"} for index, name in zip(indexes, "abc", strict=True)]

    assert [(output.index, output.url[-1]) for output in outputs_of({"images": rows})] == expected


def test_renumbered_outputs_keep_their_facts():
    rows = [{"index": 0, "url": "https://h/a"}, {"index": 0, "url": "https://h/b", "watermark_url": "https://h/bw"}]
    rows[1] |= {"id": "v", "duration": "5"}

    _, second = outputs_of({"images": rows})

    assert (second.watermark_url, second.id, second.duration) == ("https://h/bw", "v", 5.0)


@pytest.mark.parametrize(
    ("row", "url"),
    [
        ({"url_mp3": "https://h/a.mp3", "url_wav": "https://h/a.wav"}, "https://h/a.mp3"),
        ({"url_wav": "https://h/a.wav"}, "https://h/a.wav"),
        ({"url_mp3": "", "url_wav": "https://h/a.wav"}, "https://h/a.wav"),
        ({"url": "https://h/a", "url_mp3": "https://h/a.mp3"}, "https://h/a"),
    ],
)
def test_sounds(row, url):
    (sound,) = outputs_of({"audios": [{"id": "s-1", "duration": "3.5"} | row]}, "text-to-audio")

    assert (sound.url, sound.id, sound.duration, sound.kind.value) == (url, "s-1", 3.5, "audio")


@pytest.mark.parametrize(("value", "expected"), [("https://h/w", "https://h/w"), ("", None), (None, None), (5, None)])
def test_watermarked_picture(value, expected):
    (output,) = outputs_of({"images": [{"url": "https://h/x", "watermark_url": value}]})

    assert output.watermark_url == expected


def test_signed_links_are_not_shown():
    told = task_of({"task_id": "T1", "task_status": "succeed", "task_result": PICTURE})

    assert "cdn.example.com" not in repr(told)


# Lists and bare objects.


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ([], []),
        ([{"task_id": "T1"}, {"task_id": "T2"}], ["T1", "T2"]),
        ({"task_id": "T1"}, ["T1"]),
        (
            [{"task_id": "T1"}, {}, None, "T2", {"task_id": "T3", "task_status": "succeed"}, {"task_id": "T4"}],
            ["T1", "T3", "T4"],
        ),
    ],
)
def test_list_holds_the_rows_that_can_be_read(data, ids):
    assert [task.task_id for task in parse_tasks(EXPAND, answer({"code": 0, "data": data}))] == ids


@pytest.mark.parametrize("data", ["T1", {}, {"data": []}])
def test_no_list_is_no_empty_list(data):
    assert fault_of({"code": 0, "data": data}, parse=parse_tasks).kind is K.SERVER


@pytest.mark.parametrize(
    "row",
    [
        {"task_id": "T1"},
        {"task_id": "K1", "task_info": {"external_task_id": "T1"}},
        {"task_id": "K1", "external_task_id": "T1"},
        {"id": "T1"},
        {"task_id": "K1", "data": {"task_id": "T1", "task_status": "processing"}},
    ],
)
def test_page_holds_the_rows_that_are_wanted_and_counts_all(row):
    body = {"code": 0, "request_id": "r-1", "data": [{"task_id": "T0"}, 7, row, {"task_id": "T2", "task_info": None}]}
    page = parse_page(EXPAND, answer(body), {"T1", "T9"})
    assert page.rows == 4
    assert page.tasks == parse_tasks(EXPAND, answer(body | {"data": [row]}))
    assert page.tasks[0].request_id == "r-1"


def test_null_is_an_empty_list():
    assert parse_tasks(EXPAND, answer({"code": 0, "data": None})) == []


def test_bare_object_is_a_task():
    told = parse_bare_task(EXPAND, {"task_id": "T1", "task_status": "succeed", "task_result": PICTURE})

    assert (told.task_id, told.status, told.request_id) == ("T1", TaskStatus.SUCCEEDED, None)


def test_bare_object_without_an_id_is_none():
    with pytest.raises(ApiFault, match="no task id"):
        parse_bare_task(EXPAND, {"task_status": "succeed"})
