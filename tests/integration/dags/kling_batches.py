"""Many pictures in one slot each: expanded, then filmed."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingExpandBatchOperator, KlingImageToVideoBatchOperator

with DAG(
    dag_id="kling_batches",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"images": Param("in", type="string"), "output_path": Param("out", type="string")},
):
    expand = KlingExpandBatchOperator(
        task_id="expand",
        images="{{ params.images }}",
        aspect_ratio="16:9",
        output_path="{{ params.output_path }}/pictures",
        min_success_ratio=0.5,
        deferrable=True,
        poll_interval=1,
    )
    KlingImageToVideoBatchOperator(
        task_id="film",
        images=expand.output,
        model_name="kling-v2-6",
        output_path="{{ params.output_path }}/clips",
        deferrable=True,
        poll_interval=1,
    )
