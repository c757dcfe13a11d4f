"""One poller for all waits of an event loop, connection and family: it sends what :mod:`lifecycle.poll` asks for."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import Context
from time import monotonic
from typing import TYPE_CHECKING

from airflow_kling.api.families import get_family
from airflow_kling.api.faults import ApiFault, FaultInfo, FaultKind, api_fault_from_input
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of
from airflow_kling.lifecycle.poll import Ask, Polls, Told, Waiter
from airflow_kling.lifecycle.wait import Decision, Outcome, Wait

if TYPE_CHECKING:
    from airflow_kling.hooks.client import AsyncClient

READ_TIMEOUT = 30.0
"""Seconds for reading a connection."""

READ_AGAIN = 10.0
"""Seconds after which a connection that could not be read is read again, where an older reading still serves."""

_Key = tuple[str, str]

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, Poller]] = weakref.WeakKeyDictionary()


class Seat:
    """
    Where one trigger waits.

    :param loud: The least level that its log lets through: it is not woken for less.
    """

    __slots__ = ("_decisions", "_error", "_loud", "_woken")

    def __init__(self, loud: int) -> None:
        self._loud = loud
        self._decisions: deque[Decision] = deque()
        self._error: BaseException | None = None
        self._woken: asyncio.Future[None] | None = None

    def tell(self, decision: Decision) -> None:
        """Wake the trigger, if there is something to say."""
        if decision.outcome is Outcome.WAITING and all(level < self._loud for level, _ in decision.notes):
            return
        self._decisions.append(decision)
        self._wake()

    def crash(self, error: BaseException) -> None:
        """Let the trigger raise what the poller ended with."""
        self._error = error
        self._wake()

    async def next(self) -> Decision:
        """Wait for the next decision that says something."""
        while not self._decisions:
            if self._error is not None:
                raise self._error
            self._woken = asyncio.get_running_loop().create_future()
            await self._woken
        return self._decisions.popleft()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)


@contextmanager
def seat(kling_conn_id: str, family: str, wait: Wait, loud: int) -> Iterator[Seat]:
    """Give a seat with the poller of this event loop, connection and family; the last one who leaves ends it."""
    of_loop = _pollers.setdefault(asyncio.get_running_loop(), {})
    key = (kling_conn_id, family)
    if key not in of_loop or of_loop[key].ended:
        get_family(family)
        of_loop[key] = Poller(kling_conn_id, family)
    poller, taken = of_loop[key], Seat(loud)
    waiter = poller.join(wait, taken)
    try:
        yield taken
    finally:
        poller.leave(waiter)
        if not poller.waiters and of_loop.get(key) is poller:
            del of_loop[key]


class _Line:
    """A client over one reading of the connection, with the number of requests that go over it."""

    def __init__(self, client: AsyncClient, stack: AsyncExitStack) -> None:
        self.client = client
        self.stack = stack
        self.users = 0
        self.refused = False


class Poller:
    """Polls for its seats, in a task and a context of its own: nothing of the trigger that came first is inherited."""

    def __init__(self, kling_conn_id: str, family: str) -> None:
        self._conn_id = kling_conn_id
        self._family = family
        self._polls = Polls()
        self.waiters: dict[Waiter, Seat] = {}
        self.ended = False
        self._unread: set[Waiter] = set()
        self._read_after = 0.0
        self._line: _Line | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(
            self._run(), name=f"kling poller {kling_conn_id} {family}", context=Context()
        )

    def join(self, wait: Wait, taken: Seat) -> Waiter:
        """Begin to poll for a seat."""
        waiter = Waiter(wait, taken.tell)
        self.waiters[waiter] = taken
        self._unread.add(waiter)
        self._polls.add(waiter, monotonic(), time.time())
        self._news.set()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Poll for it no longer."""
        self._polls.remove(waiter)
        self._unread.discard(waiter)
        del self.waiters[waiter]
        self._news.set()

    async def _run(self) -> None:
        try:
            while self.waiters:
                self._news.clear()
                await self._send_all()
                await self._rest()
        except BaseException as error:
            self._crash(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self.ended = True
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            await self._use(None)

    async def _send_all(self) -> None:
        line = self._line
        is_read = line is not None and not line.refused and (not self._unread or monotonic() < self._read_after)
        if not is_read and self._polls.is_due(monotonic()):
            await self._read()
        line = self._line
        while line is not None:
            ask = self._polls.next(monotonic(), lists=line.client.account.list_tasks)
            if ask is None:
                return
            line.users += 1
            task = asyncio.create_task(self._send(ask, line))
            self._under_way.add(task)
            task.add_done_callback(self._is_done)

    async def _rest(self) -> None:
        """Wait until something happens, or the next poll is due."""
        due = self._polls.next_due()
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(due - monotonic(), 0.0)):
                await self._news.wait()

    def _is_done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash(error)

    def _crash(self, error: BaseException) -> None:
        """Let everybody raise what must not happen: a poller that is silent would keep them for good."""
        self.ended = True
        for taken in self.waiters.values():
            taken.crash(error)

    # -- the connection ------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read the connection; where that fails, whoever came with an older reading goes on with that."""
        from airflow_kling.hooks.kling import KlingHook

        if self._line is not None and self._line.refused:
            await self._use(None)
        told: Told = []
        stack = AsyncExitStack()
        unread = set(self._unread)
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                client = await stack.enter_async_context(KlingHook(self._conn_id).async_client())
        except InputFault as fault:
            self._unread -= unread
            told = self._polls.refuse(unread if self._line else list(self.waiters), api_fault_from_input(fault))
        except Exception as error:
            # Whatever a secrets backend raises: the tasks are paid, and a moment later the backend may be back.
            reason = reason_of(error)
            message = f"connection {self._conn_id} cannot be read: {reason}"
            self._read_after = monotonic() + READ_AGAIN
            if self._line is None:
                unreadable = ApiFault(FaultInfo(FaultKind.CONNECTION, message))
                told = self._polls.on_unreadable(unreadable, monotonic(), time.time())
        else:
            self._unread -= unread
            await self._use(_Line(client, stack))
        self._tell(told)

    async def _use(self, line: _Line | None) -> None:
        """Send over another line; the one before is closed when the last request over it is answered."""
        before, self._line = self._line, line
        if before is not None and not before.users:
            await before.stack.aclose()

    # -- requests ------------------------------------------------------------------------------------------------

    async def _send(self, ask: Ask, line: _Line) -> None:
        try:
            self._tell(await (self._ask_page(ask, line) if ask.page else self._ask_task(ask, line)), line)
        finally:
            line.users -= 1
            if line is not self._line and not line.users:
                await line.stack.aclose()

    async def _ask_task(self, ask: Ask, line: _Line) -> Told:
        try:
            task = await line.client.get_task(ask.task_id, self._family, resend=False)
        except InputFault as refused:
            return self._polls.on_refusal(ask, api_fault_from_input(refused))
        except Exception as error:
            believed = line.client.account.lookup_by_external_id
            return self._polls.on_fault(ask, _fault_of(error), monotonic(), time.time(), believed=believed)
        return self._polls.on_task(ask, task, monotonic(), time.time())

    async def _ask_page(self, ask: Ask, line: _Line) -> Told:
        try:
            page = await line.client.find_tasks(self._family, ask.page, self._polls.wanted)
        except Exception as error:
            self._polls.on_page_fault(ask, _fault_of(error), monotonic())
            return []
        # Reading a whole page and telling of it would hold the loop in one piece.
        await asyncio.sleep(0)
        return self._polls.on_page(ask, page.tasks, page.rows, monotonic(), time.time())

    def _tell(self, told: Told, line: _Line | None = None) -> None:
        for waiter, decision in told:
            if line is not None and decision.reread_key:
                line.refused = True
            waiter.tell(decision)


def _fault_of(error: Exception) -> ApiFault:
    """Return the fault; what nobody expected is one that may pass, for one answer must not end the waits of all."""
    if isinstance(error, ApiFault):
        return error
    return ApiFault(FaultInfo(FaultKind.SERVER, f"unexpected: {reason_of(error)}"))
