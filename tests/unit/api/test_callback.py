"""The body of a callback is a bare task, or refused."""

from __future__ import annotations

import json

import pytest

from airflow_kling.api.callback import parse_callback
from airflow_kling.api.families import FAMILIES
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import TaskStatus

VIDEO = FAMILIES["image-to-video"]


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
