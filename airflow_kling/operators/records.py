"""Where remote tasks are remembered: the record of each, and the results that later runs may reuse."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.api.redact import reason_of
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.record import FileRecords, NoRecords, Records, StateStoreRecords
from airflow_kling.lifecycle.reuse import find_made, remember_made
from airflow_kling.lifecycle.submit import OnExisting
from airflow_kling.operators.instance import external_id_of

if TYPE_CHECKING:
    from airflow_kling.lifecycle.submit import Work
    from airflow_kling.operators.base import KlingTaskBaseOperator

RECORD_KEY = "kling_task"
RECORD_FOLDER = ".kling"


def record_path() -> str:
    """Return ``[kling] record_path``, empty where it is not set."""
    return conf.get("kling", "record_path", fallback="") or ""


def record_folder(folder: str) -> Any:
    """
    Return where the records of a folder lie.

    :param folder: ``[kling] record_path``, or an ``output_path``.
    """
    return storage_path(folder) / RECORD_FOLDER


def folder_of_files(context: Mapping[str, Any], output_path: str | None) -> str:
    """
    Return the folder whose records are files, empty where there are none.

    A configured path comes first, for it survives a clear on every version; then the task state store of Airflow
    from 3.3 on, where nothing is a file; then the folder of the results.
    """
    return record_path() or ("" if "task_state_store" in context else output_path or "")


def records_of(operator: KlingTaskBaseOperator, context: Mapping[str, Any], number: int = 0) -> Records:
    """
    Return where the record of one of the operator's remote tasks is kept.

    :param number: Which of them, from 0.
    """
    folder = folder_of_files(context, operator.output_path)
    if folder:
        path = record_folder(folder) / f"{external_id_of(context['ti'], number)}.json"
        # The author may have changed the folder of the results with the clear.
        return FileRecords(path, survive_clear=bool(record_path()))
    if "task_state_store" in context:
        keeps = AIRFLOW == (3, 3)
        key = f"{RECORD_KEY}_{number}" if number else RECORD_KEY
        return StateStoreRecords(context["task_state_store"], key, survive_clear=keeps)
    return NoRecords()


def reused(operator: KlingTaskBaseOperator, work: Work) -> dict[str, Any] | None:
    """
    Return the manifest of an earlier run that made the same, if it may be reused.

    :param work: What it is to make, first.
    """
    if not operator.reuse:
        return None
    if work.on_existing is OnExisting.RESUBMIT and work.epoch > 0:
        return None  # the user cleared the task to have another
    try:
        path = _made_path(operator, work.fingerprint())
    except Exception as error:
        # Whatever reading the input raises: a task of this run that is paid may be there to rejoin.
        operator.log.info("Nothing is reused, for the input cannot be read: %s", reason_of(error))
        return None
    made = find_made(path, operator.reuse, time.time(), storage_path)
    if made is not None:
        operator.log.info("Kling task %s of an earlier run made the same: its result is reused", made["task_id"])
    return made


def keep_for_reuse(
    operator: KlingTaskBaseOperator, context: Mapping[str, Any], manifest: Mapping[str, Any], number: int = 0
) -> None:
    """
    Keep a finished task's manifest for later runs.

    :param number: Of the remote task that made it: the last one.
    """
    first, last = (records_of(operator, context, each).load() for each in (0, number))
    # The record's fingerprint, for the source may have changed since the task was made.
    if first is not None and first.fingerprint and last is not None and last.task_id == manifest["task_id"]:
        remember_made(_made_path(operator, first.fingerprint), manifest, time.time())


def _made_path(operator: KlingTaskBaseOperator, of_fingerprint: str) -> Any:
    folder = record_path() or operator.output_path or ""
    finishing = operator.finishing()
    # Hashed once more: a record that somebody else wrote names no path.
    name = hashlib.sha256(f"{of_fingerprint}{finishing or ''}".encode()).hexdigest()
    return record_folder(folder) / "made" / f"{name}.json"
