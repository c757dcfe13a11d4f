"""Recovering: paid tasks whose run never collected them, found by their records and stored while their links live."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_kling.api.faults import ApiFault, FaultKind
from airflow_kling.api.models import Task, TaskStatus
from airflow_kling.api.redact import reason_of
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.lookup import CannotTell, look_up
from airflow_kling.lifecycle.record import FileRecords, Record, Stage
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
    """
    Yield the records of a folder, each with its name; in place of one that cannot be read the fault that says why.
    """
    try:
        paths = sorted((path for path in folder.iterdir() if path.name.endswith(".json")), key=str)
    except (FileNotFoundError, NotADirectoryError):
        return
    for path in paths:
        try:
            record = FileRecords(path).load()
        except ApiFault as fault:
            yield path.name, fault
        else:
            if record is not None:
                yield path.name, record


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
        fate, text, task, manifest = self._fate(record)
        task_id = task.task_id if task else record.task_id or ""
        units = task.units if task else None
        return Finding(fate, record.external_task_id, text, task_id, record, manifest, units)

    def _fate(self, record: Record) -> tuple[Fate, str, Task | None, dict[str, Any] | None]:
        age = self._now() - record.at
        if record.stage is Stage.REFUSED:
            return Fate.NOTHING_MADE, "the create was refused", None, None
        if record.task_id and record.task_id in self._collected:
            return Fate.COLLECTED, "its run, or an earlier recovery, has dealt with it", None, None
        if age < self._min_age:
            return Fate.YOUNG, "its own run may still collect it", None, None
        if age > RESULT_LIFETIME + MARGIN:
            return Fate.EXPIRED, f"submitted {age / DAY:.0f} days ago; results are kept for about 30", None, None
        if not record.family:
            return Fate.UNCLEAR, "the record does not name its family, so it cannot be asked for", None, None
        if record.kling_conn_id in self._broken:
            return Fate.UNCLEAR, self._broken[record.kling_conn_id], None, None
        try:
            task = self._ask(record)
        except CannotTell:
            what = "a task may exist: the create's end is not known, and the gateway cannot be asked by our id"
            return Fate.UNCLEAR, f"{what}; look for that id in its console", None, None
        except ApiFault as fault:
            if (
                fault.info.kind is FaultKind.NOT_FOUND
                and self._client_for(record.kling_conn_id).account.lookup_by_external_id
            ):
                return Fate.EXPIRED, f"the account does not know it any more: {fault}", None, None
            return Fate.UNCLEAR, self._noted(record, str(fault), whole=fault.info.kind in _NO_MORE), None, None
        except Exception as error:  # a connection that is gone, or whatever a secrets backend raises
            return Fate.UNCLEAR, self._noted(record, reason_of(error), whole=True), None, None
        if task is None:
            return Fate.NOTHING_MADE, "the create never arrived: the account knows no such id", None, None
        return self._judge(task, record)

    def _ask(self, record: Record) -> Task | None:
        client = self._client_for(record.kling_conn_id)
        if record.stage is Stage.SUBMITTED and record.task_id:
            return client.get_task(record.task_id, record.family)
        return look_up(client, record.family, record.external_task_id, record.at, now=self._now, sleep=self._sleep)

    def _judge(self, task: Task, record: Record) -> tuple[Fate, str, Task | None, dict[str, Any] | None]:
        if task.task_id in self._collected:
            return Fate.COLLECTED, "its run, or an earlier recovery, has dealt with it", task, None
        if not task.status.ended:
            return Fate.RUNNING, f"it is {task.status.value} and will be billed when it ends", task, None
        if task.status is TaskStatus.FAILED:
            return Fate.FAILED, task.message or "the API gives no reason", task, None
        try:
            manifest = self._store(task, record)
        except Exception as error:  # whatever a download or a storage raises: the others are collected all the same
            return Fate.UNCLEAR, f"it succeeded, but could not be stored: {reason_of(error)}", task, None
        units = "units not told" if task.units is None else f"{task.units:g} units"
        places = ", ".join(row["uri"] for row in manifest["outputs"] if row["uri"])
        return Fate.RECOVERED, f"{units}, stored: {places}", task, manifest

    def _noted(self, record: Record, text: str, *, whole: bool) -> str:
        text = f"asking {record.kling_conn_id} failed: {text}"
        if whole:
            self._broken[record.kling_conn_id] = text
        return text
