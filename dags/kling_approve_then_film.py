"""A person looks at the picture before the clip is paid for; Airflow 3.1 and later."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.exceptions import AirflowOptionalProviderFeatureException
from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingExpandImageOperator, KlingImageToVideoOperator

IMAGE = os.environ.get("KLING_EXAMPLE_IMAGE", "https://example.com/photo.jpg")
OUTPUT = os.environ.get("KLING_EXAMPLE_OUTPUT", "kling-out")

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
except (ImportError, AirflowOptionalProviderFeatureException):  # before Airflow 3.1
    ApprovalOperator = None

if ApprovalOperator is not None:
    with DAG(
        dag_id="kling_approve_then_film",
        description="Picture, approval, clip",
        schedule=None,
        start_date=datetime(2026, 1, 1),
        catchup=False,
        tags=["kling", "example"],
        default_args={
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "deferrable": True,
            "poll_interval": 5,
            "output_path": "{{ params.output_path }}",
        },
        params={
            "image": Param(IMAGE, type="string", description="URL, path, or s3://conn@bucket/key"),
            "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
        },
    ):
        # [START howto_operator_kling_reframe]
        expand = KlingExpandImageOperator(task_id="expand", image="{{ params.image }}", aspect_ratio="16:9")
        # [END howto_operator_kling_reframe]
        # [START howto_kling_approve]
        approve = ApprovalOperator(
            task_id="approve",
            subject="Make a clip of this picture?",
            body="{{ ti.xcom_pull(task_ids='expand')['outputs'][0]['uri'] }}\n\nThe clip costs about 1 unit.",
            defaults="Reject",
            response_timeout=timedelta(days=1),
        )
        film = KlingImageToVideoOperator(
            task_id="film",
            image=expand.output,
            prompt="slow push in",
            pool=os.environ.get("KLING_CLIP_POOL", "default_pool"),
        )
        # [END howto_kling_approve]
        expand >> approve >> film
