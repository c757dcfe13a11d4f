"""A folder of pictures, expanded and then filmed, each batch in one worker slot; a bad one does not sink the rest."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingExpandBatchOperator, KlingImageToVideoBatchOperator

with DAG(
    dag_id="kling_batch",
    description="Thousands of pictures: expanded, then filmed",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "deferrable": True, "poll_interval": 5},
    params={
        "images": Param("file:///pictures", type="string", description="Folder, prefix, .jsonl or .csv manifest"),
        "output_path": Param("kling-out", type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_expand_batch]
    expand = KlingExpandBatchOperator(
        task_id="expand",
        images="{{ params.images }}",
        aspect_ratio="16:9",
        output_path="{{ params.output_path }}/pictures",
        max_concurrency=9,  # of the account's slots; learnt where it is left out
        budget=10_000,  # units, over all tries
        min_success_ratio=0.5,  # fewer fail the task, once all is done
    )
    # [END howto_operator_kling_expand_batch]
    # [START howto_operator_kling_image_to_video_batch]
    KlingImageToVideoBatchOperator(
        task_id="film",
        images=expand.output,  # every picture that the expansion made
        prompt="slow push in",
        model_name="kling-v2-6",
        output_path="{{ params.output_path }}/clips",
        budget=5_000,
    )
    # [END howto_operator_kling_image_to_video_batch]
