"""What Airflow's database knows of our tasks in a DAG run; read only, and without Airflow's XCom classes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields as Rendered
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from airflow_kling.lifecycle.batch_rows import PROGRESS, RESULTS
from airflow_kling.operators.links import KlingTaskLink
from airflow_kling.plugins.items import Instance, Manifest, batch_of, rows_of

RESULT = "return_value"
REMOTE_ID = "task_id"
RECENT_RUNS = 50
HISTORY = 50
"""Results of earlier runs that the usual time is taken from."""

_TOLD = (DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.end_date)
"""What the pages tell of a run."""


def run_of(dag_id: str, run_id: str) -> dict[str, Any] | None:
    """Return what is known of a run, None where there is none."""
    with create_session() as session:
        row = session.execute(select(*_TOLD).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return None if row is None else _told(row)


def instances_of(
    dag_id: str, run_id: str, *, task_id: str | None = None, map_index: int | None = None
) -> list[Instance]:
    """
    Return our task instances of a run, with what they returned.

    :param task_id: Only this task.
    :param map_index: Only this one of its instances.
    """
    with create_session() as session:
        ours = _our_tasks(session, dag_id, run_id, task_id)
        if not ours:
            return []
        of_instances, of_xcoms = (
            [
                table.dag_id == dag_id,
                table.run_id == run_id,
                table.task_id.in_(ours),
                *([] if map_index is None else [table.map_index == map_index]),
            ]
            for table in (TaskInstance, XComModel)
        )
        rows = session.execute(
            select(
                TaskInstance.task_id,
                TaskInstance.map_index,
                TaskInstance.state,
                TaskInstance.__table__.c.rendered_map_index.label("label"),
                TaskInstance.hostname,
                TaskInstance.try_number,
                TaskInstance.start_date.label("started_at"),
                TaskInstance.end_date.label("ended_at"),
            )
            .where(*of_instances)
            .order_by(TaskInstance.task_id, TaskInstance.map_index)
        ).all()
        xcoms = session.execute(
            select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value, XComModel.timestamp).where(
                *of_xcoms, XComModel.key.in_((RESULT, REMOTE_ID, RESULTS, PROGRESS))
            )
        ).all()
    found: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for row in xcoms:
        found[row.task_id, row.map_index][row.key] = row
    instances = []
    for row in rows:
        result, remote, results, progress = map(
            found[row.task_id, row.map_index].get, (RESULT, REMOTE_ID, RESULTS, PROGRESS)
        )
        instances.append(
            Instance(
                **row._mapping,
                remote_id=_plain(remote.value) if remote else None,
                submitted_at=remote.timestamp if remote else None,
                rows=rows_of(result.value) if result else (),
                batch=batch_of(*(told.value if told else None for told in (result, results, progress))),
            )
        )
    return instances


def rendered_fields(dag_id: str, run_id: str, keys: Iterable[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Any]]:
    """
    Return the rendered fields of task instances.

    :param keys: Task ids and map indexes.
    """
    indexes: dict[str, set[int]] = defaultdict(set)
    for task_id, map_index in keys:
        indexes[task_id].add(map_index)
    fields = {}
    with create_session() as session:
        for task_id, chosen in indexes.items():
            for row in session.execute(
                select(Rendered.map_index, Rendered.rendered_fields).where(
                    Rendered.dag_id == dag_id,
                    Rendered.run_id == run_id,
                    Rendered.task_id == task_id,
                    Rendered.map_index.in_(chosen),
                )
            ):
                fields[task_id, row.map_index] = row.rendered_fields if isinstance(row.rendered_fields, dict) else {}
    return fields


def earlier_results(dag_id: str, run_id: str, task_ids: Collection[str]) -> dict[str, list[Manifest]]:
    """
    Return what the same tasks returned in other runs, the latest.

    :param run_id: The run that is shown.
    """
    with create_session() as session:
        return {
            task_id: [
                manifest
                for value in session.scalars(
                    select(XComModel.value)
                    .where(
                        XComModel.dag_id == dag_id,
                        XComModel.task_id == task_id,
                        XComModel.run_id != run_id,
                        XComModel.key == RESULT,
                    )
                    .order_by(XComModel.timestamp.desc())
                    .limit(HISTORY)
                )
                for manifest in rows_of(value)
            ]
            for task_id in task_ids
        }


def recent_runs(dag_ids: Collection[str]) -> list[dict[str, Any]]:
    """
    Return the latest runs that made something with Kling.

    :param dag_ids: Those that the user may read.
    """
    with create_session() as session:
        # By XCom, whose key is indexed: task instances are not by their operator.
        counted = (
            select(XComModel.dag_run_id, func.count().label("tasks"))
            .where(XComModel.key == KlingTaskLink.xcom_key, XComModel.dag_id.in_(dag_ids))
            .group_by(XComModel.dag_run_id)
            .order_by(XComModel.dag_run_id.desc())
            .limit(RECENT_RUNS)
            .subquery()
        )
        rows = session.execute(
            select(*_TOLD, counted.c.tasks).join(counted, counted.c.dag_run_id == DagRun.id).order_by(DagRun.id.desc())
        ).all()
    return [_told(row) | {"tasks": row.tasks} for row in rows]


def _told(row: Any) -> dict[str, Any]:
    return {
        "dag_id": row.dag_id,
        "run_id": row.run_id,
        "state": row.state,
        "started_at": row.start_date.isoformat() if row.start_date else None,
        "ended_at": row.end_date.isoformat() if row.end_date else None,
    }


def _our_tasks(session: Session, dag_id: str, run_id: str, task_id: str | None) -> set[str]:
    """Return the ids of our tasks: by their operator's name, or by our link, which classes made of ours have, too."""
    named = select(TaskInstance.task_id, TaskInstance.operator).where(
        TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id
    )
    linked = select(XComModel.task_id).where(
        XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == KlingTaskLink.xcom_key
    )
    if task_id is None:
        named, linked = named.distinct(), linked.distinct()
    else:
        named = named.where(TaskInstance.task_id == task_id).limit(1)
        linked = linked.where(XComModel.task_id == task_id).limit(1)
    ours = {row.task_id for row in session.execute(named) if (row.operator or "").startswith("Kling")}
    return ours | set(session.scalars(linked))


def _plain(value: object) -> str | None:
    # Airflow keeps a text as it is, or as JSON.
    return value.strip('"') if isinstance(value, str) else None
