"""KlingBatchTrigger: waits in the triggerer for the last tasks of a batch."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from airflow.triggers.base import TriggerEvent

from airflow_kling.api.redact import reason_of
from airflow_kling.triggers.kling import KlingBaseTrigger

if TYPE_CHECKING:
    from airflow_kling.lifecycle.wait import Outcome


class KlingBatchTrigger(KlingBaseTrigger):
    """
    Poll the tasks that a batch has left until all have ended, the deadline passes, or they cannot be watched.

    Which they are stands in a file beside the batch's journal, so that the arguments stay few. It shares its polls with
    all triggers of its connections and family.

    :param tail: The file: a path or storage URI.
    :param family: Name of the tasks' family.
    :param poll_interval: Seconds between polls.
    :param deadline: Seconds since the epoch at which the wait ends; kept over restarts of the triggerer.
    """

    def __init__(self, tail: str, family: str, poll_interval: float, deadline: float) -> None:
        super().__init__()
        self.tail = tail
        self.family = family
        self.poll_interval = poll_interval
        self.deadline = deadline

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_kling.lifecycle.wait import Outcome

        try:
            tasks = await asyncio.to_thread(self._read)
        except Exception as error:
            # Whatever the storage raises: the worker reads the journal itself, and says it better.
            self.log.warning("%s cannot be read: %s", self.tail, reason_of(error))
            yield TriggerEvent({"outcome": Outcome.FAULT.value})
            return
        async with asyncio.TaskGroup() as group:
            waits = [group.create_task(self._wait(conn_id, task_id)) for conn_id, task_id in tasks]
        outcomes = {wait.result() for wait in waits}
        # A task that cannot be watched from here is asked for by the worker, which says what is the matter.
        worst = (Outcome.TIMED_OUT, Outcome.FAULT)
        yield TriggerEvent({"outcome": next((each for each in worst if each in outcomes), Outcome.SUCCEEDED).value})

    async def on_kill(self) -> None:
        """Say what goes on remotely, when a user ends the task that waits (Airflow 3.3 and later)."""
        self.log.warning("%s", "The batch's last tasks go on remotely and are billed; a rerun takes them up again")

    def _read(self) -> list[tuple[str, str]]:
        from airflow_kling.hooks.storage import storage_path

        with storage_path(self.tail).open("rb") as file:
            return [(str(conn_id), str(task_id)) for conn_id, task_id in json.loads(file.read())]

    async def _wait(self, conn_id: str, task_id: str) -> Outcome:
        """Wait for one task; returns how that ended."""
        from airflow_kling.api.inputs import InputFault
        from airflow_kling.lifecycle.wait import Outcome, Wait
        from airflow_kling.triggers import poller, slots

        wait = Wait(task_id, poll_interval=self.poll_interval, deadline=self.deadline)
        try:
            with poller.seat(conn_id, self.family, wait, logging.CRITICAL) as seat:
                outcome = (await seat.next()).outcome
        except InputFault:
            return Outcome.FAULT
        if outcome in (Outcome.SUCCEEDED, Outcome.FAILED):
            slots.free(conn_id)
        return outcome
