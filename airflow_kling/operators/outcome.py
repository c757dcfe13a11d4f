"""What a remote task leaves for those who watch the money: metrics, and its manifest beside the records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_kling.api.redact import reason_of

if TYPE_CHECKING:
    import logging

    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.end import End
    from airflow_kling.lifecycle.submit import Submitted


def tell_submitted(context: Mapping[str, Any], submitted: Submitted) -> None:
    """Count a task that is new; one that was rejoined was counted when it was made."""
    if submitted.is_new:
        _count("submitted", 1, tags_of(context["ti"], submitted.task.family, submitted.kling_conn_id))


def tell_failed(context: Mapping[str, Any], end: End, output_path: str | None, log: logging.Logger) -> None:
    """Count the remote task of a wait and keep its end, if it failed; any other end of a wait leaves it running."""
    from airflow_kling.lifecycle.done import failed_manifest
    from airflow_kling.lifecycle.wait import Outcome

    if end.outcome is not Outcome.FAILED:
        return
    count_failed(context, end)
    _keep(context, failed_manifest(end.family, end.task_id, end.kling_conn_id, end.units), output_path, log)


def tell_made(
    context: Mapping[str, Any],
    tasks: Iterable[Task],
    manifest: Mapping[str, Any],
    output_path: str | None,
    log: logging.Logger,
) -> None:
    """
    Count remote tasks that succeeded and were collected, and keep their manifest.

    :param tasks: All of them, the last one last.
    """
    *first, last = tasks
    count_made(context, (*first, last), str(manifest["kling_conn_id"]))
    if output_path is None:
        return  # nothing was stored: a recovery may still store it
    for task in first:
        part = {**manifest, "task_id": task.task_id, "outputs": [], "units": task.units}
        _keep(context, part, output_path, log, part_of=last.task_id)
    _keep(context, manifest, output_path, log)


def count_failed(context: Mapping[str, Any], end: End) -> None:
    """Count a remote task that failed."""
    tags = tags_of(context["ti"], end.family, end.kling_conn_id)
    _count("failed", 1, tags)
    _count("units", end.units, tags)


def count_made(context: Mapping[str, Any], tasks: Iterable[Task], kling_conn_id: str) -> None:
    """Count remote tasks that succeeded and were collected."""
    for task in tasks:
        tags = tags_of(context["ti"], task.family, kling_conn_id)
        _count("succeeded", 1, tags)
        _count("units", task.units, tags)
        if task.created_at and task.updated_at:
            _send("timing", "wait", task.updated_at - task.created_at, tags)


def tags_of(ti: Any, family: str, kling_conn_id: str) -> dict[str, str]:
    """Return the tags of a metric: Airflow's own of a task instance, and ours."""
    own = getattr(ti, "stats_tags", None) or {"dag_id": ti.dag_id, "task_id": ti.task_id}
    return {**own, "family": family, "kling_conn_id": kling_conn_id}


def _count(name: str, count: float | None, tags: Mapping[str, str]) -> None:
    if count:
        _send("incr", name, count, tags)


def _send(kind: str, name: str, value: object, tags: Mapping[str, str]) -> None:
    with suppress(Exception):  # what is paid is not lost because nobody can be told
        getattr(_stats(), kind)(f"kling.{name}", value, tags=dict(tags))


def _stats() -> Any:
    """Return Airflow's Stats; the module it lies in differs between the versions."""
    from airflow.providers.common.compat.sdk import Stats

    return Stats


def _keep(
    context: Mapping[str, Any],
    manifest: Mapping[str, Any],
    output_path: str | None,
    log: logging.Logger,
    part_of: str = "",
) -> None:
    """Keep an end where records lie in files; what is paid and stored is not lost because this fails."""
    from airflow_kling.lifecycle.done import Done, keep_done
    from airflow_kling.operators.instance import origin_of
    from airflow_kling.operators.records import folder_of_files, record_folder

    folder = folder_of_files(context, output_path)
    if not folder:
        return
    try:
        keep_done(record_folder(folder), Done(time.time(), manifest, origin_of(context["ti"]), part_of))
    except Exception as error:  # whatever a storage raises
        reason = reason_of(error)
        log.warning("The end of Kling task %s could not be kept for the report: %s", manifest["task_id"], reason)
