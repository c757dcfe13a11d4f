"""What is asked and what comes back: requests checked on construction; Task, TaskStatus and Output."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from airflow_kling.api.checks import (
    OWN_FIELDS,
    SIDES,
    check_area,
    check_callback_url,
    check_external_task_id,
    check_flag,
    check_image,
    check_json,
    check_n,
    check_prompt,
    check_ratio,
)
from airflow_kling.api.families import FAMILIES, IMAGE_EXPANSION, Family, OutputKind
from airflow_kling.api.gateways import DOWN_RATIO_FIELD
from airflow_kling.api.rules import PICTURE_FIELDS

LONG_TEXT = 8192
"""Characters from which on a text counts as a picture's base64, the limit of a URL."""
_COPY_STEP = 1 << 20


class TaskStatus(StrEnum):
    """The four states of a task."""

    SUBMITTED = "submitted"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (TaskStatus.SUCCEEDED, TaskStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Pack:
    """
    A resource pack of an account.

    :param name: As the vendor names it, e.g. ``Trial-Image-1000Units-9Con-1Months``.
    :param total: Units bought.
    :param remaining: Units left; the documents say that it lags up to 12 hours.
    :param ends_at: When it expires.
    :param in_force: Whether tasks are taken from it.
    """

    name: str
    total: float | None
    remaining: float | None
    ends_at: datetime | None
    in_force: bool

    @property
    def kind(self) -> str:
        """``image`` or ``video``, by its name; empty where that does not tell."""
        return next((kind for kind in ("image", "video") if kind in self.name.lower()), "")

    @property
    def concurrency(self) -> int | None:
        """Tasks at a time, by its name; None where that does not tell."""
        found = re.search(r"(?<!\d)(\d{1,4})Con(?![a-z])", self.name)
        return int(found.group(1)) if found else None


@dataclass(frozen=True, slots=True)
class Output:
    """
    One picture, clip or sound of a finished task.

    :param index: Position among the task's outputs, from 0.
    :param kind: Picture, clip or sound.
    :param url: Signed link, valid for about 30 days; never shown or stored.
    :param watermark_url: The same with a watermark, where one was asked.
    :param id: Kling's id of a clip or sound.
    :param duration: Seconds, of a clip or sound.
    """

    index: int
    kind: OutputKind
    url: str = field(repr=False)
    watermark_url: str | None = field(default=None, repr=False)
    id: str | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """
    A remote task as the API last told it.

    :param family: Name of its family.
    :param task_id: The vendor's id.
    :param external_task_id: The id that the client chose, if any.
    :param status: One of the four states; a word that is not known counts as processing.
    :param outputs: What it made; empty until it succeeded.
    :param message: The vendor's reason, mostly of a failure; redacted.
    :param units: Resource units deducted, known at the end.
    :param created_at: When it was accepted.
    :param updated_at: When it last changed.
    :param status_word: The wire's own word for the status.
    :param request_id: The vendor's id of the request that told this.
    """

    family: str
    task_id: str
    external_task_id: str | None = None
    status: TaskStatus = TaskStatus.SUBMITTED
    outputs: tuple[Output, ...] = ()
    message: str = ""
    units: float | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    status_word: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandRequest:
    """
    A picture to be given more canvas (Kling's document "Image Expansion").

    :param image: URL that Kling can read, or base64 of a JPG or PNG; a ``data:`` prefix is removed. At most 10 MB, at
        least 300 px on each side, between 1:2.5 and 2.5:1.
    :param up: New canvas above, as a multiple of the picture's height, 0-2.
    :param down: New canvas below, as a multiple of the picture's height, 0-2.
    :param left: New canvas on the left, as a multiple of the picture's width, 0-2.
    :param right: New canvas on the right, as a multiple of the picture's width, 0-2. All four together may make at
        most three times the area: ``(1 + up + down) * (1 + left + right) <= 3``.
    :param prompt: What the new canvas should show, at most 2,500 characters.
    :param n: Number of pictures, 1-9; each costs, and holds one concurrency slot.
    :param watermark: Whether to make a watermarked picture beside each.
    :param callback_url: Where Kling posts each change of state.
    :param external_task_id: An id of the client's choice, unique per account.
    :param extra_body: Fields of the wire that this class does not know yet.
    :raises InputFault: naming field, value, limit and what to do.
    """

    family: ClassVar[Family] = FAMILIES[IMAGE_EXPANSION]

    image: str = field(repr=False)
    up: float = 0.0
    down: float = 0.0
    left: float = 0.0
    right: float = 0.0
    prompt: str | None = None
    n: int = 1
    watermark: bool = False
    callback_url: str | None = field(default=None, repr=False)
    external_task_id: str | None = None
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "image", check_image(self.image))
        for side in SIDES:
            set_field(self, side, check_ratio(side, getattr(self, side)))
        check_area(self.up, self.down, self.left, self.right)
        set_field(self, "n", check_n(self.n))
        set_field(self, "watermark", check_flag("watermark", self.watermark))
        set_field(self, "prompt", check_prompt(self.prompt))
        set_field(self, "callback_url", check_callback_url(self.callback_url))
        set_field(self, "external_task_id", check_external_task_id(self.external_task_id))
        set_field(self, "extra_body", check_json("extra_body", self.extra_body, OWN_FIELDS))

    @property
    def slots(self) -> int:
        """Concurrency slots that the task holds until it ends."""
        return self.n

    @property
    def units(self) -> float:
        """Resource units by the list price."""
        return (self.family.units_per_output or 0.0) * self.n

    @property
    def price(self) -> float:
        """US dollars by the list price."""
        return self.family.usd(self.units)

    def body(self, down_ratio_field: str = DOWN_RATIO_FIELD) -> bytes:
        """
        Return the JSON body.

        The picture is copied once only: at 10 MB each further copy counts.

        :param down_ratio_field: The wire's name of the lower side's ratio.
        """
        fields = self.parameters(down_ratio_field)
        if self.callback_url:
            fields["callback_url"] = self.callback_url
        if self.external_task_id:
            fields["external_task_id"] = self.external_task_id
        return json_body({"image": self.image} | fields)

    def parameters(self, down_ratio_field: str = DOWN_RATIO_FIELD) -> dict[str, Any]:
        """
        Return the fields of the wire that show in the result, the picture itself apart.

        :param down_ratio_field: The wire's name of the lower side's ratio.
        """
        fields: dict[str, Any] = {
            "up_expansion_ratio": self.up,
            down_ratio_field: self.down,
            "left_expansion_ratio": self.left,
            "right_expansion_ratio": self.right,
            "n": self.n,
        }
        if self.prompt:
            fields["prompt"] = self.prompt
        if self.watermark:
            fields["watermark_info"] = {"enabled": True}
        return fields | dict(self.extra_body)


def json_body(fields: Mapping[str, Any]) -> bytes:
    """
    Return a JSON object; long texts are copied once only, for at 10 MB each further copy counts.

    :param fields: Its fields.
    """
    buffer = io.BytesIO()
    separator = b"{"
    for name, value in fields.items():
        buffer.write(separator + json.dumps(name).encode() + b": ")
        if isinstance(value, str) and len(value) > LONG_TEXT and name in PICTURE_FIELDS:
            buffer.write(b'"')
            for start in range(0, len(value), _COPY_STEP):
                buffer.write(value[start : start + _COPY_STEP].encode("ascii"))
            buffer.write(b'"')
        else:
            buffer.write(json.dumps(value).encode())
        separator = b", "
    buffer.write(b"}" if fields else b"{}")
    return buffer.getvalue()
