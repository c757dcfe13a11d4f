"""A task that fails remotely after a deferral, one that keeps a worker, and a sensor that watches it."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.sensors.kling import KlingTaskSensor

PICTURE = os.environ.get("KLING_TEST_PICTURES", "").split(":")[0]


class Watched(KlingExpandImageOperator):
    """Keeps what Airflow's UI could show while the task was deferred."""

    def execute_complete(self, context, event=None):
        ti = context["ti"]
        shown = ti.xcom_pull(task_ids=self.task_id, key="_link_KlingTaskLink")
        ti.xcom_push(key="shown_while_deferred", value=shown)
        return super().execute_complete(context, event)


with DAG(
    "kling_links", schedule=None, start_date=datetime(2026, 1, 1), default_args={"poll_interval": 1, "retries": 0}
):
    Watched(task_id="fails", image=PICTURE, up=0.2, prompt="[emulator:fail]", deferrable=True)
    made = KlingExpandImageOperator(task_id="made", image=PICTURE, up=0.3, wait_for_completion=False)
    KlingTaskSensor(task_id="watch", kling_task_id=made.output["task_id"], poke_interval=1, deferrable=True)
