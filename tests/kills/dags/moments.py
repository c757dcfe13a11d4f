"""Inside a task's process: lets it die at one exact moment of its life, once per row of the suite."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STEP = 0.05
GO_LIMIT = 90.0


def arm(context: dict[str, Any]) -> None:
    """
    Say which processes run this task, and set up the moment that the run's conf names; a ``pre_execute`` of Airflow.

    :param context: Airflow's context.
    """
    conf, ti = context["dag_run"].conf, context["ti"]
    folder = Path(conf["folder"])
    worker = folder / "workers" / f"{time.time():.3f}-{ti.task_id}-{ti.try_number}"
    part = worker.with_name(f".{worker.name}")
    part.write_text(f"{os.getpid()} {os.getppid()}")
    part.rename(worker)
    _Moment(folder).set_up(conf["moment"])


class _Moment:
    """
    What is to happen, and the parent to kill: after its death the process would have another.

    :param folder: The row's folder; the file ``fired`` in it says that it has happened.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._supervisor = os.getppid()

    def set_up(self, name: str) -> None:
        """
        Wrap what comes before or after the moment.

        :param name: Of the moment; those that are brought about from outside need nothing here.
        """
        set_up: dict[str, Callable[[], None]] = {
            "before-intent": self._before_intent,
            "before-post": self._before_post,
            "after-answer": self._after_answer,
            "after-record": self._after_record,
            "collecting": self._collecting,
            "orphan-posts-first": self._orphan_posts,
            "orphan-posts-late": self._orphan_posts,
            "between-passes": self._between_passes,
            "after-second-post": self._after_second_post,
        }
        set_up.get(name, lambda: None)()

    def _first_time(self) -> bool:
        try:
            os.close(os.open(self._folder / "fired", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    def _kill_supervisor(self) -> None:
        assert self._supervisor > 1
        os.kill(self._supervisor, signal.SIGKILL)

    def _die(self) -> None:
        """Kill the whole worker; its supervisor first, so that nobody is left to report the end."""
        if self._first_time():
            self._kill_supervisor()
            os.kill(os.getpid(), signal.SIGKILL)

    def _before_intent(self) -> None:
        from airflow_kling.lifecycle.record import StateStoreRecords

        _wrap(StateStoreRecords, "save", before=lambda *_: self._die())

    def _before_post(self) -> None:
        from airflow_kling.hooks.client import SyncClient

        _wrap(SyncClient, "submit", before=lambda *_: self._die())

    def _after_answer(self) -> None:
        from airflow_kling.hooks.client import SyncClient

        _wrap(SyncClient, "submit", after=lambda *_: self._die())

    def _after_record(self) -> None:
        from airflow_kling.lifecycle.record import Record, Stage, StateStoreRecords

        def die_once_submitted(_: StateStoreRecords, record: Record) -> None:
            if record.stage is Stage.SUBMITTED:
                self._die()

        _wrap(StateStoreRecords, "save", after=die_once_submitted)

    def _between_passes(self) -> None:
        from airflow_kling.lifecycle.record import StateStoreRecords

        def die_in_second(records: Any, *_: object) -> None:
            if _is_of_second(records):
                self._die()

        _wrap(StateStoreRecords, "save", before=die_in_second)

    def _after_second_post(self) -> None:
        from airflow_kling.hooks.client import SyncClient
        from airflow_kling.lifecycle.record import StateStoreRecords

        saved: list[bool] = []
        _wrap(StateStoreRecords, "save", after=lambda records, *_: saved.append(_is_of_second(records)))
        _wrap(SyncClient, "submit", after=lambda *_: self._die() if saved[-1:] == [True] else None)

    def _collecting(self) -> None:
        import airflow_kling.hooks.kling as hook

        real = hook.fetcher

        def fetcher(*arguments: Any, **options: Any) -> Callable[[str], Iterator[bytes]]:
            fetch = real(*arguments, **options)

            def fetch_half(url: str) -> Iterator[bytes]:
                for chunk in fetch(url):
                    yield chunk[: len(chunk) // 2]
                    self._die()
                    yield chunk[len(chunk) // 2 :]

            return fetch_half

        hook.fetcher = fetcher

    def _orphan_posts(self) -> None:
        from airflow_kling.hooks.client import SyncClient

        def orphan(*_: object) -> None:
            if self._first_time():
                self._kill_supervisor()
                self._wait_for_go()

        _wrap(SyncClient, "submit", before=orphan)

    def _wait_for_go(self) -> None:
        end = time.monotonic() + GO_LIMIT
        while not (self._folder / "go").exists() and time.monotonic() < end:
            time.sleep(STEP)


def _is_of_second(records: Any) -> bool:
    return records._key.endswith("_1")


def _nothing(*_: object) -> None:
    pass


def _wrap(
    owner: type, name: str, *, before: Callable[..., None] = _nothing, after: Callable[..., None] = _nothing
) -> None:
    real = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        before(*arguments)
        result = real(*arguments, **options)
        after(*arguments)
        return result

    setattr(owner, name, wrapped)
