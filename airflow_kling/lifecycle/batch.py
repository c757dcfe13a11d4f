"""A batch: which picture is submitted next, when is asked, and when it ends; decides, and sends nothing."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_kling.api.faults import ApiFault, Created, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.lifecycle.batch_quota import Quota
from airflow_kling.lifecycle.submit import is_pressure
from airflow_kling.lifecycle.wait import Decision, Outcome, Wait

AHEAD = 16
"""Pictures that are read ahead of a free slot."""

MAX_WEIGHT = 48 << 20
"""Bytes of what is read ahead and being sent, together; one picture may always."""

FADING = 0.9
"""How much of what the heaviest picture weighed is expected of the next one, and so on."""

TRIES = 4
FIRST_DELAY = 5.0
"""How often, and after how many seconds, doubling, a picture is tried again after a fault that passes by itself."""

MIN_POLL = 0.1
FIRST_POLL = 0.5
POLL_SHARE = 0.03
FIRST_SINGLE = 1.0
SINGLE_SHARE = 0.1
EARLY = 0.9
"""A list is asked for every 3 % of the time that tasks take, a single task every 10 %; none before it is nearly due."""

#: Faults of the account, not of a picture: nothing more is submitted.
FATAL = (FaultKind.AUTH, FaultKind.ACCOUNT, FaultKind.ROUTE, FaultKind.EXISTS)
_PASSING = (FaultKind.SERVER, FaultKind.CONNECTION, FaultKind.RATE, FaultKind.CONCURRENCY)


@dataclass(eq=False, slots=True)
class Picture:
    """
    A distinct picture of the batch that is to be made something of.

    :param key: What makes it this one.
    :param made: What submits and collects it.
    :param slots: Concurrency slots that its next task holds.
    :param units: List price of all its tasks; None where none is known.
    :param weight: Bytes that it holds until it is submitted.
    :param begun: Whether a task of it may exist, and so a bill.
    :param rejoins: Whether its next task may exist: its slots are taken already.
    :param doubtful: Whether it was paid before, and another task may be made of it, as far as can be told.
    :param anew: Whether that is certain.
    """

    key: str
    made: Any = field(repr=False)
    slots: int = 1
    units: float | None = None
    weight: int = 0
    begun: bool = False
    rejoins: bool = False
    doubtful: bool = False
    anew: bool = False
    tries: int = 0
    not_before: float = 0.0
    task: Task | None = None
    kling_conn_id: str = ""
    since: float = 0.0
    wait: Wait | None = None
    poll_at: float = 0.0


class Pace:
    """When to ask next: learnt from how long tasks take."""

    def __init__(self, poll_interval: float) -> None:
        self._most = poll_interval
        self._seconds: deque[float] = deque(maxlen=64)

    def learn(self, seconds: float) -> None:
        """Take note of how long a task took."""
        self._seconds.append(seconds)

    def next(self, last: float, oldest: float) -> float:
        """
        Return when to ask.

        :param last: When was asked last.
        :param oldest: When the oldest of the running tasks was submitted.
        """
        if not self._seconds:
            return last + min(FIRST_POLL, self._most)
        interval = min(max(MIN_POLL, POLL_SHARE * min(self._seconds)), self._most)
        return max(last + interval, min(oldest + EARLY * min(self._seconds), last + self._most))

    def next_single(self, now: float, since: float) -> float:
        """
        Return when to ask again for a task that no list tells of.

        :param since: When the task was submitted.
        """
        if not self._seconds:
            return now + min(FIRST_SINGLE, self._most)
        interval = min(max(FIRST_POLL, SINGLE_SHARE * min(self._seconds)), self._most)
        return max(now + interval, min(since + EARLY * min(self._seconds), now + self._most))


class Budget:
    """
    Units that may be spent, by list price until the real ones are told; used by several threads.

    :param units: All that the batch may cost; None for no limit.
    """

    def __init__(self, units: float | None) -> None:
        self.units = units
        self.spent = 0.0
        self._reserved: dict[str, float] = {}
        self._known: dict[str, float] = {}
        self._renewed: set[str] = set()
        self._lock = threading.RLock()

    @property
    def text(self) -> str:
        """Why nothing more is begun, once it is used up."""
        return f"the budget of {self.units or 0.0:g} units is used up"

    def admit(self, picture: Picture) -> bool:
        """Return whether a picture may be begun, and set its price aside."""
        with self._lock:
            fits = picture.begun or self._fits(picture)
            if not fits:
                # Set aside before others cost more than was thought: held on to, it would be asked for without an end.
                self._reserved.pop(picture.key, None)
            return self._set_aside(picture, fits=fits)

    def admits_again(self, picture: Picture) -> bool:
        """Return whether another task may be made of a picture that was paid before, and set its price aside."""
        with self._lock:
            if picture.key in self._renewed:
                return True
            self.renew(picture.key)
            fits = self._set_aside(picture, fits=self._fits(picture))
            if not fits:
                self._renewed.discard(picture.key)
            return fits

    def admits_more(self, picture: Picture) -> bool:
        """Return whether the price that a create turns out to have may be spent, and set it aside."""
        with self._lock:
            return self._set_aside(picture, fits=self._fits(picture))

    def holds(self, key: str) -> bool:
        """Return whether the price of a picture is set aside."""
        return key in self._reserved

    def renew(self, key: str) -> None:
        """Let what a picture has cost so far stay spent: what it costs from now on comes on top."""
        with self._lock:
            if key not in self._renewed:
                self._renewed.add(key)
                self._known.pop(key, None)
                self.spent += self._reserved.pop(key, 0.0)

    def reserve(self, key: str, units: float | None) -> None:
        """Set the price of a picture aside, unless it is known what it cost."""
        with self._lock:
            if key not in self._known:
                self._reserved[key] = units or 0.0

    def release(self, key: str, units: float) -> None:
        """Take note of what a picture cost in the end."""
        with self._lock:
            self._reserved.pop(key, None)
            self.spent += units - self._known.get(key, 0.0)
            self._known[key] = units

    def _set_aside(self, picture: Picture, *, fits: bool) -> bool:
        if fits:
            self.reserve(picture.key, picture.units)
        return fits

    def _fits(self, picture: Picture) -> bool:
        if self.units is None:
            return True
        # Tried again, its own price is set aside already.
        reserved = sum(self._reserved.values()) - self._reserved.get(picture.key, 0.0)
        return self.spent + reserved + (picture.units or 0.0) <= self.units + 1e-9


class Batch:
    """
    The window over all pictures. Times are seconds since the epoch.

    :param poll_interval: Seconds between polls, at most.
    :param timeout: Seconds that a task is waited for.
    :param waited: Whether those that are rejoined were waited for that long before: they are asked for once more.
    """

    def __init__(
        self, quota: Quota, budget: Budget, poll_interval: float, timeout: float, *, waited: bool = False
    ) -> None:
        self.quota = quota
        self.budget = budget
        self.pace = Pace(poll_interval)
        #: Why nothing more is begun, if something is the matter.
        self.stopped: ApiFault | str | None = None
        self.ready: deque[Picture] = deque()
        self.sending: dict[str, Picture] = {}
        self.running: dict[str, Picture] = {}
        self._poll_interval = poll_interval
        self._timeout = timeout
        self._waited = waited
        self._held = 0
        self._weight = 0
        self._typical = 0.0
        self._last_poll = 0.0

    # -- what is next ----------------------------------------------------------------------------------------------

    def wants_more(self, under_way: int) -> bool:
        """
        Return whether another picture is to be read ahead.

        :param under_way: How many are being read.
        """
        few = len(self.ready) + under_way < AHEAD
        light = self._weight + (under_way + 1) * self._typical <= MAX_WEIGHT
        return few and (light or not (self.ready or self.sending or under_way))

    def add(self, picture: Picture) -> None:
        """Take a picture that was read; one that is begun goes first."""
        self._weight += picture.weight
        self._typical = max(picture.weight, self._typical * FADING)
        if picture.anew:
            self.budget.renew(picture.key)
        if picture.begun:
            self.budget.reserve(picture.key, picture.units)
            self.ready.appendleft(picture)
        else:
            self.ready.append(picture)

    def sends(self, now: float) -> Iterator[Picture]:
        """Give the pictures that are to be submitted now, each once; a picture over the budget stops the batch."""
        waiting: deque[Picture] = deque()
        while self.ready:
            picture = self.ready.popleft()
            if picture.not_before > now or not self._goes_on(picture):
                waiting.append(picture)
                continue
            if not self.budget.admit(picture):
                self.stop(self.budget.text)
                waiting.append(picture)
                continue
            if not picture.rejoins and not self.quota.take(picture.slots, self._held, now):
                waiting.append(picture)
                break
            self._held += picture.slots
            self.sending[picture.key] = picture
            yield picture
        self.ready.extendleft(reversed(waiting))

    def dropped(self) -> list[Picture]:
        """Return the pictures that are not begun any more, once the batch has stopped."""
        if self.stopped is None:
            return []
        dropped = [picture for picture in self.ready if not self._goes_on(picture)]
        self.ready = deque(picture for picture in self.ready if self._goes_on(picture))
        self._weight -= sum(picture.weight for picture in dropped)
        return dropped

    def poll_at(self) -> float:
        """Return when to ask for the running tasks."""
        if not self.running:
            return math.inf
        return self.pace.next(self._last_poll, next(iter(self.running.values())).since)

    def polls(self, now: float) -> list[Picture]:
        """Return those to ask for, if it is time, and take note that it was done."""
        if self._last_poll <= now < self.poll_at():  # a clock that was set back holds nothing up
            return []
        self._last_poll = now
        return [picture for picture in self.running.values() if picture.poll_at <= now]

    def wake_at(self, now: float, *, asking: bool) -> float:
        """
        Return when something is to be done that no answer brings about; infinity for not before one comes.

        :param asking: Whether is being asked for the running tasks.
        """
        times = [math.inf if asking else self.poll_at()]
        if self.ready:
            times += [self.quota.paused_until, *(picture.not_before for picture in self.ready)]
        return min(time for time in times if time > now or time == times[0])

    # -- what came of it -------------------------------------------------------------------------------------------

    def on_accepted(self, picture: Picture, task: Task, kling_conn_id: str, now: float) -> None:
        """Take note of a task that was made, or found."""
        self._leave(picture)
        self._held += picture.slots
        if not picture.rejoins:
            self.quota.accepted(picture.slots, self._held, now)
        deadline = now if self._waited and picture.rejoins else now + self._timeout
        picture.begun, picture.rejoins, picture.tries, picture.weight = True, False, 0, 0
        picture.task, picture.kling_conn_id, picture.since = task, kling_conn_id, now
        picture.wait = Wait(task.task_id, poll_interval=self._poll_interval, deadline=deadline, status=task.status)
        picture.poll_at = 0.0
        self.running[picture.key] = picture
        if len(self.running) == 1:
            self._last_poll = now

    def on_fault(self, picture: Picture, fault: ApiFault, now: float) -> ApiFault | None:
        """Decide after a create that ended in a fault; returns the fault where the picture is given up."""
        self._leave(picture, keep_weight=True)
        info = fault.info
        picture.begun = picture.begun or info.created is Created.MAY_EXIST
        if is_pressure(fault):
            picture.rejoins = False  # there was none: it waits for a slot as the others do
            note = self.quota.busy if info.kind is FaultKind.CONCURRENCY else self.quota.too_fast
            note(self._held, info.retry_after, now)
            if not self.quota.exhausted:
                self.ready.appendleft(picture)
                return None
            self.stopped = self.stopped or fault
        elif info.kind in FATAL:
            self.stopped = self.stopped or fault
        elif info.kind in _PASSING and self._tries_again(picture, info.retry_after, now):
            return None
        self._weight -= picture.weight
        if not picture.begun:
            self.budget.release(picture.key, 0.0)
        return fault

    def on_refused(self, picture: Picture) -> None:
        """Take note that nothing was sent for a picture, and that nothing will be."""
        self._leave(picture)
        if not picture.begun:
            self.budget.release(picture.key, 0.0)

    def on_task(self, picture: Picture, task: Task, now: float, *, single: bool) -> Decision | None:
        """
        Decide after an answer for a running task; returns how its wait ended, None while it goes on.

        :param single: Whether it was asked for alone: then not as often as a list.
        """
        if picture.wait is None or picture.key not in self.running:
            return None
        if single:
            picture.poll_at = self.pace.next_single(now, picture.since)
        decision = picture.wait.on_task(task, now)
        if task.status is TaskStatus.SUCCEEDED:
            self.pace.learn(_seconds(task) or now - picture.since)
        return self._settle(picture, decision)

    def on_poll_fault(self, picture: Picture, fault: ApiFault, now: float, *, believed: bool) -> Decision | None:
        """Decide after a fault in asking for one running task."""
        if picture.wait is None or picture.key not in self.running:
            return None
        decision = picture.wait.on_fault(fault, now, believed=believed)
        picture.poll_at = now + decision.delay
        return self._settle(picture, decision)

    def on_next_pass(self, picture: Picture) -> None:
        """Take a picture whose next task is to be made of what came back."""
        picture.task, picture.wait = None, None
        self._weight += picture.weight
        self.ready.appendleft(picture)

    def on_end(self, picture: Picture, units: float | None) -> None:
        """Take note of what a picture cost in the end, by list price where that is not told."""
        self.budget.release(picture.key, (picture.units or 0.0) if units is None else units)

    def stop(self, reason: ApiFault | str) -> None:
        """Begin nothing more."""
        self.stopped = self.stopped or reason

    def _settle(self, picture: Picture, decision: Decision) -> Decision | None:
        if decision.outcome is Outcome.WAITING:
            return None
        del self.running[picture.key]
        self._held -= picture.slots
        return decision

    def _goes_on(self, picture: Picture) -> bool:
        """Return whether a picture is submitted after a stop, too: begun, or admitted to a budget now used up."""
        if self.stopped is None or picture.begun:
            return True
        return self.stopped == self.budget.text and self.budget.holds(picture.key)

    def _tries_again(self, picture: Picture, retry_after: float | None, now: float) -> bool:
        picture.tries += 1
        if picture.tries >= TRIES:
            return False
        picture.not_before = now + max(FIRST_DELAY * 2 ** (picture.tries - 1), retry_after or 0.0)
        self.ready.append(picture)
        return True

    def _leave(self, picture: Picture, *, keep_weight: bool = False) -> None:
        del self.sending[picture.key]
        self._held -= picture.slots
        if not keep_weight:
            self._weight -= picture.weight


def _seconds(task: Task) -> float | None:
    """Return how long a task took by the server's own clock."""
    if task.created_at is None or task.updated_at is None:
        return None
    seconds = (task.updated_at - task.created_at).total_seconds()
    return seconds if seconds > 0 else None
