"""The requests for clips and pictures beside the expansion, and one for any other family; checked on construction."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_kling.api.checks import check_callback_url, check_external_task_id
from airflow_kling.api.families import FAMILIES, Family, get_family
from airflow_kling.api.gateways import DOWN_RATIO_FIELD
from airflow_kling.api.models import LONG_TEXT, json_body
from airflow_kling.api.rules import (
    IMAGE_GENERATION,
    IMAGE_TO_VIDEO,
    PICTURE_FIELDS,
    TEXT_TO_VIDEO,
    VIDEO_EXTENSION,
    check_any_fields,
    check_extra_fields,
    check_fields,
    image_units,
    model_warnings,
    video_units,
)

Rows = Sequence[Mapping[str, Any]]


class CheckedRequest:
    """What the requests of the documented families share; their fields are the wire's, but for ``watermark``."""

    __slots__ = ()

    family: ClassVar[Family]
    external_task_id: str | None

    def __post_init__(self) -> None:
        given = _values(self)
        extra = given.pop("extra_body")
        for name, value in check_fields(self.family.name, given).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "extra_body", check_extra_fields(self.family.name, extra))

    @property
    def slots(self) -> int:
        """Concurrency slots that the task holds until it ends."""
        return 1

    @property
    def units(self) -> float | None:
        """Resource units by the list price; None where no list has it."""
        return None

    @property
    def price(self) -> float | None:
        """US dollars by the list price; None where no list has it."""
        return None if self.units is None else self.family.usd(self.units)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is worth a warning, yet may work: a model that no document lists."""
        return model_warnings(self.family.name, getattr(self, "model_name", None))

    def body(self, down_ratio_field: str = DOWN_RATIO_FIELD) -> bytes:
        """
        Return the JSON body.

        :param down_ratio_field: Of the expansion only; passed over.
        """
        return json_body(self._wire())

    def parameters(self) -> dict[str, Any]:
        """
        Return the fields of the wire that show in the result, the source picture apart.

        Further pictures are told by a hash, for they show in the result as much as a prompt does.
        """
        fields = self._wire()
        for name in ("image", "callback_url", "external_task_id"):
            fields.pop(name, None)
        return told_by_hash(fields)

    def _wire(self) -> dict[str, Any]:
        """Return the fields as they are sent; pictures come first, as in the documents."""
        values = _values(self)
        extra, watermark = values.pop("extra_body"), values.pop("watermark")
        pictures = {name: values.pop(name) for name in PICTURE_FIELDS if name in values}
        if isinstance(values.get("duration"), int):
            values["duration"] = str(values["duration"])
        values["watermark_info"] = {"enabled": True} if watermark else None
        fields = pictures | values
        given = {name: value for name, value in fields.items() if value is not None and value is not False}
        return given | dict(extra)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToVideoRequest(CheckedRequest):
    """
    A picture to be made a clip (Kling's document "Image to Video"). What is None is not sent, and so Kling's default.

    :param image: First frame: URL that Kling can read, or base64 of a JPG or PNG; at most 10 MB, at least 300 px on
        each side, between 1:2.5 and 2.5:1.
    :param image_tail: Last frame, under the same limits. One of the two is needed.
    :param prompt: What happens, at most 2,500 characters.
    :param negative_prompt: What must not show, at most 2,500 characters.
    :param model_name: E.g. ``kling-v2-6``; default ``kling-v1``. One that no document lists is sent, with a warning.
    :param mode: ``std`` (720p), ``pro`` (1080p), or ``4k`` with kling-v3; default ``std``.
    :param duration: Seconds: 5 or 10, with kling-v3 3-15; default 5.
    :param sound: ``on`` or ``off``, or a bool; kling-v2-6 (in mode ``pro``) and kling-v3 make sound.
    :param cfg_scale: How closely to keep to the prompt, 0-1; default 0.5. Not with version 2.
    :param static_mask: Picture of what must not move.
    :param dynamic_masks: Up to 6 mappings with ``mask``, a picture, and ``trajectories``, 2-77 points ``{x, y}``.
    :param camera_control: Mapping with ``type`` and, for ``simple``, ``config`` with one movement of -10 to 10. Last
        frame, masks and camera exclude each other.
    :param element_list: Up to 3 mappings with ``element_id``.
    :param voice_list: Up to 2 mappings with ``voice_id``; needs ``sound``.
    :param multi_shot: Whether to make several shots; kling-v3 does.
    :param shot_type: ``customize`` or ``intelligence``, beside ``multi_shot``.
    :param multi_prompt: Up to 6 mappings with ``index``, ``prompt`` (at most 512 characters) and ``duration``.
    :param watermark: Whether to make a watermarked clip beside.
    :param callback_url: Where Kling posts each change of state.
    :param external_task_id: An id of the client's choice, unique per account.
    :param extra_body: Fields of the wire that this class does not know yet.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: ClassVar[Family] = FAMILIES[IMAGE_TO_VIDEO]

    image: str | None = field(default=None, repr=False)
    image_tail: str | None = field(default=None, repr=False)
    prompt: str | None = None
    negative_prompt: str | None = None
    model_name: str | None = None
    mode: str | None = None
    duration: int | str | None = None
    sound: str | bool | None = None
    cfg_scale: float | None = None
    static_mask: str | None = field(default=None, repr=False)
    dynamic_masks: Rows | None = field(default=None, repr=False)
    camera_control: Mapping[str, Any] | None = None
    element_list: Rows | None = None
    voice_list: Rows | None = None
    multi_shot: bool = False
    shot_type: str | None = None
    multi_prompt: Rows | None = None
    watermark: bool = False
    callback_url: str | None = field(default=None, repr=False)
    external_task_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def units(self) -> float | None:
        """Resource units by the list price; None where no list has it."""
        seconds = None if self.duration is None else int(self.duration)
        return video_units(
            self.model_name, self.mode, seconds, sound=self.sound == "on", voices=self.voice_list is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextToVideoRequest(CheckedRequest):
    """
    A clip to be made from text (Kling's document "Text to Video"). What is None is not sent, and so Kling's default.

    :param prompt: What the clip shows, at most 2,500 characters; only ``multi_prompt`` can replace it.
    :param negative_prompt: What must not show, at most 2,500 characters.
    :param model_name: E.g. ``kling-v2-6``; default ``kling-v1``. One that no document lists is sent, with a warning.
    :param mode: ``std`` (720p), ``pro`` (1080p), or ``4k`` with kling-v3; default ``std``.
    :param duration: Seconds: 5 or 10, with kling-v3 3-15; default 5.
    :param aspect_ratio: ``16:9``, ``9:16`` or ``1:1``; default ``16:9``.
    :param sound: ``on`` or ``off``, or a bool; kling-v2-6 (in mode ``pro``) and kling-v3 make sound.
    :param cfg_scale: How closely to keep to the prompt, 0-1; default 0.5. Not with version 2.
    :param camera_control: As in :class:`ImageToVideoRequest`; kling-v1 takes it.
    :param multi_shot: Whether to make several shots; kling-v3 does.
    :param shot_type: ``customize`` or ``intelligence``, beside ``multi_shot``.
    :param multi_prompt: Up to 6 mappings with ``index``, ``prompt`` (at most 512 characters) and ``duration``.
    :param watermark: Whether to make a watermarked clip beside.
    :param callback_url: Where Kling posts each change of state.
    :param external_task_id: An id of the client's choice, unique per account.
    :param extra_body: Fields of the wire that this class does not know yet.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: ClassVar[Family] = FAMILIES[TEXT_TO_VIDEO]

    prompt: str | None = None
    negative_prompt: str | None = None
    model_name: str | None = None
    mode: str | None = None
    duration: int | str | None = None
    aspect_ratio: str | None = None
    sound: str | bool | None = None
    cfg_scale: float | None = None
    camera_control: Mapping[str, Any] | None = None
    multi_shot: bool = False
    shot_type: str | None = None
    multi_prompt: Rows | None = None
    watermark: bool = False
    callback_url: str | None = field(default=None, repr=False)
    external_task_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def units(self) -> float | None:
        """Resource units by the list price; None where no list has it."""
        seconds = None if self.duration is None else int(self.duration)
        return video_units(self.model_name, self.mode, seconds, sound=self.sound == "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendVideoRequest(CheckedRequest):
    """
    A clip of an earlier task to be gone on with, by four to five seconds (Kling's document "Video Extension").

    Its price, 2 or 3.5 units by the mode of that clip, is not known here.

    :param video_id: Id of the clip: the ``id`` of a task's output, not of the task.
    :param prompt: What happens, at most 2,500 characters.
    :param negative_prompt: What must not show, at most 2,500 characters.
    :param cfg_scale: How closely to keep to the prompt, 0-1; default 0.5.
    :param watermark: Whether to make a watermarked clip beside.
    :param callback_url: Where Kling posts each change of state.
    :param external_task_id: An id of the client's choice, unique per account.
    :param extra_body: Fields of the wire that this class does not know yet.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: ClassVar[Family] = FAMILIES[VIDEO_EXTENSION]

    video_id: str
    prompt: str | None = None
    negative_prompt: str | None = None
    cfg_scale: float | None = None
    watermark: bool = False
    callback_url: str | None = field(default=None, repr=False)
    external_task_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateImageRequest(CheckedRequest):
    """
    Pictures to be made from text, or from text and a picture (Kling's document "Image Generation").

    What is None is not sent, and so Kling's default.

    :param prompt: What the picture shows, at most 2,500 characters.
    :param negative_prompt: What must not show, at most 2,500 characters; not beside ``image``.
    :param image: Picture to go by, under the limits of :class:`ImageToVideoRequest`.
    :param image_reference: What of it counts: ``subject`` or ``face``; kling-v1-5 and kling-v2-1 take it.
    :param image_fidelity: How closely to keep to it, 0-1; default 0.5. Not with kling-v3.
    :param human_fidelity: How closely to keep to its face, 0-1; default 0.45. Beside ``subject`` only.
    :param element_list: Mappings with ``element_id``; with ``image`` at most 10.
    :param model_name: E.g. ``kling-v2-1``. One that no document lists is sent, with a warning.
    :param resolution: ``1k`` or ``2k``; default ``1k``.
    :param aspect_ratio: E.g. ``16:9``, the default; ``21:9`` not with kling-v1.
    :param n: Number of pictures, 1-9; each costs, and holds one concurrency slot.
    :param watermark: Whether to make a watermarked picture beside each.
    :param callback_url: Where Kling posts each change of state.
    :param external_task_id: An id of the client's choice, unique per account.
    :param extra_body: Fields of the wire that this class does not know yet.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: ClassVar[Family] = FAMILIES[IMAGE_GENERATION]

    prompt: str
    negative_prompt: str | None = None
    image: str | None = field(default=None, repr=False)
    image_reference: str | None = None
    image_fidelity: float | None = None
    human_fidelity: float | None = None
    element_list: Rows | None = None
    model_name: str | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    n: int = 1
    watermark: bool = False
    callback_url: str | None = field(default=None, repr=False)
    external_task_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def slots(self) -> int:
        """Concurrency slots that the task holds until it ends."""
        return self.n

    @property
    def units(self) -> float | None:
        """Resource units by the list price; None where no list has it."""
        return image_units(self.model_name, self.n, from_picture=self.image is not None)


@dataclass(frozen=True, slots=True, init=False)
class AnyRequest:
    """
    A request of any family, its fields sent as they are: for families without a class of their own.

    :param family: Name of the family, see :data:`airflow_kling.api.families.FAMILIES`.
    :param fields: The body by the wire's names; only ``n`` is checked, for it counts slots.
    :param external_task_id: An id of the client's choice, unique per account.
    :param callback_url: Where Kling posts each change of state.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: Family
    fields: Mapping[str, Any] = field(repr=False)
    external_task_id: str | None = None
    callback_url: str | None = field(default=None, repr=False)

    def __init__(
        self,
        family: str | Family,
        fields: Mapping[str, Any],
        external_task_id: str | None = None,
        callback_url: str | None = None,
    ) -> None:
        set_field = object.__setattr__
        set_field(self, "family", family if isinstance(family, Family) else get_family(family))
        set_field(self, "fields", check_any_fields(fields))
        set_field(self, "external_task_id", check_external_task_id(external_task_id))
        set_field(self, "callback_url", check_callback_url(callback_url))

    @property
    def slots(self) -> int:
        """Concurrency slots that the task holds until it ends."""
        return int(self.fields.get("n") or 1) if self.family.slots_per_output else 1

    @property
    def units(self) -> float | None:
        """Resource units by the list price, where one number says it."""
        price = self.family.units_per_output
        return None if price is None else price * int(self.fields.get("n") or 1)

    @property
    def price(self) -> float | None:
        """US dollars by the list price, where one number says it."""
        return None if self.units is None else self.family.usd(self.units)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Nothing: no model's name is looked at."""
        return ()

    def body(self, down_ratio_field: str = DOWN_RATIO_FIELD) -> bytes:
        """
        Return the JSON body.

        :param down_ratio_field: Passed over: the fields are spelled as the wire wants them.
        """
        own = {"callback_url": self.callback_url, "external_task_id": self.external_task_id}
        return json_body(dict(self.fields) | {name: value for name, value in own.items() if value})

    def parameters(self) -> dict[str, Any]:
        """Return the fields; pictures among them are told by a hash."""
        return told_by_hash(dict(self.fields))


#: The request of each family that has one of its own here.
REQUESTS: dict[str, Callable[..., CheckedRequest]] = {
    request.family.name: request
    for request in (ImageToVideoRequest, TextToVideoRequest, ExtendVideoRequest, GenerateImageRequest)
}


def told_by_hash(fields: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the fields with each picture, wherever it is, replaced by its hash.

    :param fields: Of a body.
    """
    return {name: _told(name, value) for name, value in fields.items()}


def _told(name: str, value: Any) -> Any:
    if isinstance(value, str):
        is_picture = name in (*PICTURE_FIELDS, "mask") or len(value) > LONG_TEXT
        return f"sha256:{hashlib.sha256(value.encode()).hexdigest()}" if is_picture else value
    if isinstance(value, Mapping):
        return told_by_hash(value)
    return [_told(name, row) for row in value] if isinstance(value, (list, tuple)) else value


def _values(request: Any) -> dict[str, Any]:
    return {row.name: getattr(request, row.name) for row in dataclasses.fields(request)}
