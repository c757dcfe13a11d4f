"""Paid tasks that nobody waits for, each with a fate of its own; and a picture made in two passes that is stored."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Asset

from airflow_kling.operators.kling import KlingExpandImageOperator

PICTURE = os.environ.get("KLING_TEST_PICTURES", "/missing.jpg")
FATES = {"made": None, "failing": "[emulator:fail]", "hanging": "[emulator:hang]"}

with DAG("kling_abandoned", schedule=None, start_date=datetime(2026, 1, 1)):
    for name, prompt in FATES.items():
        KlingExpandImageOperator(task_id=name, image=PICTURE, left=0.2, prompt=prompt, wait_for_completion=False)

with DAG("kling_kept", schedule=None, start_date=datetime(2026, 1, 1)):
    KlingExpandImageOperator(
        task_id="expand",
        image=PICTURE,
        up=1.5,
        left=1.2,
        fit="passes",
        poll_interval=0.1,
        output_path=os.environ.get("KLING_TEST_OUT", "/missing"),
        outlets=[Asset("kling://pictures")],
    )
