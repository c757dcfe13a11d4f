"""Pictures and a clip for the run page: mapped, to an aspect, filmed, failed, stored where nobody looks."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator

from airflow_kling.operators.kling import (
    KlingExpandBatchOperator,
    KlingExpandImageOperator,
    KlingImageToVideoBatchOperator,
    KlingImageToVideoOperator,
)

PICTURES = os.environ.get("KLING_TEST_PICTURES", "cat.png").split(":")
OUT = os.environ.get("KLING_TEST_OUT", "out")
ELSEWHERE = os.environ.get("KLING_TEST_ELSEWHERE", "elsewhere")

with DAG(
    "kling_page",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    default_args={"poll_interval": 1, "retries": 0, "deferrable": True},
):
    KlingExpandImageOperator.partial(
        task_id="expand", left=0.5, right=0.3, prompt="a wooden table", output_path=OUT
    ).expand(image=PICTURES)
    wide = KlingExpandImageOperator(
        task_id="wide", image=PICTURES[0], aspect_ratio="2:1", anchor="left", output_path=OUT
    )
    KlingImageToVideoOperator(task_id="film", image=wide.output, prompt="slowly closer", duration=5, output_path=OUT)
    KlingExpandImageOperator(task_id="fails", image=PICTURES[0], up=0.2, prompt="[emulator:fail]", output_path=OUT)
    KlingExpandImageOperator(task_id="lost", image=PICTURES[0], up=0.2, output_path=ELSEWHERE)
    EmptyOperator(task_id="plain")

with DAG("kling_batch", schedule=None, start_date=datetime(2026, 1, 1), default_args={"poll_interval": 1}):
    pictures = KlingExpandBatchOperator(
        task_id="expand",
        images=[
            *PICTURES,
            {"image": PICTURES[0], "up": 0.5, "n": 2},
            os.path.join(os.path.dirname(OUT), "missing.png"),
        ],
        aspect_ratio="16:9",
        min_success_ratio=0.5,
        output_path=OUT,
    )
    KlingImageToVideoBatchOperator(task_id="film", images=pictures.output, duration=5, output_path=OUT)

with DAG("kling_live", schedule=None, start_date=datetime(2026, 1, 1), default_args={"poll_interval": 1}):
    KlingExpandImageOperator(task_id="expand", image=PICTURES[0], left=0.5, output_path=OUT, deferrable=True)
