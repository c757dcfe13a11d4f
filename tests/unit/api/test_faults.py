"""Faults of the API say what is known and survive pickling."""

from __future__ import annotations

import pickle

import pytest

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind, api_fault_from_input
from airflow_kling.api.inputs import InputFault

FULL = FaultInfo(FaultKind.RATE, "too fast", 1302, 429, "r-1", Created.NO, 5.0, "Wait")


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (FULL, "too fast (code 1302, HTTP 429, request id r-1). Wait"),
        (FaultInfo(FaultKind.SERVER, "late"), "late"),
        (FaultInfo(FaultKind.SERVER, "late", hint="Wait"), "late. Wait"),
        (FaultInfo(FaultKind.SERVER, "late", http_status=504), "late (HTTP 504)"),
        (FaultInfo(FaultKind.SERVER, "odd", code=0), "odd (code 0)"),
    ],
)
def test_text_of_a_fault_holds_what_is_known(info, text):
    assert str(ApiFault(info)) == text


def test_fault_survives_pickling():
    assert pickle.loads(pickle.dumps(ApiFault(FULL))).info == FULL


def test_replaced_fact_leaves_the_others_and_the_original():
    original = ApiFault(FULL)

    changed = original.replace(created=Created.MAY_EXIST, retry_after=None)

    assert changed.info == FaultInfo(FaultKind.RATE, "too fast", 1302, 429, "r-1", Created.MAY_EXIST, None, "Wait")
    assert original.info == FULL


def test_refused_input_as_a_fault_has_made_no_task():
    refused = InputFault("up", 3, "from 0 to 2", "give less")

    info = api_fault_from_input(refused).info

    assert (info.kind, info.message, info.created) == (FaultKind.INPUT, str(refused), Created.NO)
