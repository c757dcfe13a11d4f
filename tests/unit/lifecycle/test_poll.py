"""What is asked next for many waits, to the last branch: against a list and a clock of our own."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random

import pytest

from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle import poll
from airflow_kling.lifecycle.poll import HICCUP, MAX_DRY_PAGES, PROOF, WIDTH, Ask, Polls, Waiter
from airflow_kling.lifecycle.wait import Outcome, Wait

PAGE = 500
INTERVAL = 10.0
WALL = 1_800_000_000.0
OUTPUT = Output(0, "image", "https://cdn.example/0.png")


def fault(kind, retry_after=None):
    return ApiFault(FaultInfo(FaultKind(kind), "said so", retry_after=retry_after))


class World:
    """An account with a list, newest first, asked by Polls on a clock that jumps from poll to poll."""

    def __init__(self, *waiting, foreign_on_top=0, lists=True):
        self.now, self.lists = 0.0, lists
        self.rows = [f"F{number}" for number in range(foreign_on_top)]
        self.status, self.asks, self.told, self.waiters = {}, [], [], {}
        self.list_fault = self.fault = None
        self.polls = Polls()
        self.between_pages = lambda: None
        self.start(*waiting)

    def start(self, *ids, interval=INTERVAL, seconds=1e6, listed=True):
        for task_id in ids:
            deadline = self.wall + seconds
            wait = Wait(task_id, poll_interval=interval, deadline=deadline, uniform=lambda low, high: (low + high) / 2)
            self.waiters[task_id] = Waiter(wait, lambda decision: None)
            self.polls.add(self.waiters[task_id], self.now, self.wall)
            if listed:
                self.rows.append(task_id)

    @property
    def wall(self):
        return WALL + self.now

    def task(self, task_id):
        word = self.status.get(task_id, "processing")
        status = TaskStatus(word.removesuffix(" bare"))
        return Task("image-expansion", task_id, status=status, outputs=() if word.endswith("bare") else (OUTPUT,))

    def answer(self, ask):
        polls, now, wall = self.polls, self.now, self.wall
        if ask.page and self.list_fault:
            polls.on_page_fault(ask, self.list_fault, now)
            return []
        if ask.page:
            rows = self.rows[PAGE * (ask.page - 1) : PAGE * ask.page]
            self.between_pages()
            wanted = [self.task(task_id) for task_id in rows if task_id in polls.wanted]
            return polls.on_page(ask, wanted, len(rows), now, wall)
        if self.fault:
            return polls.on_fault(ask, self.fault, now, wall, believed=True)
        return polls.on_task(ask, self.task(ask.task_id), now, wall)

    def ask_all(self):
        while ask := self.polls.next(self.now, lists=self.lists):
            self.asks.append(ask)
            self.told += self.answer(ask)

    def run(self, seconds=0.0):
        """Play for so long; returns how many pages and single tasks were asked for."""
        end, self.asks, self.told = self.now + seconds, [], []
        self.ask_all()
        while (due := self.polls.next_due()) is not None and due <= end:
            assert due > self.now, "no time passes"
            self.now = due
            self.ask_all()
        self.now = end
        return Counter("page" if ask.page else "single" for ask in self.asks)

    def outcomes(self):
        return Counter(decision.outcome for _, decision in self.told)


@pytest.fixture
def may_put(monkeypatch):
    """How often waits may still be put in line: one that is taken again without an end fails its test."""
    put, left = Polls._put, [100_000]

    def counted(self, waiter, due):
        left[0] -= 1
        assert left[0] > 0, "the same waits are put off without an end"
        put(self, waiter, due)

    monkeypatch.setattr(Polls, "_put", counted)
    return left


def ids(count, first=0):
    return [f"T{number}" for number in range(first, first + count)]


# -- how many requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 10, 100, 499, 500, 501, 502, 1_000, 10_000])
def test_as_many_requests_an_interval_as_pages(size):
    world = World(*ids(size))
    assert world.run().total() == ceil(size / PAGE)
    assert world.run(4.5 * INTERVAL).total() == 4 * ceil(size / PAGE)
    assert Counter(waiter.wait.task_id for waiter, _ in world.told) == dict.fromkeys(ids(size), 4)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_list_that_is_not_believed_is_not_asked(size):
    world = World(*ids(size), lists=False)
    assert world.run(2.5 * INTERVAL) == {"single": 3 * size}


def test_newcomers_join_the_others():
    world = World(*ids(20))
    world.run(3.0)
    world.start("late")
    assert world.run(1.0) == {"single": 1}
    assert world.run(3 * INTERVAL) == {"page": 3}


def test_long_interval_is_answered_by_the_way_and_asks_for_nothing():
    world = World(*ids(10))
    world.start(*ids(10, first=10), interval=6 * INTERVAL)
    world.run()
    assert world.run(6.5 * INTERVAL) == {"page": 6}


def test_singly_asked_waits_keep_their_own_intervals():
    world = World(*ids(2), lists=False)
    world.start("slow", interval=3 * INTERVAL)
    world.run()
    world.run(6.5 * INTERVAL)
    assert Counter(ask.task_id for ask in world.asks) == {"T0": 6, "T1": 6, "slow": 2}


def test_two_who_wait_for_one_task_share_its_requests():
    world = World("T0", "T0")
    assert world.run() == {"single": 1}
    assert len(world.told) == 2


# -- the list is not what it seems ---------------------------------------------------------------------------------


def test_tasks_below_thousands_of_others_are_found_and_asked_for_by_their_pages():
    world = World(*ids(1_000), foreign_on_top=5_000)
    world.run()
    assert world.run(3.5 * INTERVAL) == {"page": 6}
    assert {ask.page for ask in world.asks} == {11, 12}


def test_few_tasks_below_thousands_of_others_are_asked_for_singly():
    world = World(*ids(3), foreign_on_top=5_000)
    assert world.run() == {"page": 1, "single": 3}
    asked = world.run(100.5 * INTERVAL)
    assert asked["single"] == 300
    assert asked["page"] <= 5
    assert world.outcomes() == {Outcome.WAITING: 300}


def test_list_is_given_up_after_many_pages_that_do_not_pay():
    world = World(*ids(1_000), foreign_on_top=50_000)
    assert world.run() == {"page": MAX_DRY_PAGES + 1, "single": 1_000}
    assert world.run(1.5 * INTERVAL) == {"single": 1_000}


def test_lost_tasks_are_looked_for_again_and_found():
    world = World(*ids(3), foreign_on_top=5_000)
    world.run()
    del world.rows[:5_000]
    world.run(70 * INTERVAL)
    assert world.run(2 * INTERVAL) == {"page": 2}


@pytest.mark.parametrize("others", [0, 100, 10_000])
def test_what_the_list_does_not_show_is_asked_for_singly_and_is_never_gone(others):
    world = World(*ids(others))
    world.start("hidden", "secret", listed=False)
    world.run()
    asked = world.run(5.5 * INTERVAL)
    assert asked["single"] == 2 * 5
    assert asked["page"] <= 5 * ceil(others / PAGE) + 2
    assert world.outcomes() == {Outcome.WAITING: 5 * (others + 2)}


def test_list_ends_before_some():
    world = World(*ids(4 * PAGE))
    world.run()
    del world.rows[PAGE + 5 :]
    assert world.run(1.1 * INTERVAL)["single"] == 3 * PAGE - 5
    assert world.outcomes() == {Outcome.WAITING: 4 * PAGE}


@pytest.mark.parametrize(("new", "pages", "singles"), [(1, 5, 0), (40, 5, 0), (250, 7, 0), (600, 22, 1_500)])
def test_rows_that_move_while_pages_are_read_are_followed_within_bounds(new, pages, singles):
    world = World(*ids(2_000))
    world.run()
    world.between_pages = lambda: world.rows.__setitem__(slice(0, 0), [f"N{len(world.rows) + n}" for n in range(new)])
    assert world.run(1.5 * INTERVAL) == {"page": pages} | ({"single": singles} if singles else {})
    assert set(ids(2_000)) == {waiter.wait.task_id for waiter, _ in world.told}


def test_page_with_one_of_ours_is_not_worth_it():
    world = World(*ids(600))
    world.rows[1:1] = [f"F{number}" for number in range(1_000)]
    world.run()
    world.run(1.2 * INTERVAL)
    assert Counter((ask.page, bool(ask.task_id)) for ask in world.asks) == {(3, False): 1, (4, False): 1, (0, True): 1}


def test_last_page_that_may_be_asked_for_ends_the_list(monkeypatch):
    monkeypatch.setattr(poll, "MAX_PAGE", 2)
    world = World(*ids(1_100))
    assert world.run() == {"page": 2, "single": 100}


def test_row_of_our_own_id_counts():
    world = World("af-1", "af-2")
    ask = world.polls.next(0.0, lists=True)
    rows = [Task("image-expansion", "K1", "af-1", status=TaskStatus.FAILED), Task("image-expansion", "K2", "af-2")]
    told = world.polls.on_page(ask, rows + rows, 4, 0.0, WALL)
    assert [decision.outcome for _, decision in told] == [Outcome.FAILED, Outcome.WAITING]


def test_success_without_outputs_is_asked_for_singly():
    world = World(*ids(5))
    world.status["T3"] = "succeeded bare"
    assert world.run() == {"page": 1, "single": 1}
    assert world.asks[-1].task_id == "T3"


def test_success_without_outputs_that_is_seen_by_the_way_is_asked_for_when_it_is_due():
    world = World(*ids(5))
    world.run(INTERVAL / 2)
    world.status["T3"] = "succeeded bare"
    world.start("T5", "T6")
    assert world.run() == {"page": 1}
    assert world.run(INTERVAL / 2) == {"single": 1}


def test_exactly_those_that_ended_are_done():
    world = World(*ids(1_000))
    world.run()
    world.status |= {"T7": "failed", "T777": "succeeded"}
    world.run(INTERVAL)
    ended = {waiter.wait.task_id: decision.outcome for waiter, decision in world.told if decision.outcome != "waiting"}
    assert ended == {"T7": Outcome.FAILED, "T777": Outcome.SUCCEEDED}
    assert len(world.polls) == 998


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["server", "connection", "route", "rate", "auth"])
def test_list_that_fails_is_tried_again_and_then_left_alone_and_counts_against_nobody(kind):
    world = World(*ids(20))
    world.list_fault = fault(kind)
    assert world.run() == {"page": 1}
    asked = world.run(4.5 * INTERVAL)
    assert asked["page"] == 1
    assert asked["single"] >= 4 * 20
    assert world.outcomes() == {Outcome.WAITING: asked["single"]}
    assert all(decision.fault is None for _, decision in world.told)
    world.list_fault = None
    world.run(10 * INTERVAL)
    assert world.run(2 * INTERVAL) == {"page": 2}


def test_list_that_asks_to_wait_is_heeded():
    world = World(*ids(20))
    world.list_fault = fault("rate", retry_after=45)
    world.run()
    assert world.run(44.0).total() == 0
    assert world.run(2.0).total() == 1


def test_server_that_asks_to_wait_is_heeded_by_all_and_counts_against_who_asked():
    world = World(*ids(100), lists=False)
    world.start("hurried", seconds=20.0)
    world.fault = fault("rate", retry_after=45)
    assert world.run() == {"single": 1}
    assert [waiter.wait.task_id for waiter, _ in world.told] == ["T0"]
    world.fault = None
    world.start("late")
    world.run(44.0)
    assert [ask.task_id for ask in world.asks] == ["hurried"]
    assert [decision.outcome for _, decision in world.told] == [Outcome.TIMED_OUT]
    assert world.run(2.0) == {"single": 101}


def test_refusals_for_too_many_requests_narrow_what_is_asked_at_a_time():
    world = World(*ids(300), lists=False)

    def width():
        asks = []
        while ask := world.polls.next(world.now, lists=False):
            asks.append(ask)
        return asks

    for expected in (WIDTH, WIDTH // 2):
        asks = width()
        assert len(asks) == expected
        world.polls.on_fault(asks[0], fault("rate"), world.now, world.wall, believed=True)
        for ask in asks[1:]:
            world.polls.on_fault(ask, fault("not-found"), world.now, world.wall, believed=True)
        world.now += 3 * INTERVAL
    assert len(width()) == WIDTH // 4
    world.fault = None
    for number in range(WIDTH):
        world.answer(Ask(f"T{number}"))
    assert world.polls._width == WIDTH


@pytest.mark.parametrize(("seconds", "retry_after"), [(1e6, None), (10.5, 60.0)], ids=["pause", "wait"])
def test_what_ends_soon_after_a_poll_that_is_put_off_keeps_nobody_busy(may_put, seconds, retry_after):
    """A pause, or a wait in one, ends within the time that a page is read early for: it is not put off to that time."""
    world = World()
    world.start("T0", seconds=seconds)
    world.run(1.0)
    world.start("T1")
    world.fault = fault("rate", retry_after)
    world.run()
    world.fault = None
    may_put[0] = 100
    world.run(9.1)
    assert world.told == []
    world.run(60.0)
    assert {waiter.wait.task_id for waiter, _ in world.told} >= {"T1"}


def test_pause_holds_when_the_one_who_met_it_is_given_up():
    world = World("T0", "T1", lists=False)
    for _ in range(9):
        world.waiters["T0"].wait.on_fault(fault("rate"), world.wall)
    world.fault = fault("rate")
    world.run()
    assert world.outcomes() == {Outcome.FAULT: 1}
    assert world.run(INTERVAL - 1).total() == 0


@pytest.mark.parametrize("kind", ["auth", "account", "connection", "server"])
def test_faults_of_the_connection_in_a_row_are_told_to_all_who_are_due(kind):
    world = World(*ids(1_000), lists=False)
    world.fault = fault(kind)
    assert world.run() == {"single": PROOF}
    assert len(world.told) == 1_000
    assert world.run(1.5 * INTERVAL) == {"single": 1}
    world.fault = None
    if len(world.polls):
        assert world.run(10 * INTERVAL)["single"] >= 1_000


def test_outage_that_a_page_meets_is_told_as_well():
    world = World(*ids(1_000))
    world.fault = world.list_fault = fault("connection")
    world.run()
    assert world.run(HICCUP).total() <= PROOF
    assert len(world.told) == 1_000


def test_fault_of_one_task_ends_the_row_of_faults_and_that_task_alone():
    world = World(*ids(30), lists=False)
    faults = iter(
        [fault("server")] * (PROOF - 1) + [fault("not-found")] + [fault("server")] * (PROOF - 1) + [None] * 99
    )
    world.answer = lambda ask, answer=world.answer: (setattr(world, "fault", next(faults)), answer(ask))[1]
    assert world.run() == {"single": 30}
    assert len(world.told) == 30


def test_no_more_than_a_few_are_asked_for_at_a_time():
    world = World(*ids(WIDTH + 5), lists=False)
    asks = [world.polls.next(0.0, lists=False) for _ in range(WIDTH + 1)]
    assert asks[-1] is None
    world.answer(asks[0])
    assert world.polls.next(0.0, lists=False) == Ask(f"T{WIDTH}")
    assert world.polls.next(0.0, lists=False) is None
    world.polls.on_refusal(asks[1], fault("input"))
    assert world.polls.next(0.0, lists=False) == Ask(f"T{WIDTH + 1}")
    assert world.polls.next(0.0, lists=False) is None


def test_somebody_is_due_until_all_are_asked_for():
    world = World(*ids(WIDTH + 1), lists=False)
    asks = [world.polls.next(0.0, lists=False) for _ in range(WIDTH)]
    assert world.polls.is_due(0.0)
    world.polls.on_task(asks[0], world.task("T0"), 0.0, WALL)
    world.polls.next(0.0, lists=False)
    assert not world.polls.is_due(0.0)


@pytest.mark.parametrize(("lists", "delays"), [(True, {INTERVAL}), (False, {1.1 * INTERVAL})])
def test_polls_are_jittered_where_each_is_answered_alone(lists, delays):
    world = World(lists=lists)
    for task_id in ids(3):
        wait = Wait(task_id, poll_interval=INTERVAL, deadline=WALL + 1e6, uniform=max)
        world.polls.add(Waiter(wait, lambda decision: None), 0.0, WALL)
        world.rows.append(task_id)
    world.run()
    assert {round(decision.delay, 6) for _, decision in world.told} == delays


def test_gateway_that_is_not_believed_is_asked_longer_for_a_task_it_does_not_know():
    world = World("T0", lists=False)
    for number in range(1, 11):
        ask = world.polls.next(world.now, lists=False)
        ((_, decision),) = world.polls.on_fault(ask, fault("not-found"), world.now, world.wall, believed=False)
        assert decision.outcome is (Outcome.FAULT if number == 10 else Outcome.WAITING)
        world.now += 600


def test_nobody_to_ask_is_told_to_who_is_due():
    world = World(*ids(3))
    assert world.polls.is_due(0.0)
    told = world.polls.on_unreadable(fault("connection"), 0.0, WALL)
    assert [(decision.outcome, decision.delay) for _, decision in told] == [(Outcome.WAITING, INTERVAL)] * 3
    assert not world.polls.is_due(0.0)
    assert world.polls.on_unreadable(fault("connection"), 1.0, WALL) == []


def test_id_that_cannot_be_meant_ends_its_own_wait():
    world = World("T0", "..", lists=False)
    first, second = (world.polls.next(0.0, lists=False) for _ in range(2))
    refusal = fault("input")
    ((waiter, decision),) = world.polls.on_refusal(second, refusal)
    assert (waiter.wait.task_id, decision.outcome, decision.fault) == ("..", Outcome.FAULT, refusal)
    assert world.polls.on_refusal(second, fault("input")) == []
    assert len(world.polls) == 1
    world.answer(first)


# -- who waits no longer -------------------------------------------------------------------------------------------


def test_waits_that_end_meanwhile_are_passed_over():
    world = World(*ids(700))
    page = world.polls.next(0.0, lists=True)
    assert world.polls.next(0.0, lists=True) is None
    for waiter in list(world.waiters.values())[1:]:
        world.polls.remove(waiter)
    world.answer(page)
    assert world.polls.next(0.0, lists=True) is None
    world.start("T700", "T701", listed=False)
    world.lists = False
    asks = [world.polls.next(0.0, lists=False) for _ in range(2)]
    for waiter in world.waiters.values():
        world.polls.remove(waiter)
    world.polls.remove(world.waiters["T700"])
    assert [world.answer(ask) for ask in asks] == [[], []]
    assert world.polls.on_fault(asks[0], fault("rate"), 0.0, WALL, believed=True) == []
    assert (len(world.polls), world.polls.next_due()) == (0, None)


def test_wait_that_ends_before_its_turn_is_not_asked_for():
    world = World(*ids(WIDTH + 3), lists=False)
    asks = [world.polls.next(0.0, lists=False) for _ in range(WIDTH)]
    world.polls.remove(world.waiters[f"T{WIDTH}"])
    for ask in asks:
        world.answer(ask)
    assert world.polls.next(0.0, lists=False) == Ask(f"T{WIDTH + 1}")


def test_one_of_two_who_wait_for_a_task_may_leave():
    world = World("T0")
    first = world.waiters["T0"]
    world.start("T0")
    world.polls.remove(first)
    world.run()
    assert [waiter for waiter, _ in world.told] == [world.waiters["T0"]]


def test_task_that_is_asked_for_is_left_to_its_own_answer():
    world = World("T0")
    single = world.polls.next(0.0, lists=True)
    world.start("T1", "T2")
    page = world.polls.next(0.0, lists=True)
    assert [waiter.wait.task_id for waiter, _ in world.answer(page)] == ["T1", "T2"]
    assert [waiter.wait.task_id for waiter, _ in world.answer(single)] == ["T0"]


def test_newcomers_during_a_page_are_asked_for_after_it():
    world = World(*ids(5))
    page = world.polls.next(0.0, lists=True)
    world.start("T5", "T6")
    assert world.polls.next(0.0, lists=True) is None
    world.polls.on_page(page, [world.task(task_id) for task_id in ids(5)], 5, 0.0, WALL)
    assert world.polls.next(0.0, lists=True) == Ask(page=1)


def test_page_that_comes_after_a_pause_began_still_tells():
    world = World("T0")
    single = world.polls.next(0.0, lists=True)
    world.start(*ids(5, first=1))
    page = world.polls.next(0.0, lists=True)
    world.polls.on_fault(single, fault("rate", 60.0), 0.0, WALL, believed=True)
    assert len(world.answer(page)) == 6
    world.polls.on_page_fault(page, fault("server"), 0.0)
    assert world.polls.next(1.0, lists=True) is None


def test_many_who_come_and_go_leave_nothing():
    polls = Polls()
    for number in range(10_000):
        waiter = Waiter(Wait(f"T{number}", poll_interval=3600, deadline=WALL + 7200), lambda decision: None)
        polls.add(waiter, number / 100, WALL)
        if number % 2:
            polls.next(number / 100, lists=True)
        polls.remove(waiter)
    assert len(polls._heap) + len(polls._singles) + len(polls._due) < 200
    assert (len(polls), len(polls.wanted)) == (0, 0)


def test_many_who_go_before_one_who_stays_are_forgotten():
    world = World(*ids(1_000))
    world.start("stays", interval=1.0)
    world.run()
    for task_id in ids(1_000):
        world.polls.remove(world.waiters[task_id])
    assert len(world.polls._heap) < 100
    assert world.run(2.5) == {"single": 2}


def test_page_that_fails_after_all_who_waited_for_it_left_holds_nobody_up():
    world = World(*ids(3))
    world.run()
    world.list_fault = fault("connection")
    world.run(INTERVAL)  # the first failure is followed by another try of all
    world.now = world.polls.next_due()
    ask = world.polls.next(world.now, lists=True)
    assert ask.page
    world.start("newcomer", seconds=60.0)
    for task_id in ids(3):
        world.polls.remove(world.waiters[task_id])
    world.polls.on_page_fault(ask, world.list_fault, world.now)
    assert world.run(5.0)["single"] >= 1


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_time_passes_and_each_wait_is_told_its_end_once(may_put, seed):
    random = Random(seed)

    def leave():
        for task_id in random.sample(list(world.waiters), len(world.waiters) // 2) if random.random() < 0.2 else ():
            if world.waiters[task_id].target is not None:
                world.polls.remove(world.waiters.pop(task_id))

    def answer(ask, real=World.answer):
        leave()  # while it is asked: its task instance was cleared, or woken by a callback
        return real(world, ask)

    world, ends = World(lists=random.random() < 0.8), Counter()
    world.answer = answer
    kinds = ("rate", "concurrency", "server", "connection")
    for step in range(60):
        may_put[0] = 100_000
        if random.random() < 0.4:
            some = [f"S{step}.{number}" for number in range(random.choice((1, 2, 30)))]
            interval, seconds = random.choice((1.0, 10.0, 30.0)), random.uniform(1, 200)
            world.start(*some, interval=interval, seconds=seconds, listed=random.random() < 0.8)
        broken = fault(random.choice(kinds), random.choice((None, 3.0, 40.0)))
        world.fault = broken if random.random() < 0.3 else None
        world.list_fault = broken if random.random() < 0.2 else None
        world.status |= dict.fromkeys(random.sample(list(world.waiters), len(world.waiters) // 9), "succeeded")
        if step == 59:
            world.fault = world.list_fault = None
        world.run(1_000 if step == 59 else random.choice((0.5, 2.0, 9.5, 30.0)))
        ends.update(waiter.wait.task_id for waiter, decision in world.told if decision.outcome is not Outcome.WAITING)
    assert ends == Counter(world.waiters.keys())
