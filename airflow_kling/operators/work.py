"""From an operator and Airflow's context to a piece of work of the lifecycle; loaded when a task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.client import Client
from airflow_kling.lifecycle.collect import check_names, check_writable
from airflow_kling.lifecycle.fields import resolve_fields
from airflow_kling.lifecycle.fingerprint import fingerprint
from airflow_kling.lifecycle.source import Source, resolve_image
from airflow_kling.lifecycle.submit import OnExisting, Work
from airflow_kling.operators.instance import external_id_of, first_try_of_epoch, origin_of

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.fields import Sources
    from airflow_kling.operators.base import KlingTaskBaseOperator


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

    :param step: What its remote task is made of; by default the operator itself.
    :param number: Of the step, from 0.
    """
    made_of, conn_id = step or operator, operator.kling_conn_id

    def build(source: Callable[[], Source], external_id: str) -> TaskRequest:
        # Found out before anything is paid: the place and the names of the results.
        if operator.output_name:
            check_names(operator.output_name, operator.slots())
        if operator.output_path and operator.wait_for_completion:
            check_writable(storage_path(operator.output_path))
        return made_of.build_request(source(), external_id)

    return work_of(
        operator,
        context["ti"],
        made_of,
        build,
        number=number,
        conn_ids=(conn_id, *operator.fallback_conn_ids),
        base_url=lambda: KlingHook(conn_id).account.base_url,
        source_size=source_size,
    )


def work_of(
    operator: KlingTaskBaseOperator,
    ti: Any,
    step: Step,
    build: Callable[[Callable[[], Source], str], TaskRequest],
    *,
    number: int | str,
    conn_ids: tuple[str, ...],
    base_url: Callable[[], str],
    source_size: tuple[int, int] | None,
) -> Work:
    """
    Return what one remote task is to make once.

    :param build: Makes the request that is then sent, of what gives the source, and the id that we chose.
    """
    source = cache(step.read_source)

    def hash_input() -> str:
        parameters = step.parameters(source())
        return fingerprint(operator.family, source().identity, parameters, operator.kling_conn_id, base_url())

    first_try = first_try_of_epoch(ti)
    return Work(
        family=operator.family,
        external_id=lambda epoch, generation: external_id_of(ti, number, epoch, generation),
        build=lambda external_id: build(source, external_id),
        fingerprint=cache(hash_input),
        conn_ids=conn_ids,
        epoch=first_try - 1,
        retried=ti.try_number > first_try,
        on_existing=OnExisting(operator.on_existing),
        source_size=source_size,
        origin=origin_of(ti),
    )


def read_image(image: object, kling_conn_id: str, index: int = 0) -> Source:
    """
    Return the picture that an operator's parameter names.

    :param kling_conn_id: The connection to ask for a task whose manifest names none.
    """
    return resolve_image(image, get_task=_getter(kling_conn_id), open_path=storage_path, index=index)


def read_fields(
    fields: Mapping[str, Any], kling_conn_id: str, indexes: Mapping[str, int] | None = None, path: str = ""
) -> Sources:
    """Return fields of a request with all that they take from elsewhere."""
    return resolve_fields(fields, get_task=_getter(kling_conn_id), open_path=storage_path, indexes=indexes, path=path)


def _getter(kling_conn_id: str) -> Callable[[str, str, str], Task]:
    return lambda conn_id, task_id, family: KlingHook(conn_id or kling_conn_id).get_task(task_id, family)


def client_for() -> Callable[[str], Client]:
    """Return what gives the account of a connection, one per connection."""
    return cache(lambda conn_id: KlingHook(conn_id).client)
