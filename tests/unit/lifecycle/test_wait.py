"""What follows a poll, to the last branch, with a clock and a dice of our own."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.wait import FAULT_BUDGETS, MAX_BACKOFF, Outcome, Wait, called_back_interval
from airflow_kling.lifecycle.watch import watch

START = 1_800_000_000.0


def task(status, word=""):
    return Task("image-expansion", "T1", status=TaskStatus(status), status_word=word)


def fault(kind, retry_after=None):
    return ApiFault(FaultInfo(FaultKind(kind), "said so", retry_after=retry_after))


@pytest.fixture
def wait():
    """A wait of an hour, polled every ten seconds, whose dice always shows the middle."""
    return Wait("T1", poll_interval=10, deadline=START + 3600, uniform=lambda low, high: (low + high) / 2)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("submitted", Outcome.WAITING),
        ("processing", Outcome.WAITING),
        ("succeeded", Outcome.SUCCEEDED),
        ("failed", Outcome.FAILED),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_status_decides_and_the_deadline_ends_only_what_runs(wait, status, outcome, late):
    seen = task(status)
    decision = wait.on_task(seen, START + 3600 * late)
    expected = Outcome.TIMED_OUT if late and outcome is Outcome.WAITING else outcome
    assert (decision.outcome, decision.task, decision.fault) == (expected, seen, None)
    assert decision.delay == (10 if decision.outcome is Outcome.WAITING else 0)


@pytest.mark.parametrize(("dice", "delay"), [(min, 9), (max, 11)])
def test_polls_are_jittered_by_a_tenth(dice, delay):
    wait = Wait("T1", poll_interval=10, deadline=START + 3600, uniform=lambda low, high: dice(low, high))
    assert wait.on_task(task("processing"), START).delay == pytest.approx(delay)


@pytest.mark.parametrize(("dice", "delay"), [(min, 9), (max, 11)])
def test_polls_after_a_fault_are_jittered_too_and_tell_it(dice, delay):
    wait = Wait("T1", poll_interval=10, deadline=START + 3600, uniform=lambda low, high: dice(low, high))
    away = fault("server")
    decision = wait.on_fault(away, START)
    assert (decision.delay, decision.fault) == (pytest.approx(delay), away)


def test_polls_that_are_to_stay_together_are_not_jittered():
    wait = Wait("T1", poll_interval=10, deadline=START + 3600, uniform=max)
    assert wait.on_task(task("processing"), START, jitter=False).delay == 10


def test_however_little_is_left_is_waited_for(wait):
    assert wait.on_task(task("processing"), START + 3599.5).delay == 0.5


def test_last_poll_is_at_the_deadline(wait):
    assert wait.on_task(task("processing"), START + 3597).delay == 3
    assert wait.on_task(task("processing"), START + 3600).outcome is Outcome.TIMED_OUT


@pytest.mark.parametrize("kind", FaultKind)
def test_faults_of_one_kind_end_the_wait_with_their_budget(wait, kind):
    budget = FAULT_BUDGETS.get(kind, 1)
    decisions = [wait.on_fault(fault(kind), START) for _ in range(budget)]
    assert [decision.outcome for decision in decisions] == [Outcome.WAITING] * (budget - 1) + [Outcome.FAULT]
    assert decisions[-1].fault.info.kind is kind
    assert all(decision.reread_key is (kind is FaultKind.AUTH) for decision in decisions[:-1])


@pytest.mark.parametrize("kind", ["server", "connection", "rate", "concurrency", "content"])
def test_one_fault_that_tells_nothing_of_the_task_never_ends_a_paid_wait(wait, kind):
    assert wait.on_fault(fault(kind), START).outcome is Outcome.WAITING


def test_not_found_of_a_gateway_that_is_not_believed_is_borne_longer(wait):
    decisions = [wait.on_fault(fault("not-found"), START, believed=False) for _ in range(4)]
    assert {decision.outcome for decision in decisions} == {Outcome.WAITING}


def test_an_answer_restores_the_budget(wait):
    for _ in range(5):
        assert wait.on_fault(fault("not-found"), START).outcome is Outcome.WAITING
        assert wait.on_fault(fault("not-found"), START).outcome is Outcome.WAITING
        assert wait.on_task(task("processing"), START).outcome is Outcome.WAITING


def test_kinds_have_budgets_of_their_own(wait):
    for kind in ("auth", "not-found", "not-found", "server", "route"):
        assert wait.on_fault(fault(kind), START).outcome is Outcome.WAITING
    assert wait.on_fault(fault("not-found"), START).outcome is Outcome.FAULT


def test_faults_are_asked_after_ever_later(wait):
    delays = [wait.on_fault(fault("server"), START).delay for _ in range(6)]
    assert delays == [10, 20, 40, MAX_BACKOFF, MAX_BACKOFF, MAX_BACKOFF]
    wait.on_task(task("processing"), START)
    assert wait.on_fault(fault("server"), START).delay == 10


def test_long_interval_is_not_shortened_by_the_ceiling():
    wait = Wait("T1", poll_interval=300, deadline=START + 3600, uniform=lambda low, high: 1.0)
    assert [wait.on_fault(fault("server"), START).delay for _ in range(2)] == [300, 300]


@pytest.mark.parametrize(("retry_after", "now", "delay"), [(120, START, 120), (2, START, 10), (120, START + 3570, 30)])
def test_server_says_when_to_ask_again_within_the_deadline(wait, retry_after, now, delay):
    assert wait.on_fault(fault("rate", retry_after), now).delay == delay


def test_fault_at_the_deadline_is_a_timeout(wait):
    assert wait.on_fault(fault("connection"), START + 3600).outcome is Outcome.TIMED_OUT


def test_log_speaks_of_changes_and_not_of_polls(wait):
    words = ["submitted", "submitted", "processing", "processing", "succeeded"]
    levels = [[level for level, _ in wait.on_task(task(word), START).notes] for word in words]
    assert levels == [[logging.INFO], [logging.DEBUG], [logging.INFO], [logging.DEBUG], [logging.INFO]]


@pytest.mark.parametrize(("word", "now"), [("failed", START), ("processing", START + 3600)])
def test_end_is_told_with_what_was_seen_last(wait, word, now):
    assert wait.on_task(task(word), now).notes == ((logging.INFO, f"Kling task T1 is {word}"),)


def test_known_status_is_not_announced_again():
    wait = Wait("T1", poll_interval=10, deadline=START + 3600, status=TaskStatus.SUBMITTED)
    ((level, _),) = wait.on_task(task("submitted"), START).notes
    assert level == logging.DEBUG


def test_each_odd_word_is_told_once(wait):
    told = []
    for word in ("processing", "polishing", "polishing", "https://x/y?sign=hunter2", "polishing"):
        told += [text for _, text in wait.on_task(task("processing", word), START).notes if "status word" in text]
    assert len(told) == 2
    assert told[0] == "Kling task T1: status word 'polishing' is taken as running"
    assert "hunter2" not in told[1]


def test_fault_is_warned_of_with_its_count(wait):
    assert wait.on_fault(fault("server"), START).notes == (
        (logging.WARNING, "Kling task T1: poll failed (1 of 10): said so"),
    )


@pytest.mark.parametrize(("seconds", "called_back"), [(5, 30), (10, 60), (15, 60), (60, 60), (300, 300)])
def test_polls_are_rarer_beside_a_callback_and_never_rarer_than_a_minute_but_by_wish(seconds, called_back):
    assert called_back_interval(seconds) == called_back


# -- the loop of a worker ------------------------------------------------------------------------------------------


class Scripted:
    """A client that plays a script of statuses and faults."""

    account = SimpleNamespace(lookup_by_external_id=False)

    def __init__(self, script):
        self.script = script

    def get_task(self, task_id, family):
        assert (task_id, family) == ("T1", "image-expansion")
        entry = self.script.pop(0)
        if isinstance(entry, ApiFault):
            raise entry
        return task(entry)


def play(wait, *script):
    """Watch a script with a clock that moves only by sleeping; return decision, sleeps and the number of clients."""
    seconds, made, script = [], [], list(script)

    def make_client():
        made.append(1)
        return Scripted(script)

    log = logging.getLogger("test")
    decision = watch(wait, make_client, "image-expansion", log, sleep=seconds.append, now=lambda: START + sum(seconds))
    return decision, seconds, len(made)


def test_worker_polls_until_the_end(wait):
    decision, seconds, clients = play(wait, "submitted", "processing", fault("connection"), "succeeded")
    assert (decision.outcome, seconds, clients) == (Outcome.SUCCEEDED, [10, 10, 10], 1)


def test_worker_reads_the_key_again_once_after_a_refusal(wait):
    decision, _, clients = play(wait, fault("auth"), "succeeded")
    assert (decision.outcome, clients) == (Outcome.SUCCEEDED, 2)
    decision, _, clients = play(wait, fault("auth"), fault("auth"))
    assert (decision.outcome, clients) == (Outcome.FAULT, 2)


def test_worker_stops_at_the_deadline_to_the_second(wait):
    decision, seconds, _ = play(wait, *["processing"] * 400)
    assert decision.outcome is Outcome.TIMED_OUT
    assert sum(seconds) == 3600
    assert len(seconds) == 360


def test_worker_logs_what_it_decides(wait, caplog):
    with caplog.at_level(logging.INFO, "test"):
        play(wait, "submitted", "submitted", fault("server"), "succeeded")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "Kling task T1 is submitted"),
        ("WARNING", "Kling task T1: poll failed (1 of 10): said so"),
        ("INFO", "Kling task T1 is succeeded"),
    ]


@pytest.mark.parametrize(("believed", "polls"), [(True, 3), (False, 10)])
def test_worker_bears_a_not_found_as_long_as_the_gateway_is_to_be_doubted(wait, monkeypatch, believed, polls):
    monkeypatch.setattr(Scripted, "account", SimpleNamespace(lookup_by_external_id=believed))
    decision, seconds, _ = play(wait, *[fault("not-found")] * 20)
    assert (decision.outcome, len(seconds)) == (Outcome.FAULT, polls - 1)
