"""One picture of a batch: what submits it, what comes after, and what is kept of it; loaded when a task runs."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import redact
from airflow_kling.exceptions import KlingError, KlingTransientError
from airflow_kling.lifecycle.batch_results import RowStatus, end_row
from airflow_kling.lifecycle.original import Original
from airflow_kling.operators.reframing import (
    PassStep,
    came_back,
    check_final,
    edit_of,
    keep_picture,
    original_of,
    sound,
)

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


class _Reading:
    """
    A step whose source is read in another way.

    :param step: The step.
    :param read: Gives its source.
    """

    def __init__(self, step: Step, read: Callable[[], Source]) -> None:
        self._step = step
        self._read = read

    def read_source(self) -> Source:
        try:
            return self._read()
        except (ApiFault, InputFault, KlingError):
            raise
        except Exception as error:  # whatever a storage raises
            text = redact(f"{type(error).__name__}: {error}")
            raise KlingTransientError(f"the source cannot be read ({text}); a retry reads it again") from None

    def build_request(self, source: Source, external_id: str | None) -> TaskRequest:
        return self._step.build_request(source, external_id)

    def parameters(self, source: Source) -> Mapping[str, Any]:
        return self._step.parameters(source)


class Plain:
    """
    A picture that is sent as it is: one task.

    :param operator: Of this picture alone.
    """

    number = 0
    source_size: tuple[int, int] | None = None
    kept: dict[str, Any] | None = None

    def __init__(self, operator: Any) -> None:
        self._operator = operator
        self._source: Source | None = None
        self.tasks: list[Task] = []

    def read(self) -> str:
        """Read the source, and return what makes it this picture."""
        self._source = self._operator.read_source()
        return str(self._source.identity)

    def price(self, recorded: Record | None) -> tuple[int, float | None, int]:
        """
        Return the slots of its next task, the list price of all, and the bytes it holds; checks what was read.

        :param recorded: What is remembered of its first task.
        :raises InputFault: for a picture or parameters that Kling would refuse.
        """
        if self._source is None:
            return self._operator.slots(), None, 0
        request = self._operator.build_request(self._source, None)
        return request.slots, request.units, 3 * len(self._source.image)

    def price_of(self, request: TaskRequest) -> float | None:
        """Return the list price of all its tasks, by the request that is to be sent."""
        return request.units

    def step(self) -> Step:
        """Return what its next task is made of."""
        operator, held = self._operator, self._source
        return _Reading(operator, lambda: held or operator.read_source())

    def forget(self) -> None:
        """Let go of what was read: it is sent."""
        self._source = None

    def took(self, task: Task, fetch: Fetch) -> bool:
        """
        Take a task that succeeded; returns whether another follows.

        :param task: The task.
        :param fetch: Gives the bytes behind a URL.
        """
        self.tasks.append(task)
        return False

    def borders(self, task: Task) -> Mapping[int, Sequence[float]]:
        """
        Return where the source lies in what was stored, by the outputs' index.

        :param task: The last one.
        """
        borders: Mapping[int, Sequence[float]] = self._operator.borders(task)
        return borders

    def edit(self) -> Edit | None:
        """Return what finishes the picture that came back, if anything does."""
        return None


class Reframed(Plain):
    """
    A picture that is planned for, in as many tasks as that takes.

    :param operator: Of this picture alone.
    """

    def __init__(self, operator: Any) -> None:
        super().__init__(operator)
        self._original = cache(lambda: original_of(operator))
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
        self._plan = self._todo = self._operator.target().plan(*self.source_size)
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

        return _Reading(step, read)

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


def picture_of(operator: Any, image: Any, own: Mapping[str, Any]) -> Plain:
    """
    Return a picture of the batch.

    :param operator: The batch's.
    :param image: URL, path, storage URI, or manifest.
    :param own: Parameters of this picture alone.
    :raises InputFault: for parameters that make no sense.
    """
    one = copy.copy(operator)
    # Past the setters, which keep a DAG's dependencies up to date.
    one.__dict__.update(operator.own_parameters(own), image=image)
    one._check_constants()
    return Reframed(one) if getattr(one, "reframes", False) else Plain(one)
