from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_kling.operators.kling import KlingExpandImageOperator, KlingImageToVideoOperator

common = {"output_path": "kling-out", "deferrable": True, "retries": 2}

with DAG("kling_first", start_date=datetime(2026, 1, 1), schedule=None, default_args=common):
    expand = KlingExpandImageOperator(
        task_id="expand",
        image="photo.jpg",
        aspect_ratio="16:9",
        prompt="a wooden table",
    )
    film = KlingImageToVideoOperator(task_id="film", image=expand.output, prompt="slow push in")
