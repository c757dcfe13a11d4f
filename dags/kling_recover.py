"""Every day: results that are paid and that no run collected are stored while their links live. Costs nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Param, task

with DAG(
    dag_id="kling_recover",
    description="Collect paid tasks whose run never did",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    tags=["kling", "example"],
    params={
        "folder": Param("", type="string", description="Of the records, an output_path; empty: [kling] record_path"),
        "output_path": Param("", type="string", description="Where to store; empty: recovered/ in that folder"),
        "min_age_hours": Param(2, type="number", minimum=0, description="Younger ones are left to their own run"),
    },
):

    @task
    def recover(**context: Any) -> dict[str, Any]:
        from airflow_kling.operators.housekeeping import recover as go_over

        return go_over(**context["params"])

    recover()
