"""A picture of a batch that is reframed: planned for, and made in passes; loaded when a task runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_kling.lifecycle.batch_results import RowStatus, end_row
from airflow_kling.lifecycle.original import Original
from airflow_kling.operators.batch_picture import Plain, Reading
from airflow_kling.operators.passes import PassStep, came_back, check_final, edit_of, keep_picture, original_of, sound
from airflow_kling.operators.target import target_of

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.collect import Edit, Fetch
    from airflow_kling.lifecycle.record import Record
    from airflow_kling.lifecycle.source import Source
    from airflow_kling.media.reframe import Border
    from airflow_kling.operators.work import Step

#: Pixels are decoded one picture at a time: a large one takes a hundred megabytes.
PIXELS = threading.Lock()


class Reframed(Plain):
    """A picture that is planned for, in as many tasks as that takes."""

    def __init__(self, operator: Any, fetch: Fetch) -> None:
        super().__init__(operator)
        self._original = cache(lambda: original_of(operator, fetch))
        self._picture: Callable[[], Original] = lambda: sound(operator, self._original())
        self._plan: Any = None
        self._todo: Any = None
        self._read = False
        self._borders: dict[int, Border] = {}

    def read(self) -> str:
        identity = self._original().source.identity
        self._read = True
        return identity

    def price(self, recorded: Record | None) -> tuple[int, float | None, int]:
        if recorded is not None and recorded.source_size:
            self.source_size = recorded.source_size
        else:
            self.source_size = self._original().size
        self._plan = self._todo = target_of(self._operator).plan(*self.source_size)
        if recorded is None:
            check_final(self._operator, self._plan)
        if not self._plan.passes:
            return 0, 0.0, 0
        weight = 4 * len(self._original().data) if self._read else 0
        return self._plan.passes[0].n, self._plan.units, weight

    def keep(self, name: str) -> dict[str, Any]:
        """Store a picture that needs no pass."""
        with PIXELS:
            row = keep_picture(self._operator, self._plan, self._original(), name)
        return end_row(
            RowStatus.SUCCEEDED,
            family=row["family"],
            kling_conn_id=row["kling_conn_id"],
            outputs=row["outputs"],
            units=0.0,
        )

    def price_of(self, request: TaskRequest) -> float | None:
        units: float | None = self._plan.units
        return units

    @property
    def needs_pass(self) -> bool:
        """Whether anything is to be submitted."""
        return bool(self._plan.passes)

    def step(self) -> Step:
        step = PassStep(self._operator, self._todo, self._picture)

        def read() -> Source:
            with PIXELS:
                return step.read_source()

        return Reading(step, read)

    def forget(self) -> None:
        self._original.cache_clear()
        self._picture = lambda: self._original()

    def took(self, task: Task, fetch: Fetch) -> bool:
        came = came_back(task, fetch) if self._todo.passes[1:] else None
        # Only now: what could not be fetched is taken again.
        self.tasks.append(task)
        self.number = len(self.tasks)
        if came is None:
            return False
        rest = self._todo.after(*came.size)
        if not rest.passes:
            return False
        self._todo, self._picture = rest, lambda: came
        return True

    def next_price(self) -> tuple[int, int]:
        """Return the slots of the next pass, and the bytes that its picture holds."""
        return self._todo.passes[0].n, 4 * len(self._picture().data)

    def borders(self, task: Task) -> Mapping[int, Sequence[float]]:
        return self._borders

    def edit(self) -> Edit | None:
        inner = edit_of(self._operator, self._plan, self._todo.after, self._original, self._borders)

        def edit(stream: Any, output: Any) -> bytes | None:
            with PIXELS:
                return inner(stream, output)

        return edit
