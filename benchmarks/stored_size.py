"""
Bytes that a task leaves in Airflow's database: XCom and trigger arguments for n = 9, against the http provider's.

The peer is what ``HttpOperator`` stores for the same task: the answer's text as XCom, and as trigger arguments its
endpoint, headers and data, the picture's base64 included. Goals: XCom at most 4 KB, arguments at most 1 KB.

    .venv/bin/python benchmarks/stored_size.py
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from airflow_kling.api.families import OutputKind
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.lifecycle.collect import Stored, manifest
from airflow_kling.triggers.kling import KlingTaskTrigger

PICTURE_BYTES = 1_000_000
TASK_ID = "CjMT7WdSwWcAAAAAALvB3g" * 2
URL = "https://cdn.example.com/bs2/upload-kling-api/" + "a" * 120 + "?Expires=1742592024&Signature=" + "b" * 300
PREFIX = "s3://aws_media@catalogue-bucket/expanded/2026-11-20/spring-collection/"


def main() -> None:
    now = datetime.now(UTC)
    outputs = tuple(Output(index, OutputKind.IMAGE, URL) for index in range(9))
    task = Task(
        "image-expansion", TASK_ID, "af-12345678-" + "c" * 32, TaskStatus.SUCCEEDED, outputs, "", 72.0, now, now
    )
    stored = {o.index: Stored(f"{PREFIX}{TASK_ID}-{o.index}.png", 4096, 4096, 9_999_999, "d" * 64) for o in outputs}
    result = manifest(task, "kling_production", stored)
    xcom = len(json.dumps(result)) + len(json.dumps([row["uri"] for row in result["outputs"]])) + len(TASK_ID)
    trigger = KlingTaskTrigger(TASK_ID, "image-expansion", "kling_production", 10.0, now.timestamp())
    arguments = len(json.dumps(trigger.serialize()))

    rows = [{"index": output.index, "url": output.url} for output in outputs]
    peer_xcom = len(json.dumps({"code": 0, "data": {"task_id": TASK_ID, "task_result": {"images": rows}}}))
    picture = base64.b64encode(bytes(PICTURE_BYTES)).decode()
    peer_arguments = len(json.dumps({"endpoint": "v1/images/editing/expand", "data": {"image": picture}}))
    print(
        f"stored for n = 9: XCom {len(json.dumps(result)):,} bytes (goal: at most 4,096; {xcom:,} with uris and "
        f"task_id), http provider {peer_xcom:,}, ratio {len(json.dumps(result)) / peer_xcom:.2f}; trigger arguments "
        f"{arguments} bytes (goal: at most 1,024), http provider {peer_arguments:,}, ratio "
        f"{arguments / peer_arguments:.5f}"
    )


if __name__ == "__main__":
    main()
