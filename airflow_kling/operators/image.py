"""KlingGenerateImageOperator: pictures from text, or from text and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kling.api.checks import check_n
from airflow_kling.api.rules import IMAGE_GENERATION
from airflow_kling.operators.fields import KlingFieldsBaseOperator, templated


class KlingGenerateImageOperator(KlingFieldsBaseOperator):
    """
    Make pictures from text, or from text and a picture (Kling's image generation).

    The parameters are the fields of :class:`~airflow_kling.api.requests.GenerateImageRequest`, where their limits
    stand, and those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`. What is None is not sent. All but
    the bool are templated.

    :param prompt: What the picture shows.
    :param negative_prompt: What must not show; not beside ``image``.
    :param image: Picture to follow: an https URL, which is passed on unread; a path as the worker sees it; a storage
        URI such as ``s3://conn@bucket/key``; or the output of another Kling operator.
    :param image_index: Which output of another operator's task, from 0.
    :param image_reference: What of it counts: ``subject`` or ``face``.
    :param image_fidelity: How closely to keep to it, 0-1.
    :param human_fidelity: How closely to keep to its face, 0-1.
    :param element_list: Mappings with ``element_id``.
    :param model_name: E.g. ``kling-v2-1``. One that no document lists is sent, with a warning.
    :param resolution: ``1k`` or ``2k``.
    :param aspect_ratio: E.g. ``16:9``.
    :param n: Number of pictures, 1-9; each costs, and holds one concurrency slot.
    :param watermark: Whether to make a watermarked picture beside each.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family = IMAGE_GENERATION
    template_fields: Sequence[str] = templated(IMAGE_GENERATION)

    def __init__(
        self,
        *,
        prompt: str,
        negative_prompt: str | None = None,
        image: str | Mapping[str, Any] | Any = None,
        image_index: int | str = 0,
        image_reference: str | None = None,
        image_fidelity: float | str | None = None,
        human_fidelity: float | str | None = None,
        element_list: Sequence[Mapping[str, Any]] | None = None,
        model_name: str | None = None,
        resolution: str | None = None,
        aspect_ratio: str | None = None,
        n: int | str = 1,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.image = image
        self.image_index = image_index
        self.image_reference = image_reference
        self.image_fidelity = image_fidelity
        self.human_fidelity = human_fidelity
        self.element_list = element_list
        self.model_name = model_name
        self.resolution = resolution
        self.aspect_ratio = aspect_ratio
        self.n = n
        self.watermark = watermark
        self._check_constants()

    def slots(self) -> int:
        return check_n(self.n)
