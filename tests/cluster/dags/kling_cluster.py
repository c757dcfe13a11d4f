"""Two folders of pictures become 16:9 pictures and clips: one mapped, a task for each, the other in two batches."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, Param, task

from airflow_kling.operators.kling import (
    KlingExpandBatchOperator,
    KlingExpandImageOperator,
    KlingImageToVideoBatchOperator,
    KlingImageToVideoOperator,
)

with DAG(
    dag_id="kling_cluster",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    default_args={
        # A worker, a triggerer and the broker's connections die on the way.
        "retries": 3,
        "retry_delay": timedelta(seconds=1),
        "deferrable": True,
        "poll_interval": 2,
    },
    params={
        "mapped": Param(".", type="string", description="Folder"),
        "batch": Param(".", type="string", description="Folder"),
        "output_path": Param("out", type="string"),
    },
):

    @task
    def list_pictures(folder: str) -> list[str]:
        return sorted(str(path) for path in ObjectStoragePath(folder).iterdir())

    expand = KlingExpandImageOperator.partial(
        task_id="expand",
        aspect_ratio="16:9",
        output_path="{{ params.output_path }}/mapped/pictures",
        pool="kling_images",
    ).expand(image=list_pictures("{{ params.mapped }}"))
    KlingImageToVideoOperator.partial(
        task_id="film",
        prompt="slow push in",
        output_path="{{ params.output_path }}/mapped/clips",
        pool="kling_clips",
    ).expand(image=expand.output)

    expand_batch = KlingExpandBatchOperator(
        task_id="expand_batch",
        images="{{ params.batch }}",
        aspect_ratio="16:9",
        output_path="{{ params.output_path }}/batch/pictures",
        max_concurrency=40,
    )
    KlingImageToVideoBatchOperator(
        task_id="film_batch",
        images=expand_batch.output,
        prompt="slow push in",
        output_path="{{ params.output_path }}/batch/clips",
        max_concurrency=40,
    )
