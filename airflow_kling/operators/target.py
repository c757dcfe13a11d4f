"""What an expand operator's parameters say that the picture shall become, and what is refused of them at parse time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_kling.api.checks import SIDES, check_area, check_n, check_prompt, check_ratio
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.rules import check_index
from airflow_kling.lifecycle.source import check_image_source
from airflow_kling.operators.given import is_constant, is_given

if TYPE_CHECKING:
    from airflow_kling.media.reframe import Target
    from airflow_kling.operators.expand import KlingExpandImageOperator

SHAPES = ("aspect_ratio", "size", "pixels")


def ratios_of(operator: KlingExpandImageOperator) -> dict[str, float]:
    """
    Return the expansion ratio of each side.

    :param operator: With its fields rendered.
    :raises InputFault: for one that is no number from 0 to 2.
    """
    return {side: check_ratio(side, getattr(operator, side)) for side in SIDES}


def target_of(operator: KlingExpandImageOperator) -> Target:
    """
    Return what the picture shall become.

    :param operator: With its fields rendered.
    :raises InputFault: for what makes no sense, or no clip where ``for_video`` says so.
    """
    from airflow_kling.media.reframe import Target

    shapes = {name: getattr(operator, name) for name in SHAPES if is_given(getattr(operator, name))}
    ratios = ratios_of(operator)
    anchor = operator.anchor if is_given(operator.anchor) else "center"
    if not shapes:
        fit = "fail" if operator.fit == "auto" else operator.fit
        n = check_n(operator.n)
        return Target(ratios=ratios, anchor=anchor, fit=fit, n=n, for_video=False)  # type: ignore[arg-type]
    if any(ratios.values()):
        given = ", ".join(side for side, ratio in ratios.items() if ratio)
        raise InputFault(given, "given", f"left out beside {', '.join(shapes)}", "say what is wanted, once")
    return Target(
        **shapes,
        anchor=anchor,  # type: ignore[arg-type]  # checked there
        fit=operator.fit,
        max_crop=operator.max_crop,
        n=check_n(operator.n),
        for_video=operator.for_video,
    )


def check_constants(operator: KlingExpandImageOperator) -> None:
    """
    Refuse at parse time what no rendering can mend.

    :param operator: As the DAG's file gives it.
    :raises InputFault: with what to give instead.
    """
    if is_constant(operator.image):
        check_image_source(operator.image)
    if is_constant(operator.image_index):
        check_index("image_index", operator.image_index)
    if is_constant(operator.prompt):
        check_prompt(operator.prompt)
    if is_constant(operator.n):
        check_n(operator.n)
    check_stored(operator)
    known = [side for side in SIDES if is_constant(getattr(operator, side))]
    sides = {side: check_ratio(side, getattr(operator, side)) for side in known}
    shapes = [getattr(operator, name) for name in SHAPES if getattr(operator, name) is not None]
    if not shapes and operator.fit in ("auto", "fail") and len(sides) == len(SIDES):
        check_area(**sides)
    if shapes and all(map(is_constant, [*shapes, operator.anchor, operator.n])) and len(sides) == len(SIDES):
        target_of(operator)


def check_stored(operator: KlingExpandImageOperator) -> None:
    """
    Refuse what is done where the picture is stored, and stored it is not.

    :param operator: Of which these parameters are final.
    :raises InputFault: with what to give instead.
    """
    if not operator.preserve_original and not is_given(operator.size):
        return
    name = "preserve_original" if operator.preserve_original else "size"
    value = getattr(operator, name)
    if not operator.output_path:
        raise InputFault(name, value, "used with output_path", "the picture is made where it is stored")
    if not operator.wait_for_completion:
        raise InputFault(name, value, "used with wait_for_completion", "leave one of the two out")
