"""KlingTaskSensor: waits for a task that was submitted elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_kling.api.families import IMAGE_EXPANSION, get_family
from airflow_kling.operators.finish import collect_made, task_of
from airflow_kling.operators.life import DEFERRAL_MARGIN
from airflow_kling.operators.links import LINKS, push_links
from airflow_kling.operators.push import push

if TYPE_CHECKING:
    from airflow_kling.hooks.kling import KlingHook
    from airflow_kling.lifecycle.end import End
    from airflow_kling.lifecycle.wait import Decision, Wait

FAULT_PAUSE = 5.0
"""Seconds between polls that fail, for a sensor in mode reschedule."""


class KlingTaskSensor(BaseSensorOperator):
    """
    Wait for a remote task, store what it made, and return its manifest.

    ``soft_fail``, ``never_fail``, ``timeout`` and ``poke_interval`` mean the same in both modes: a task that failed,
    any other permanent error, and a timeout skip under ``soft_fail``; errors that pass by themselves are raised, and
    Airflow retries.

    :param kling_task_id: Kling's id of the task. (templated)
    :param family: Name of the task's family, e.g. ``image-expansion``. (templated)
    :param kling_conn_id: Connection of type ``kling``; the account that made the task. (templated)
    :param output_path: Folder or prefix for the results; without one nothing is stored. (templated)
    :param output_name: What the files are called, without their ending: a text with ``{task_id}`` and ``{index}``.
        (templated)
    :param deferrable: Whether to wait in the triggerer and hold no worker; by default as ``[operators]
        default_deferrable`` says.
    :param include_urls: Whether the manifest holds the signed links, which XCom then shows.
    :param poke_interval: Seconds between polls. ``timeout``, in seconds, and all else are Airflow's own.
    :raises AirflowSensorTimeout: where the task had not ended within ``timeout``; it goes on.
    :raises KlingTaskFailed: where it failed, or the account does not know it.
    :raises KlingError: where it could not be watched any longer, or a result cannot be stored.
    """

    template_fields: Sequence[str] = ("kling_task_id", "family", "kling_conn_id", "output_path", "output_name")
    operator_extra_links = LINKS
    ui_color = "#e8f4ea"
    soft_fail: bool
    never_fail: bool

    def __init__(
        self,
        *,
        kling_task_id: str,
        family: str = IMAGE_EXPANSION,
        kling_conn_id: str = "kling_default",
        output_path: str | None = None,
        output_name: str | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        include_urls: bool = False,
        poke_interval: float | timedelta = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.kling_task_id = kling_task_id
        self.family = family
        self.kling_conn_id = kling_conn_id
        self.output_path = output_path
        self.output_name = output_name
        self.deferrable = deferrable
        self.include_urls = include_urls

    def execute(self, context: Mapping[str, Any]) -> Any:
        get_family(self.family)
        push_links(context, self.kling_task_id, self.family, lambda: self._hook.account, self.output_path)
        if not self.deferrable:
            return super().execute(context)
        from airflow_kling.triggers.kling import KlingTaskTrigger

        self.defer(
            trigger=KlingTaskTrigger(
                self.kling_task_id, self.family, self.kling_conn_id, self.poke_interval, time.time() + self.timeout
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + DEFERRAL_MARGIN),
        )
        return None

    def poke(self, context: Mapping[str, Any]) -> PokeReturnValue:
        from airflow_kling.lifecycle.end import end_of
        from airflow_kling.lifecycle.wait import Outcome

        decision = self._poll()
        while decision.outcome is Outcome.WAITING and decision.fault is not None:
            left = self._ends_at - time.monotonic()
            if not self.reschedule:
                time.sleep(max(min(decision.delay - self.poke_interval, left), 0))
                break
            if left <= 0:
                break
            # The next poke is another process, which would count the faults anew: they are counted to the end here.
            time.sleep(min(decision.delay, FAULT_PAUSE))
            decision = self._poll()
        if decision.outcome is Outcome.WAITING:
            return PokeReturnValue(False)
        end = end_of(decision, self.kling_task_id, self.family, self.kling_conn_id)
        return PokeReturnValue(True, self._finish(context, end))

    def _poll(self) -> Decision:
        from airflow_kling.lifecycle.watch import poll_once

        decision = poll_once(self._wait, self._hook.client, self.family, self.log, time.time())
        if decision.reread_key:
            del self._hook
        return decision

    def execute_complete(self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> Any:
        """
        Go on after the trigger.

        :param context: Airflow's context.
        :param event: What the trigger told.
        """
        from airflow_kling.lifecycle.end import read_event

        return self._finish(context, read_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after a deferral; errors skip where they would when poking, on every version of Airflow."""
        flags = self.soft_fail, self.never_fail
        self.soft_fail = self.never_fail = False
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException:
            raise
        except Exception as error:
            soft_fail, never_fail = flags
            # Airflow 2.11 has no class of its own for a deferral that it ended.
            timed_out = isinstance(error, AirflowSensorTimeout) or str(error) == "Trigger timeout"
            permanent = timed_out or isinstance(error, AirflowFailException)
            if (soft_fail and permanent) or (never_fail and not timed_out):
                raise AirflowSkipException(f"skipped, as soft_fail or never_fail asks: {error}") from error
            raise
        finally:
            self.soft_fail, self.never_fail = flags

    def _finish(self, context: Mapping[str, Any], end: End) -> dict[str, Any]:
        from airflow_kling.lifecycle.end import end_text
        from airflow_kling.lifecycle.wait import Outcome

        if end.outcome is Outcome.TIMED_OUT:
            raise AirflowSensorTimeout(end_text(end, self.timeout, retried=False))
        task = task_of(self, context, self._hook, end)
        return push(context, self.outlets, collect_made(self, context, self._hook, [task]))

    @cached_property
    def _ends_at(self) -> float:
        # Airflow looks at the timeout between pokes, not in one.
        return float(time.monotonic() + self.timeout)

    @cached_property
    def _hook(self) -> KlingHook:
        from airflow_kling.hooks.kling import KlingHook

        return KlingHook(self.kling_conn_id)

    @cached_property
    def _wait(self) -> Wait:
        from airflow_kling.lifecycle.wait import Wait

        # Airflow keeps the time of a sensor that pokes.
        return Wait(self.kling_task_id, poll_interval=self.poke_interval, deadline=float("inf"))
