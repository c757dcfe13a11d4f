"""The emulator's answers, against the documented ones and our own parser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_kling.api.codes import CODES
from airflow_kling.api.envelope import Answer, parse_task, parse_tasks
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import TaskStatus
from airflow_kling.emulator import answers
from airflow_kling.emulator.orders import MadeOutput
from airflow_kling.emulator.refusals import Refusal, Shape, no_route, unknown_task

FAMILY = FAMILIES["image-expansion"]

#: Keys and types of the examples in the documents (kling.ai/document-api, "Image Expansion").
CREATED = {
    "code": int,
    "message": str,
    "request_id": str,
    "data": {
        "task_id": str,
        "task_info": {"external_task_id": str},
        "task_status": str,
        "created_at": int,
        "updated_at": int,
    },
}
SUCCEEDED_TASK = {
    "task_id": str,
    "task_status": str,
    "task_status_msg": str,
    "task_info": {"external_task_id": str},
    "created_at": int,
    "updated_at": int,
    "final_unit_deduction": str,
    "watermark_info": {"enabled": bool},
    "task_result": {"images": [{"index": int, "url": str}]},
}
UNFINISHED = ("task_id", "task_status", "task_status_msg", "task_info", "created_at", "updated_at")
UNFINISHED_TASK = {name: SUCCEEDED_TASK[name] for name in UNFINISHED}


def shape(value):
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(item) for item in value] if isinstance(value, list) else type(value)


def link(task, name):
    return f"http://127.0.0.1:1/{task.task_id}/{name}"


def answer(payload, status=200):
    return Answer(status, {}, json.dumps(payload).encode())


def outputs(n, watermark=False):
    path = Path("x.png")
    twin = (lambda i: f"{i}-watermark.png") if watermark else (lambda i: None)
    return [MadeOutput(f"{i}.png", path, {"index": i}, twin(i), path if watermark else None) for i in range(n)]


@pytest.fixture
def finished(bench):
    def make(n=1, watermark=False, **fields):
        b = bench()
        task_id = b.create(n=n, watermark=watermark, made=False, **fields).task.task_id
        b.state.made(task_id, outputs(n, watermark))
        b.state.advance(4)
        return b.find(task_id)

    return make


def test_created(bench):
    payload = answers.created(bench().create(external_task_id="shop-42").task, "r-1")
    assert shape(payload) == CREATED
    task = parse_task(FAMILY, answer(payload))
    assert (task.status, task.external_task_id) == (TaskStatus.SUBMITTED, "shop-42")


def test_created_without_an_external_id(bench):
    payload = answers.created(bench().create().task, "r-1")
    assert payload["data"]["task_info"] == {"external_task_id": ""}


def test_created_says_submitted_even_without_latency(bench):
    assert answers.created(bench(latency=0).create().task, "r-1")["data"]["task_status"] == "submitted"


def test_queried_while_unfinished(bench):
    b = bench()
    task = b.create().task
    for word, status in (("submitted", TaskStatus.SUBMITTED), ("processing", TaskStatus.PROCESSING)):
        payload = answers.queried(b.find(task.task_id), "r-1", link)
        assert shape(payload["data"]) == UNFINISHED_TASK
        assert payload["data"]["task_status"] == word
        assert parse_task(FAMILY, answer(payload)).status is status
        b.state.advance(2)


def test_queried_after_failing(bench):
    b = bench()
    task = b.create(prompt="[emulator:fail]").task
    b.state.advance(4)
    payload = answers.queried(b.find(task.task_id), "r-1", link)
    assert shape(payload["data"]) == UNFINISHED_TASK
    parsed = parse_task(FAMILY, answer(payload))
    assert (parsed.status, parsed.message) == (TaskStatus.FAILED, "Failure to pass the risk control system")


def test_queried_after_an_unknown_end_is_not_a_success(bench):
    b = bench()
    task = b.create(prompt="[emulator:unknown-word]").task
    b.state.advance(4)
    parsed = parse_task(FAMILY, answer(answers.queried(b.find(task.task_id), "r-1", link)))
    assert (parsed.status, parsed.status_word) == (TaskStatus.PROCESSING, "archived")


def test_queried_after_success(finished):
    payload = answers.queried(finished(), "r-1", link)
    assert shape(payload) == {"code": int, "message": str, "request_id": str, "data": SUCCEEDED_TASK}
    assert payload["data"]["final_unit_deduction"] == "8"
    parsed = parse_task(FAMILY, answer(payload))
    assert (parsed.status, parsed.units, parsed.outputs[0].url[-5:]) == (TaskStatus.SUCCEEDED, 8.0, "0.png")


def test_queried_with_several_watermarked_outputs(finished):
    payload = answers.queried(finished(n=3, watermark=True), "r-1", link)
    images = payload["data"]["task_result"]["images"]
    assert [image["index"] for image in images] == [0, 1, 2]
    assert images[2]["watermark_url"].endswith("2-watermark.png")
    assert (payload["data"]["final_unit_deduction"], payload["data"]["watermark_info"]) == ("24", {"enabled": True})


def test_listed(bench, finished):
    payload = answers.listed([finished(external_task_id="one"), bench().create().task], "r-1", link)
    assert [shape(row) for row in payload["data"]] == [SUCCEEDED_TASK, UNFINISHED_TASK]
    parsed = parse_tasks(FAMILY, answer(payload))
    assert [task.status for task in parsed] == [TaskStatus.SUCCEEDED, TaskStatus.SUBMITTED]


def test_wrapped_while_unfinished(bench):
    b = bench()
    task = b.create().task
    b.state.advance(2)
    payload = answers.queried_wrapped(b.find(task.task_id), "r-1", link)
    data = payload["data"]
    assert (payload["code"], data["status"], data["progress"], data["action"]) == (
        "success",
        "IN_PROGRESS",
        "30%",
        "expand",
    )
    assert data["data"]["task_status"] == "processing"
    assert parse_task(FAMILY, answer(payload)).status is TaskStatus.PROCESSING


def test_wrapped_after_success(finished):
    payload = answers.queried_wrapped(finished(n=2), "r-1", link)
    inner = payload["data"]["data"]["data"]
    assert (payload["data"]["status"], inner["task_status"]) == ("SUCCESS", "succeed")
    assert [set(image) for image in inner["task_result"]["images"]] == [{"url"}, {"url"}]
    parsed = parse_task(FAMILY, answer(payload))
    assert (parsed.status, [output.index for output in parsed.outputs]) == (TaskStatus.SUCCEEDED, [0, 1])


def test_wrapped_after_failing(bench):
    b = bench()
    task = b.create(prompt="[emulator:fail]").task
    b.state.advance(4)
    payload = answers.queried_wrapped(b.find(task.task_id), "r-1", link)
    assert payload["data"]["fail_reason"] == "Failure to pass the risk control system"
    assert parse_task(FAMILY, answer(payload)).status is TaskStatus.FAILED


@pytest.mark.parametrize(
    ("refusal", "payload", "kind"),
    [
        (
            Refusal(1303, "parallel task over resource pack limit"),
            {"code": 1303, "message": "parallel task over resource pack limit", "request_id": "r-11"},
            FaultKind.CONCURRENCY,
        ),
        (
            unknown_task("nope", on_gateway=False),
            {"code": 1201, "message": "Task not found by id/external id: nope", "request_id": "r-11"},
            FaultKind.NOT_FOUND,
        ),
        (
            unknown_task("nope", on_gateway=True),
            {"code": "task_not_exist", "message": "task_not_exist", "data": None},
            FaultKind.NOT_FOUND,
        ),
        (
            Refusal(1002, "invalid token", Shape.GATEWAY_ERROR),
            {
                "error": {
                    "message": "invalid token (request id: r-11)",
                    "type": "comet_api_error",
                    "param": "",
                    "code": "",
                }
            },
            FaultKind.AUTH,
        ),
        (no_route(), {"code": None, "message": "404"}, FaultKind.ROUTE),
    ],
)
def test_refused(refusal, payload, kind):
    assert answers.refused(refusal, "r-11") == payload
    with pytest.raises(ApiFault) as caught:
        parse_task(FAMILY, answer(payload, refusal.http_status))
    assert caught.value.info.kind is kind


def test_a_refusal_has_the_documented_status():
    assert {code: Refusal(code, "").http_status for code in (1002, 1103, 1201, 1203, 1303, 5000)} == {
        code: CODES[code].http_status for code in (1002, 1103, 1201, 1203, 1303, 5000)
    }
