"""The operators that make clips: from a picture, from text, and by extending another clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_kling.api.rules import IMAGE_TO_VIDEO, TEXT_TO_VIDEO, VIDEO_EXTENSION
from airflow_kling.operators.fields import KlingFieldsBaseOperator, templated


class KlingImageToVideoOperator(KlingFieldsBaseOperator):
    """
    Make a clip from a picture (Kling's image to video).

    The parameters are the fields of :class:`~airflow_kling.api.requests.ImageToVideoRequest`, where their limits
    stand, and those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`. What is None is not sent. Pictures
    are an https URL, which is passed on unread; a path as the worker sees it; a storage URI such as
    ``s3://conn@bucket/key``; or the output of another Kling operator. All but the bools are templated.

    :param image: First frame.
    :param image_tail: Last frame. One of the two is needed.
    :param image_index: Which output of another operator's task is the first frame, from 0.
    :param prompt: What happens.
    :param negative_prompt: What must not show.
    :param model_name: E.g. ``kling-v2-6``. One that no document lists is sent, with a warning.
    :param mode: ``std``, ``pro`` or ``4k``.
    :param duration: Seconds.
    :param sound: ``on`` or ``off``, or a bool.
    :param cfg_scale: How closely to keep to the prompt, 0-1.
    :param static_mask: Picture of what must not move.
    :param dynamic_masks: Mappings with ``mask``, a picture, and ``trajectories``.
    :param camera_control: Mapping with ``type`` and ``config``.
    :param element_list: Mappings with ``element_id``.
    :param voice_list: Mappings with ``voice_id``.
    :param multi_shot: Whether to make several shots.
    :param shot_type: ``customize`` or ``intelligence``.
    :param multi_prompt: Mappings with ``index``, ``prompt`` and ``duration``.
    :param watermark: Whether to make a watermarked clip beside.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family = IMAGE_TO_VIDEO
    template_fields: Sequence[str] = templated(IMAGE_TO_VIDEO)

    def __init__(
        self,
        *,
        image: str | Mapping[str, Any] | Any = None,
        image_tail: str | Mapping[str, Any] | Any = None,
        image_index: int | str = 0,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        duration: int | str | None = None,
        sound: str | bool | None = None,
        cfg_scale: float | str | None = None,
        static_mask: str | Mapping[str, Any] | Any = None,
        dynamic_masks: Sequence[Mapping[str, Any]] | None = None,
        camera_control: Mapping[str, Any] | None = None,
        element_list: Sequence[Mapping[str, Any]] | None = None,
        voice_list: Sequence[Mapping[str, Any]] | None = None,
        multi_shot: bool = False,
        shot_type: str | None = None,
        multi_prompt: Sequence[Mapping[str, Any]] | None = None,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.image_tail = image_tail
        self.image_index = image_index
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.model_name = model_name
        self.mode = mode
        self.duration = duration
        self.sound = sound
        self.cfg_scale = cfg_scale
        self.static_mask = static_mask
        self.dynamic_masks = dynamic_masks
        self.camera_control = camera_control
        self.element_list = element_list
        self.voice_list = voice_list
        self.multi_shot = multi_shot
        self.shot_type = shot_type
        self.multi_prompt = multi_prompt
        self.watermark = watermark
        self._check_constants()


class KlingTextToVideoOperator(KlingFieldsBaseOperator):
    """
    Make a clip from text (Kling's text to video).

    The parameters are the fields of :class:`~airflow_kling.api.requests.TextToVideoRequest`, where their limits stand,
    and those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`. What is None is not sent. All but the
    bools are templated.

    :param prompt: What the clip shows; only ``multi_prompt`` can replace it.
    :param negative_prompt: What must not show.
    :param model_name: E.g. ``kling-v2-6``. One that no document lists is sent, with a warning.
    :param mode: ``std``, ``pro`` or ``4k``.
    :param duration: Seconds.
    :param aspect_ratio: ``16:9``, ``9:16`` or ``1:1``.
    :param sound: ``on`` or ``off``, or a bool.
    :param cfg_scale: How closely to keep to the prompt, 0-1.
    :param camera_control: Mapping with ``type`` and ``config``.
    :param multi_shot: Whether to make several shots.
    :param shot_type: ``customize`` or ``intelligence``.
    :param multi_prompt: Mappings with ``index``, ``prompt`` and ``duration``.
    :param watermark: Whether to make a watermarked clip beside.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family = TEXT_TO_VIDEO
    template_fields: Sequence[str] = templated(TEXT_TO_VIDEO)

    def __init__(
        self,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        model_name: str | None = None,
        mode: str | None = None,
        duration: int | str | None = None,
        aspect_ratio: str | None = None,
        sound: str | bool | None = None,
        cfg_scale: float | str | None = None,
        camera_control: Mapping[str, Any] | None = None,
        multi_shot: bool = False,
        shot_type: str | None = None,
        multi_prompt: Sequence[Mapping[str, Any]] | None = None,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.model_name = model_name
        self.mode = mode
        self.duration = duration
        self.aspect_ratio = aspect_ratio
        self.sound = sound
        self.cfg_scale = cfg_scale
        self.camera_control = camera_control
        self.multi_shot = multi_shot
        self.shot_type = shot_type
        self.multi_prompt = multi_prompt
        self.watermark = watermark
        self._check_constants()


class KlingExtendVideoOperator(KlingFieldsBaseOperator):
    """
    Make a clip four to five seconds longer (Kling's video extension).

    The parameters are the fields of :class:`~airflow_kling.api.requests.ExtendVideoRequest`, where their limits stand,
    and those of :class:`~airflow_kling.operators.base.KlingTaskBaseOperator`. What is None is not sent. All but the
    bool are templated.

    :param video_id: Id of the clip, which is not that of its task; or the output of another Kling operator.
    :param video_index: Which output of another operator's task, from 0.
    :param prompt: What happens.
    :param negative_prompt: What must not show.
    :param cfg_scale: How closely to keep to the prompt, 0-1.
    :param watermark: Whether to make a watermarked clip beside.
    :raises KlingInputError: naming field, value, limit and what to do.
    """

    family = VIDEO_EXTENSION
    template_fields: Sequence[str] = templated(VIDEO_EXTENSION)

    def __init__(
        self,
        *,
        video_id: str | Mapping[str, Any] | Any,
        video_index: int | str = 0,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        cfg_scale: float | str | None = None,
        watermark: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.video_id = video_id
        self.video_index = video_index
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.cfg_scale = cfg_scale
        self.watermark = watermark
        self._check_constants()
