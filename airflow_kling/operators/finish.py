"""The finish of a wait, the same for operators and the sensor: what was made is stored, and whatever it was is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from airflow_kling.operators.outcome import tell_failed, tell_made

if TYPE_CHECKING:
    import logging

    from airflow_kling.api.models import Task
    from airflow_kling.hooks.kling import KlingHook
    from airflow_kling.lifecycle.collect import Edit
    from airflow_kling.lifecycle.end import End


class Collecting(Protocol):
    """Who stores what tasks made: an operator, or the sensor."""

    output_path: str | None
    output_name: str | None
    include_urls: bool
    log: logging.Logger


class Waiting(Collecting, Protocol):
    """Who has waited for a task before."""

    timeout: float


def task_of(face: Waiting, context: Mapping[str, Any], hook: KlingHook, end: End) -> Task:
    """
    Return the task whose wait ended in success; one that failed is told.

    :raises KlingError: see :meth:`~airflow_kling.hooks.kling.KlingHook.succeeded`.
    """
    tell_failed(context, end, face.output_path, face.log)
    return hook.succeeded(end, face.timeout)


def collect_made(
    face: Collecting,
    context: Mapping[str, Any],
    hook: KlingHook,
    tasks: Sequence[Task],
    *,
    edit: Edit | None = None,
    borders: Mapping[int, Sequence[float]] | None = None,
) -> dict[str, Any]:
    """
    Store what tasks made, tell of it, and return the manifest.

    :param tasks: Those that succeeded, each made of the one before it; the last one's outputs are stored.
    :raises KlingError: where a result cannot be downloaded, or is not what it should be.
    """
    *earlier, task = tasks
    manifest = hook.collect(
        task,
        face.output_path,
        output_name=face.output_name,
        include_urls=face.include_urls,
        edit=edit,
        earlier=earlier,
        borders=borders,
    )
    if earlier:
        face.log.info("%d passes, %s units in all", len(tasks), manifest["units"])
    tell_made(context, tasks, manifest, face.output_path, face.log)
    return manifest
