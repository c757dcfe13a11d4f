"""A picture whose signed link is asked for: XCom shows it, by parameter."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.common.compat.sdk import DAG, Asset, Param

from airflow_kling.operators.kling import KlingExpandImageOperator

with DAG(
    dag_id="kling_shown_urls",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    params={"image": Param("cat.png", type="string"), "output_path": Param("out", type="string")},
):
    KlingExpandImageOperator(
        task_id="expand",
        image="{{ params.image }}",
        left=0.5,
        output_path="{{ params.output_path }}",
        include_urls=True,
        deferrable=True,
        poll_interval=1,
        outlets=[Asset("kling-shown-urls")],
    )
