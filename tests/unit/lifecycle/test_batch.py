"""The decisions of a batch: who is submitted when, how many at once, when is asked, and what a fault means."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from datetime import UTC, datetime, timedelta

import pytest

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.batch import AHEAD, MAX_WEIGHT, TRIES, Batch, Budget, Pace, Picture
from airflow_kling.lifecycle.batch_quota import FIRST_LIMIT, FIRST_PROBE, MAX_PROBE, Quota
from airflow_kling.lifecycle.pressure import Pressure
from airflow_kling.lifecycle.wait import Outcome

FAMILY = "image-expansion"


def fault(kind=FaultKind.CONCURRENCY, created=Created.NO, **facts):
    return ApiFault(FaultInfo(kind, "busy", created=created, **facts))


def task(name="t", status=TaskStatus.SUBMITTED, **facts):
    return Task(FAMILY, name, status=status, **facts)


def batch(cap=None, budget=None, submit_timeout=3600.0, poll_interval=10.0, timeout=3600.0):
    return Batch(Quota(cap, submit_timeout), Budget(budget), poll_interval, timeout)


def picture(key="a", slots=1, units=8.0, **facts):
    return Picture(key, None, slots, units, **facts)


class Account:
    """An account with a quota of slots and tasks that take some seconds, in a time of its own."""

    def __init__(self, quota, seconds=3.0):
        self.quota, self.seconds, self.ends, self.creates, self.refused = quota, seconds, [], 0, []

    def held(self, now):
        while self.ends and self.ends[0][0] <= now:
            heapq.heappop(self.ends)
        return sum(slots for _, slots in self.ends)

    def create(self, slots, now):
        self.creates += 1
        if self.held(now) + slots > self.quota:
            self.refused.append(now)
            return False
        heapq.heappush(self.ends, (now + self.seconds, slots))
        return True


def simulate(pictures, account, cap=None, until=1e6, latency=0.02, change=None):
    """Play a batch against an account; returns the time at which the last picture ended, and the most that ran."""
    state, now, most, changes = batch(cap), 1000.0, 0, dict(change or {})
    for each in pictures:
        state.add(each)
    while (state.ready or state.running) and now < until:
        for moment in [moment for moment in changes if moment <= now]:
            account.quota = changes.pop(moment)
        sent = list(state.sends(now))
        for each in sent:
            now += latency / 8  # eight of them side by side
            if account.create(each.slots, now):
                state.on_accepted(each, task(each.key), "c", now)
            else:
                state.on_fault(each, fault(), now)
        most = max(most, account.held(now))
        ended = [each for each in state.polls(now) if now >= each.since + account.seconds]
        for each in ended:
            state.on_task(each, task(each.key, TaskStatus.SUCCEEDED), now, single=False)
        step = now if ended or sent else min(state.wake_at(now, asking=False), now + 1.0)
        now = max(step, now + 0.01)
    return now - 1000.0, most


@pytest.mark.parametrize(("quota", "share"), [(20, 1.07), (100, 1.15), (7, 1.07)])
def test_the_quota_is_found_and_kept_full(quota, share):
    account = Account(quota)
    seconds, most = simulate([picture(str(n)) for n in range(600)], account)
    assert most == quota
    assert seconds <= share * 600 * 3.0 / quota
    assert len(account.refused) <= 12 + seconds / FIRST_PROBE  # it asks in vain a few times, and no loop


def test_a_cap_is_never_passed_and_nobody_is_refused_below_it():
    account = Account(50)
    _, most = simulate([picture(str(n)) for n in range(100)], account, cap=5)
    assert (most, account.refused) == (5, [])


def test_slots_are_counted_and_not_tasks():
    account = Account(9)
    seconds, most = simulate([picture(str(n), slots=3) for n in range(60)], account)
    assert most == 9
    assert seconds <= 1.1 * 60 * 3 * 3.0 / 9


def test_a_pack_bought_and_a_neighbour_are_noticed():
    account = Account(4)
    grown, most = simulate([picture(str(n)) for n in range(800)], account, change={1060.0: 12})
    assert most == 12
    assert grown < 60 + (800 - 80) * 3 / 4
    shrunk = Account(12)
    simulate([picture(str(n)) for n in range(300)], shrunk, change={1020.0: 3})
    assert len(shrunk.refused) < 60


def test_a_wide_picture_is_tried_alone_where_it_fits_nowhere():
    quota = Quota(None, 100)
    quota.busy(2, None, 0.0)
    assert not quota.take(9, 1, 1.0)
    assert quota.take(9, 0, 1.0)


def test_retry_after_and_too_fast_pause():
    quota = Quota(None, 100)
    quota.busy(3, 40.0, 0.0)
    assert (quota.take(1, 1, 39.0), quota.take(1, 1, 40.0)) == (False, True)
    quota.too_fast(3, None, 50.0)
    quota.too_fast(3, None, 50.1)  # was under way
    assert (quota.take(1, 1, 50.9), quota.take(1, 1, 51.0)) == (False, True)
    quota.too_fast(3, None, 52.0)
    assert quota.paused_until == 54.0
    quota.accepted(1, 1, 55.0)
    quota.too_fast(3, 7.0, 56.0)
    assert quota.paused_until == 63.0


def test_probes_become_rare_where_they_fail_and_frequent_where_they_do_not():
    quota = Quota(None, 100)
    quota.busy(5, None, 0.0)
    now, delays = 0.0, []
    for _ in range(6):
        started = now
        while not quota.take(1, 5, now):
            now += 1.0
        assert not quota.take(1, 5, now + 1e5)  # one at a time
        delays.append(now - started)
        quota.busy(5, None, now)
    assert delays == [FIRST_PROBE, 60, 120, 240, MAX_PROBE, MAX_PROBE]
    quota.take(1, 5, now + MAX_PROBE)
    quota.accepted(1, 6, now + MAX_PROBE)
    assert quota.limit == 6
    assert quota.take(1, 6, now + 1.5 * MAX_PROBE)


def test_a_probe_that_tells_nothing_is_followed_by_another():
    quota = Quota(None, 100)
    quota.busy(1, None, 0.0)
    assert quota.take(1, 1, FIRST_PROBE)
    quota.accepted(1, 1, FIRST_PROBE + 2)  # meanwhile the other task had ended
    assert not quota.take(1, 1, FIRST_PROBE + 2)
    assert quota.take(1, 1, 2 * FIRST_PROBE + 2)


@pytest.mark.parametrize("note", ["busy", "too_fast"])
def test_without_a_slot_of_its_own_it_waits_as_long_as_it_may(note):
    quota, now, tries = Quota(None, 100.0), 0.0, 0
    while not quota.exhausted:
        assert quota.take(1, 0, now)
        getattr(quota, note)(0, None, now)
        tries += 1
        now = max(now, quota.paused_until)
    assert 90 <= now <= 101
    assert tries <= 5


def test_a_wait_carried_over_a_deferral_goes_on():
    quota = Quota(None, 100.0)
    quota.pressure = Pressure(0.0, 50.0, 3)
    quota.busy(0, None, 49.0)
    assert (quota.pressure.attempts, quota.paused_until) == (4, 50.0)
    quota.busy(0, None, 50.0)
    assert quota.exhausted
    quota.accepted(1, 1, 51.0)
    assert quota.pressure is None


def test_the_limit_doubles_until_the_first_refusal():
    quota = Quota(None, 100)
    for held in range(100):
        assert quota.take(1, held, 0.0)
        quota.accepted(1, held + 1, 0.0)
    assert quota.limit == FIRST_LIMIT + 100


# -- the window -----------------------------------------------------------------------------------------------------


def test_the_budget_counts_what_runs_and_begins_nothing_that_exceeds_it():
    state = batch(budget=40)
    for name, slots in zip("abcd", (2, 2, 2, 1), strict=True):
        state.add(picture(name, slots, 8.0 * slots))
    sent = list(state.sends(0.0))
    assert [each.key for each in sent] == ["a", "b"]
    assert "budget of 40" in state.stopped
    assert [each.key for each in state.dropped()] == ["c", "d"]
    assert state.dropped() == []


def test_a_picture_that_waits_for_a_slot_is_not_begun_once_others_cost_more_than_was_thought():
    state = batch(cap=1, budget=24)
    for name in "abc":
        state.add(picture(name))
    (first,) = state.sends(0.0)
    state.on_accepted(first, task(), "c", 0.0)
    assert list(state.sends(0.0)) == []  # b's price is set aside, and no slot is free
    assert state.budget.holds("b")
    state.on_task(first, task(status=TaskStatus.SUCCEEDED), 1.0, single=False)
    state.on_end(first, 17.0)
    assert list(state.sends(1.0)) == []
    assert [each.key for each in state.dropped()] == ["b", "c"]
    assert not state.ready
    assert state.budget.spent == 17.0


def test_a_clock_that_was_set_back_holds_no_poll_up():
    state = batch()
    state.add(picture())
    (sent,) = state.sends(10_000.0)
    state.on_accepted(sent, task(), "c", 10_000.0)
    assert state.polls(10_000.1) == []
    assert state.polls(6_400.0) == [sent]
    assert state.polls(6_400.1) == []


def test_a_picture_that_cost_less_makes_room_and_one_that_may_exist_does_not():
    state = batch(budget=16)
    for name in "ab":
        state.add(picture(name))
    first, second = state.sends(0.0)
    assert state.on_fault(first, fault(FaultKind.INPUT), 1.0)
    assert state.budget.admit(picture("c"))
    assert state.on_fault(second, fault(FaultKind.UNKNOWN, Created.MAY_EXIST), 1.0)
    state.budget.release("c", 0.0)
    assert not state.budget.admit(picture("d", units=8.1))


def test_what_a_picture_cost_in_the_end_counts():
    state = batch(budget=10)
    state.add(picture("a"))
    (sent,) = state.sends(0.0)
    state.on_accepted(sent, task(), "c", 0.0)
    state.on_task(sent, task(status=TaskStatus.SUCCEEDED), 1.0, single=False)
    state.on_end(sent, 9.5)
    assert state.budget.spent == 9.5
    assert not state.budget.admit(picture("b", units=0.6))
    state.on_end(sent, None)
    assert state.budget.spent == 8.0  # told again, and not paid again


def test_a_picture_tried_again_counts_once_and_an_unclear_create_is_begun():
    state = batch(budget=8)
    state.add(picture("a"))
    (sent,) = state.sends(0.0)
    assert state.on_fault(sent, fault(FaultKind.SERVER), 0.0) is None
    assert not sent.begun
    (sent,) = state.sends(100.0)
    assert state.on_fault(sent, fault(FaultKind.SERVER, Created.MAY_EXIST), 100.0) is None
    state.stop("enough")
    assert (state.dropped(), [each.key for each in state.sends(200.0)]) == ([], ["a"])


def test_what_is_made_anew_comes_on_top_of_what_it_cost():
    state = batch(budget=20)
    for name in "abc":
        state.budget.release(name, 4.0)
    state.add(picture("a", anew=True))
    assert [each.key for each in state.sends(0.0)] == ["a"]
    assert state.stopped is None
    assert state.budget.admits_again(picture("a", anew=True))  # it was asked for
    assert not state.budget.admits_again(picture("b", begun=True))
    state.budget.release("a", 8.0)
    state.budget.release("a", 8.0)
    assert state.budget.spent == 20.0


def test_a_task_that_was_not_there_after_all_waits_for_a_slot():
    state = batch()
    state.add(picture("a", begun=True, rejoins=True))
    (sent,) = state.sends(0.0)
    assert state.on_fault(sent, fault(), 0.0) is None
    assert list(state.sends(0.0)) == []


def test_tasks_that_exist_go_first_whatever_the_limit():
    state = batch(cap=1, budget=8)
    state.add(picture("new"))
    for name in "ab":
        state.add(picture(name, begun=True, rejoins=True))
    assert {each.key for each in state.sends(0.0)} == {"a", "b"}
    assert "budget" in state.stopped


def test_a_next_pass_waits_for_slots_and_goes_on_after_a_stop():
    state = batch(cap=1)
    state.add(picture("a"))
    state.add(picture("b"))
    (first,) = state.sends(0.0)
    state.on_accepted(first, task(), "c", 0.0)
    state.stop("enough")
    state.on_task(first, task(status=TaskStatus.SUCCEEDED), 1.0, single=False)
    state.on_next_pass(first)
    assert [each.key for each in state.sends(1.0)] == ["a"]
    assert [each.key for each in state.dropped()] == ["b"]


@pytest.mark.parametrize("kind", [FaultKind.AUTH, FaultKind.ACCOUNT, FaultKind.ROUTE, FaultKind.EXISTS])
def test_a_fault_of_the_account_stops_the_batch(kind):
    state = batch()
    for name in "abc":
        state.add(picture(name))
    sent = list(state.sends(0.0))
    assert state.on_fault(sent[0], fault(kind), 0.0).info.kind is kind
    assert state.stopped.info.kind is kind
    state.on_fault(sent[1], fault(), 0.0)
    assert list(state.sends(100.0)) == []


@pytest.mark.parametrize(
    ("kind", "created"),
    [
        (FaultKind.SERVER, Created.NO),
        (FaultKind.CONNECTION, Created.MAY_EXIST),
        (FaultKind.RATE, Created.MAY_EXIST),  # in asking for a task that was made
        (FaultKind.CONCURRENCY, Created.MAY_EXIST),
    ],
)
def test_a_fault_that_passes_is_tried_again_and_not_for_ever(kind, created):
    state, now, delays = batch(), 0.0, []
    state.add(picture("a"))
    for _ in range(TRIES - 1):
        (sent,) = state.sends(now)
        assert state.on_fault(sent, fault(kind, created, retry_after=6.0), now) is None
        assert list(state.sends(now)) == []
        delays.append(state.wake_at(now, asking=False) - now)
        now += delays[-1]
    (sent,) = state.sends(now)
    assert state.on_fault(sent, fault(kind, created), now) is not None
    assert delays == [6.0, 10.0, 20.0]
    assert state.stopped is None


def test_a_quota_of_nothing_stops_the_batch():
    state, now = batch(submit_timeout=10.0), 0.0
    state.add(picture("a"))
    while True:
        (sent,) = state.sends(now)
        given_up = state.on_fault(sent, fault(), now)
        if given_up is not None:
            break
        now = state.wake_at(now, asking=False)
    assert now == 10.0
    assert state.stopped is given_up


def test_reading_ahead_is_bounded_by_number_and_weight():
    state = batch()
    assert state.wants_more(AHEAD - 1)
    assert not state.wants_more(AHEAD)
    state.add(picture("a", weight=MAX_WEIGHT))
    assert not state.wants_more(0)
    (sent,) = state.sends(0.0)
    assert not state.wants_more(0)
    state.on_accepted(sent, task(), "c", 0.0)
    assert state.wants_more(0)
    assert not state.wants_more(1)  # the one that is being read may weigh as much
    sent.weight = 2 * MAX_WEIGHT
    state.on_task(sent, task(status=TaskStatus.SUCCEEDED), 1.0, single=False)
    state.on_next_pass(sent)
    assert not state.wants_more(1)
    state.stop("enough")
    for name in "bc":
        state.add(picture(name, weight=5))
    state.dropped()
    list(state.sends(2.0))
    state.on_fault(sent, fault(FaultKind.CONTENT), 2.0)
    assert state.wants_more(0)


def test_waits_end_by_success_failure_time_and_faults():
    state = batch(timeout=50.0)
    for name in "abcd":
        state.add(picture(name))
    sent = {each.key: each for each in state.sends(0.0)}
    for name, each in sent.items():
        state.on_accepted(each, task(name), "c", 0.0)
    assert state.on_task(sent["a"], task("a"), 1.0, single=True) is None
    assert sent["a"].poll_at == 2.0
    ended = state.on_task(sent["a"], task("a", TaskStatus.SUCCEEDED), 3.0, single=True)
    assert ended.outcome is Outcome.SUCCEEDED
    assert state.on_task(sent["a"], task("a", TaskStatus.SUCCEEDED), 3.0, single=True) is None
    assert state.on_poll_fault(sent["a"], fault(), 3.0, believed=True) is None
    assert state.on_task(sent["b"], task("b", TaskStatus.FAILED), 3.0, single=False).outcome is Outcome.FAILED
    assert state.on_task(sent["c"], task("c"), 50.0, single=False).outcome is Outcome.TIMED_OUT
    missing = fault(FaultKind.NOT_FOUND)
    assert state.on_poll_fault(sent["d"], missing, 4.0, believed=True) is None
    assert sent["d"] not in state.polls(5.0)
    state.on_poll_fault(sent["d"], missing, 20.0, believed=True)
    assert state.on_poll_fault(sent["d"], missing, 40.0, believed=True).outcome is Outcome.FAULT
    assert (state.running, state.polls(1e9), state.poll_at()) == ({}, [], math.inf)


def test_the_pace_follows_how_long_tasks_take():
    pace = Pace(10.0)
    assert (pace.next(100.0, 0.0), pace.next_single(100.0, 0.0)) == (100.5, 101.0)
    pace.learn(30.0)
    assert pace.next(100.0, 60.0) == pytest.approx(100.9)  # the oldest is overdue: every 3 %
    assert pace.next(100.0, 80.0) == pytest.approx(107.0)  # none before nine tenths of its time
    assert pace.next(100.0, 99.0) == pytest.approx(110.0)  # at the latest after the interval
    assert pace.next_single(100.0, 60.0) == pytest.approx(103.0)
    assert pace.next_single(100.0, 80.0) == pytest.approx(107.0)
    pace.learn(0.2)
    assert pace.next(100.0, 0.0) == pytest.approx(100.1)
    assert list(pace._seconds) == [30.0, 0.2]


def test_the_servers_own_clock_tells_how_long_a_task_took():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    state = batch()
    for name in "ab":
        state.add(picture(name))
    first, second = state.sends(0.0)
    for each, facts in ((first, {"updated_at": start + timedelta(seconds=4)}), (second, {"updated_at": start})):
        state.on_accepted(each, task(), "c", 0.0)
        state.on_task(each, task(status=TaskStatus.SUCCEEDED, created_at=start, **facts), 6.0, single=False)
    assert list(state.pace._seconds) == [4.0, 6.0]


def test_any_order_of_answers_keeps_the_books():
    """Whatever comes when: nothing is held, weighed or reserved at the end, and each picture has ended once."""
    for seed in range(30):
        chance = random.Random(seed)
        state, ended, now = batch(submit_timeout=1e9), [], 0.0
        pictures = [picture(str(n), chance.randint(1, 4), weight=chance.randint(0, 9)) for n in range(25)]
        under_way = []
        for each in pictures:
            state.add(each)
        for _ in itertools.count():
            now += chance.uniform(0.1, 9)
            under_way += [("send", each) for each in state.sends(now)]
            under_way += [("poll", each) for each in state.polls(now) if ("poll", each) not in under_way]
            if not under_way:
                if not state.ready and not state.running:
                    break
                continue
            what, each = under_way.pop(chance.randrange(len(under_way)))
            if what == "poll":
                status = chance.choice([TaskStatus.PROCESSING, TaskStatus.SUCCEEDED, TaskStatus.FAILED])
                decision = state.on_task(each, task(each.key, status), now, single=chance.random() < 0.5)
                if decision is None:
                    continue
                if decision.outcome is Outcome.SUCCEEDED and chance.random() < 0.3:
                    each.weight = 3
                    state.on_next_pass(each)
                    continue
                state.on_end(each, 8.0)
                ended.append(each.key)
            elif chance.random() < 0.6:
                state.on_accepted(each, task(each.key), "c", now)
            elif state.on_fault(each, fault(chance.choice([*FaultKind][6:10])), now) is not None:
                state.on_end(each, 0.0)
                ended.append(each.key)
        assert sorted(ended) == sorted(each.key for each in pictures)
        assert (state._held, state._weight, state.budget._reserved) == (0, 0, {})


def test_what_was_waited_for_before_is_asked_for_once_more_and_what_follows_as_long_as_ever():
    state = Batch(Quota(None, 3600.0), Budget(None), 10.0, 50.0, waited=True)
    state.add(picture("old", begun=True, rejoins=True))
    state.add(picture("next pass", begun=True))
    sent = {each.key: each for each in state.sends(0.0)}
    outcomes = {}
    for name, each in sent.items():
        state.on_accepted(each, task(name), "c", 0.0)
        outcomes[name] = state.on_task(each, task(name), 1.0, single=False)
    assert outcomes["next pass"] is None
    assert outcomes["old"].outcome is Outcome.TIMED_OUT
