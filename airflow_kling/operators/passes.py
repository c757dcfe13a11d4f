"""One pass of a reframing: what it begins with, what came back, and the finish of the last; loaded when a task runs."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_kling.api.families import OutputKind
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.models import Output, Task, TaskStatus
from airflow_kling.exceptions import errors_for
from airflow_kling.hooks.kling import KlingHook
from airflow_kling.hooks.storage import storage_path
from airflow_kling.lifecycle.collect import DEFAULT_NAME, Edit, collect, manifest
from airflow_kling.lifecycle.fingerprint import source_of_task
from airflow_kling.lifecycle.original import Original, fetch_original, read_original
from airflow_kling.lifecycle.source import Source
from airflow_kling.media.edit import finish_picture, pasted_size
from airflow_kling.media.picture import MADE, open_upright, upright_size

if TYPE_CHECKING:
    from airflow_kling.api.models import ExpandRequest
    from airflow_kling.lifecycle.collect import Fetch
    from airflow_kling.media.reframe import Border, Plan
    from airflow_kling.operators.expand import KlingExpandImageOperator

MAX_SIDE = 65_500
"""Pixels: no JPEG can have more."""
MAX_PIXELS = 178_956_970
"""Where Pillow, and whoever opens the result with it, refuses a picture; about 540 MB."""

WORTH_A_WARNING = 0.05
"""Share of the source's area that is lost beyond what was planned, because a picture came back in another shape."""


class PassStep:
    """
    One pass, as :func:`airflow_kling.operators.work.make_work` wants what is to be made.

    :param todo: Begins with this pass.
    :param picture: Gives the picture that it begins with; asked only when it is about to be submitted.
    """

    def __init__(self, operator: KlingExpandImageOperator, todo: Plan, picture: Callable[[], Original]) -> None:
        self._operator = operator
        self._each = todo.passes[0]
        self._picture = picture

    def read_source(self) -> Source:
        return self._picture().cut(self._each.crop)

    def build_request(self, source: Source, external_id: str | None) -> ExpandRequest:
        return self._operator.expand_request(source, external_id, self._each.ratios, self._each.n)

    def parameters(self, source: Source) -> Mapping[str, Any]:
        return self.build_request(source, None).parameters()


def original_of(operator: KlingExpandImageOperator, fetch: Fetch | None = None) -> Original:
    """
    Return the picture that an operator begins with.

    :param fetch: Gives the bytes behind a URL; by default as the operator's connection allows.
    """
    with errors_for():
        return read_original(
            operator.image,
            resolve=operator.read_source,
            open_path=storage_path,
            fetch=fetch or (lambda url: KlingHook(operator.kling_conn_id).fetch(url)),
        )


def sound(operator: KlingExpandImageOperator, original: Original) -> Original:
    """
    Return the source, decoded once where it is to be pasted back: damage is found before anything is paid.

    :raises InputFault: for a damaged one.
    """
    if operator.preserve_original:
        open_upright(io.BytesIO(original.data), original.name)
    return original


def check_final(operator: KlingExpandImageOperator, plan: Plan) -> None:
    """
    Refuse a final picture that cannot be made in memory, before the first pass is paid.

    :raises InputFault: with what is too large.
    """
    if not (operator.preserve_original or plan.resize):
        return
    width, height = pasted_size(plan) if plan.passes else plan.final_size
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        limit = f"at most {MAX_SIDE:,} px on each side and {MAX_PIXELS:,} in all, to be made in memory"
        field = "size" if plan.resize else "preserve_original"
        raise InputFault(field, f"a final picture of {width}x{height} px", limit, "ask for a smaller one")


def came_back(task: Task, fetch: Fetch) -> Original:
    """Return the picture that a pass made, for the next one to begin with."""
    with errors_for(f"task {task.task_id}, which is paid and kept"):
        source = Source(task.outputs[0].url, source_of_task(task.task_id, task.outputs[0].index))
        return fetch_original(source, fetch, "the picture that the next pass begins with", MADE)


def edit_of(
    operator: KlingExpandImageOperator,
    plan: Plan,
    rest_of: Callable[[int, int], Plan],
    original: Callable[[], Original],
    borders: dict[int, Border],
) -> Edit:
    """
    Return what finishes the picture that came back from the last pass, where it is stored.

    :param rest_of: Gives what is left of it, for a width and height that came back.
    :param original: Gives the picture that all began with.
    :param borders: Takes where the source lies in each picture, by its index.
    """

    def edit(stream: BinaryIO, output: Output) -> bytes | None:
        rest = rest_of(*upright_size(stream, f"picture {output.index} of the task", MADE))
        if rest.lost > plan.lost + WORTH_A_WARNING:
            text = "Picture %d came back in another shape than ordered: %.0f %% of the source is cut off"
            operator.log.warning(text, output.index, 100 * rest.lost)
        borders[output.index] = rest.border
        return finish_picture(stream, rest, original().data if operator.preserve_original else None)

    return edit


def keep_picture(operator: KlingExpandImageOperator, plan: Plan, original: Original, name: str) -> dict[str, Any]:
    """
    Store a picture that needs no pass: nothing is sent and nothing paid, and so there is no remote task.

    :param name: Stands for the task's id in the file's name.
    """
    task = Task(operator.family, name, status=TaskStatus.SUCCEEDED, outputs=(Output(0, OutputKind.IMAGE, ""),))
    stored = collect(
        task,
        storage_path(str(operator.output_path)),
        lambda _: iter([original.data]),
        name=operator.output_name or DEFAULT_NAME,
        edit=lambda stream, _: finish_picture(stream, plan),
    )
    row = manifest(task, operator.kling_conn_id, stored, borders={0: plan.border})
    return row | {"task_id": None, "units": 0.0}
