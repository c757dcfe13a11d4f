"""Every documented answer is read as the documents mean it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_kling.api.callback import hints_at_end, parse_callback
from airflow_kling.api.envelope import Answer, parse_task, parse_tasks
from airflow_kling.api.families import FAMILIES, OutputKind
from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.api.models import Output, Task, TaskStatus

DOCUMENTED = Path(__file__).parent / "documented"
EXPAND = FAMILIES["image-expansion"]
TASK_ID = REQUEST_ID = "CjMT7WdSwWcAAAAAALvB3g"


def at(minute: int, second: int, millisecond: int) -> datetime:
    return datetime(2025, 2, 19, 21, minute, second, millisecond * 1000, tzinfo=UTC)


def picture(name: str, index: int = 0, watermark: str | None = None) -> Output:
    url = f"https://cdn.example.com/out/{name}"
    return Output(index, OutputKind.IMAGE, url, watermark and f"https://cdn.example.com/out/{watermark}")


CREATED = at(20, 0, 123)

TASKS: dict[str, Task] = {
    "create-accepted": Task(
        "image-expansion",
        TASK_ID,
        status=TaskStatus.SUBMITTED,
        created_at=CREATED,
        updated_at=CREATED,
        status_word="submitted",
        request_id=REQUEST_ID,
    ),
    "query-processing": Task(
        "image-expansion",
        TASK_ID,
        status=TaskStatus.PROCESSING,
        created_at=CREATED,
        updated_at=at(20, 4, 321),
        status_word="processing",
        request_id="r-2",
    ),
    "query-succeed-one": Task(
        "image-expansion",
        TASK_ID,
        external_task_id="shop-42",
        status=TaskStatus.SUCCEEDED,
        outputs=(picture("0.png?Expires=1742592024&Signature=abc"),),
        units=8.0,
        created_at=CREATED,
        updated_at=at(20, 24, 321),
        status_word="succeed",
        request_id="r-3",
    ),
    "query-succeed-three": Task(
        "image-expansion",
        "T3",
        status=TaskStatus.SUCCEEDED,
        outputs=(picture("0.png"), picture("1.png", 1), picture("2.png", 2, "2w.png")),
        units=24.0,
        created_at=CREATED,
        updated_at=at(20, 34, 321),
        status_word="succeed",
        request_id="r-4",
    ),
    "query-failed": Task(
        "image-expansion",
        "T4",
        status=TaskStatus.FAILED,
        message="Failure to pass the risk control system",
        created_at=CREATED,
        updated_at=at(20, 9, 321),
        status_word="failed",
        request_id="r-5",
    ),
    "video-succeed": Task(
        "image-to-video",
        "V1",
        status=TaskStatus.SUCCEEDED,
        outputs=(Output(0, OutputKind.VIDEO, "https://cdn.example.com/out/v.mp4", id="v-9", duration=5.041),),
        units=2.0,
        created_at=CREATED,
        updated_at=at(22, 4, 321),
        status_word="succeed",
        request_id="r-7",
    ),
    "cometapi-wrapped-progress": Task("image-expansion", "W1", status=TaskStatus.PROCESSING, status_word="processing"),
    "cometapi-wrapped-success": Task(
        "image-expansion",
        "W1",
        status=TaskStatus.SUCCEEDED,
        outputs=(picture("w.png"),),
        status_word="succeed",
    ),
}

FINISHED_T5 = Task(
    "image-expansion",
    "T5",
    status=TaskStatus.SUCCEEDED,
    outputs=(picture("5.png"),),
    created_at=CREATED,
    updated_at=at(20, 24, 321),
    status_word="succeed",
    request_id="r-6",
)

LISTS: dict[str, list[Task]] = {
    "list": [
        Task(
            "image-expansion",
            "T6",
            status=TaskStatus.PROCESSING,
            created_at=at(20, 9, 123),
            updated_at=at(20, 9, 123),
            status_word="processing",
            request_id="r-6",
        ),
        FINISHED_T5,
    ]
}

CALLBACKS: dict[str, Task] = {
    "callback-succeed": Task(
        "image-expansion",
        "T5",
        external_task_id="shop-42",
        status=TaskStatus.SUCCEEDED,
        outputs=(picture("5.png"),),
        units=8.0,
        created_at=CREATED,
        updated_at=at(20, 24, 321),
        status_word="succeed",
    )
}

#: kind, code, request id, whether a create that ended so can have made a task
FAULTS: dict[str, tuple[FaultKind, int | str | None, str | None, Created]] = {
    "error-invalid-value": (FaultKind.INPUT, 1201, "r-8", Created.NO),
    "error-unknown-task": (FaultKind.NOT_FOUND, 1201, "r-9", Created.NO),
    "error-duplicate-external-id": (FaultKind.DUPLICATE, 1201, "r-10", Created.NO),
    "error-concurrency": (FaultKind.CONCURRENCY, 1303, "r-11", Created.NO),
    "error-balance": (FaultKind.ACCOUNT, 1102, "r-12", Created.NO),
    "error-auth": (FaultKind.AUTH, 1002, "r-13", Created.NO),
    "error-content": (FaultKind.CONTENT, 1301, "r-14", Created.NO),
    "error-internal": (FaultKind.SERVER, 5000, "r-15", Created.MAY_EXIST),
    "cometapi-gateway-error": (FaultKind.AUTH, None, None, Created.NO),
    "cometapi-route-missing": (FaultKind.ROUTE, None, None, Created.NO),
    "cometapi-task-missing": (FaultKind.NOT_FOUND, "task_not_exist", None, Created.NO),
}

#: Documents of other things than an answer; tests/contract/test_documented_request.py and test_signature_vector.py.
ELSEWHERE = {"request-expand-cometapi-2026-03", "callback-signature-vector"}


def read(name: str) -> dict:
    return json.loads((DOCUMENTED / f"{name}.json").read_text(encoding="utf-8"))


def documented_answer(name: str, http_status: int | None = None) -> Answer:
    document = read(name)
    return Answer(http_status or document["http_status"], {}, json.dumps(document["body"]).encode())


def test_every_document_has_an_expectation():
    covered = [*TASKS, *LISTS, *CALLBACKS, *FAULTS, *ELSEWHERE]

    assert sorted(covered) == sorted(path.stem for path in DOCUMENTED.iterdir())


@pytest.mark.parametrize("name", [path.stem for path in sorted(DOCUMENTED.iterdir())])
def test_every_document_says_what_it_is(name):
    assert read(name)["note"].strip()


@pytest.mark.parametrize(("name", "expected"), TASKS.items(), ids=TASKS)
def test_documented_task(name, expected):
    assert parse_task(FAMILIES[expected.family], documented_answer(name)) == expected


@pytest.mark.parametrize(("name", "expected"), LISTS.items(), ids=LISTS)
def test_documented_list(name, expected):
    assert parse_tasks(EXPAND, documented_answer(name)) == expected


@pytest.mark.parametrize(("name", "expected"), CALLBACKS.items(), ids=CALLBACKS)
def test_documented_callback(name, expected):
    body = json.dumps(read(name)["body"]).encode()
    assert parse_callback(EXPAND, body) == expected
    assert hints_at_end(body) is expected.status.ended


@pytest.mark.parametrize("parse", [parse_task, parse_tasks])
@pytest.mark.parametrize(("name", "expected"), FAULTS.items(), ids=FAULTS)
def test_documented_fault(name, expected, parse):
    document = read(name)

    with pytest.raises(ApiFault) as caught:
        parse(EXPAND, documented_answer(name))

    info = caught.value.info
    assert (info.kind, info.code, info.request_id, info.created) == expected
    assert info.http_status == document["http_status"]


@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"cometapi-route-missing"}))
def test_documented_fault_keeps_the_vendors_words(name):
    body = read(name)["body"]

    with pytest.raises(ApiFault) as caught:
        parse_task(EXPAND, documented_answer(name))

    assert caught.value.info.message == (body.get("message") or body["error"]["message"])


@pytest.mark.parametrize("http_status", [200, 400, 404, 500, 503])
def test_missing_route_is_told_whatever_http_status_carries_it(http_status):
    with pytest.raises(ApiFault) as caught:
        parse_task(EXPAND, documented_answer("cometapi-route-missing", http_status))

    assert (caught.value.info.kind, caught.value.info.created) == (FaultKind.ROUTE, Created.NO)
    assert "another gateway" in caught.value.info.hint
