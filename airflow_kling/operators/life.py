"""The life of a task, whatever its family: submitted on the worker, waited for here or in a trigger, and collected."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_kling.operators.finish import collect_made, task_of
from airflow_kling.operators.links import push_links
from airflow_kling.operators.outcome import tell_submitted
from airflow_kling.operators.push import push

if TYPE_CHECKING:
    from airflow_kling.api.faults import ApiFault
    from airflow_kling.lifecycle.end import End
    from airflow_kling.lifecycle.pressure import Pressure
    from airflow_kling.lifecycle.submit import Submission, Submitted, Work

DEFERRAL_MARGIN = 600
"""Seconds after our own deadline at which Airflow ends the deferral, should the trigger not have."""

AUTO = "auto"
"""The ``callback_url`` that stands for one of ours."""


class KlingTaskLife(BaseOperator):
    """What :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`, which has the parameters, does in a worker."""

    family: str
    kling_conn_id: str
    output_path: str | None
    output_name: str | None
    wait_for_completion: bool
    deferrable: bool
    poll_interval: float
    timeout: float
    submit_timeout: float
    reuse: float | None
    callback_url: str | None
    include_urls: bool
    _own_callback_url: str | None
    _submission: Submission | None
    _submitted: Submitted | None

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        if self.pool_slots != self.slots():
            self.log.warning(
                "The remote task holds %d of the account's slots, but pool_slots is %d: set it alike, so that the pool "
                "%s bounds what is in flight",
                self.slots(),
                self.pool_slots,
                self.pool,
            )
        return self._run(context, self.fresh_pressure())

    def fresh_pressure(self) -> Pressure:
        """Return a wait for a free slot that begins now."""
        from airflow_kling.lifecycle.pressure import Pressure

        now = time.time()
        return Pressure(now, now + self.submit_timeout)

    def resume_submission(self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on after waiting for a free slot."""
        from airflow_kling.lifecycle.pressure import read_pressure

        return self._run(context, read_pressure(event))

    def execute_complete(self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Go on after waiting for the task."""
        from airflow_kling.lifecycle.end import read_event

        return self.finish(context, read_event(event))

    def on_kill(self) -> None:
        """Say what goes on remotely; the API has no cancel."""
        from airflow_kling.lifecycle.end import killed_create_text, killed_text

        if self._submitted is not None:
            self.log.warning("%s", killed_text(self._submitted.task.task_id, self.family))
        elif self._submission is not None and self._submission.in_flight:
            self.log.warning("%s", killed_create_text(self._submission.in_flight, self.family))

    def _run(self, context: Mapping[str, Any], pressure: Pressure) -> dict[str, Any]:
        from airflow_kling.lifecycle.collect import manifest
        from airflow_kling.operators.records import reused
        from airflow_kling.operators.work import make_work

        work = make_work(self, context)
        if made := reused(self, work):
            return self.take_over(context, made)
        submitted = self.submit(context, work, pressure)
        if not self.wait_for_completion:
            return manifest(submitted.task, submitted.kling_conn_id, include_urls=self.include_urls)
        return self.finish(context, self.wait(submitted))

    def take_over(self, context: Mapping[str, Any], made: dict[str, Any]) -> dict[str, Any]:
        """Return the manifest of an earlier run as this one's."""
        from airflow_kling.hooks.kling import KlingHook

        folder = made["outputs"][0]["uri"].rpartition("/")[0]
        push_links(context, made["task_id"], made["family"], lambda: KlingHook(made["kling_conn_id"]).account, folder)
        return push(context, self.outlets, made)

    def submit(self, context: Mapping[str, Any], work: Work, pressure: Pressure, number: int = 0) -> Submitted:
        """Submit, and wait for a free slot as long as it takes: deferred, or in this worker's slot."""
        from airflow_kling.api.faults import ApiFault
        from airflow_kling.exceptions import errors_for
        from airflow_kling.lifecycle.submit import Submission, is_pressure
        from airflow_kling.operators.callback_url import callback_url_for
        from airflow_kling.operators.records import records_of
        from airflow_kling.operators.work import client_for

        self._submitted = None
        if self.callback_url == AUTO and self.deferrable and self.wait_for_completion:
            self._own_callback_url = callback_url_for(context["ti"], self.log)
        client_of = client_for()
        submission = self._submission = Submission(work, records_of(self, context, number), client_of, self.log)
        with errors_for():
            while True:
                try:
                    submitted = self._submitted = submission.run()
                    break
                except ApiFault as fault:
                    if not is_pressure(fault):
                        raise
                    pressure = self._wait_for_slot(fault, pressure, submission.kling_conn_id)
        tell_submitted(context, submitted)
        task_id, place = submitted.task.task_id, self.output_path if self.wait_for_completion else None
        context["ti"].xcom_push(key="task_id", value=task_id)
        push_links(context, task_id, self.family, lambda: client_of(submitted.kling_conn_id).account, place)
        return submitted

    def _wait_for_slot(self, fault: ApiFault, pressure: Pressure, kling_conn_id: str) -> Pressure:
        """Wait here, or defer and not return; raise the fault where the time is over."""
        step = pressure.next(time.time(), fault.info.retry_after)
        if step is None:
            raise fault
        pressure, delay = step
        self.log.info("Kling's account is busy: %s. Next attempt in %.0f s; no try is used up", fault, delay)
        if self.deferrable:
            from airflow_kling.triggers.kling import KlingSlotTrigger

            trigger = KlingSlotTrigger(kling_conn_id, time.time() + delay, **pressure.to_json())
            self._defer(trigger, self.resume_submission.__name__, delay)
        time.sleep(delay)
        return pressure

    def wait(self, submitted: Submitted) -> End:
        """Wait until the task ends: deferred, which does not return, or in this worker's slot."""
        from airflow_kling.hooks.kling import KlingHook
        from airflow_kling.lifecycle.end import end_of
        from airflow_kling.lifecycle.wait import Wait
        from airflow_kling.lifecycle.watch import watch

        task, conn_id = submitted.task, submitted.kling_conn_id
        deadline = time.time() + self.timeout
        if self.deferrable and not task.status.ended:
            from airflow_kling.triggers.kling import KlingTaskTrigger

            called_back = self._own_callback_url is not None
            trigger = KlingTaskTrigger(task.task_id, task.family, conn_id, self.poll_interval, deadline, called_back)
            self._defer(trigger, self.execute_complete.__name__, self.timeout)
        wait = Wait(task.task_id, poll_interval=self.poll_interval, deadline=deadline, status=task.status)
        decision = watch(wait, lambda: KlingHook(conn_id).client, task.family, self.log)
        return end_of(decision, task.task_id, task.family, conn_id)

    def finish(self, context: Mapping[str, Any], end: End) -> dict[str, Any]:
        """Store what a task made, and return the manifest."""
        from airflow_kling.hooks.kling import KlingHook

        hook = KlingHook(end.kling_conn_id)
        task = task_of(self, context, hook, end)
        manifest = collect_made(self, context, hook, [task], borders=self.borders(task))
        if self.reuse:
            from airflow_kling.operators.records import keep_for_reuse

            keep_for_reuse(self, context, manifest)
        return push(context, self.outlets, manifest)

    def _defer(self, trigger: Any, method_name: str, seconds: float) -> None:
        self.defer(trigger=trigger, method_name=method_name, timeout=timedelta(seconds=seconds + DEFERRAL_MARGIN))
