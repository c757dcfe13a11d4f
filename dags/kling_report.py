"""Every day: what Kling took, per DAG and day, as a table (CSV) and a chart (PNG)."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, Asset, Param, task

# Whose events are read. With [kling] record_path set, every task that ended counts, with or without an asset.
ASSETS = os.environ.get("KLING_REPORT_ASSETS", "kling://pictures,kling://clips")

with DAG(
    dag_id="kling_report",
    description="Units and counts per DAG and day",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    params={
        "days": Param(30, type="integer", minimum=1, maximum=366),
        "output_path": Param("kling-report", type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):

    @task(inlets=[Asset(uri.strip()) for uri in ASSETS.split(",") if uri.strip()])
    def report(**context: Any) -> dict[str, Any]:
        from airflow_kling.operators.housekeeping import report as make_report

        return make_report(context, **context["params"])

    report()
