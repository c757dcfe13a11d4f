"""One expansion feeds the next; others are mapped over pictures and reused by later runs."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Asset, AssetAlias

from airflow_kling.airflow_version import AIRFLOW
from airflow_kling.operators.kling import KlingExpandImageOperator

PICTURES = os.environ.get("KLING_TEST_PICTURES", "").split(":")
OUT = os.environ.get("KLING_TEST_OUT", "out")
# dag.test before Airflow 3.1 never ends a task whose assets no scheduler has stored.
OUTLETS = [] if AIRFLOW < (3, 1) else [Asset("kling://second"), AssetAlias("kling-files")]

with DAG("kling_chain", schedule=None, start_date=datetime(2026, 1, 1), default_args={"poll_interval": 1}):
    first = KlingExpandImageOperator(task_id="first", image=PICTURES[0], up=0.2, deferrable=True)
    second = KlingExpandImageOperator(
        task_id="second",
        image=first.output,
        left="{{ 0.15 + 0.15 }}",
        n=2,
        pool_slots=2,
        output_path=OUT,
        outlets=OUTLETS,
    )
    mapped = KlingExpandImageOperator.partial(task_id="mapped", right=0.2, output_path=OUT, reuse="30d")
    second >> mapped.expand(image=PICTURES)
