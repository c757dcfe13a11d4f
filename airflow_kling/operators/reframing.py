"""Reframing: the passes of one picture, each a remote task of its own, one after the other; loaded when a task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Task
from airflow_kling.api.redact import reason_of
from airflow_kling.exceptions import error_from_end, errors_for
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.collect import DEFAULT_NAME, manifest, store_manifest
from airflow_kling.lifecycle.original import Original
from airflow_kling.lifecycle.record import Record, Stage
from airflow_kling.lifecycle.wait import Outcome
from airflow_kling.operators.finish import collect_made, task_of
from airflow_kling.operators.instance import epoch_of, external_id_of
from airflow_kling.operators.outcome import tell_failed
from airflow_kling.operators.passes import PassStep, came_back, check_final, edit_of, keep_picture, original_of, sound
from airflow_kling.operators.push import push
from airflow_kling.operators.records import keep_for_reuse, records_of, reused
from airflow_kling.operators.target import check_stored, target_of
from airflow_kling.operators.work import make_work

if TYPE_CHECKING:
    from airflow_kling.lifecycle.end import End
    from airflow_kling.lifecycle.pressure import Pressure
    from airflow_kling.media.reframe import Border, Plan
    from airflow_kling.operators.expand import KlingExpandImageOperator


class Reframing:
    """
    Makes a picture what its operator asks for.

    Each run goes over all passes from the first: those that were made are found by their records, at no cost. So it
    goes on after a deferral, a retry and a clear alike.
    """

    def __init__(self, operator: KlingExpandImageOperator, context: Mapping[str, Any]) -> None:
        self._operator = operator
        self._context = context
        self._original = cache(lambda: original_of(operator))

    def run(self, pressure: Pressure, end: End | None = None) -> dict[str, Any]:
        """
        Return the manifest of the final picture.

        :param end: How the wait for a pass ended, if that is what it goes on after.
        :raises KlingTaskFailed: where that pass failed.
        """
        operator = self._operator
        if end is not None and end.outcome is not Outcome.SUCCEEDED:
            tell_failed(self._context, end, operator.output_path, operator.log)
            raise error_from_end(end, operator.timeout)
        durable = records_of(operator, self._context).durable
        if end is not None and not durable:
            # Nothing is kept anywhere, neither record nor file: it was one pass, and there is nothing to cut.
            return operator.finish(self._context, end)
        size = self._size()
        plan = target_of(operator).plan(*size)
        self._check(plan, durable)
        if not plan.passes:
            return push(self._context, operator.outlets, self._keep(plan))
        picture: Callable[[], Original] = self._sound_original
        todo, tasks = plan, list[Task]()
        while True:
            step = PassStep(operator, todo, self._told(todo, picture, len(tasks)))
            work = make_work(operator, self._context, step, number=len(tasks), source_size=size)
            if not tasks and (made := reused(operator, work)):
                return operator.take_over(self._context, made)
            submitted = operator.submit(self._context, work, pressure, len(tasks))
            if not tasks and (made_of := self._recorded_size()) not in (None, size):
                # An earlier try's, found only now, of a source that has changed since.
                size = made_of
                plan = todo = target_of(operator).plan(*size)
            if not operator.wait_for_completion:
                return manifest(submitted.task, submitted.kling_conn_id, include_urls=operator.include_urls)
            end = operator.wait(submitted)
            if not submitted.task.status.ended:
                pressure = operator.fresh_pressure()  # the next pass has the whole submit_timeout, too
            hook = KlingHook(end.kling_conn_id)
            task = task_of(operator, self._context, hook, end)
            tasks.append(task)
            last, came = todo, came_back(task, hook.fetch) if todo.passes[1:] else None
            if came is not None:
                todo = todo.after(*came.size)
            if came is None or not todo.passes:
                return self._finish(hook, tasks, plan, last)
            picture = _given(came)

    def _size(self) -> tuple[int, int]:
        """Return the size to plan for: the one that was paid for in this run, else the source's of now."""
        record = self._record()
        recorded = record.source_size if record is not None else None
        if recorded and record is not None and record.epoch == epoch_of(self._context["ti"]):
            return recorded
        try:
            return self._original().size
        except Exception as error:
            # Whatever reading the source raises: a task that is paid is not lost because its source is.
            if not recorded:
                raise
            reason = reason_of(error)
            self._operator.log.warning("The input cannot be read any more, and what was made of it counts: %s", reason)
            return recorded

    def _recorded_size(self) -> tuple[int, int] | None:
        record = self._record()
        return record.source_size if record is not None else None

    def _record(self) -> Record | None:
        """Return the record of the first pass, if that was made."""
        with errors_for():
            record = records_of(self._operator, self._context).load()
        return record if record is not None and record.stage is Stage.SUBMITTED else None

    def _check(self, plan: Plan, durable: bool) -> None:
        """Refuse what could not be carried on or finished, before the first pass is paid."""
        check_stored(self._operator)
        check_final(self._operator, plan)
        if len(plan.passes) < 2:
            return
        passes = f"{len(plan.passes)} passes ({plan.target.label} of {'{}x{}'.format(*plan.present)} px)"
        if not self._operator.wait_for_completion:
            advice = 'use wait_for_completion=True, or fit="crop" for a single pass'
            raise InputFault("wait_for_completion", False, f"True for {passes}: each begins with the last", advice)
        if not durable:
            advice = "or set [kling] record_path, or use Airflow 3.3, which remembers tasks itself"
            raise InputFault("output_path", None, f"given for {passes}, to remember those that are paid", advice)

    def _sound_original(self) -> Original:
        return sound(self._operator, self._original())

    def _finish(self, hook: KlingHook, tasks: list[Task], plan: Plan, last: Plan) -> dict[str, Any]:
        operator = self._operator
        borders: dict[int, Border] = {}
        edit = edit_of(operator, plan, last.after, self._original, borders)
        collected = collect_made(operator, self._context, hook, tasks, edit=edit, borders=borders)
        if operator.reuse:
            keep_for_reuse(operator, self._context, collected, number=len(tasks) - 1)
        return push(self._context, operator.outlets, collected)

    def _keep(self, plan: Plan) -> dict[str, Any]:
        operator = self._operator
        if not operator.output_path:
            limit = f"given, for the picture needs no pass ({_shown(plan)})"
            raise InputFault("output_path", None, limit, "without one it would be nowhere")
        operator.log.info("No pass is needed (%s): nothing is sent, nothing is paid", _shown(plan))
        name = external_id_of(self._context["ti"])
        with errors_for():
            made = keep_picture(operator, plan, self._original(), name)
        store_manifest(made, storage_path(operator.output_path), operator.output_name or DEFAULT_NAME, name)
        return made

    def _told(self, todo: Plan, picture: Callable[[], Original], number: int) -> Callable[[], Original]:
        def tell() -> Original:
            text = "Pass %d of %d: %s"
            self._operator.log.info(text, number + 1, number + len(todo.passes), _shown(todo))
            return picture()

        return tell


def _given(picture: Original) -> Callable[[], Original]:
    return lambda: picture


def _shown(plan: Plan) -> str:
    size = "{}x{}".format(*plan.present)
    if not plan.passes:
        return f"{size} px to {plan.target.label}"
    ratios = ", ".join(f"{side} {ratio:g}" for side, ratio in plan.passes[0].ratios.items() if ratio)
    return f"{size} px to {plan.target.label} by {ratios}"
