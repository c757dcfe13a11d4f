"""Many waits of one account and family: what to ask next, the list or single tasks, and what an answer tells whom."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

from airflow_kling.api.calls import MAX_PAGE
from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.wait import JITTER, Decision, Outcome, Wait

WIDTH = 100
"""Single tasks that are asked for at a time, at most: half as many after each refusal for too many requests."""

WORTH = 2
"""A page of the list is asked for this many waits: for fewer, single tasks are as cheap."""

PROOF = 8
"""So many faults of the connection in a row, with no answer between them, are told to every wait that is due."""

MAX_DRY_PAGES = 20
DRY_SHARE = 10
"""Pages in a row that do not pay, before the list is given up: one for so many waits, and never more than the other."""

HICCUP = 2.0
"""Seconds after which a list that failed once is asked again."""

FIRST_CLOSED = 60.0
MAX_CLOSED = 3600.0

_TOO_FAST = (FaultKind.RATE, FaultKind.CONCURRENCY)
_OF_CONNECTION = (FaultKind.AUTH, FaultKind.ACCOUNT, FaultKind.CONNECTION, FaultKind.SERVER)


@dataclass(frozen=True, slots=True)
class Ask:
    """
    One request.

    :param task_id: The task to ask for; empty for a page of the list.
    :param page: The page to ask for, from 1.
    """

    task_id: str = ""
    page: int = 0


class Waiter:
    """One who waits. Times are those of a clock that is never set, so that setting the machine's moves no poll."""

    __slots__ = ("due", "ends", "target", "tell", "wait")

    def __init__(self, wait: Wait, tell: Callable[[Decision], None]) -> None:
        self.wait = wait
        self.tell = tell
        self.due = self.ends = 0.0
        self.target: _Target | None = None


Told = list[tuple[Waiter, Decision]]
"""Who is to be told what."""


class _State(Enum):
    IDLE = auto()
    DUE = auto()
    LISTED = auto()
    SINGLE = auto()
    ASKED = auto()


class _Target:
    """
    A remote task with those who wait for it.

    ``page`` is where the list showed it last; a task that was never looked for is taken for one of the newest, and None
    means that the list was searched in vain.
    """

    __slots__ = ("page", "state", "task_id", "waiters")

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.waiters: list[Waiter] = []
        self.page: int | None = 1
        self.state = _State.IDLE


class _Closed:
    """Until when something that did not work is left alone: ever longer."""

    def __init__(self) -> None:
        self.until = 0.0
        self.failures = 0

    def fail(self, now: float) -> None:
        self.failures += 1
        self.until = now + min(FIRST_CLOSED * 2.0 ** (self.failures - 1), MAX_CLOSED)

    def work(self) -> None:
        self.until, self.failures = 0.0, 0


class _Scan:
    """
    One reading of the list, from the newest page on, over the pages where due tasks are expected.

    A task that its page does not show may have been moved on by newer ones: it is expected on the next page.
    """

    def __init__(self, targets: Iterable[_Target]) -> None:
        self.page = 0
        self.under_way = False
        self.over = False
        self.missed: list[_Target] = []
        self.lost: list[_Target] = []
        self._pages: dict[int, list[_Target]] = {}
        self._dry = 0
        for target in targets:
            target.state = _State.LISTED
            self._pages.setdefault(target.page or 1, []).append(target)

    @property
    def held(self) -> list[_Target]:
        """Those it has not found yet."""
        held = itertools.chain(self.missed, self.lost, *self._pages.values())
        return [target for target in held if target.state is _State.LISTED]

    def read(self, found: int, rows: int) -> None:
        """
        Take note of a page.

        :param found: How many tasks it told of that were due.
        """
        self.under_way = False
        self._dry = 0 if found >= WORTH else self._dry + 1
        self.over = not rows or self.page >= MAX_PAGE

    def turn(self) -> list[_Target] | None:
        """Go to the next page that pays; returns those whom it does not pay for, None where it is to be asked."""
        self.missed = [target for target in self.missed if target.state is _State.LISTED]
        if self.over:
            self.lost += itertools.chain(self.missed, *self._pages.values())
            self.missed, self._pages = [], {}
        elif self._dry > min(len(self.missed) // DRY_SHARE, MAX_DRY_PAGES):
            self.lost += self.missed
            self.missed, self._dry = [], 0
        if not self.missed and not self._pages:
            return []
        self.page = self.page + 1 if self.missed else min(self._pages)
        group = [target for target in self._pages.pop(self.page, []) if target.state is _State.LISTED]
        for target in self.missed:
            target.page = self.page
        self.missed += group
        if len(self.missed) >= WORTH:
            self.under_way = True
            return None
        alone, self.missed = self.missed, []
        return alone

    @property
    def done(self) -> bool:
        """Whether no page is left to ask."""
        return not self.under_way and not self.missed and not self._pages


class Polls:
    """
    All waits of one account and family.

    It never sends: :meth:`next` gives one request after the other, and the answers, in any order, give the decisions
    of those whom they concern; who waits no longer is forgotten. Times are seconds: ``now`` of a clock that is never
    set, ``wall`` since the epoch.
    """

    def __init__(self) -> None:
        self._targets: dict[str, _Target] = {}
        self._count = 0
        self._heap: list[tuple[float, int, Waiter]] = []
        self._order = itertools.count()
        self._due: deque[_Target] = deque()
        self._singles: deque[_Target] = deque()
        self._asked = 0
        self._width = WIDTH
        self._scan: _Scan | None = None
        self._streak = 0
        self._pause = 0.0
        self._list, self._search = _Closed(), _Closed()

    def __len__(self) -> int:
        return self._count

    @property
    def wanted(self) -> Mapping[str, object]:
        """The tasks that are waited for, by their ids."""
        return self._targets

    def add(self, waiter: Waiter, now: float, wall: float) -> None:
        """Begin a wait: it is due at once."""
        target = self._targets.get(waiter.wait.task_id)
        if target is None:
            target = self._targets[waiter.wait.task_id] = _Target(waiter.wait.task_id)
        target.waiters.append(waiter)
        waiter.target = target
        waiter.ends = now + waiter.wait.deadline - wall
        self._count += 1
        self._put(waiter, now)

    def remove(self, waiter: Waiter) -> None:
        """End a wait, if it has not ended."""
        target, waiter.target = waiter.target, None
        if target is None:
            return
        target.waiters.remove(waiter)
        waiter.due = -1.0
        self._count -= 1
        if not target.waiters:
            # Whoever still holds it passes it over.
            target.state = _State.IDLE
            del self._targets[target.task_id]
        self._compact()

    def next(self, now: float, *, lists: bool) -> Ask | None:
        """
        Return the next request, None where none is to be sent now.

        :param lists: Whether the account's list is to be believed.
        """
        lists = lists and now >= self._list.until
        self._collect(now, lists)
        while self._scan is not None or self._due:
            if self._scan is None:
                self._divide(now, lists)
            elif self._scan.under_way:
                break
            elif (alone := self._scan.turn()) is None:
                return Ask(page=self._scan.page)
            else:
                self._ask_singly(alone)
                self._end_scan(now)
        return self._next_single()

    def next_due(self) -> float | None:
        """Return when :meth:`next` is to be asked again, unless something happens before; None for not before that."""
        while self._heap and self._heap[0][0] != self._heap[0][2].due:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def is_due(self, now: float) -> bool:
        """Return whether anybody is to be asked for."""
        due = self.next_due()
        return bool(self._due or self._singles or self._scan) or (due is not None and due <= now)

    # -- answers ---------------------------------------------------------------------------------------------------

    def on_task(self, ask: Ask, task: Task, now: float, wall: float) -> Told:
        """Decide after the answer for a single task."""
        self._streak = 0
        self._width = min(self._width + 1, WIDTH)
        return self._tell(self._answered(ask), lambda wait: wait.on_task(task, wall), now)

    def on_fault(self, ask: Ask, fault: ApiFault, now: float, wall: float, *, believed: bool) -> Told:
        """
        Decide after a fault in asking for a single task.

        :param believed: Whether the gateway's "not found" is to be believed.
        """
        targets = self._answered(ask)
        intervals = [waiter.wait.poll_interval for target in targets for waiter in target.waiters]
        told = self._tell(targets, lambda wait: wait.on_fault(fault, wall, believed=believed), now)
        kind = fault.info.kind
        if kind in _TOO_FAST:
            self._width = max(self._width // 2, 1)
            delays = [decision.delay for _, decision in told if decision.outcome is Outcome.WAITING]
            self._rest(now, max(min(delays or intervals, default=0.0), fault.info.retry_after or 0.0))
        elif kind in _OF_CONNECTION:
            self._streak += 1
            if self._streak >= PROOF:
                told += self.on_outage(fault, now, wall)
        else:
            self._streak = 0
        return told

    def on_page(self, ask: Ask, tasks: Iterable[Task], rows: int, now: float, wall: float) -> Told:
        """
        Decide after a page of the list.

        :param tasks: Those of its tasks that are waited for.
        :param rows: How many rows it had; none means that the list ends before it.
        """
        self._streak = 0
        self._list.work()
        told: Told = []
        seen: set[str] = set()
        found = 0
        for task in tasks:
            target = self._targets.get(task.task_id) or self._targets.get(task.external_task_id or "")
            if target is None or target.state is _State.ASKED or target.task_id in seen:
                continue
            seen.add(target.task_id)
            if target.page is None:
                self._search.work()
            target.page = ask.page
            found += target.state is not _State.IDLE
            if task.status is TaskStatus.SUCCEEDED and not task.outputs:
                # A list may leave out what was made: the single task tells.
                if target.state is _State.LISTED:
                    self._ask_singly([target])
                continue
            told += self._tell([target], partial(Wait.on_task, task=task, now=wall, jitter=False), now)
        if self._scan is not None and self._scan.page == ask.page:
            self._scan.read(found, rows)
        return told

    def on_page_fault(self, ask: Ask, fault: ApiFault, now: float) -> None:
        """
        Take note of a fault in asking for a page: it counts against no wait, for single tasks may still be told.

        The first is followed by another try of all, the next ones close the list for a time.
        """
        too_fast, again = fault.info.kind in _TOO_FAST, not self._list.failures
        self._list.fail(now)
        if fault.info.kind in _OF_CONNECTION:
            self._streak += 1
        if self._scan is not None and self._scan.page == ask.page:
            # Also where nobody is left who waited for the page: as long as it is under way nothing else is asked.
            held, self._scan = self._scan.held, None
            self._ask_singly(held)
        if again:
            self._list.until = now + HICCUP
        if too_fast or again:
            self._rest(now, max(HICCUP, fault.info.retry_after or 0.0))

    def on_outage(self, fault: ApiFault, now: float, wall: float) -> Told:
        """Tell all who are due that they cannot be asked for now."""
        return self._tell(self._drop_due(), lambda wait: wait.on_fault(fault, wall), now)

    def on_refusal(self, ask: Ask, fault: ApiFault) -> Told:
        """End the waits for a single task that cannot be asked for."""
        return self.refuse([waiter for target in self._answered(ask) for waiter in target.waiters], fault)

    def on_unreadable(self, fault: ApiFault, now: float, wall: float) -> Told:
        """Tell all who are due that there is nobody to ask."""
        self._collect(now, lists=False)
        return self.on_outage(fault, now, wall)

    def refuse(self, waiters: Iterable[Waiter], fault: ApiFault) -> Told:
        """End waits whose connection or task cannot be meant."""
        told = [(waiter, Decision(Outcome.FAULT, fault=fault)) for waiter in waiters]
        for waiter, _ in told:
            self.remove(waiter)
        return told

    # -- who is asked for how --------------------------------------------------------------------------------------

    def _answered(self, ask: Ask) -> list[_Target]:
        """Take note that a single task was asked for; returns it, unless nobody waits for it any more."""
        self._asked -= 1
        target = self._targets.get(ask.task_id)
        return [] if target is None else [target]

    def _put(self, waiter: Waiter, due: float) -> None:
        waiter.due = due
        heapq.heappush(self._heap, (due, next(self._order), waiter))

    def _compact(self) -> None:
        """Forget what was left behind, once it is the greater part."""
        most = 2 * self._count + 64
        if len(self._heap) > most:
            self._heap = [row for row in self._heap if row[0] == row[2].due]
            heapq.heapify(self._heap)
        if len(self._due) + len(self._singles) > most:
            self._due = deque(target for target in self._due if target.state is _State.DUE)
            self._singles = deque(target for target in self._singles if target.state is _State.SINGLE)

    def _collect(self, now: float, lists: bool) -> None:
        """Take from the heap who is due; where one is, a page may as well answer those who are almost."""
        if not self._due and (self.next_due() or now) > now:
            return
        # In a pause nobody is asked early, and what is put off comes after now: else it would be taken again at once.
        early = JITTER if lists and now >= self._pause else 0.0
        while (due := self.next_due()) is not None:
            waiter = self._heap[0][2]
            if due > now + early * waiter.wait.poll_interval:
                return
            heapq.heappop(self._heap)
            if now < self._pause and now < waiter.ends:
                self._put(waiter, min(self._pause, waiter.ends))
                continue
            target = waiter.target
            if target is not None and target.state is _State.IDLE:
                target.state = _State.DUE
                self._due.append(target)

    def _divide(self, now: float, lists: bool) -> None:
        """Begin to read the list for those whom it may show, if it pays; the others are asked for singly."""
        due = [target for target in self._due if target.state is _State.DUE]
        self._due.clear()
        if lists:
            searching = now >= self._search.until
            listed = [target for target in due if target.page is not None or searching]
            if len(listed) >= WORTH:
                self._scan = _Scan(listed)
                due = [target for target in due if target.state is _State.DUE]
        self._ask_singly(due)

    def _end_scan(self, now: float) -> None:
        """Ask singly for those whom the list did not show, once no page is left to read."""
        if self._scan is None or not self._scan.done:
            return
        lost = [target for target in self._scan.lost if target.state is _State.LISTED]
        self._scan = None
        for target in lost:
            target.page = None
        self._ask_singly(lost)
        if lost and now >= self._search.until:
            self._search.fail(now)

    def _ask_singly(self, targets: Iterable[_Target]) -> None:
        for target in targets:
            target.state = _State.SINGLE
            self._singles.append(target)

    def _next_single(self) -> Ask | None:
        while self._singles and self._asked < (1 if self._streak >= PROOF else self._width):
            target = self._singles.popleft()
            if target.state is _State.SINGLE:
                target.state = _State.ASKED
                self._asked += 1
                return Ask(target.task_id)
        return None

    def _drop_due(self) -> list[_Target]:
        """Ask for nobody any more, and return who was to be asked for."""
        held = self._scan.held if self._scan is not None else []
        queued = [*self._due, *self._singles]
        self._scan = None
        self._due.clear()
        self._singles.clear()
        dropped = [*held, *(target for target in queued if target.state in (_State.DUE, _State.SINGLE))]
        for target in dropped:
            target.state = _State.IDLE
        return dropped

    def _rest(self, now: float, seconds: float) -> None:
        """Ask for nobody for a time, but for those whose deadline comes."""
        self._pause = max(self._pause, now + seconds)
        for target in self._drop_due():
            for waiter in target.waiters:
                self._put(waiter, min(self._pause, max(waiter.ends, now)))

    # -- who is told what ------------------------------------------------------------------------------------------

    def _tell(self, targets: Iterable[_Target], decide: Callable[[Wait], Decision], now: float) -> Told:
        all_told: Told = []
        for target in targets:
            told = [(waiter, decide(waiter.wait)) for waiter in target.waiters]
            target.state = _State.IDLE
            for waiter, decision in told:
                if decision.outcome is Outcome.WAITING:
                    self._put(waiter, now + decision.delay)
                else:
                    self.remove(waiter)
            self._compact()
            all_told += told
        return all_told
