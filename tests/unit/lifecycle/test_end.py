"""How a wait ended: as an event that survives JSON, and in words that help the person on call."""

from __future__ import annotations

import json

import pytest

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Output, OutputKind, Task, TaskStatus
from airflow_kling.lifecycle.end import (
    End,
    end_of,
    end_text,
    killed_create_text,
    killed_text,
    read_event,
    released_text,
)
from airflow_kling.lifecycle.wait import Decision, Outcome

FAULT = FaultInfo(FaultKind.AUTH, "invalid key", 1002, 401, "r-1", Created.NO, 2.5, "Check the key")
FAILED = Task(
    "image-expansion", "T1", status=TaskStatus.FAILED, message="the picture is odd", units=8, request_id="r-9"
)
ENDS = {
    "succeeded": End(Outcome.SUCCEEDED, "T1", "image-expansion", "kling_default", units=8.0),
    "failed": End(Outcome.FAILED, "T1", "image-expansion", "kling_default", "the picture is odd", "r-9", 8.0),
    "failed-silently": End(Outcome.FAILED, "T1", "image-expansion", "kling_default"),
    "timed-out": End(Outcome.TIMED_OUT, "T1", "image-expansion", "kling_default"),
    "fault": End(Outcome.FAULT, "T1", "image-expansion", "kling_default", fault=FAULT),
    "unknown-fault": End(Outcome.FAULT, "T1", "image-expansion", "kling_default"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_event_survives_json(end):
    told = json.loads(json.dumps(end.payload()))
    assert told == end.payload()
    assert read_event(told) == end


@pytest.mark.parametrize("kind", FaultKind)
@pytest.mark.parametrize("created", Created)
def test_each_fault_survives_an_event(kind, created):
    end = End(Outcome.FAULT, "T1", "image-expansion", "kling_default", fault=FaultInfo(kind, "m", created=created))
    again = read_event(json.loads(json.dumps(end.payload()))).fault
    assert (again.kind, again.created) == (kind, created)
    assert isinstance(again.kind, FaultKind)


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        {"status": "success"},
        {"outcome": "odd", "task_id": "T1", "family": "f"},
        {"outcome": "failed"},
        ENDS["failed"].payload() | {"more": 1},
        ENDS["fault"].payload() | {"fault": {"kind": "auth"}},
        ENDS["fault"].payload() | {"fault": 7},
    ],
)
def test_event_of_somebody_else_is_refused(event):
    with pytest.raises(ValueError, match="not an event of a Kling trigger"):
        read_event(event)


def test_event_holds_no_link():
    output = Output(0, OutputKind.IMAGE, "https://cdn.example/0.png?sign=hunter2")
    task = Task("image-expansion", "T1", status=TaskStatus.SUCCEEDED, outputs=(output,), units=8)
    payload = end_of(Decision(Outcome.SUCCEEDED, task=task), "T1", "image-expansion", "kling_default").payload()
    assert payload["units"] == 8
    assert "http" not in json.dumps(payload)


@pytest.mark.parametrize(
    ("decision", "end"),
    [
        (Decision(Outcome.FAILED, task=FAILED), ENDS["failed"]),
        (Decision(Outcome.TIMED_OUT), ENDS["timed-out"]),
        (Decision(Outcome.FAULT, fault=ApiFault(FAULT)), ENDS["fault"]),
    ],
)
def test_end_is_what_the_last_decision_says(decision, end):
    assert end_of(decision, "T1", "image-expansion", "kling_default") == end


REMOTE = "It goes on remotely and is billed when it ends, for the API has no cancel."
FAILURE = (
    "deducted, and whether failed tasks are billed is not documented. The same input would fail again, so Airflow does "
    "not retry"
)
UNWATCHED = (
    "It goes on remotely and is billed when it ends; a retry or a clear waits for the same task and makes no other"
)


@pytest.mark.parametrize(
    ("name", "retried", "told"),
    [
        (
            "failed",
            True,
            f"failed: the picture is odd (request id r-9). It has ended; the API reports 8 units {FAILURE}",
        ),
        (
            "failed-silently",
            True,
            f"failed: the API gives no reason. It has ended; the API reports no units {FAILURE}",
        ),
        (
            "timed-out",
            True,
            f"has not ended within 90 s. {REMOTE} A retry waits for the same task and makes no other",
        ),
        (
            "timed-out",
            False,
            f"has not ended within 90 s. {REMOTE} Clear this sensor: it waits for the same task and makes no other",
        ),
        (
            "fault",
            True,
            "could not be watched any longer: invalid key (code 1002, HTTP 401, request id r-1). Check the key. "
            + UNWATCHED,
        ),
        ("unknown-fault", True, f"could not be watched any longer: unknown reason. {UNWATCHED}"),
    ],
)
def test_text_tells_the_task_what_it_costs_and_what_a_retry_does(name, retried, told):
    assert end_text(ENDS[name], 90, retried=retried) == f"Kling task T1 (image-expansion) {told}"
    assert end_text(ENDS[name], 90) == end_text(ENDS[name], 90, retried=True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            killed_text,
            ["Kling task T1 (f) goes on remotely", "A retry or a rerun takes it up again and makes no other"],
        ),
        (released_text, ["Kling task T1 (f) is not watched any longer", "If it runs still, it goes on remotely"]),
        (killed_create_text, ["The create of f with the id T1 may have been accepted", "looks for it before it sends"]),
    ],
)
def test_who_is_killed_says_what_goes_on(text, told):
    assert [
        part
        for part in ["be billed" if text is killed_create_text else "is billed", *told]
        if part not in text("T1", "f")
    ] == []


def test_task_that_nobody_knows_is_not_said_to_go_on():
    fault = FaultInfo(FaultKind.NOT_FOUND, "Task not found", 1201, 400)
    assert end_text(End(Outcome.FAULT, "T1", "image-expansion", "kling_default", fault=fault), 90) == (
        "Kling task T1 (image-expansion) is not known any more: Task not found (code 1201, HTTP 400). Results are kept "
        "for about 30 days, and only the account that made a task sees it; what was billed stays billed. A retry would "
        "ask in vain, so Airflow makes none"
    )
