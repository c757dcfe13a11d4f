"""What a create asks for once it is checked: the order that is remembered, and the job that makes its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_kling.api.families import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What is remembered of a create.

    :param watermark: Whether each output is wanted with a watermark too.
    :param mode: Of a clip; an extension has that of the clip that it extends.
    :param list_units: What it costs where the family has no one price per output.
    """

    family: Family
    n: int = 1
    external_task_id: str | None = None
    prompt: str | None = None
    watermark: bool = False
    callback_url: str | None = None
    note: str = ""
    mode: str = "std"
    list_units: float | None = None

    @property
    def slots(self) -> int:
        """Concurrency slots held until the task ends."""
        return self.n if self.family.slots_per_output else 1

    @property
    def units(self) -> float:
        """Resource units by the list price; 0 where no list has it."""
        return self.list_units if self.list_units is not None else (self.family.units_per_output or 0.0) * self.n


@dataclass(frozen=True, slots=True)
class Job:
    """
    What is needed to make the outputs of an order, and forgotten afterwards.

    :param source: Bytes of the picture or clip to work on; none where it is made from text.
    :param tail: Bytes of the picture that a clip is to end with.
    """

    source: bytes = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    tail: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FoundClip:
    """A clip of an earlier task."""

    path: Path
    mode: str
    seconds: float


@dataclass(frozen=True, slots=True)
class MadeOutput:
    """
    One output of a task, on disk.

    :param name: Its name below the task's results.
    :param fields: What the answer says of it besides the links, e.g. ``index``.
    """

    name: str
    path: Path
    fields: Mapping[str, int | str] = field(default_factory=dict)
    watermark_name: str | None = None
    watermark_path: Path | None = None

    def file(self, name: str) -> Path | None:
        """Return the file of that name, if it is one of the two."""
        return {self.name: self.path, self.watermark_name: self.watermark_path}.get(name)
