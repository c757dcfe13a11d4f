"""KlingBatchTrigger: waits in the triggerer for the last tasks of a batch."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_kling.api.redact import redact


class KlingBatchTrigger(BaseTrigger):
    """
    Poll the tasks that a batch has left until all have ended, the deadline passes, or they cannot be watched.

    Which they are stands in a file beside the batch's journal, so that the arguments stay few. By the list of the
    account where it is believed, and singly where that does not show them.

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

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("tail", "family", "poll_interval", "deadline")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from airflow_kling.lifecycle.batch_tail import Tail
        from airflow_kling.lifecycle.wait import Outcome

        try:
            tail = Tail(await asyncio.to_thread(self._read), self.poll_interval, self.deadline)
        except Exception as error:
            # Whatever the storage raises: the worker reads the journal itself, and says it better.
            self.log.warning("%s cannot be read: %s", self.tail, redact(f"{type(error).__name__}: {error}"))
            yield TriggerEvent({"outcome": Outcome.FAULT.value})
            return
        while (outcome := tail.outcome(time.time())) is Outcome.WAITING:
            for conn_id in tail.connections:
                await self._ask(tail, conn_id)
            delay = tail.delay(time.time())
            if delay:
                await asyncio.sleep(delay)
        yield TriggerEvent({"outcome": outcome.value})

    async def on_kill(self) -> None:
        """Say what goes on remotely, when a user ends the task that waits (Airflow 3.3 and later)."""
        self.log.warning("%s", "The batch's last tasks go on remotely and are billed; a rerun takes them up again")

    def _read(self) -> list[tuple[str, str]]:
        from airflow_kling.hooks.storage import storage_path

        with storage_path(self.tail).open("rb") as file:
            return [(str(conn_id), str(task_id)) for conn_id, task_id in json.loads(file.read())]

    async def _ask(self, tail: Any, conn_id: str) -> None:
        """Ask once for the tasks of a connection."""
        from airflow_kling.api.calls import MAX_PAGE_SIZE
        from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind
        from airflow_kling.hooks.kling import KlingHook

        try:
            async with KlingHook(conn_id).async_client() as client:
                for page in tail.pages(conn_id, lists=client.account.list_tasks):
                    tail.on_page(conn_id, await client.list_tasks(self.family, page, MAX_PAGE_SIZE))
                believed = client.account.lookup_by_external_id
                for task_id in tail.singles(conn_id):
                    try:
                        tail.on_task(task_id, await client.get_task(task_id, self.family, resend=False), time.time())
                    except ApiFault as fault:
                        tail.on_fault(task_id, fault, time.time(), believed=believed)
        except ApiFault as fault:
            tail.on_outage(conn_id, fault, time.time())
        except Exception as error:  # whatever a secrets backend raises
            message = f"connection {conn_id} cannot be read: {redact(f'{type(error).__name__}: {error}')}"
            tail.on_outage(conn_id, ApiFault(FaultInfo(FaultKind.CONNECTION, message)), time.time())
