"""From text: a picture, a clip of it and a longer one; a clip of text alone; a task of any other family."""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_kling.operators.kling import (
    KlingExtendVideoOperator,
    KlingGenerateImageOperator,
    KlingImageToVideoOperator,
    KlingTaskOperator,
    KlingTextToVideoOperator,
)

with DAG(
    dag_id="kling_text_to_film",
    description="Picture of text, clip, longer clip; clip of text; any family",
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
        "scene": Param("a lighthouse at dusk", type="string", maxLength=2500),
        "output_path": Param("kling-out", type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    # [START howto_operator_kling_generate_image]
    draw = KlingGenerateImageOperator(
        task_id="draw",
        prompt="{{ params.scene }}",
        model_name="kling-v2-1",
        aspect_ratio="16:9",
    )
    # [END howto_operator_kling_generate_image]
    film = KlingImageToVideoOperator(task_id="film", image=draw.output, prompt="waves roll in")
    # [START howto_operator_kling_extend_video]
    KlingExtendVideoOperator(task_id="extend", video_id=film.output, prompt="the lamp lights up")
    # [END howto_operator_kling_extend_video]
    # [START howto_operator_kling_text_to_video]
    KlingTextToVideoOperator(
        task_id="from_text",
        prompt="{{ params.scene }}",
        model_name="kling-v2-6",
        aspect_ratio="16:9",
        duration=5,
    )
    # [END howto_operator_kling_text_to_video]
    # [START howto_operator_kling_task]
    KlingTaskOperator(
        task_id="any_family",
        family="image-generation",  # or "lip-sync", "video-effects", "virtual-try-on", …
        fields={"prompt": "{{ params.scene }}, in winter", "model_name": "kling-v2-1", "image": draw.output},
    )
    # [END howto_operator_kling_task]
