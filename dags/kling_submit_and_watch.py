"""The split shape: one task submits and ends at once, a sensor waits for the remote task and stores its pictures."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.sensors.kling import KlingTaskSensor

IMAGE = os.environ.get("KLING_EXAMPLE_IMAGE", "https://example.com/photo.jpg")
OUTPUT = os.environ.get("KLING_EXAMPLE_OUTPUT", "kling-out")

with DAG(
    dag_id="kling_submit_and_watch",
    description="Submit an expansion, then watch it with a sensor",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "image": Param(IMAGE, type="string", description="URL, path, or s3://conn@bucket/key"),
        "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_sensor_kling_task]
    submit = KlingExpandImageOperator(
        task_id="submit",
        image="{{ params.image }}",
        left=0.5,
        right=0.5,
        wait_for_completion=False,
    )
    KlingTaskSensor(
        task_id="watch",
        kling_task_id=submit.output["task_id"],
        output_path="{{ params.output_path }}",
        deferrable=True,
        poke_interval=5,
        timeout=3600,
    )
    # [END howto_sensor_kling_task]
