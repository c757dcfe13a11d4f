"""KlingExpandImageOperator: more canvas for a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_kling.api.checks import check_area, check_n, check_prompt, check_ratio
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.inputs import InputFault
from airflow_kling.lifecycle.source import check_image_source
from airflow_kling.operators.base import KlingTaskBaseOperator, is_constant

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


def _down_or_bottom(down: object, bottom: float | str) -> float | str:
    if down != 0:
        raise InputFault("bottom", bottom, "left out beside down", "they are two names of the same side: keep down")
    return bottom
