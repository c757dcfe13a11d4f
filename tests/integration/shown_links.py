"""A process of its own: run the DAG of links, and print as JSON what Airflow's own API shows beside each task."""

from __future__ import annotations

import json

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.demo.run_dag import _dag


def shown(run, instance):
    """Return the links of a task instance by Airflow's API, before 3.1 by what stands behind it."""
    if AIRFLOW < (3, 1):
        from airflow.serialization.serialized_objects import SerializedDAG

        task = SerializedDAG.from_dict(SerializedDAG.to_dict(run.dag)).get_task(instance.task_id)
        return {name: task.get_extra_links(instance, name) for name in task.extra_links}
    from airflow.api_fastapi.app import create_app
    from fastapi.testclient import TestClient

    with TestClient(create_app("core")) as client:
        token = client.get("/auth/token").json()["access_token"]
        answer = client.get(
            f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{instance.task_id}/links",
            headers={"Authorization": f"Bearer {token}"},
        )
    answer.raise_for_status()
    return answer.json()["extra_links"]


def main():
    from airflow.utils.db import upgradedb

    upgradedb()
    run = _dag("kling_links").test()
    told = {}
    for name in ("fails", "made", "watch"):
        instance = run.get_task_instance(name)
        early = instance.xcom_pull(task_ids=name, key="shown_while_deferred")
        task_id = instance.xcom_pull(task_ids=name, key="task_id")
        told[name] = {"state": str(instance.state), "links": shown(run, instance), "early": early, "task_id": task_id}
    print("\n" + json.dumps(told))


if __name__ == "__main__":
    main()
