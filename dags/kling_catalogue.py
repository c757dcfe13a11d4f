"""A folder of pictures, each made 16:9 by a task of its own; a bad one does not sink the rest."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, ObjectStoragePath, Param, task

from airflow_kling.operators.kling import KlingExpandImageOperator

ENDINGS = (".jpg", ".jpeg", ".png")

with DAG(
    dag_id="kling_catalogue",
    description="Every picture of a folder in another aspect",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    params={
        "folder": Param("file:///pictures", type="string", description="file:///folder, or s3://conn@bucket/prefix"),
        "aspect_ratio": Param("16:9", type="string"),
        "output_path": Param("kling-out", type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):

    @task
    def list_pictures(folder: str) -> list[str]:
        return sorted(str(path) for path in ObjectStoragePath(folder).iterdir() if path.name.lower().endswith(ENDINGS))

    @task(trigger_rule="all_done")
    def report(ti: Any = None) -> dict[str, int]:
        made = [manifest for manifest in ti.xcom_pull(task_ids="expand") or [] if manifest]
        return {"pictures": len(made), "units": sum(manifest["units"] or 0 for manifest in made)}

    pictures = list_pictures("{{ params.folder }}")
    # [START howto_operator_kling_mapped]
    expand = KlingExpandImageOperator.partial(
        task_id="expand",
        aspect_ratio="{{ params.aspect_ratio }}",
        output_path="{{ params.output_path }}",
        reuse="30d",  # the next run pays for what is new alone
        deferrable=True,
        poll_interval=5,
        retries=2,
        retry_delay=timedelta(seconds=30),
        # Bounds what is in flight, if it is as large as the pack's concurrency and counts deferred tasks:
        # airflow pools set kling_images 9 "image pack" --include-deferred
        pool=os.environ.get("KLING_IMAGE_POOL", "default_pool"),
    ).expand(image=pictures)
    # [END howto_operator_kling_mapped]
    expand >> report()
