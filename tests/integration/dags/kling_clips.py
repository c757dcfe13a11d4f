"""An expansion becomes a clip, and the clip a longer one; a picture of text, mapped, becomes another."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_kling.operators.kling import (
    KlingExpandImageOperator,
    KlingExtendVideoOperator,
    KlingGenerateImageOperator,
    KlingImageToVideoOperator,
    KlingTaskOperator,
)

PICTURE = os.environ.get("KLING_TEST_PICTURES", "cat.png").split(":")[0]
OUT = os.environ.get("KLING_TEST_OUT", "out")

with DAG("kling_clips", schedule=None, start_date=datetime(2026, 1, 1), default_args={"poll_interval": 1}):
    expand = KlingExpandImageOperator(task_id="expand", image=PICTURE, up=0.2, n=2, pool_slots=2)
    film = KlingImageToVideoOperator(
        task_id="film",
        image=expand.output,
        image_index="{{ 1 }}",
        duration="{{ 5 }}",
        cfg_scale="{{ 0.5 }}",
        deferrable=True,
    )
    extend = KlingExtendVideoOperator(
        task_id="extend", video_id=film.output, prompt="on {{ ds }}", output_path=OUT, deferrable=True
    )
    draw = KlingGenerateImageOperator.partial(task_id="draw").expand(prompt=["a lake", "a hill"])
    again = KlingTaskOperator(
        task_id="again",
        family="image-generation",
        fields={"prompt": "as before", "model_name": "kling-v2-1", "image": expand.output},
    )
    extend >> draw
    again >> extend
