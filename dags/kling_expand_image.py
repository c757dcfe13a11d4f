"""Every day: one picture gets more canvas. Submitted by a worker, waited for in the triggerer, stored in a folder."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import KlingExpandImageOperator

IMAGE = os.environ.get("KLING_EXAMPLE_IMAGE", "https://example.com/photo.jpg")
OUTPUT = os.environ.get("KLING_EXAMPLE_OUTPUT", "kling-out")
RATIO = {"type": "number", "minimum": 0, "maximum": 2}

with DAG(
    dag_id="kling_expand_image",
    description="Expand a picture with Kling and store the result",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "image": Param(IMAGE, type="string", description="URL, path, or s3://conn@bucket/key"),
        "up": Param(0.0, **RATIO),
        "down": Param(0.0, **RATIO),
        "left": Param(0.5, **RATIO),
        "right": Param(0.5, **RATIO),
        "prompt": Param("", type="string", maxLength=2500),
        "n": Param(1, type="integer", minimum=1, maximum=9),
        "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_expand_image]
    KlingExpandImageOperator(
        task_id="expand",
        image="{{ params.image }}",
        up="{{ params.up }}",
        down="{{ params.down }}",
        left="{{ params.left }}",
        right="{{ params.right }}",
        prompt="{{ params.prompt }}",
        n="{{ params.n }}",
        output_path="{{ params.output_path }}",
        deferrable=True,
        poll_interval=5,
        # As large as the resource pack's concurrency, and counting deferred tasks:
        # airflow pools set kling_images 9 "image pack" --include-deferred
        pool=os.environ.get("KLING_IMAGE_POOL", "default_pool"),
        pool_slots=1,  # equal to n
    )
    # [END howto_operator_kling_expand_image]
