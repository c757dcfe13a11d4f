"""From an operator and Airflow's context to a piece of work of the lifecycle; loaded when a task runs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import airflow
from airflow.providers.common.compat.sdk import conf

from airflow_kling.api.redact import redact
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.collect import check_names, check_writable
from airflow_kling.lifecycle.fingerprint import fingerprint
from airflow_kling.lifecycle.identity import deployment_tag, external_task_id
from airflow_kling.lifecycle.record import FileRecords, NoRecords, Records, StateStoreRecords
from airflow_kling.lifecycle.reuse import find_made, remember_made
from airflow_kling.lifecycle.source import Source, resolve_image
from airflow_kling.lifecycle.submit import OnExisting, Work

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.operators.base import KlingTaskBaseOperator

RECORD_KEY = "kling_task"
RECORD_FOLDER = ".kling"


def make_work(operator: KlingTaskBaseOperator, context: Mapping[str, Any]) -> Work:
    """
    Return what the operator's task is to make once.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    """
    source = cache(operator.read_source)
    conn_id = operator.kling_conn_id

    def hash_input() -> str:
        base_url = KlingHook(conn_id).account.base_url
        return fingerprint(operator.family, source().identity, operator.parameters(source()), conn_id, base_url)

    def build(external_id: str) -> TaskRequest:
        # Found out before anything is paid: the place and the names of the results.
        if operator.output_name:
            check_names(operator.output_name, operator.slots())
        if operator.output_path and operator.wait_for_completion:
            check_writable(storage_path(operator.output_path))
        return operator.build_request(source(), external_id)

    ti = context["ti"]
    first_try = first_try_of_epoch(ti)
    return Work(
        family=operator.family,
        external_id=lambda epoch, generation: _external_id(ti, epoch, generation),
        build=build,
        fingerprint=cache(hash_input),
        conn_ids=(conn_id, *operator.fallback_conn_ids),
        epoch=first_try - 1,
        retried=ti.try_number > first_try,
        on_existing=OnExisting(operator.on_existing),
    )


def read_image(image: object, kling_conn_id: str, index: int = 0) -> Source:
    """
    Return the picture that an operator's parameter names.

    :param image: URL, path, storage URI, or manifest.
    :param kling_conn_id: The connection to ask for a task whose manifest names none.
    :param index: Which output of another task.
    """

    def get_task(conn_id: str, task_id: str, family: str) -> Task:
        return KlingHook(conn_id or kling_conn_id).get_task(task_id, family)

    return resolve_image(image, get_task=get_task, open_path=storage_path, index=index)


def first_try_of_epoch(ti: Any) -> int:
    """
    Return the number of the first try since the user cleared the task, 1 if never.

    Airflow raises ``max_tries`` at a clear and leaves it alone at a retry, in 2.11 and in 3.

    :param ti: The task instance.
    """
    return max(int(ti.max_tries) - int(ti.task.retries or 0), 0) + 1


def records_of(operator: KlingTaskBaseOperator, context: Mapping[str, Any]) -> Records:
    """
    Return where the operator's record is kept.

    A configured path comes first, for it survives a clear on every version; then the task state store of Airflow
    from 3.3 on; then the folder of the results.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    """
    if not _record_path() and "task_state_store" in context:
        keeps = airflow.__version__.startswith("3.3.")
        return StateStoreRecords(context["task_state_store"], RECORD_KEY, survive_clear=keeps)
    folder = _record_path() or operator.output_path
    if not folder:
        return NoRecords()
    path = storage_path(folder) / RECORD_FOLDER / f"{_external_id(context['ti'], 0, 0)}.json"
    # The author may have changed the folder of the results with the clear.
    return FileRecords(path, survive_clear=bool(_record_path()))


def _record_path() -> str:
    return conf.get("kling", "record_path", fallback="") or ""


def _made_path(operator: KlingTaskBaseOperator, of_fingerprint: str) -> Any:
    folder = _record_path() or operator.output_path or ""
    # Hashed once more: a record that somebody else wrote names no path.
    name = hashlib.sha256(str(of_fingerprint).encode()).hexdigest()
    return storage_path(folder) / RECORD_FOLDER / "made" / f"{name}.json"


def find_reusable(operator: KlingTaskBaseOperator, work: Work) -> dict[str, Any] | None:
    """
    Return the manifest of an earlier run that made the same, if it may be reused.

    :param operator: With its fields rendered.
    :param work: What it is to make.
    """
    if work.on_existing is OnExisting.RESUBMIT and work.epoch > 0:
        return None  # the user cleared the task to have another
    try:
        path = _made_path(operator, work.fingerprint())
    except Exception as error:
        # Whatever reading the input raises: a task of this run that is paid may be there to rejoin.
        reason = redact(f"{type(error).__name__}: {error}")
        operator.log.info("Nothing is reused, for the input cannot be read: %s", reason)
        return None
    return find_made(path, operator.reuse or 0.0, time.time(), storage_path)


def keep_for_reuse(operator: KlingTaskBaseOperator, context: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """
    Keep a finished task's manifest for later runs.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    :param manifest: What it made.
    """
    record = records_of(operator, context).load()
    # The record's fingerprint, for the source may have changed since the task was made.
    if record is not None and record.fingerprint and record.task_id == manifest["task_id"]:
        remember_made(_made_path(operator, record.fingerprint), manifest, time.time())


def client_for() -> Callable[[str], Client]:
    """Return what gives the account of a connection, one per connection."""
    return cache(lambda conn_id: KlingHook(conn_id).client)


def _external_id(ti: Any, epoch: int, generation: int) -> str:
    tag = deployment_tag(_deployment())
    # The last 0 is the pass, for work that takes several.
    return external_task_id(tag, ti.dag_id, ti.run_id, ti.task_id, ti.map_index, 0, epoch, generation)


def _deployment() -> str:
    """Return what tells this deployment from another that shares the account: every worker must see the same."""
    webserver = "webserver" if airflow.__version__.startswith("2.") else "api"
    sources = (("kling", "deployment"), (webserver, "base_url"), ("core", "execution_api_server_url"))
    return next(filter(None, (conf.get(section, key, fallback="") for section, key in sources)), "")
