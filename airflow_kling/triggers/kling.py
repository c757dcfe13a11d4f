"""Triggers: one watches a remote task, one waits for a free slot of the account; neither holds a worker."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent


class KlingBaseTrigger(BaseTrigger):
    """A trigger that keeps its arguments under their names."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = inspect.signature(type(self)).parameters
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}


class KlingTaskTrigger(KlingBaseTrigger):
    """
    Wait until a task ends, its deadline passes, or it cannot be watched any longer.

    It shares its polls with all triggers of its connection and family. Its arguments and its event carry ids, numbers
    and the vendor's words only; :func:`~airflow_kling.lifecycle.end.read_event` reads the event.

    :param kling_task_id: The remote task; not ``task_id``, which the triggerer sets to that of Airflow's task.
    :param family: Name of its family.
    :param kling_conn_id: Connection to ask.
    :param poll_interval: Seconds between polls.
    :param deadline: Seconds since the epoch at which the wait ends; kept over restarts of the triggerer.
    :param called_back: Whether Kling posts a callback that our plugin takes. It wakes the task instance itself, and
        this trigger's polls are only the safety net: six times less often, but at least once a minute.
    """

    def __init__(
        self,
        kling_task_id: str,
        family: str,
        kling_conn_id: str,
        poll_interval: float,
        deadline: float,
        called_back: bool = False,
    ) -> None:
        super().__init__()
        self.kling_task_id = kling_task_id
        self.family = family
        self.kling_conn_id = kling_conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.called_back = called_back

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_kling.api.faults import api_fault_from_input
        from airflow_kling.api.inputs import InputFault
        from airflow_kling.lifecycle.end import end_of
        from airflow_kling.lifecycle.wait import Decision, Outcome, Wait, called_back_interval
        from airflow_kling.triggers import poller, slots

        interval = called_back_interval(self.poll_interval) if self.called_back else self.poll_interval
        wait = Wait(self.kling_task_id, poll_interval=interval, deadline=self.deadline)
        decision = Decision(Outcome.WAITING)
        try:
            with poller.seat(self.kling_conn_id, self.family, wait, self.log.getEffectiveLevel()) as seat:
                while decision.outcome is Outcome.WAITING:
                    decision = await seat.next()
                    for level, text in decision.notes:
                        self.log.log(level, "%s", text)
        except InputFault as fault:
            decision = Decision(Outcome.FAULT, fault=api_fault_from_input(fault))
        except asyncio.CancelledError:
            if self.called_back:
                # As likely as not because the task has ended: an attempt in vain costs nothing.
                slots.free(self.kling_conn_id)
            raise
        if decision.outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            slots.free(self.kling_conn_id)
            if self.called_back:
                self.log.info("Kling task %s: a poll has found its end before a callback did", self.kling_task_id)
        yield TriggerEvent(end_of(decision, self.kling_task_id, self.family, self.kling_conn_id).payload())

    async def on_kill(self) -> None:
        """Say what goes on remotely, when a user ends the task that waits (Airflow 3.3 and later)."""
        from airflow_kling.lifecycle.end import killed_text, released_text

        # Airflow takes a trigger that a callback has overtaken for one whose task a user has ended.
        level, text = (logging.INFO, released_text) if self.called_back else (logging.WARNING, killed_text)
        self.log.log(level, "%s", text(self.kling_task_id, self.family))


class KlingSlotTrigger(KlingBaseTrigger):
    """
    Wait until a create that the account was too busy for is worth another attempt.

    It ends early, oldest first, when this triggerer sees one of the connection's tasks end. The event gives the wait
    back to the operator: some Airflow versions keep nothing else over a deferral.

    :param kling_conn_id: Connection of the create.
    :param until: Seconds since the epoch of the next attempt.
    :param since: Seconds since the epoch at which the wait for a slot began.
    :param deadline: Seconds since the epoch at which it ends.
    :param attempts: How often the create was refused.
    """

    def __init__(self, kling_conn_id: str, until: float, since: float, deadline: float, attempts: int) -> None:
        super().__init__()
        self.kling_conn_id = kling_conn_id
        self.until = until
        self.since = since
        self.deadline = deadline
        self.attempts = attempts

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_kling.triggers import slots

        freed = await slots.wait(self.kling_conn_id, self.since, self.until - time.time())
        self.log.info(
            "Kling create is tried again: %s", "a task of the account has ended" if freed else "its time has come"
        )
        yield TriggerEvent({"since": self.since, "deadline": self.deadline, "attempts": self.attempts})
