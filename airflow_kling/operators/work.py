"""From an operator and Airflow's context to a piece of work of the lifecycle; loaded when a task runs."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import airflow
from airflow.providers.common.compat.sdk import conf, mask_secret

from airflow_kling.api.callback import Addressee, own_callback_url, token_of
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import redact
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.collect import check_names, check_writable
from airflow_kling.lifecycle.fields import resolve_fields
from airflow_kling.lifecycle.fingerprint import fingerprint
from airflow_kling.lifecycle.identity import deployment_tag, external_task_id
from airflow_kling.lifecycle.record import FileRecords, NoRecords, Records, StateStoreRecords
from airflow_kling.lifecycle.reuse import find_made, remember_made
from airflow_kling.lifecycle.source import Source, resolve_image
from airflow_kling.lifecycle.submit import OnExisting, Work

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.fields import Sources
    from airflow_kling.operators.base import KlingTaskBaseOperator

RECORD_KEY = "kling_task"
RECORD_FOLDER = ".kling"


class Step(Protocol):
    """What one remote task is made of: an operator itself, or one of its passes."""

    def read_source(self) -> Source: ...

    def build_request(self, source: Source, external_id: str | None) -> TaskRequest: ...

    def parameters(self, source: Source) -> Mapping[str, Any]: ...


def make_work(
    operator: KlingTaskBaseOperator,
    context: Mapping[str, Any],
    step: Step | None = None,
    number: int = 0,
    source_size: tuple[int, int] | None = None,
) -> Work:
    """
    Return what a step of the operator's task is to make once.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    :param step: What its remote task is made of; by default the operator itself.
    :param number: Of the step, from 0.
    :param source_size: Width and height in pixels that a reframing was planned for.
    """
    step = step or operator
    source = cache(step.read_source)
    conn_id = operator.kling_conn_id

    def hash_input() -> str:
        base_url = KlingHook(conn_id).account.base_url
        return fingerprint(operator.family, source().identity, step.parameters(source()), conn_id, base_url)

    def build(external_id: str) -> TaskRequest:
        # Found out before anything is paid: the place and the names of the results.
        if operator.output_name:
            check_names(operator.output_name, operator.slots())
        if operator.output_path and operator.wait_for_completion:
            check_writable(storage_path(operator.output_path))
        return step.build_request(source(), external_id)

    ti = context["ti"]
    first_try = first_try_of_epoch(ti)
    return Work(
        family=operator.family,
        external_id=lambda epoch, generation: external_id_of(ti, number, epoch, generation),
        build=build,
        fingerprint=cache(hash_input),
        conn_ids=(conn_id, *operator.fallback_conn_ids),
        epoch=first_try - 1,
        retried=ti.try_number > first_try,
        on_existing=OnExisting(operator.on_existing),
        source_size=source_size,
        origin=origin_of(ti),
    )


def read_image(image: object, kling_conn_id: str, index: int = 0) -> Source:
    """
    Return the picture that an operator's parameter names.

    :param image: URL, path, storage URI, or manifest.
    :param kling_conn_id: The connection to ask for a task whose manifest names none.
    :param index: Which output of another task.
    """
    return resolve_image(image, get_task=_getter(kling_conn_id), open_path=storage_path, index=index)


def read_fields(
    fields: Mapping[str, Any], kling_conn_id: str, indexes: Mapping[str, int] | None = None, path: str = ""
) -> Sources:
    """
    Return fields of a request with all that they take from elsewhere.

    :param fields: By the wire's names.
    :param kling_conn_id: The connection to ask for a task whose manifest names none.
    :param indexes: Which output of another task, by the field's name; else the first.
    :param path: Name of the parameter that holds the fields, if they are not parameters themselves.
    """
    return resolve_fields(fields, get_task=_getter(kling_conn_id), open_path=storage_path, indexes=indexes, path=path)


def _getter(kling_conn_id: str) -> Callable[[str, str, str], Task]:
    return lambda conn_id, task_id, family: KlingHook(conn_id or kling_conn_id).get_task(task_id, family)


def origin_of(ti: Any) -> dict[str, Any]:
    """
    Return what tells a task instance from all others.

    :param ti: The task instance.
    """
    return {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}


def first_try_of_epoch(ti: Any) -> int:
    """
    Return the number of the first try since the user cleared the task, 1 if never.

    Airflow raises ``max_tries`` at a clear and leaves it alone at a retry, in 2.11 and in 3.

    :param ti: The task instance.
    """
    return max(int(ti.max_tries) - int(ti.task.retries or 0), 0) + 1


def epoch_of(ti: Any) -> int:
    """
    Return how many tries were made before the user's last clear.

    :param ti: The task instance.
    """
    return first_try_of_epoch(ti) - 1


def records_of(operator: KlingTaskBaseOperator, context: Mapping[str, Any], number: int = 0) -> Records:
    """
    Return where the record of one of the operator's remote tasks is kept.

    A configured path comes first, for it survives a clear on every version; then the task state store of Airflow
    from 3.3 on; then the folder of the results.

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    :param number: Which of them, from 0.
    """
    if not record_path() and "task_state_store" in context:
        keeps = airflow.__version__.startswith("3.3.")
        return StateStoreRecords(context["task_state_store"], _record_key(number), survive_clear=keeps)
    folder = record_path() or operator.output_path
    if not folder:
        return NoRecords()
    path = record_folder(folder) / f"{external_id_of(context['ti'], number)}.json"
    # The author may have changed the folder of the results with the clear.
    return FileRecords(path, survive_clear=bool(record_path()))


def record_folder(folder: str) -> Any:
    """
    Return where the records of a folder lie.

    :param folder: ``[kling] record_path``, or an ``output_path``.
    """
    return storage_path(folder) / RECORD_FOLDER


def record_path() -> str:
    """Return ``[kling] record_path``, empty where it is not set."""
    return conf.get("kling", "record_path", fallback="") or ""


def _record_key(number: int) -> str:
    return f"{RECORD_KEY}_{number}" if number else RECORD_KEY


def _made_path(operator: KlingTaskBaseOperator, of_fingerprint: str) -> Any:
    folder = record_path() or operator.output_path or ""
    finishing = operator.finishing()
    # Hashed once more: a record that somebody else wrote names no path.
    name = hashlib.sha256(f"{of_fingerprint}{finishing or ''}".encode()).hexdigest()
    return record_folder(folder) / "made" / f"{name}.json"


def reused(operator: KlingTaskBaseOperator, work: Work) -> dict[str, Any] | None:
    """
    Return the manifest of an earlier run that made the same, if it may be reused.

    :param operator: With its fields rendered.
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
        reason = redact(f"{type(error).__name__}: {error}")
        operator.log.info("Nothing is reused, for the input cannot be read: %s", reason)
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

    :param operator: With its fields rendered.
    :param context: Airflow's context.
    :param manifest: What it made.
    :param number: Of the remote task that made it: the last one.
    """
    first, last = (records_of(operator, context, each).load() for each in (0, number))
    # The record's fingerprint, for the source may have changed since the task was made.
    if first is not None and first.fingerprint and last is not None and last.task_id == manifest["task_id"]:
        remember_made(_made_path(operator, first.fingerprint), manifest, time.time())


def price_text(request: TaskRequest) -> str:
    """
    Return what a request would cost, in words.

    :param request: Checked.
    """
    slots = f"{request.slots} slot{'s' if request.slots > 1 else ''} of the account"
    if request.units is None:
        return f"{request.family.name}: {slots}; no list price is known. Nothing was sent, and nothing was paid"
    price = f"{request.units:g} units, ${request.price:.3f} at Kling's list price"
    return f"{request.family.name}: {slots}, {price}. Nothing was sent, and nothing was paid"


def client_for() -> Callable[[str], Client]:
    """Return what gives the account of a connection, one per connection."""
    return cache(lambda conn_id: KlingHook(conn_id).client)


def external_id_of(ti: Any, number: int | str = 0, epoch: int = 0, generation: int = 0) -> str:
    """
    Return the id that we choose for a remote task.

    :param ti: The task instance.
    :param number: Which of its remote tasks, from 0; in a batch, the key of its picture and the pass.
    :param epoch: See :class:`~airflow_kling.lifecycle.submit.Work`.
    :param generation: See :class:`~airflow_kling.lifecycle.submit.Work`.
    """
    tag = deployment_tag(deployment_name())
    return external_task_id(tag, ti.dag_id, ti.run_id, ti.task_id, ti.map_index, number, epoch, generation)


def callback_url_for(ti: Any, log: logging.Logger) -> str | None:
    """
    Return the address of our plugin that wakes a task instance; None, and a line in the log, where it has none.

    :param ti: The task instance.
    :param log: Where the line goes.
    """
    if tuple(map(int, airflow.__version__.split(".")[:2])) < (3, 1):
        log.warning('callback_url="auto" needs Airflow 3.1 or later: polls alone tell when the Kling task ends')
        return None
    secret = conf.get("kling", "callback_secret", fallback="") or ""
    base_url = conf.get("kling", "callback_base_url", fallback="") or conf.get("api", "base_url", fallback="")
    addressee = Addressee(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
    try:
        url = own_callback_url(base_url or "", secret, addressee)
    except InputFault as fault:
        log.warning('callback_url="auto" cannot be used, polls alone tell when the Kling task ends: %s', fault)
        return None
    for told in (secret, token_of(secret, addressee)):
        mask_secret(told)
    return url


def deployment_name() -> str:
    """Return what tells this deployment from another that shares the account: every worker must see the same."""
    webserver = "webserver" if airflow.__version__.startswith("2.") else "api"
    sources = (("kling", "deployment"), (webserver, "base_url"), ("core", "execution_api_server_url"))
    return next(filter(None, (conf.get(section, key, fallback="") for section, key in sources)), "")
