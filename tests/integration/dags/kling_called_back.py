"""Expansions whose ends are told by callbacks, while polls come once in an hour."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_kling.operators.kling import KlingExpandImageOperator

COUNT = int(os.environ.get("KLING_TEST_COUNT", "1"))
INTERVAL = float(os.environ.get("KLING_TEST_INTERVAL", "3600"))

with DAG("kling_called_back", schedule=None, start_date=datetime(2026, 1, 1), max_active_tasks=COUNT):
    KlingExpandImageOperator.partial(
        task_id="make", left=0.5, callback_url="auto", deferrable=True, poll_interval=INTERVAL, timeout=7200
    ).expand(image=[f"https://example.com/{number}.jpg" for number in range(COUNT)])
