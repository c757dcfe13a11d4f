"""A process of its own: put runs into Airflow's database, as the JSON on standard input tells."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import insert, select
from uuid6 import uuid7

BUNDLE = "seeded"


def seed(session, runs):
    now = datetime.now(UTC)
    if session.get(DagBundleModel, BUNDLE) is None:
        session.add(DagBundleModel(name=BUNDLE))
        session.flush()
    for run in runs:
        if session.get(DagModel, run["dag_id"]) is None:
            session.add(DagModel(dag_id=run["dag_id"], bundle_name=BUNDLE, fileloc="", is_stale=False))
            session.flush()
        begun = now - timedelta(seconds=run.get("age", 60))
        session.execute(
            insert(DagRun.__table__).values(
                dag_id=run["dag_id"],
                run_id=run["run_id"],
                state=run.get("state", "success"),
                run_type="manual",
                run_after=begun,
                start_date=begun,
                log_template_id=None,
            )
        )
        key = {"dag_id": run["dag_id"], "run_id": run["run_id"]}
        run_number = session.scalar(select(DagRun.id).filter_by(**key))
        tasks, xcoms, fields = [], [], []
        for task in run["tasks"]:
            where = key | {"task_id": task["task_id"], "map_index": task.get("map_index", -1)}
            tasks.append(
                where
                | {
                    "id": uuid7(),
                    "state": task.get("state", "success"),
                    "operator": task.get("operator", "KlingExpandImageOperator"),
                    "hostname": task.get("hostname", ""),
                    "pool": "default_pool",
                    "pool_slots": 1,
                    "try_number": 1,
                    "start_date": begun,
                    "end_date": now if task.get("state", "success") in ("success", "failed") else None,
                    "rendered_map_index": task.get("label"),
                    **deferral(session, task.get("trigger")),
                }
            )
            xcoms += [
                where | {"dag_run_id": run_number, "key": name, "value": value, "timestamp": begun}
                for name, value in task.get("xcoms", {}).items()
            ]
            fields.append(where | {"rendered_fields": task.get("rendered", {})})
        session.execute(insert(TaskInstance.__table__), tasks)
        if xcoms:
            session.execute(insert(XComModel.__table__), xcoms)
        session.execute(insert(RenderedTaskInstanceFields.__table__), fields)


def deferral(session, trigger):
    """Return what a task instance is deferred on: the class and the arguments of a trigger."""
    if trigger is None:
        return {"trigger_id": None, "next_method": None, "next_kwargs": None}
    row = Trigger(*trigger)
    session.add(row)
    session.flush()
    return {"trigger_id": row.id, "next_method": "execute_complete", "next_kwargs": {}}


if __name__ == "__main__":
    with create_session() as opened:
        seed(opened, json.load(sys.stdin))
