"""The threads of a batch: what they did comes back to its loop, one thing at a time; loaded when a task runs."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

from airflow_kling.api.redact import reason_of

#: Reading holds pictures in memory, asking for the list is done once at a time.
READERS = 2


class Kind(Enum):
    """What a thread does, and how many of them do it."""

    READ = ("read", READERS)
    SEND = ("send", 8)
    ASK = ("ask", 1)
    ASK_ONE = ("ask one", 8)
    STORE = ("store", 4)


class Threads:
    """The pools, and the answers that have not been dealt with."""

    def __init__(self) -> None:
        self._pools = {kind: ThreadPoolExecutor(kind.value[1], f"kling-batch {kind.value[0]}") for kind in Kind}
        self._answers: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def start(self, kind: Kind, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """
        Have a job done.

        :param then: Is told in the loop what it returned, or the exception that it ended with.
        """
        self._pools[kind].submit(self._do, job, then)

    def pool(self, kind: Kind) -> ThreadPoolExecutor:
        """Return the pool of a kind, for a job that divides itself."""
        return self._pools[kind]

    def tell(self, answer: Callable[[], None]) -> None:
        """Have something done in the loop."""
        self._answers.put(answer)

    def answer(self, seconds: float) -> None:
        """Deal with the answers that are there."""
        with suppress(queue.Empty):
            self._answers.get(timeout=seconds)()
            while True:
                self._answers.get_nowait()()

    def close(self, *, wait: bool) -> None:
        """
        Begin no job any more.

        :param wait: Whether to wait for those that were begun.
        """
        for pool in self._pools.values():
            pool.shutdown(wait=wait, cancel_futures=True)

    def _do(self, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        try:
            answer = job()
        except Exception as error:  # not kept in a name here: its trace would keep itself, and a picture
            self.tell(partial(then, error))
        except BaseException as error:
            # Such as a CancelledError that a storage's own loop hands on: untold, the batch would wait without an end.
            self.tell(partial(then, RuntimeError(reason_of(error))))
        else:
            self.tell(partial(then, answer))
