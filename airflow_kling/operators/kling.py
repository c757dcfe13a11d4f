"""The operators for DAG authors, one per family of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_kling.api.checks import check_area, check_n, check_prompt, check_ratio
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.inputs import InputFault
from airflow_kling.lifecycle.source import check_image_source
from airflow_kling.operators.base import KlingTaskBaseOperator, is_constant
from airflow_kling.operators.push import push

if TYPE_CHECKING:
    from airflow_kling.api.models import ExpandRequest
    from airflow_kling.lifecycle.source import Source

SIDES = ("up", "down", "left", "right")


class KlingExpandImageOperator(KlingTaskBaseOperator):
    """
    Give a picture more canvas (Kling's image expansion).

    What is constant is checked when the DAG is parsed, everything before anything is sent. Beside the parameters
    below it takes those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`.

    :param image: An https URL, which is passed on unread; a path as the worker sees it; a storage URI such as
        ``s3://conn@bucket/key``; or the output of another Kling operator. A JPG or PNG of at most 10 MB, at least
        300 px on each side, between 1:2.5 and 2.5:1. (templated)
    :param up: New canvas above, as a multiple of the picture's height, 0-2. (templated)
    :param down: New canvas below, as a multiple of the picture's height, 0-2. (templated)
    :param left: New canvas on the left, as a multiple of the picture's width, 0-2. (templated)
    :param right: New canvas on the right, as a multiple of the picture's width, 0-2. All four together make at most
        three times the area. (templated)
    :param bottom: Another name of ``down``.
    :param prompt: What the new canvas should show, at most 2,500 characters. (templated)
    :param n: Number of pictures, 1-9; each costs, and holds one concurrency slot. (templated)
    :param watermark: Whether to make a watermarked picture beside each.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family: ClassVar[str] = IMAGE_EXPANSION
    template_fields: Sequence[str] = ("image", *SIDES, "prompt", "n", *KlingTaskBaseOperator.template_fields)

    def __init__(
        self,
        *,
        image: str | Mapping[str, Any] | Any,
        up: float | str = 0,
        down: float | str = 0,
        left: float | str = 0,
        right: float | str = 0,
        bottom: float | str | None = None,
        prompt: str | None = None,
        n: int | str = 1,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.up = up
        self.down = down if bottom is None else _down_or_bottom(down, bottom)
        self.left = left
        self.right = right
        self.prompt = prompt
        self.n = n
        self.watermark = watermark
        self._check_constants()

    def slots(self) -> int:
        return check_n(self.n)

    def read_source(self) -> Source:
        from airflow_kling.operators.work import read_image

        return read_image(self.image, self.kling_conn_id)

    def build_request(self, source: Source, external_id: str | None) -> ExpandRequest:
        from airflow_kling.api.models import ExpandRequest

        return ExpandRequest(
            image=source.image,
            up=self.up,  # type: ignore[arg-type]  # the request turns rendered text into numbers
            down=self.down,  # type: ignore[arg-type]
            left=self.left,  # type: ignore[arg-type]
            right=self.right,  # type: ignore[arg-type]
            prompt=self.prompt,
            n=self.n,  # type: ignore[arg-type]
            watermark=self.watermark,
            callback_url=self.callback_url,
            external_task_id=external_id,
            extra_body=self.extra_body,
        )

    def _check_constants(self) -> None:
        """Refuse at parse time what no rendering can mend."""
        if is_constant(self.image):
            check_image_source(self.image)
        if is_constant(self.prompt):
            check_prompt(self.prompt)
        if is_constant(self.n):
            check_n(self.n)
        ratios = [check_ratio(side, getattr(self, side)) for side in SIDES if is_constant(getattr(self, side))]
        if len(ratios) == len(SIDES):
            check_area(*ratios)


class KlingCollectOperator(BaseOperator):
    """
    Store what a task made that was submitted elsewhere, and return its manifest; costs nothing.

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
        from airflow_kling.lifecycle.end import End
        from airflow_kling.lifecycle.wait import Outcome

        hook = KlingHook(self.kling_conn_id)
        task = hook.get_task(self.kling_task_id, self.family)
        if not task.status.ended:
            raise KlingTransientError(
                f"Kling task {task.task_id} ({task.family}) is {task.status.value}: nothing to collect yet. It goes on "
                f"remotely; a retry asks again and costs nothing"
            )
        if not task.outputs:
            end = End(
                Outcome.FAILED, task.task_id, task.family, self.kling_conn_id, task.message, task.request_id, task.units
            )
            raise error_from_end(end, 0)
        manifest = hook.collect(task, self.output_path, output_name=self.output_name, include_urls=self.include_urls)
        return push(context, self.outlets, manifest)


def _down_or_bottom(down: object, bottom: float | str) -> float | str:
    if down != 0:
        raise InputFault("bottom", bottom, "left out beside down", "they are two names of the same side: keep down")
    return bottom
