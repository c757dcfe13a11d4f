"""Callbacks to loopback: posted at each change of a task's status, once, whatever is answered."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from airflow_kling.emulator.fetching import OPENER, TIMEOUT
from airflow_kling.emulator.state import PROCESSING, SUBMITTED, EmulatorState, TaskView

STEP = 0.02
"""Seconds between two looks at the tasks."""
POSTS_AT_A_TIME = 4


@dataclass(slots=True)
class _Followed:
    task_id: str
    url: str
    body_of: Callable[[TaskView], dict[str, Any]]
    word: str = ""


class Caller:
    """Follows tasks and posts their callbacks, in threads that begin with the first."""

    def __init__(self, state: EmulatorState) -> None:
        self._state = state
        self._followed: list[_Followed] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def follow(self, task_id: str, url: str, body_of: Callable[[TaskView], dict[str, Any]]) -> None:
        """
        Post the callbacks of a task until it ends.

        :param url: On loopback.
        """
        with self._lock:
            self._followed.append(_Followed(task_id, url, body_of))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kling-emulator-caller", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Post no more."""
        self._closing.set()

    def _run(self) -> None:
        with ThreadPoolExecutor(POSTS_AT_A_TIME, thread_name_prefix="kling-emulator-caller") as posting:
            while not self._closing.wait(STEP):
                with self._lock:
                    followed = list(self._followed)
                ended = {id(each) for each in followed if self._has_ended(each, posting)}
                with self._lock:
                    self._followed = [each for each in self._followed if id(each) not in ended]

    def _has_ended(self, followed: _Followed, posting: ThreadPoolExecutor) -> bool:
        view = self._state.task(followed.task_id)
        if view is None:
            return True  # forgotten by a reset
        if view.word != followed.word:
            followed.word = view.word
            posting.submit(self._post, followed.url, view, json.dumps(followed.body_of(view)).encode())
        return view.word not in (SUBMITTED, PROCESSING)

    def _post(self, url: str, view: TaskView, body: bytes) -> None:
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - loopback's
        status: int | None
        try:
            with OPENER.open(request, timeout=TIMEOUT) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, ValueError, HTTPException):
            status = None  # nobody is there
        self._state.called(view.task_id, view.word, status)
