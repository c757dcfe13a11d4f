"""KlingCollectOperator: the results of a task that was submitted elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.operators.finish import collect_made
from airflow_kling.operators.links import LINKS, push_links
from airflow_kling.operators.outcome import tell_failed
from airflow_kling.operators.push import push


class KlingCollectOperator(BaseOperator):
    """
    Store the results of a task that was submitted elsewhere, and return its manifest; costs nothing.

    A task that still runs is an error that a retry mends; to wait for one, use ``KlingTaskSensor``.

    :param kling_task_id: Kling's id of the task. (templated)
    :param family: Name of the task's family, e.g. ``image-expansion``. (templated)
    :param kling_conn_id: Connection of type ``kling``; the account that made the task. (templated)
    :param output_path: Folder or prefix for the results. (templated)
    :param output_name: What the files are called, without their ending: a text with ``{task_id}`` and ``{index}``.
        (templated)
    :param include_urls: Whether the manifest holds the signed links, which XCom then shows.
    :raises KlingTransientError: where the task has not ended yet.
    :raises KlingTaskFailed: where it failed, or the account does not know it.
    """

    template_fields: Sequence[str] = ("kling_task_id", "family", "kling_conn_id", "output_path", "output_name")
    operator_extra_links = LINKS
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        kling_task_id: str,
        output_path: str,
        family: str = IMAGE_EXPANSION,
        kling_conn_id: str = "kling_default",
        output_name: str | None = None,
        include_urls: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kling_task_id = kling_task_id
        self.output_path = output_path
        self.family = family
        self.kling_conn_id = kling_conn_id
        self.output_name = output_name
        self.include_urls = include_urls

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        from airflow_kling.exceptions import KlingTransientError, error_from_end
        from airflow_kling.hooks.kling import KlingHook
        from airflow_kling.lifecycle.end import end_of
        from airflow_kling.lifecycle.wait import Decision, Outcome

        hook = KlingHook(self.kling_conn_id)
        push_links(context, self.kling_task_id, self.family, lambda: hook.account, self.output_path)
        task = hook.get_task(self.kling_task_id, self.family)
        if not task.status.ended:
            raise KlingTransientError(
                f"Kling task {task.task_id} ({task.family}) is {task.status.value}: nothing to collect yet. It goes on "
                f"remotely; a retry asks again and costs nothing"
            )
        if not task.outputs:
            end = end_of(Decision(Outcome.FAILED, task=task), task.task_id, task.family, self.kling_conn_id)
            tell_failed(context, end, self.output_path, self.log)
            raise error_from_end(end, 0)
        return push(context, self.outlets, collect_made(self, context, hook, [task]))
