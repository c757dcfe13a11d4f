"""Recovering: paid tasks whose run never collected them, found by their records and stored while their links live."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.api.redact import reason_of
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.files import list_folder
from airflow_kling.lifecycle.lookup import CannotTell, look_up
from airflow_kling.lifecycle.record import FileRecords, Record, Stage, load_each
from airflow_kling.lifecycle.submit import RESULT_LIFETIME

DAY = 86_400.0
MARGIN = 2 * DAY
"""Seconds after the life of results at which nothing is asked for any more."""

_NO_MORE = (FaultKind.AUTH, FaultKind.ACCOUNT, FaultKind.CONNECTION)
"""Faults of a connection as a whole: its other records are not asked for."""


class Fate(StrEnum):
    """What became of a record."""

    RECOVERED = "recovered"
    RUNNING = "still running"
    FAILED = "failed"
    EXPIRED = "expired"
    UNCLEAR = "unclear"
    NOTHING_MADE = "nothing was made"
    COLLECTED = "collected before"
    YOUNG = "too young"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One record, and what was done about it.

    :param external_id: The id that we chose.
    :param task_id: The vendor's id, where it is known.
    :param record: None where it could not be read.
    """

    fate: Fate
    external_id: str
    text: str
    task_id: str = ""
    record: Record | None = None
    manifest: dict[str, Any] | None = None
    units: float | None = None


def read_records(folder: Any) -> Iterator[tuple[str, Record | ApiFault]]:
    """Return the records of a folder, as :func:`~airflow_kling.lifecycle.record.load_each` tells them."""
    paths = sorted((path for path in list_folder(folder) if path.name.endswith(".json")), key=str)
    return load_each((path.name, FileRecords(path)) for path in paths)


class Recovery:
    """
    Goes over records, once; sends no create, and changes no record.

    :param collected: The ids of tasks that were dealt with.
    :param store: Stores what a task made, which is told with its connection and record; returns the manifest.
    :param min_age: Seconds from the create within which its own run is left to collect it.
    """

    def __init__(
        self,
        collected: Container[str],
        client_for: Callable[[str], Client],
        store: Callable[[Task, Record], dict[str, Any]],
        *,
        min_age: float,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._collected = collected
        self._client_for = client_for
        self._store = store
        self._min_age = min_age
        self._now = now
        self._sleep = sleep
        self._broken: dict[str, str] = {}

    def run(self, records: Iterable[tuple[str, Record | ApiFault]]) -> Iterator[Finding]:
        """Yield what became of each record, and of the task before it where that one still stands."""
        for name, found in records:
            if isinstance(found, ApiFault):
                yield Finding(Fate.UNCLEAR, name.removesuffix(".json"), str(found))
                continue
            record: Record | None = found
            while record is not None:
                yield self._find(record)
                record = record.earlier

    def _find(self, record: Record) -> Finding:
        found = partial(_finding, record)
        age = self._now() - record.at
        if record.stage is Stage.REFUSED:
            return found(Fate.NOTHING_MADE, "the create was refused")
        if record.task_id and record.task_id in self._collected:
            return found(Fate.COLLECTED, "its run, or an earlier recovery, has dealt with it")
        if age < self._min_age:
            return found(Fate.YOUNG, "its own run may still collect it")
        if age > RESULT_LIFETIME + MARGIN:
            return found(Fate.EXPIRED, f"submitted {age / DAY:.0f} days ago; results are kept for about 30")
        if not record.family:
            return found(Fate.UNCLEAR, "the record does not name its family, so it cannot be asked for")
        if record.kling_conn_id in self._broken:
            return found(Fate.UNCLEAR, self._broken[record.kling_conn_id])
        try:
            task = self._ask(record)
        except CannotTell:
            what = "a task may exist: the create's end is not known, and the gateway cannot be asked by our id"
            return found(Fate.UNCLEAR, f"{what}; look for that id in its console")
        except ApiFault as fault:
            if (
                fault.info.kind is FaultKind.NOT_FOUND
                and self._client_for(record.kling_conn_id).account.lookup_by_external_id
            ):
                return found(Fate.EXPIRED, f"the account does not know it any more: {fault}")
            return found(Fate.UNCLEAR, self._noted(record, str(fault), whole=fault.info.kind in _NO_MORE))
        except Exception as error:  # a connection that is gone, or whatever a secrets backend raises
            return found(Fate.UNCLEAR, self._noted(record, reason_of(error), whole=True))
        if task is None:
            return found(Fate.NOTHING_MADE, "the create never arrived: the account knows no such id")
        return self._judge(task, record)

    def _ask(self, record: Record) -> Task | None:
        client = self._client_for(record.kling_conn_id)
        if record.stage is Stage.SUBMITTED and record.task_id:
            return client.get_task(record.task_id, record.family)
        return look_up(client, record.family, record.external_task_id, record.at, now=self._now, sleep=self._sleep)

    def _judge(self, task: Task, record: Record) -> Finding:
        found = partial(_finding, record, task=task)
        if task.task_id in self._collected:
            return found(Fate.COLLECTED, "its run, or an earlier recovery, has dealt with it")
        if not task.status.ended:
            return found(Fate.RUNNING, f"it is {task.status.value} and will be billed when it ends")
        if task.status is TaskStatus.FAILED:
            return found(Fate.FAILED, task.message or "the API gives no reason")
        try:
            manifest = self._store(task, record)
        except Exception as error:  # whatever a download or a storage raises: the others are collected all the same
            return found(Fate.UNCLEAR, f"it succeeded, but could not be stored: {reason_of(error)}")
        units = "units not told" if task.units is None else f"{task.units:g} units"
        places = ", ".join(row["uri"] for row in manifest["outputs"] if row["uri"])
        return found(Fate.RECOVERED, f"{units}, stored: {places}", manifest=manifest)

    def _noted(self, record: Record, text: str, *, whole: bool) -> str:
        text = f"asking {record.kling_conn_id} failed: {text}"
        if whole:
            self._broken[record.kling_conn_id] = text
        return text


def _finding(
    record: Record, fate: Fate, text: str, task: Task | None = None, manifest: dict[str, Any] | None = None
) -> Finding:
    task_id = task.task_id if task else record.task_id or ""
    return Finding(fate, record.external_task_id, text, task_id, record, manifest, task.units if task else None)
