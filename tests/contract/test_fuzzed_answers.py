"""Whatever comes instead of a documented answer: a task, tasks or an ApiFault, never another exception."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_kling.api.callback import hints_at_end, parse_callback
from airflow_kling.api.envelope import MAX_RETRY_AFTER, Answer, parse_packs, parse_page, parse_task, parse_tasks
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
STATUSES = [200, 201, 204, 301, 304, 400, 401, 404, 408, 413, 429, 500, 501, 502, 503, 504, 524, 599]
WORDS = [
    "succeed",
    "SUCCESS",
    "failed",
    "FAILURE",
    "processing",
    "404",
    "0",
    "1303",
    "success",
    "code",
    "data",
    "task_id",
]

#: Mutated by plain dice, for hypothesis would take half an hour: KLING_FUZZ=100000.
MUTATED = int(os.environ.get("KLING_FUZZ", 2_000))
SHARES = 20

statuses = st.sampled_from(STATUSES)
families = st.sampled_from(list(FAMILIES.values()))
headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-request-id", "x-oneapi-request-id", "content-type"]),
    st.one_of(
        st.text(max_size=40),
        st.floats().map(str),
        st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    ),
)
words = st.sampled_from(WORDS)
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


ODD = [
    *(None, True, False, 0, -1, 1.5, 1303, 5000, 10**400, 1e300, float("nan"), float("inf"), 1740000000123),
    *(
        "",
        " ",
        ".",
        "..",
        "/",
        "\x00",
        "\ud800",
        "\u202e",
        "a\nb",
        "9" * 4_000,
        "x" * 5_000,
        "data:image/png;base64,AAAA",
    ),
    *("https://", "HTTP://h/a.png?sig=s", "ftp://h/a", "javascript:1", "2026-11-20T10:00:00Z", "-0", "1e5", "NaN"),
    *([], {}, [[]], [None], {"": None}, {"data": {"data": {"data": {"data": {"data": {}}}}}}),
]
NOISE = [
    b"",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b'"',
    b"}",
    b"]",
    b"[" * 3_000,
    b'{"data":' * 2_000,
    b"\\ud800",
    b"1e999",
]
TEXTS = [json.dumps(document["body"]) for document in DOCUMENTS]
PARTS = [part for text in TEXTS for part in [json.loads(text), *json.loads(text).values()]]
RETRY_AFTER = [
    "5",
    "-5",
    "1e400",
    "nan",
    "soon",
    "Fri, 20 Nov 2026 10:00:00 GMT",
    "Fri, 99 Nov 99999 99:99:99 GMT",
    "\ud800",
]


def mutate(dice: Random, holder: Any, way: list[Any], last: Any) -> None:
    """Change one place of a JSON value."""
    parent = holder
    for key in way:
        parent = parent[key]
    value = parent[last]
    change = dice.randrange(9)
    if change <= 1:
        parent[last] = copy.deepcopy(dice.choice(ODD))
    elif change == 2:
        parent[last] = dice.choice(WORDS)
    elif change == 3:
        parent[last] = copy.deepcopy(dice.choice(PARTS))  # what belongs elsewhere, or to another answer
    elif change == 4:
        parent[last] = [value] * dice.randrange(4)
    elif change == 5:
        parent[last] = {dice.choice(WORDS): value}
    elif change == 6:
        parent[last] = (
            str(value) if not isinstance(value, str) else int(value) if value.isdecimal() else value.swapcase()
        )
    else:
        del parent[last]
        if change == 7 and isinstance(parent, dict):
            parent[dice.choice([*WORDS, str(last).upper()])] = value


def damage(dice: Random, body: bytes) -> bytes:
    """Cut an answer, double it, write it in another encoding, or put other bytes into it."""
    start, end = sorted((dice.randrange(len(body) + 1), dice.randrange(len(body) + 1)))
    kind = dice.randrange(6)
    if kind == 0:
        return body[:start]
    if kind == 1:
        return body[start:end] + body
    if kind == 2:
        return body.decode("latin-1").encode(dice.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7"]))
    if kind == 3:
        return body[:start] + dice.randbytes(dice.randrange(1, 9)) + body[end:]
    return body[:start] + dice.choice(NOISE) + body[min(start + kind - 4, len(body)) :]


def mutated_answer(number: int) -> tuple[Family, Answer]:
    """Return the mutated answer of that number, always the same."""
    dice = Random(number)
    holder = {"body": json.loads(dice.choice(TEXTS))}
    for _ in range(dice.randrange(1, 5)):
        if all_places := places(holder)[1:]:
            *way, last = dice.choice(all_places)
            mutate(dice, holder, way, last)
    body = json.dumps(holder.get("body"), ensure_ascii=dice.random() < 0.9).encode(errors="surrogatepass")
    if dice.random() < 0.3:
        body = damage(dice, body)
    headers = {"retry-after": dice.choice(RETRY_AFTER), "x-request-id": dice.choice(["r-1", "", "\x00", "x" * 500])}
    status = 200 if dice.random() < 0.6 else dice.choice(STATUSES)
    return dice.choice(list(FAMILIES.values())), Answer(status, headers if dice.random() < 0.3 else {}, body)


def check(family: Family, answer: Answer) -> None:
    tasks: list[Task] = []
    for parse in (parse_task, parse_tasks, page_of_wanted, lambda family, answer: parse_callback(family, answer.body)):
        try:
            told = parse(family, answer)
        except ApiFault as fault:
            check_fault(fault)
        else:
            tasks += told if isinstance(told, list) else [told]
            # A row of a list may come without its outputs: the single task tells them.
            assert isinstance(told, list) or bool(told.outputs) == (told.status is TaskStatus.SUCCEEDED)
    for ask in (lambda: hints_at_end(answer.body) in (True, False), lambda: isinstance(parse_packs(answer), list)):
        try:
            assert ask()
        except ApiFault as fault:
            check_fault(fault)
    for task in tasks:
        assert isinstance(task.status, TaskStatus)
        assert task.task_id
        assert not task.outputs or task.status is TaskStatus.SUCCEEDED
        assert [output.index for output in task.outputs] == sorted({output.index for output in task.outputs})
        assert all(output.url.lower().startswith("http") for output in task.outputs)


def page_of_wanted(family: Family, answer: Answer) -> list[Task]:
    page = parse_page(family, answer, {"T1", "af-1"})
    assert page.rows >= len(page.tasks)
    return page.tasks


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


@pytest.mark.parametrize("share", range(SHARES))
def test_mutated_answer(share):
    for number in range(share, MUTATED, SHARES):
        try:
            check(*mutated_answer(number))
        except Exception as error:
            error.add_note(f"mutated_answer({number})")
            raise
