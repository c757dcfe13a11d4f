"""Every day: a picture becomes a 16:9 picture, that becomes a clip, and both lie in the bucket, as assets."""

from __future__ import annotations

import os
from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Asset, Param

from airflow_kling.operators.kling import KlingExpandImageOperator, KlingImageToVideoOperator

IMAGE = os.environ.get("KLING_EXAMPLE_IMAGE", "https://example.com/photo.jpg")
OUTPUT = os.environ.get("KLING_EXAMPLE_OUTPUT", "kling-out")
PICTURES, CLIPS = Asset("kling://pictures"), Asset("kling://clips")
# As large as the resource packs' concurrency, and counting deferred tasks, see kling_catalogue.
IMAGE_POOL = os.environ.get("KLING_IMAGE_POOL", "default_pool")
CLIP_POOL = os.environ.get("KLING_CLIP_POOL", "default_pool")

with DAG(
    dag_id="kling_expand_to_video",
    description="Picture, 16:9 picture, clip, bucket",
    schedule="@daily",
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
        "aspect_ratio": Param("16:9", type="string"),
        "anchor": Param("center", type="string", description='"top", "left", …, or the subject\'s "0.3,0.5"'),
        "prompt": Param("", type="string", maxLength=2500, description="What the new canvas should show"),
        "motion": Param("slow push in", type="string", maxLength=2500, description="What happens in the clip"),
        "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_image_to_video]
    expand = KlingExpandImageOperator(
        task_id="expand",
        image="{{ params.image }}",
        aspect_ratio="{{ params.aspect_ratio }}",
        anchor="{{ params.anchor }}",
        prompt="{{ params.prompt }}",
        outlets=[PICTURES],
        pool=IMAGE_POOL,
    )
    KlingImageToVideoOperator(
        task_id="film",
        image=expand.output,
        prompt="{{ params.motion }}",
        duration=5,
        outlets=[CLIPS],
        pool=CLIP_POOL,
    )
    # [END howto_operator_kling_image_to_video]
