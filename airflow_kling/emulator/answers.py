"""The JSON of the answers, in Kling's form and in the gateways'."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from airflow_kling.emulator.orders import MadeOutput
from airflow_kling.emulator.refusals import Refusal, Shape
from airflow_kling.emulator.state import FAILED, PROCESSING, SUBMITTED, SUCCEED, TaskView

Link = Callable[[TaskView, str], str]
"""Gives the signed link of a task's file."""

#: A gateway's words for Kling's status, and the progress it shows (new-api's task states).
GATEWAY_WORDS: dict[str, tuple[str, str]] = {
    SUBMITTED: ("SUBMITTED", "10%"),
    PROCESSING: ("IN_PROGRESS", "30%"),
    SUCCEED: ("SUCCESS", "100%"),
    FAILED: ("FAILURE", "100%"),
}


def created(task: TaskView, request_id: str) -> dict[str, Any]:
    """Return the answer to a create: the task as it was accepted."""
    return envelope(
        request_id,
        {
            "task_id": task.task_id,
            "task_info": _task_info(task),
            "task_status": SUBMITTED,
            "created_at": task.created_at,
            "updated_at": task.created_at,
        },
    )


def queried(task: TaskView, request_id: str, link: Link) -> dict[str, Any]:
    """Return the answer to a query."""
    return envelope(request_id, told(task, link))


def queried_wrapped(task: TaskView, request_id: str, link: Link) -> dict[str, Any]:
    """Return the answer to a query as some gateways wrap it: the finished object two levels deeper, no ``index``."""
    word, progress = GATEWAY_WORDS.get(task.word, ("UNKNOWN", "0%"))
    outer: dict[str, Any] = {
        "task_id": task.task_id,
        "action": task.order.family.route.rsplit("/", 1)[-1],
        "status": word,
        "progress": progress,
    }
    inner = told(task, link)
    if word not in ("SUCCESS", "FAILURE"):
        return {"code": "success", "message": "", "data": outer | {"data": inner}}
    for output in inner.get("task_result", {}).get(task.order.family.kind.key, []):
        output.pop("index", None)
    return {
        "code": "success",
        "message": "",
        "data": outer | {"fail_reason": task.message, "data": envelope(request_id, inner)},
    }


def listed(tasks: Sequence[TaskView], request_id: str, link: Link) -> dict[str, Any]:
    """Return the answer to a list."""
    return envelope(request_id, [told(task, link) for task in tasks])


def packs(rows: Sequence[tuple[str, float, float]], begins: int, ends: int, request_id: str) -> dict[str, Any]:
    """
    Return the answer to a query of the account's resource packs.

    :param rows: Name, units bought and units left of each.
    :param begins: Unix milliseconds since which they are in force.
    :param ends: Unix milliseconds at which they expire.
    """
    infos = [
        {
            "resource_pack_name": name,
            "resource_pack_id": f"emu-pack-{place}",
            "resource_pack_type": "decreasing_total",
            "total_quantity": total,
            "remaining_quantity": left,
            "purchase_time": begins,
            "effective_time": begins,
            "invalid_time": ends,
            "status": "online" if left > 0 else "runOut",
        }
        for place, (name, total, left) in enumerate(rows)
    ]
    return envelope(request_id, {"code": 0, "msg": "", "resource_pack_subscribe_infos": infos})


def refused(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return the answer of a refusal in its shape."""
    if refusal.shape is Shape.NO_ROUTE:
        return {"code": None, "message": refusal.message}
    if refusal.shape is Shape.GATEWAY_TASK:
        return {"code": refusal.code, "message": refusal.message, "data": None}
    if refusal.shape is Shape.GATEWAY_ERROR:
        message = f"{refusal.message} (request id: {request_id})"
        return {"error": {"message": message, "type": "comet_api_error", "param": "", "code": ""}}
    return {"code": refusal.code, "message": refusal.message, "request_id": request_id}


def envelope(request_id: str, data: object) -> dict[str, Any]:
    """Return Kling's form of an answer."""
    return {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}


def told(task: TaskView, link: Link) -> dict[str, Any]:
    """Return the bare task, as a callback has it."""
    fields: dict[str, Any] = {
        "task_id": task.task_id,
        "task_status": task.word,
        "task_status_msg": task.message,
        "task_info": _task_info(task),
        "created_at": task.created_at,
        "updated_at": task.updated_at,
    }
    if task.word != SUCCEED:
        return fields
    return fields | {
        "final_unit_deduction": f"{task.order.units:g}",
        "watermark_info": {"enabled": task.order.watermark},
        "task_result": {task.order.family.kind.key: [_output(task, output, link) for output in task.outputs]},
    }


def _task_info(task: TaskView) -> dict[str, str]:
    return {"external_task_id": task.order.external_task_id or ""}


def _output(task: TaskView, output: MadeOutput, link: Link) -> dict[str, Any]:
    fields = dict(output.fields) | {"url": link(task, output.name)}
    if output.watermark_name is not None:
        fields["watermark_url"] = link(task, output.watermark_name)
    return fields
