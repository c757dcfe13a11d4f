"""Whatever comes instead of a documented answer: a task, tasks or an ApiFault, never another exception."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_kling.api.callback import hints_at_end, parse_callback
from airflow_kling.api.envelope import MAX_RETRY_AFTER, Answer, parse_task, parse_tasks
from airflow_kling.api.families import FAMILIES, Family
from airflow_kling.api.faults import ApiFault
from airflow_kling.api.models import Task, TaskStatus

DOCUMENTS = [
    document
    for path in sorted((Path(__file__).parent / "documented").iterdir())
    if "http_status" in (document := json.loads(path.read_text(encoding="utf-8")))
]
FUZZED = settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

bodies = st.sampled_from([document["body"] for document in DOCUMENTS])
statuses = st.sampled_from([200, 201, 204, 301, 304, 400, 401, 404, 408, 413, 429, 500, 501, 502, 503, 504, 524, 599])
families = st.sampled_from(list(FAMILIES.values()))
headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "x-oneapi-request-id", "content-type"]),
    st.one_of(
        st.text(max_size=40),
        st.floats().map(str),
        st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    ),
)
words = st.sampled_from(
    ["succeed", "SUCCESS", "failed", "FAILURE", "processing", "404", "0", "1303", "success", "code", "data", "task_id"]
)
numbers = st.integers() | st.floats() | st.sampled_from([0, 1201, 1303, 5000, -1, 10**400])
values = st.recursive(
    st.none() | st.booleans() | numbers | words | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of every value inside a JSON value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in places(child, (*path, key)))]


@st.composite
def changed_documents(draw: st.DrawFn) -> Any:
    """Change up to three places of a documented answer: another value, gone, wrapped, or moved under a new name."""
    holder = {"body": copy.deepcopy(draw(bodies))}
    for _ in range(draw(st.integers(1, 3))):
        if not holder:
            break
        *way, last = draw(st.sampled_from(places(holder)[1:]))
        parent: Any = holder
        for key in way:
            parent = parent[key]
        change = draw(st.sampled_from(["value", "gone", "listed", "wrapped", "twice"]))
        if change == "value":
            parent[last] = draw(values)
        elif change == "gone":
            del parent[last]
        elif change == "listed":
            parent[last] = [parent[last]] * draw(st.integers(0, 3))
        elif change == "wrapped":
            parent[last] = {draw(words): parent[last]}
        else:
            parent[last] = {"data": {"data": parent[last]}}
    return holder.get("body")


@st.composite
def damaged_bytes(draw: st.DrawFn) -> bytes:
    """Cut a documented answer, or put other bytes into it."""
    body = json.dumps(draw(bodies)).encode()
    start = draw(st.integers(0, len(body)))
    end = draw(st.integers(start, len(body)))
    return body[:start] + draw(st.binary(max_size=12)) + body[end:]


def check(family: Family, answer: Answer) -> None:
    tasks: list[Task] = []
    for parse in (parse_task, parse_tasks, lambda family, answer: parse_callback(family, answer.body)):
        try:
            told = parse(family, answer)
        except ApiFault as fault:
            check_fault(fault)
        else:
            tasks += told if isinstance(told, list) else [told]
            # A row of a list may come without its outputs: the single task tells them.
            assert isinstance(told, list) or bool(told.outputs) == (told.status is TaskStatus.SUCCEEDED)
    try:
        assert hints_at_end(answer.body) in (True, False)
    except ApiFault as fault:
        check_fault(fault)
    for task in tasks:
        assert isinstance(task.status, TaskStatus)
        assert task.task_id
        assert not task.outputs or task.status is TaskStatus.SUCCEEDED
        assert [output.index for output in task.outputs] == sorted({output.index for output in task.outputs})
        assert all(output.url.lower().startswith("http") for output in task.outputs)


def check_fault(fault: ApiFault) -> None:
    assert fault.info.message
    assert "\n" not in str(fault)
    assert len(str(fault)) < 1500
    assert fault.info.retry_after is None or 0 <= fault.info.retry_after <= MAX_RETRY_AFTER


@FUZZED
@given(families, statuses, headers, changed_documents())
def test_changed_structure(family, status, headers, body):
    check(family, Answer(status, headers, json.dumps(body).encode()))


@FUZZED
@given(families, statuses, headers, damaged_bytes())
def test_damaged_bytes(family, status, headers, body):
    check(family, Answer(status, headers, body))


@FUZZED
@given(families, statuses, st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_bytes_of_anything(family, status, body):
    check(family, Answer(status, {}, body))
