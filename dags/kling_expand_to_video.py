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
POLL_INTERVAL = float(os.environ.get("KLING_POLL_INTERVAL", "5"))
RATIO = {"type": "number", "minimum": 0, "maximum": 2}

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
        "poll_interval": POLL_INTERVAL,
        "output_path": "{{ params.output_path }}",
    },
    params={
        "image": Param(IMAGE, type="string", description="URL, path, or s3://conn@bucket/key"),
        "aspect_ratio": Param("16:9", type="string", description="Empty for the four ratios"),
        "up": Param(0.0, **RATIO),
        "down": Param(0.0, **RATIO),
        "left": Param(0.0, **RATIO),
        "right": Param(0.0, **RATIO),
        "anchor": Param("center", type="string", description='"top", "left", …, or the subject\'s "0.3,0.5"'),
        "prompt": Param("", type="string", maxLength=2500, description="What the new canvas should show"),
        "n": Param(1, type="integer", minimum=1, maximum=9, description="Pictures; the first is filmed"),
        "motion": Param("slow push in", type="string", maxLength=2500, description="What happens in the clip"),
        "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_image_to_video]
    expand = KlingExpandImageOperator(
        task_id="expand",
        image="{{ params.image }}",
        aspect_ratio="{{ params.aspect_ratio }}",
        up="{{ params.up }}",
        down="{{ params.down }}",
        left="{{ params.left }}",
        right="{{ params.right }}",
        anchor="{{ params.anchor }}",
        prompt="{{ params.prompt }}",
        n="{{ params.n }}",
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
