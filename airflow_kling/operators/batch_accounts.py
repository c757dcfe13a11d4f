"""The accounts of a batch: a client for each thread, and asking for running tasks; loaded when a task runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from airflow_kling.api.faults import ApiFault, Created, FaultInfo, FaultKind
from airflow_kling.api.models import Task
from airflow_kling.api.redact import reason_of
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.lifecycle.batch import Picture

if TYPE_CHECKING:
    from airflow_kling.api.gateways import Account
    from airflow_kling.hooks.client import SyncClient
    from airflow_kling.lifecycle.collect import Fetch

LIST_PAGES = 3
LIST_CLOSED = 60.0
"""Pages of a list that are asked for at a time, and seconds after which one that failed is asked again."""

_log = logging.getLogger(__name__)

#: A picture, what was told of its task, and whether it was asked for alone.
Answer = tuple[Picture, Task | ApiFault, bool]


class Accounts:
    """
    All connections of a batch.

    They are read here, in the main thread; one that cannot be used is refused before anything is sent.
    """

    def __init__(self, conn_ids: Iterable[str], family: str) -> None:
        #: In their order.
        self.conn_ids = tuple(dict.fromkeys(conn_ids))
        self._hooks = {conn_id: KlingHook(conn_id) for conn_id in self.conn_ids}
        for hook in self._hooks.values():
            hook.new_client()
        self._family = family
        self._local = threading.local()
        self._list_closed = dict[str, float]()

    def know(self, conn_ids: Iterable[str]) -> None:
        """
        Take further connections, to ask and to fetch only: those that made earlier tasks.

        :param conn_ids: Of them; one that cannot be used any more is told where it is needed.
        """
        for conn_id in conn_ids:
            if conn_id not in self._hooks:
                with suppress(Exception):  # whatever looking it up raises
                    hook = KlingHook(conn_id)
                    hook.new_client()
                    self._hooks[conn_id] = hook

    def account(self, conn_id: str) -> Account:
        """Return where requests of a connection go."""
        return self._hooks[conn_id].account

    def fetch(self, conn_id: str) -> Fetch:
        """Return what gives the bytes behind a URL."""
        return self._hooks[conn_id].fetch

    def client(self, conn_id: str) -> SyncClient:
        """Return this thread's own client of an account."""
        if conn_id not in self._hooks:
            message = f"a task was made over the connection {conn_id}, which cannot be used any more"
            hint = "Restore the connection: the task is not lost. No other was sent"
            raise ApiFault(FaultInfo(FaultKind.NOT_FOUND, message, created=Created.MAY_EXIST, hint=hint))
        clients = self._local.__dict__.setdefault("clients", {})
        if conn_id not in clients:
            clients[conn_id] = self._hooks[conn_id].new_client()
        return clients[conn_id]  # type: ignore[no-any-return]

    def ask_all(self, pictures: Iterable[Picture], pool: ThreadPoolExecutor) -> list[Answer]:
        """Ask once for running tasks; raises nothing."""
        groups: dict[str, dict[str, Picture]] = {}
        for picture in pictures:
            if picture.task is not None:
                groups.setdefault(picture.kling_conn_id, {})[picture.task.task_id] = picture
        answers: list[Answer] = []
        for conn_id, group in groups.items():
            try:
                answers += self._ask(conn_id, group, pool)
            except Exception as error:
                reason = reason_of(error)
                _log.error("Asking for %d tasks failed: %s", len(group), reason)  # its trace may hold a link
                fault = ApiFault(FaultInfo(FaultKind.CONNECTION, reason))
                answers += [(picture, fault, True) for picture in group.values()]
        return answers

    def _ask(self, conn_id: str, group: Mapping[str, Picture], pool: ThreadPoolExecutor) -> list[Answer]:
        """Ask by the list where it is believed, and singly for those that it does not show."""
        client, now = self.client(conn_id), time.time()
        found: dict[str, Task] = {}
        if client.account.list_tasks and len(group) > 1 and now >= self._list_closed.get(conn_id, 0.0):
            size = min(500, 2 * len(group) + 20)
            try:
                for page in range(1, LIST_PAGES + 1):
                    tasks = client.list_tasks(self._family, page, size)
                    found |= {task.task_id: task for task in tasks if task.task_id in group}
                    if not tasks or len(found) == len(group):
                        break
            except ApiFault:
                self._list_closed[conn_id] = now + LIST_CLOSED
        missing = [picture for task_id, picture in group.items() if task_id not in found]
        answers: list[Answer] = [(group[task_id], task, False) for task_id, task in found.items()]
        return answers + list(pool.map(partial(self._ask_one, conn_id), missing))

    def _ask_one(self, conn_id: str, picture: Picture) -> Answer:
        assert picture.task is not None
        try:
            task = self.client(conn_id).get_task(picture.task.task_id, self._family, resend=False)
            return picture, task, True
        except ApiFault as fault:
            return picture, fault, True
