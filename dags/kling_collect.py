"""By hand: stores what a remote task made that was submitted elsewhere, by its id. Costs nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingCollectOperator

with DAG(
    dag_id="kling_collect",
    description="Store what a task made, by its id",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    params={
        "kling_task_id": Param("", type="string", description="Kling's id of the task"),
        "family": Param("image-expansion", type="string", description="Of the task, e.g. image-to-video"),
        "output_path": Param("kling-out", type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_collect]
    KlingCollectOperator(
        task_id="collect",
        kling_task_id="{{ params.kling_task_id }}",
        family="{{ params.family }}",
        output_path="{{ params.output_path }}",
        retries=2,  # a task that has not ended yet is asked for again
        retry_delay=timedelta(minutes=5),
    )
    # [END howto_operator_kling_collect]
