"""The four shapes whose processes are killed; the run's conf says where results go and when to die."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG
from moments import arm

from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.sensors.kling import KlingTaskSensor

OUTPUT_PATH = "{{ dag_run.conf['folder'] }}/out"


def shape(mode: str) -> DAG:
    """Return an empty DAG of that mode, with Airflow's ordinary retries."""
    retries = {"retries": 2, "retry_delay": timedelta(seconds=1), "pre_execute": arm}
    return DAG(f"kills_{mode}", schedule=None, start_date=datetime(2026, 1, 1), catchup=False, default_args=retries)


def expand(task_id: str, **parameters: Any) -> KlingExpandImageOperator:
    """Return the operator under test; the host does not exist, so the emulator draws a picture."""
    return KlingExpandImageOperator(
        task_id=task_id, image="https://example.com/photo.jpg", left=0.5, right=0.5, poll_interval=1, **parameters
    )


with shape("deferrable"):
    expand("make", output_path=OUTPUT_PATH, deferrable=True)

with shape("waiting"):
    expand("make", output_path=OUTPUT_PATH, deferrable=False)

with shape("passes"):
    KlingExpandImageOperator(
        task_id="make",
        image="{{ dag_run.conf['folder'] }}/source.png",
        aspect_ratio="16:9",
        fit="passes",
        output_path=OUTPUT_PATH,
        poll_interval=1,
        deferrable=True,
    )

with shape("split"):
    submit = expand("submit", wait_for_completion=False)
    KlingTaskSensor(
        task_id="watch",
        kling_task_id=submit.output["task_id"],
        output_path=OUTPUT_PATH,
        deferrable=True,
        poke_interval=1,
        timeout=600,
    )
