"""The last tasks of a batch, all submitted: whom to ask for, by list or singly, and when the wait for them is over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.models import Task
from airflow_kling.lifecycle.wait import Outcome, Wait

MAX_PAGES = 3
SINGLES = 64
"""Pages, and single tasks, that are asked for in one round."""


class Tail:
    """
    The state of one wait for many tasks.

    A task that cannot be watched any longer counts as ended: the worker asks for it, and says what is the matter.

    :param tasks: Connection and id of each.
    :param poll_interval: Seconds between rounds.
    :param deadline: Seconds since the epoch at which the wait ends.
    """

    def __init__(self, tasks: Iterable[tuple[str, str]], poll_interval: float, deadline: float) -> None:
        self._waits: dict[str, dict[str, Wait]] = {}
        for conn_id, task_id in tasks:
            wait = Wait(task_id, poll_interval=poll_interval, deadline=deadline)
            self._waits.setdefault(conn_id, {})[task_id] = wait
        self._poll_interval = poll_interval
        self._deadline = deadline
        self._found: set[str] = set()
        self._turn = 0

    @property
    def connections(self) -> list[str]:
        """Those with a task that has not ended."""
        return [conn_id for conn_id, waits in self._waits.items() if waits]

    def outcome(self, now: float) -> Outcome:
        """
        Return whether the wait goes on.

        :param now: Seconds since the epoch.
        """
        if not self.connections:
            return Outcome.SUCCEEDED
        return Outcome.TIMED_OUT if now >= self._deadline else Outcome.WAITING

    def delay(self, now: float) -> float:
        """
        Return the seconds until the next round.

        :param now: Seconds since the epoch.
        """
        return max(0.0, min(self._poll_interval, self._deadline - now)) if self.connections else 0.0

    def pages(self, conn_id: str, *, lists: bool) -> Iterator[int]:
        """
        Give the pages of the list that are worth asking for: as long as tasks are missing.

        :param conn_id: Whose list.
        :param lists: Whether it is believed.
        """
        self._found = set()
        for page in range(1, MAX_PAGES + 1):
            if not lists or len(self._waits[conn_id].keys() - self._found) < 2:
                return
            yield page

    def on_page(self, conn_id: str, tasks: Iterable[Task]) -> None:
        """
        Take note of a page.

        :param conn_id: Whose list.
        :param tasks: On the page.
        """
        waits = self._waits[conn_id]
        for task in tasks:
            if task.task_id in waits:
                self._found.add(task.task_id)
                if task.status.ended:
                    del waits[task.task_id]

    def singles(self, conn_id: str) -> list[str]:
        """
        Return the tasks to ask for singly: those that the list did not show, some of them in each round.

        :param conn_id: Whose.
        """
        missing = [task_id for task_id in self._waits[conn_id] if task_id not in self._found]
        start = self._turn % max(1, len(missing))
        self._turn += SINGLES
        return (missing[start:] + missing[:start])[:SINGLES]

    def on_task(self, task_id: str, task: Task, now: float) -> None:
        """
        Take note of a single task.

        :param task_id: The task.
        :param task: As it was told.
        :param now: Seconds since the epoch.
        """
        for waits in self._waits.values():
            if task_id in waits and waits[task_id].on_task(task, now).outcome is not Outcome.WAITING:
                del waits[task_id]

    def on_fault(self, task_id: str, fault: ApiFault, now: float, *, believed: bool) -> None:
        """
        Take note of a fault in asking for a single task.

        :param task_id: The task.
        :param fault: What came instead.
        :param now: Seconds since the epoch.
        :param believed: Whether the gateway's "not found" is to be believed.
        """
        for waits in self._waits.values():
            if task_id in waits:
                decision = waits[task_id].on_fault(fault, now, believed=believed)
                if decision.outcome is not Outcome.WAITING:
                    del waits[task_id]

    def on_outage(self, conn_id: str, fault: ApiFault, now: float) -> None:
        """
        Take note that none of a connection's tasks could be asked for.

        :param conn_id: The connection.
        :param fault: What came instead.
        :param now: Seconds since the epoch.
        """
        for task_id in list(self._waits[conn_id]):
            self.on_fault(task_id, fault, now, believed=True)
