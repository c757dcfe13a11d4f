"""Waiting for a task: the one decision on what follows a poll, for worker, trigger and sensor alike."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.api.redact import redact

JITTER = 0.1
MAX_BACKOFF = 60.0

CALLED_BACK_FACTOR = 6.0
CALLED_BACK_INTERVAL = 60.0

#: How many faults of one kind, with no answer between them, end the wait. One never does, for the task is paid; and a
#: key that is refused is read again once, for it may just have been replaced.
FAULT_BUDGETS: dict[FaultKind, int] = {
    FaultKind.SERVER: 10,
    FaultKind.CONNECTION: 10,
    FaultKind.RATE: 10,
    FaultKind.CONCURRENCY: 10,
    FaultKind.NOT_FOUND: 3,
    FaultKind.ROUTE: 3,
    FaultKind.INPUT: 3,
    FaultKind.CONTENT: 3,
    FaultKind.AUTH: 2,
    FaultKind.ACCOUNT: 2,
}


class Outcome(StrEnum):
    """How a wait stands after a poll."""

    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed-out"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What follows a poll.

    :param delay: Seconds until the next poll.
    :param notes: Lines for the log, each with its level.
    :param reread_key: Whether to read the connection again before the next poll.
    """

    outcome: Outcome
    delay: float = 0.0
    notes: tuple[tuple[int, str], ...] = ()
    reread_key: bool = False
    task: Task | None = None
    fault: ApiFault | None = None


def called_back_interval(poll_interval: float) -> float:
    """
    Return the seconds between polls that are but the safety net of a callback: six times as many, at most a minute.

    :param poll_interval: Seconds between polls without a callback; never shortened.
    """
    return max(min(CALLED_BACK_FACTOR * poll_interval, CALLED_BACK_INTERVAL), poll_interval)


class Wait:
    """
    The state of one wait.

    :param poll_interval: Seconds between polls; jittered by a tenth.
    :param deadline: Seconds since the epoch at which the wait ends, whoever waits.
    :param status: The status that is known already, so that it is not announced again.
    """

    def __init__(
        self,
        task_id: str,
        *,
        poll_interval: float,
        deadline: float,
        status: TaskStatus | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.task_id = task_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self._status = status
        self._uniform = uniform
        self._faults: Counter[FaultKind] = Counter()
        self._odd_words: set[str] = set()

    def on_task(self, task: Task, now: float, *, jitter: bool = True) -> Decision:
        """
        Decide after an answer.

        :param jitter: Whether to jitter the next poll; not where one answer is for many, to keep them together.
        """
        self._faults.clear()
        notes = self._notes(task)
        self._status = task.status
        if task.status is TaskStatus.SUCCEEDED:
            return Decision(Outcome.SUCCEEDED, notes=notes, task=task)
        if task.status is TaskStatus.FAILED:
            return Decision(Outcome.FAILED, notes=notes, task=task)
        delay = self.poll_interval * (self._uniform(1 - JITTER, 1 + JITTER) if jitter else 1.0)
        return self._sleep(Decision(Outcome.WAITING, delay, notes, task=task), now)

    def on_fault(self, fault: ApiFault, now: float, *, believed: bool = True) -> Decision:
        """
        Decide after a fault.

        :param believed: Whether the gateway's "not found" is to be believed.
        """
        kind = fault.info.kind
        self._faults[kind] += 1
        doubted = kind is FaultKind.NOT_FOUND and not believed
        budget = FAULT_BUDGETS.get(FaultKind.SERVER if doubted else kind, 1)
        if self._faults[kind] >= budget:
            return Decision(Outcome.FAULT, fault=fault)
        note = (logging.WARNING, f"Kling task {self.task_id}: poll failed ({self._faults[kind]} of {budget}): {fault}")
        backoff = min(self.poll_interval * 2 ** (self._faults.total() - 1), max(MAX_BACKOFF, self.poll_interval))
        delay = max(backoff * self._uniform(1 - JITTER, 1 + JITTER), fault.info.retry_after or 0.0)
        reread_key = kind is FaultKind.AUTH
        return self._sleep(Decision(Outcome.WAITING, delay, (note,), reread_key, fault=fault), now)

    def _sleep(self, decision: Decision, now: float) -> Decision:
        left = self.deadline - now
        if left <= 0:
            return Decision(Outcome.TIMED_OUT, notes=decision.notes, task=decision.task)
        # A last poll at the deadline itself: the task may have ended since.
        return replace(decision, delay=min(decision.delay, left))

    def _notes(self, task: Task) -> tuple[tuple[int, str], ...]:
        level = logging.DEBUG if task.status is self._status else logging.INFO
        notes = [(level, f"Kling task {self.task_id} is {task.status.value}")]
        word = task.status_word
        if task.status is TaskStatus.PROCESSING and word and word not in self._odd_words | {"processing"}:
            self._odd_words.add(word)
            notes.append((logging.INFO, f"Kling task {self.task_id}: status word {redact(word)!r} is taken as running"))
        return tuple(notes)
