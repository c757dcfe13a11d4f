"""An operator of your own on top of the trigger: waits for a remote task in the triggerer and stores its pictures."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator, Param

from airflow_kling.operators.kling import KlingExpandImageOperator
from airflow_kling.triggers.kling import KlingTaskTrigger

IMAGE = os.environ.get("KLING_EXAMPLE_IMAGE", "https://example.com/photo.jpg")
OUTPUT = os.environ.get("KLING_EXAMPLE_OUTPUT", "kling-out")
FAMILY, CONNECTION, TIMEOUT = "image-expansion", "kling_default", 3600


# [START howto_trigger_kling_task]
class WatchOperator(BaseOperator):
    template_fields = ("kling_task_id", "output_path")

    def __init__(self, *, kling_task_id: str, output_path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kling_task_id = kling_task_id
        self.output_path = output_path

    def execute(self, context: Mapping[str, Any]) -> None:
        deadline = time.time() + TIMEOUT
        trigger = KlingTaskTrigger(self.kling_task_id, FAMILY, CONNECTION, 5.0, deadline)  # polls every 5 s
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: Mapping[str, Any], event: Any = None) -> dict[str, Any]:
        from airflow_kling.hooks.kling import KlingHook
        from airflow_kling.lifecycle.end import read_event

        hook = KlingHook(CONNECTION)
        # Raises the error of a task that failed, or did not end in time.
        task = hook.succeeded(read_event(event), timeout=TIMEOUT)
        return hook.collect(task, self.output_path)
        # [END howto_trigger_kling_task]


with DAG(
    dag_id="kling_own_operator",
    description="Submit an expansion, then watch it with an operator of your own",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["kling", "example"],
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "image": Param(IMAGE, type="string", description="URL, path, or s3://conn@bucket/key"),
        "output_path": Param(OUTPUT, type="string", description="Folder, or s3://conn@bucket/prefix"),
    },
):
    submit = KlingExpandImageOperator(
        task_id="submit",
        image="{{ params.image }}",
        left=0.5,
        right=0.5,
        wait_for_completion=False,
    )
    WatchOperator(
        task_id="watch",
        kling_task_id=submit.output["task_id"],
        output_path="{{ params.output_path }}",
    )
