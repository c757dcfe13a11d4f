"""When an operator reuses what an earlier run made, and when it must not."""

from __future__ import annotations

import hashlib

import pytest

from airflow_kling.exceptions import KlingInputError
from airflow_kling.lifecycle.reuse import remember_made
from airflow_kling.lifecycle.submit import OnExisting, Work
from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.operators.records import _made_path, reused


@pytest.fixture
def operator(tmp_path):
    (tmp_path / "T1-0.png").write_bytes(b"picture")
    operator = KlingExpandImageOperator(
        task_id="expand", image="https://example.com/a.png", up=1, output_path=str(tmp_path), reuse="30d"
    )
    outputs = [{"uri": f"file://{tmp_path}/T1-0.png", "sha256": hashlib.sha256(b"picture").hexdigest()}]
    remember_made(_made_path(operator, "print"), {"task_id": "T1", "outputs": outputs}, 4e9)
    return operator


def work(**changes):
    fields = {"family": "image-expansion", "external_id": None, "build": None, "conn_ids": ("kling_default",)}
    return Work(**fields | {"fingerprint": lambda: "print"} | changes)


@pytest.mark.parametrize(
    ("changes", "is_reused"),
    [
        ({}, True),
        ({"fingerprint": lambda: "another"}, False),
        ({"epoch": 1}, True),
        ({"on_existing": OnExisting.RESUBMIT}, True),
        # The user cleared the task to have another.
        ({"on_existing": OnExisting.RESUBMIT, "epoch": 1}, False),
    ],
)
def test_the_same_input_is_reused_unless_another_picture_is_asked_for(operator, changes, is_reused):
    made = reused(operator, work(**changes))
    assert (made is not None and made["task_id"] == "T1") is is_reused


def test_an_input_that_cannot_be_read_reuses_nothing(operator):
    def broken():
        raise KlingInputError("image", "a.png", "an existing file", "check the path")

    assert reused(operator, work(fingerprint=broken)) is None


@pytest.mark.parametrize("reuse", ["30", "a month", 0, -1, True, "1.5w"])
def test_a_duration_that_is_none_is_refused_at_parse_time(tmp_path, reuse):
    with pytest.raises(KlingInputError, match="reuse"):
        KlingExpandImageOperator(task_id="t", image="a.png", up=1, output_path=str(tmp_path), reuse=reuse)


def test_reuse_without_a_folder_is_refused_at_parse_time():
    with pytest.raises(KlingInputError, match="output_path"):
        KlingExpandImageOperator(task_id="t", image="a.png", up=1, reuse="30d")
