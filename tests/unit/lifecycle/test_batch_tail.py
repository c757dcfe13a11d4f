"""Waiting for the last tasks of a batch: by list, singly, and until when."""

from __future__ import annotations

import pytest

from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.batch_tail import MAX_PAGES, SINGLES, Tail
from airflow_kling.lifecycle.wait import Outcome


def task(task_id, status=TaskStatus.SUCCEEDED):
    return Task("image-expansion", task_id, status=status)


def tail(*names, conn="c", deadline=100.0):
    return Tail([(conn, name) for name in names], 10.0, deadline)


def test_a_page_that_shows_all_is_enough():
    wait = tail("a", "b", "c")
    pages = []
    for page in wait.pages("c", lists=True):
        pages.append(page)
        wait.on_page("c", [task("a"), task("b", TaskStatus.PROCESSING), task("x")] if page == 1 else [task("c")])
    assert pages == [1]  # one left over is asked for singly
    assert wait.singles("c") == ["c"]
    wait.on_task("c", task("c"), 0.0)
    assert (wait.outcome(0.0), wait.delay(0.0)) == (Outcome.WAITING, 10.0)
    list(wait.pages("c", lists=True))
    wait.on_task("b", task("b", TaskStatus.FAILED), 0.0)
    assert (wait.outcome(0.0), wait.delay(0.0), wait.connections) == (Outcome.SUCCEEDED, 0.0, [])


def test_pages_end_and_where_no_list_is_believed_there_are_none():
    wait = tail("a", "b")
    assert list(wait.pages("c", lists=False)) == []
    assert list(wait.pages("c", lists=True)) == list(range(1, MAX_PAGES + 1))
    assert wait.singles("c") == ["a", "b"]


def test_many_are_asked_for_in_turns():
    names = [str(number) for number in range(SINGLES + 10)]
    wait = tail(*names)
    list(wait.pages("c", lists=False))
    assert sorted({*wait.singles("c"), *wait.singles("c")}) == sorted(names)


def test_one_that_goes_on_is_waited_for_until_the_deadline():
    wait = tail("a", deadline=25.0)
    wait.on_task("a", task("a", TaskStatus.PROCESSING), 20.0)
    assert (wait.outcome(20.0), wait.delay(20.0)) == (Outcome.WAITING, 5.0)
    assert wait.outcome(25.0) is Outcome.TIMED_OUT
    assert wait.delay(26.0) == 0.0


@pytest.mark.parametrize(("kind", "faults"), [(FaultKind.NOT_FOUND, 3), (FaultKind.CONNECTION, 10)])
def test_one_that_cannot_be_watched_is_left_to_the_worker(kind, faults):
    wait = Tail([("c", "a"), ("d", "b")], 10.0, 1e9)
    for _ in range(faults):
        assert "c" in wait.connections
        wait.on_outage("c", ApiFault(FaultInfo(kind, "gone")), 0.0)
    assert wait.connections == ["d"]
    wait.on_fault("nobody", ApiFault(FaultInfo(kind, "gone")), 0.0, believed=False)
    assert wait.outcome(0.0) is Outcome.WAITING
