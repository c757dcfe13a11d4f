"""What the demo is asked for, checked before Airflow starts: the picture, what it shall become, and the plan."""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from airflow_kling.api.checks import SIDES, check_area, check_n, check_prompt, check_ratio
from airflow_kling.api.inputs import InputFault
from airflow_kling.lifecycle.original import read_original
from airflow_kling.media.picture import encode_picture, probe_picture
from airflow_kling.media.reframe import Plan, Target

DEFAULT_ASPECT = "16:9"
_ENDINGS = {"JPEG": ".jpg", "PNG": ".png"}
#: What a message calls a parameter of the operator, for those who type.
_OPTIONS = {"aspect_ratio": "--aspect"} | {name: f"--{name}" for name in ("image", "anchor", "n", "prompt", *SIDES)}
_NO_VIDEO = ", or say for_video=False where no clip follows"


@dataclass(frozen=True, slots=True)
class Order:
    """
    A picture and what it shall become.

    :param ending: Of a copy's name, by its type.
    """

    image: Path
    data: bytes
    ending: str
    plan: Plan
    prompt: str

    @property
    def params(self) -> dict[str, Any]:
        """The DAG's params, but for the output path."""
        target = self.plan.target
        ratios = dict(zip(SIDES, target.ratios or (), strict=False))
        shape = {"aspect_ratio": target.aspect_ratio or "", "anchor": target.anchor, **ratios}
        return {"image": str(self.image), "prompt": self.prompt, "n": target.n, **shape}


def target_of(arguments: argparse.Namespace) -> Target:
    """
    Return what the picture shall become.

    :raises InputFault: for what Kling, or a clip, does not allow.
    """
    check_prompt(arguments.prompt)
    given = {side: getattr(arguments, side) for side in SIDES}
    n, anchor = check_n(arguments.n), arguments.anchor
    if all(ratio is None for ratio in given.values()):
        return Target(aspect_ratio=DEFAULT_ASPECT if arguments.aspect is None else arguments.aspect, anchor=anchor, n=n)
    if arguments.aspect is not None:
        named = ", ".join(f"--{side}" for side in SIDES if given[side] is not None)
        raise InputFault("--aspect", arguments.aspect, f"left out beside {named}", "say what is wanted, once")
    up, down, left, right = (check_ratio(side, ratio or 0.0) for side, ratio in given.items())
    check_area(up, down, left, right)
    return Target(ratios=(up, down, left, right), anchor=anchor, fit="fail", n=n)


def order_of(target: Target, image: Path, prompt: str) -> Order:
    """
    Return the order for a picture.

    :raises InputFault: for a picture that is missing, damaged or of another type, or that cannot become that.
    """
    original = read_original(str(image), resolve=_unasked, open_path=Path, fetch=_unasked)  # type: ignore[arg-type]
    if target.ratios:
        encode_picture(io.BytesIO(original.data), str(image))  # sent as it is: Kling's limits hold for it
    plan = target.plan(*original.size)
    ending = _ENDINGS[probe_picture(io.BytesIO(original.data), str(image)).format]
    return Order(image, original.data, ending, plan, prompt)


def told(fault: InputFault) -> str:
    """Return a fault in the words of the command line."""
    advice = fault.advice.replace(_NO_VIDEO, "")
    return str(InputFault(_OPTIONS.get(fault.field, fault.field), fault.value, fault.limit, advice))


def _unasked(*_: object) -> NoReturn:
    raise AssertionError("a file of this machine needs no link")
