"""Storing what a picture of a batch became, or taking it on to its next pass; loaded when a task runs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import redact
from airflow_kling.exceptions import KlingError
from airflow_kling.lifecycle.batch import Picture
from airflow_kling.lifecycle.batch_results import RowStatus, end_row
from airflow_kling.lifecycle.collect import DEFAULT_NAME, collect, manifest, total_units
from airflow_kling.operators.batch_process import Process

if TYPE_CHECKING:
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.collect import Fetch

STORE_DELAYS = (2.0, 6.0)
"""Seconds before storing is tried again."""


class Storer:
    """Stores results; used by several threads."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def store(self, picture: Picture, task: Task) -> dict[str, Any] | None:
        """
        Return the row of a picture whose task succeeded; None where another pass follows.

        :raises Exception: whatever the storage raises: nothing more can be kept there.
        """
        try:
            return self._store_patiently(picture, task)
        except (ApiFault, KlingError, InputFault) as error:
            made = picture.made.tasks
            return end_row(
                RowStatus.FAILED if _is_final(error) else RowStatus.UNFINISHED,
                task_id=task.task_id,
                family=task.family,
                kling_conn_id=picture.kling_conn_id,
                units=total_units(made if _has(made, task) else [*made, task]),
                error=redact(str(error)),
            )

    def _store_patiently(self, picture: Picture, task: Task) -> dict[str, Any] | None:
        made, conn_id, accounts = picture.made, picture.kling_conn_id, self._process.accounts
        fetch = accounts.fetch(conn_id)
        for delay in (*STORE_DELAYS, None):
            try:
                if not task.outputs:
                    task = accounts.client(conn_id).get_task(task.task_id, task.family)
                if not _has(made.tasks, task) and made.took(task, fetch):
                    return None
                return self._collect(picture, fetch)
            except Exception as error:
                # What came back may be whole the next time, and the source be there.
                if delay is None or _is_final(error):
                    raise
                time.sleep(delay)
        raise AssertionError("the last delay is None")

    def _collect(self, picture: Picture, fetch: Fetch) -> dict[str, Any]:
        process, made, conn_id = self._process, picture.made, picture.kling_conn_id
        *earlier, task = made.tasks
        stored = collect(
            task,
            process.place,
            fetch,
            renew=lambda: process.accounts.client(conn_id).get_task(task.task_id, task.family),
            name=process.operator.output_name or DEFAULT_NAME,
            edit=made.edit(),
        )
        told = manifest(task, conn_id, stored, earlier=earlier, borders=made.borders(task))
        names = ("task_id", "family", "kling_conn_id", "outputs", "units")
        return end_row(RowStatus.SUCCEEDED, **{name: told[name] for name in names}, passes=told.get("passes", ()))


def _is_final(error: Exception) -> bool:
    """Return whether an error stays: a name that leaves the folder."""
    return isinstance(error, InputFault) and error.field == "output_name"


def _has(tasks: Iterable[Task], task: Task) -> bool:
    return task.task_id in {each.task_id for each in tasks}
