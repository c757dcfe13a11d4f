"""Leaving the worker while a batch has nothing to do: its tail, or a free slot, is waited for in the triggerer."""

from __future__ import annotations

import json
from collections.abc import Callable

from airflow_kling.lifecycle.batch import Batch
from airflow_kling.lifecycle.files import write_whole
from airflow_kling.operators.batch_process import Process

TAIL = "tail.json"
LONG_PAUSE = 20.0
"""Seconds of waiting for a first free slot that are worth a deferral."""


def defer_if_idle(process: Process, batch: Batch, now: float, *, more: bool, told: Callable[[], None]) -> None:
    """
    Defer, and not return, if that is worth it.

    :param process: Of the batch, whose threads do nothing.
    :param told: Tells how far it is.
    """
    quota = batch.quota
    if batch.sending:
        return
    if batch.running and not more and not batch.ready:
        process.journal.commit()
        told()
        _defer_tail(process, batch, now)
    if quota.pressure is not None and not batch.running and quota.paused_until - now > LONG_PAUSE:
        from airflow_kling.triggers.kling import KlingSlotTrigger

        process.journal.commit()
        told()
        operator = process.operator
        trigger = KlingSlotTrigger(operator.kling_conn_id, quota.paused_until, **quota.pressure.to_json())
        operator._defer(trigger, operator.resume_submission.__name__, quota.paused_until - now)


def _defer_tail(process: Process, batch: Batch, now: float) -> None:
    from airflow_kling.triggers.batch import KlingBatchTrigger

    operator, running = process.operator, list(batch.running.values())
    ids = [[picture.kling_conn_id, picture.task.task_id] for picture in running if picture.task]
    deadline = max(picture.wait.deadline for picture in running if picture.wait)
    tail = process.folder / TAIL
    write_whole(tail, json.dumps(ids).encode())
    operator.log.info("All pictures are submitted: the last %d are waited for in the triggerer", len(ids))
    trigger = KlingBatchTrigger(str(tail), operator.family, operator.poll_interval, deadline)
    operator._defer(trigger, operator.execute_complete.__name__, deadline - now)
