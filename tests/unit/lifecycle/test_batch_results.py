"""What became of the rows of a batch, counted, written and judged."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Task
from airflow_kling.lifecycle.batch import Picture
from airflow_kling.lifecycle.batch_results import (
    Progress,
    Results,
    RowStatus,
    end_row,
    progress_text,
    row_of_end,
    row_of_fault,
    row_of_stop,
)
from airflow_kling.lifecycle.batch_rows import Row
from airflow_kling.lifecycle.end import End
from airflow_kling.lifecycle.wait import Outcome

S, F, R, U, X, N = RowStatus


def results(*statuses, rows=None, **facts):
    made = Results([Row(number, f"{number}.png") for number in range(1, (rows or len(statuses)) + 1)])
    for number, status in enumerate(statuses, 1):
        made.end(number, end_row(status, error="" if status is S else "why", **facts), f"k{number}")
    return made


def test_units_of_a_picture_that_is_there_twice_count_once():
    made = results(S, S, units=8.0)
    made.end(2, end_row(S, units=8.0), "k1")
    assert (made.units, made.done, made.count(S), made.bad) == (8.0, 2, 2, 0)


def test_a_line_for_each_row_whether_it_ended_or_not():
    made = results(S, R, rows=3, task_id="t", family="f", kling_conn_id="c", outputs=[{"uri": "u"}])
    made.end(1, end_row(S, task_id="t", passes=["p", "t"]) | {"epoch": 1, "settings": "s"})
    lines = [json.loads(line) for line in made.lines()]
    assert [(line["row"], line["source"], line["status"]) for line in lines] == [
        (1, "1.png", "succeeded"),
        (2, "2.png", "refused"),
        (3, "3.png", "skipped"),
    ]
    assert lines[0]["passes"] == ["p", "t"]
    assert not {"epoch", "settings"} & lines[0].keys()
    assert (lines[1]["error"], lines[0]["error"]) == ("why", None)


@pytest.mark.parametrize(
    ("statuses", "rows", "ratio", "failed", "passing"),
    [
        ((S, S), 2, 1.0, False, False),
        ((S, F), 2, 1.0, True, False),
        ((S, F), 2, 0.5, False, False),
        ((S, F, R), 3, 0.34, True, False),
        ((S, X), 2, 1.0, True, True),
        ((S,), 2, 1.0, True, True),
        ((U,), 1, 0.0, False, False),
        ((S, S, S, S, S, S, S, F, F, F), 10, 0.7, False, False),
    ],
)
def test_the_ratio_decides(statuses, rows, ratio, failed, passing):
    verdict = results(*statuses, rows=rows).verdict(ratio, "")
    assert (verdict.failed, verdict.passing) == (failed, passing)


def test_the_verdict_says_what_happened():
    text = results(S, F, F, R, R, units=8.0).verdict(0.9, "the budget is used up").text
    assert "1 of 5 pictures are made and stored (1 succeeded, 2 failed, 2 refused), for 40 units" in text
    assert "It was stopped: the budget is used up" in text
    assert "row 2 (2.png): why" in text
    assert "and 1 more" in text
    assert "90%" in text
    assert "more" not in results(S).verdict(1.0, "").text


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (0.0, "0 per second, 8 units"),
        (0.1, "about 20 s left"),
        (0.01, "about 3 min left"),
        (0.0001, "about 5.6 h left"),
    ],
)
def test_progress(rate, words):
    text = progress_text(results(S, F, rows=4, units=4.0), 1, rate)
    assert text.startswith("2 of 4 pictures done (1 failed), 1 running")
    assert words in text


def test_progress_at_the_end_tells_no_time():
    assert progress_text(results(S), 0, 1.0) == "1 of 1 pictures done, 0 running, 1 per second, 0 units"


@pytest.mark.parametrize(
    ("outcome", "told", "units", "passes"),
    [
        (Outcome.FAILED, 0.0, 8.0, ["p", "t"]),
        (Outcome.FAILED, None, None, ["p", "t"]),
        (Outcome.TIMED_OUT, 0.0, 8.0, None),  # what goes on has no price yet
    ],
)
def test_units_of_earlier_passes_count_whatever_became_of_the_last(outcome, told, units, passes):
    row = row_of_end(End(outcome, "t", "f", "c", units=told), 1.0, [Task("f", "p", units=8.0)])
    assert (row["units"], row.get("passes"), row["task_id"]) == (units, passes, "t")


def test_progress_is_told_at_a_readable_pace():
    made = results(rows=10)
    progress = Progress(made)
    assert progress.text(0, 0.0).startswith("0 of 10")
    made.end(1, end_row(S), "k")
    assert (progress.text(1, 29.0), "0.033 per second" in progress.text(1, 30.0)) == ("", True)
    assert progress.text(1, 31.0, force=True)


@pytest.mark.parametrize(
    ("kind", "created", "paid", "status"),
    [
        (FaultKind.ACCOUNT, Created.NO, [], N),
        (FaultKind.AUTH, Created.NO, [], N),
        (FaultKind.AUTH, Created.MAY_EXIST, [], X),  # in asking for a task that was made
        (FaultKind.ACCOUNT, Created.NO, [Task("f", "p", units=8.0)], X),  # a retry goes on from it
    ],
)
def test_a_create_that_the_account_refused_is_not_begun(kind, created, paid, status):
    row = row_of_fault(ApiFault(FaultInfo(kind, "why", created=created)), paid)
    assert (row["status"], row["task_id"]) == (status, "p" if paid else None)


@pytest.mark.parametrize(
    ("facts", "sending", "status", "task_id", "words"),
    [
        (
            {"task": Task("f", "T2"), "kling_conn_id": "c"},
            False,
            "unfinished",
            "T2",
            "Kling task T2 goes on and is billed",
        ),
        ({"begun": True}, False, "unfinished", None, "its create may have arrived, and be billed"),
        ({}, True, "unfinished", None, "its create may have arrived, and be billed"),
        ({}, False, "skipped", None, ""),
    ],
)
def test_a_stop_tells_what_goes_on_and_what_may(facts, sending, status, task_id, words):
    row = row_of_stop(Picture("k", SimpleNamespace(tasks=[]), **facts), "f", sending=sending)
    assert (row["status"], row["task_id"]) == (status, task_id)
    assert words in (row["error"] or "")


def test_rows_with_the_same_picture_wait_for_it_once_and_end_with_it():
    rows = Results([Row(number, f"{number}.png", {}) for number in range(3)])
    assert [rows.wait(number, "k") for number in (0, 1)] == [True, False]
    rows.end_picture("k", end_row(RowStatus.SUCCEEDED))
    assert not rows.wait(2, "k")
    assert rows.count(RowStatus.SUCCEEDED) == 3
