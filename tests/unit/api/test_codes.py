"""Codes and HTTP statuses are classed, unknown ones too."""

from __future__ import annotations

import pytest

from airflow_kling.api.codes import CODES, code_kind, status_kind
from airflow_kling.api.faults import FaultKind


@pytest.mark.parametrize("code", [None, 7, "odd", "1303", ""])
def test_unknown_code_has_no_row(code):
    assert code_kind(code, "message") is None


@pytest.mark.parametrize("code", [code for code in CODES if code != 1201])
def test_message_does_not_change_what_a_code_means(code):
    assert code_kind(code, "Task not found; External_task_id x already exists") is CODES[code]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Task not found by id/external id: x", FaultKind.NOT_FOUND),
        ("External_task_id x already exists", FaultKind.DUPLICATE),
        ("external_task_id x is odd", FaultKind.INPUT),
        ("A picture that already exists", FaultKind.INPUT),
    ],
)
def test_1201_is_told_apart_by_its_message(message, kind):
    row = code_kind(1201, message)

    assert (row.code, row.kind, row.http_status, row.created) == (1201, kind, 400, CODES[1201].created)
    assert row.hint


@pytest.mark.parametrize(
    ("http_status", "kind"),
    [
        (302, FaultKind.ROUTE),
        (399, FaultKind.ROUTE),
        (400, FaultKind.INPUT),
        (401, FaultKind.AUTH),
        (402, FaultKind.ACCOUNT),
        (403, FaultKind.AUTH),
        (404, FaultKind.ROUTE),
        (405, FaultKind.ROUTE),
        (407, FaultKind.CONNECTION),
        (408, FaultKind.SERVER),
        (413, FaultKind.INPUT),
        (422, FaultKind.INPUT),
        (425, FaultKind.SERVER),
        (429, FaultKind.RATE),
        (499, FaultKind.INPUT),
        (500, FaultKind.SERVER),
        (501, FaultKind.ROUTE),
        (504, FaultKind.SERVER),
        (599, FaultKind.SERVER),
        (200, FaultKind.SERVER),
        (0, FaultKind.SERVER),
        (999, FaultKind.SERVER),
    ],
)
def test_http_status_alone(http_status, kind):
    told, hint = status_kind(http_status)

    assert told is kind
    assert hint


@pytest.mark.parametrize("code", CODES)
def test_every_code_says_what_it_means_and_what_to_do(code):
    assert CODES[code].meaning.strip()
    assert CODES[code].hint.strip()
