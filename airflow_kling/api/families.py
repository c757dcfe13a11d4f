"""The asynchronous task families of Kling's API: name, route, kind of output, slots, list price."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from airflow_kling.api.inputs import InputFault


class OutputKind(StrEnum):
    """What a family makes; :attr:`key` is the list inside ``task_result`` that holds it."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"

    @property
    def key(self) -> str:
        return f"{self.value}s"


@dataclass(frozen=True, slots=True)
class Family:
    """
    One family of asynchronous tasks, which share create, query and list.

    :param name: Name used in parameters, manifests and logs (kebab-case of the document's title).
    :param route: Path below the gateway's prefix, e.g. ``images/editing/expand``.
    :param kind: What a finished task holds.
    :param slots_per_output: Whether a task holds ``n`` concurrency slots (pictures) or one (everything else).
    :param units_per_output: List price in resource units per output, where one number says it.
    :param lookup_by_external_id: Whether the documents list a query by ``external_task_id``.
    """

    name: str
    route: str
    kind: OutputKind
    slots_per_output: bool = False
    units_per_output: float | None = None
    lookup_by_external_id: bool = True

    def usd(self, units: float) -> float:
        """
        Return what resource units cost in US dollars, by the list price of the pack that the family draws on.

        :param units: Of the list, or as deducted.
        """
        return round(units * _UNIT_USD[self.kind], 6)


_IMAGE, _VIDEO, _AUDIO = OutputKind.IMAGE, OutputKind.VIDEO, OutputKind.AUDIO
_UNIT_USD = {_IMAGE: 0.0035, _VIDEO: 0.14, _AUDIO: 0.14}

IMAGE_EXPANSION = "image-expansion"

#: Every asynchronous family of the documents. Text-to-speech, image recognition, elements and voices answer at once
#: and are no tasks.
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(IMAGE_EXPANSION, "images/editing/expand", _IMAGE, slots_per_output=True, units_per_output=8.0),
        Family("image-generation", "images/generations", _IMAGE, slots_per_output=True),
        Family("omni-image", "images/omni-image", _IMAGE, slots_per_output=True),
        Family("multi-image-to-image", "images/multi-image2image", _IMAGE, slots_per_output=True),
        Family("virtual-try-on", "images/kolors-virtual-try-on", _IMAGE),
        Family("ai-multi-shot", "general/ai-multi-shot", _IMAGE, lookup_by_external_id=False),
        Family("text-to-video", "videos/text2video", _VIDEO),
        Family("image-to-video", "videos/image2video", _VIDEO),
        Family("multi-image-to-video", "videos/multi-image2video", _VIDEO),
        Family("multi-elements", "videos/multi-elements", _VIDEO),
        Family("video-extension", "videos/video-extend", _VIDEO),
        Family("video-effects", "videos/effects", _VIDEO),
        Family("lip-sync", "videos/lip-sync", _VIDEO),
        Family("advanced-lip-sync", "videos/advanced-lip-sync", _VIDEO, lookup_by_external_id=False),
        Family("avatar", "videos/avatar/image2video", _VIDEO),
        Family("motion-control", "videos/motion-control", _VIDEO),
        Family("omni-video", "videos/omni-video", _VIDEO),
        Family("text-to-audio", "audio/text-to-audio", _AUDIO),
        Family("video-to-audio", "audio/video-to-audio", _AUDIO),
    )
}


def get_family(name: str) -> Family:
    """
    Return the family of that name.

    :raises InputFault: for a name that no document lists.
    """
    try:
        return FAMILIES[name]
    except (KeyError, TypeError):
        raise InputFault("family", name, f"one of {', '.join(FAMILIES)}", "use one of the listed names") from None
