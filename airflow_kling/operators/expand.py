"""KlingExpandImageOperator: more canvas for a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kling.api.checks import DEFAULT_MAX_CROP, FITS, SIDES, check_choice, check_n
from airflow_kling.api.families import IMAGE_EXPANSION
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import check_index
from airflow_kling.operators.base import KlingTaskBaseOperator
from airflow_kling.operators.given import is_given
from airflow_kling.operators.target import SHAPES, check_constants, ratios_of, target_of

if TYPE_CHECKING:
    from airflow_kling.api.models import ExpandRequest, Task
    from airflow_kling.lifecycle.pressure import Pressure
    from airflow_kling.lifecycle.source import Source


class KlingExpandImageOperator(KlingTaskBaseOperator):
    """
    Give a picture more canvas (Kling's image expansion): by ratios, or by what it should become.

    Say ``aspect_ratio="16:9"``, a ``size``, or ``pixels`` for each side, and the picture is read, cut and expanded in
    as many remote tasks ("passes", at most four) as Kling's limit of three times the area needs, each planned from the
    picture that the last one made. The final picture is cut to the aspect, to a pixel, where it is stored, and its row
    in the manifest then says ``edited``. With several passes the manifest's ``task_id`` is the last one's, ``passes``
    has all of them, and ``units`` is their sum. A picture that needs no pass is stored as it is, and nothing is paid.
    ``border`` in a row is where the source lies in that picture: left, top, right and bottom as shares of it, outside
    of 0 to 1 where the source is cut.

    What is constant is checked when the DAG is parsed, everything before anything is sent. Beside the parameters
    below it takes those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`.

    :param image: An https URL, a path as the worker sees it, a storage URI such as ``s3://conn@bucket/key``, or the
        output of another Kling operator. A JPG or PNG of at most 10 MB, at least 300 px on each side, between 1:2.5
        and 2.5:1; of at most 50 MB where it is reframed. A URL is read by the worker only where the picture's size is
        needed. (templated)
    :param image_index: Which picture of another operator's output, from 0. (templated)
    :param up: New canvas above, as a multiple of the picture's height, 0-2. (templated)
    :param down: New canvas below, as a multiple of the picture's height, 0-2. (templated)
    :param left: New canvas on the left, as a multiple of the picture's width, 0-2. (templated)
    :param right: New canvas on the right, as a multiple of the picture's width, 0-2. All four together make at most
        three times the area, except with ``fit="passes"`` or ``"crop"``. (templated)
    :param bottom: Another name of ``down``.
    :param aspect_ratio: Width to height: ``"16:9"``, ``"9:16"``, ``2.39``; in place of the ratios. (templated)
    :param size: Width and height of the final picture in pixels, ``(1920, 1080)`` or ``"1920x1080"``; in place of the
        ratios. (templated)
    :param pixels: New canvas in pixels of the picture: up, down, left, right, or a mapping of some of these; in place
        of the ratios. (templated)
    :param anchor: Where the picture sits in the new canvas (``"center"``, ``"top"``, ``"bottom-left"``, …), or the
        subject's x and y as shares of the picture, ``"0.3,0.5"``. Not with ratios or pixels. (templated)
    :param fit: What to do where one pass is not enough: ``"auto"``, a crop of at most ``max_crop``, else passes;
        ``"passes"``; ``"crop"``; ``"fail"``. With ratios ``"auto"`` means ``"fail"``.
    :param max_crop: Largest share of a dimension that ``"auto"`` cuts off, 0 to below 1.
    :param for_video: Whether an ``aspect_ratio``, ``size`` or ``pixels`` must make a picture that Kling takes for a
        clip: 1:2.5 to 2.5:1, at least 300 px, and at most 10 MB, for which it is made lighter.
    :param preserve_original: Whether to paste the source over its place in the stored picture, which is enlarged to the
        source's resolution.
    :param prompt: What the new canvas should show, at most 2,500 characters. (templated)
    :param n: Number of final pictures, 1-9; each costs, and holds one concurrency slot. (templated)
    :param watermark: Whether to make a watermarked picture beside each.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family = IMAGE_EXPANSION
    template_fields: Sequence[str] = (
        *("image", "image_index", *SIDES, *SHAPES, "anchor", "prompt", "n"),
        *KlingTaskBaseOperator.template_fields,
    )

    def __init__(
        self,
        *,
        image: str | Mapping[str, Any] | Any,
        image_index: int | str = 0,
        up: float | str = 0,
        down: float | str = 0,
        left: float | str = 0,
        right: float | str = 0,
        bottom: float | str | None = None,
        aspect_ratio: str | float | None = None,
        size: Sequence[int] | str | None = None,
        pixels: Sequence[int] | Mapping[str, int] | None = None,
        anchor: str | Sequence[float] = "center",
        fit: str = "auto",
        max_crop: float = DEFAULT_MAX_CROP,
        for_video: bool = True,
        preserve_original: bool = False,
        prompt: str | None = None,
        n: int | str = 1,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.image_index = image_index
        self.up = up
        self.down = down if bottom is None else _down_or_bottom(down, bottom)
        self.left = left
        self.right = right
        self.aspect_ratio = aspect_ratio
        self.size = size
        self.pixels = pixels
        self.anchor = anchor
        self.fit = check_choice("fit", fit, FITS)
        self.max_crop = max_crop
        self.for_video = for_video
        self.preserve_original = preserve_original
        self.prompt = prompt
        self.n = n
        self.watermark = watermark
        self._check_constants()

    def slots(self) -> int:
        return check_n(self.n)

    def read_source(self) -> Source:
        from airflow_kling.operators.work import read_image

        return read_image(self.image, self.kling_conn_id, check_index("image_index", self.image_index))

    def build_request(self, source: Source, external_id: str | None) -> ExpandRequest:
        return self.expand_request(source, external_id, {side: getattr(self, side) for side in SIDES}, self.n)

    def expand_request(
        self, source: Source, external_id: str | None, ratios: Mapping[str, Any], n: int | str
    ) -> ExpandRequest:
        """
        Return the checked request of one pass.

        :param source: The picture to send.
        :param external_id: The id that we choose for the task.
        :param ratios: New canvas for each side; rendered text is turned into numbers.
        :param n: Number of pictures.
        """
        from airflow_kling.api.models import ExpandRequest

        return ExpandRequest(
            image=source.image,
            prompt=self.prompt,
            n=n,  # type: ignore[arg-type]  # the request turns rendered text into numbers
            watermark=self.watermark,
            callback_url=self.sent_callback_url,
            external_task_id=external_id,
            extra_body=self.extra_body,
            **ratios,
        )

    @property
    def reframes(self) -> bool:
        """Whether the picture is read and planned for, and not just sent on with its ratios."""
        shaped = any(is_given(getattr(self, name)) for name in SHAPES)
        return shaped or self.preserve_original or self.fit in ("passes", "crop")

    def finishing(self) -> Mapping[str, Any]:
        if not self.reframes:
            return {}
        names = (*SIDES, *SHAPES, "anchor", "fit", "max_crop", "for_video", "preserve_original", "n")
        return {name: str(getattr(self, name)) for name in names}

    def borders(self, task: Task) -> Mapping[int, Sequence[float]]:
        from airflow_kling.media.reframe import border_of_ratios

        border = border_of_ratios(**ratios_of(self))
        return {output.index: border for output in task.outputs}

    def estimate(self) -> str:
        if not self.reframes:
            return super().estimate()
        from airflow_kling.media.preview import as_text
        from airflow_kling.operators.passes import original_of

        plan = target_of(self).plan(*original_of(self).size)
        return f"{as_text(plan)}\nNothing was sent, and nothing was paid"

    def execute_complete(self, context: Mapping[str, Any], event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        if not self.reframes:
            return super().execute_complete(context, event)
        from airflow_kling.lifecycle.end import read_event
        from airflow_kling.operators.reframing import Reframing

        return Reframing(self, context).run(self.fresh_pressure(), read_event(event))

    def _run(self, context: Mapping[str, Any], pressure: Pressure) -> dict[str, Any]:
        if not self.reframes:
            return super()._run(context, pressure)
        from airflow_kling.operators.reframing import Reframing

        return Reframing(self, context).run(pressure)

    def _check_constants(self) -> None:
        """Refuse at parse time what no rendering can mend."""
        check_constants(self)


def _down_or_bottom(down: object, bottom: float | str) -> float | str:
    if down != 0:
        raise InputFault("bottom", bottom, "left out beside down", "they are two names of the same side: keep down")
    return bottom
