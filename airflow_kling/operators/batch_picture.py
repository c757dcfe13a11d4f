"""One picture of a batch: what submits it, what comes after, and what is kept of it; loaded when a task runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_kling.api.faults import ApiFault
from airflow_kling.api.inputs import InputFault
from airflow_kling.api.redact import reason_of
from airflow_kling.exceptions import KlingError, KlingTransientError

if TYPE_CHECKING:
    from airflow_kling.api.calls import TaskRequest
    from airflow_kling.api.models import Task
    from airflow_kling.lifecycle.collect import Edit, Fetch
    from airflow_kling.lifecycle.record import Record
    from airflow_kling.lifecycle.source import Source
    from airflow_kling.operators.work import Step


class Reading:
    """A step whose source is read in another way."""

    def __init__(self, step: Step, read: Callable[[], Source]) -> None:
        self._step = step
        self._read = read

    def read_source(self) -> Source:
        try:
            return self._read()
        except (ApiFault, InputFault, KlingError):
            raise
        except Exception as error:  # whatever a storage raises
            text = reason_of(error)
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
        return Reading(operator, lambda: held or operator.read_source())

    def forget(self) -> None:
        """Let go of what was read: it is sent."""
        self._source = None

    def took(self, task: Task, fetch: Fetch) -> bool:
        """Take a task that succeeded; returns whether another follows."""
        self.tasks.append(task)
        return False

    def borders(self, task: Task) -> Mapping[int, Sequence[float]]:
        """Return where the source lies in what was stored, by the outputs' index."""
        borders: Mapping[int, Sequence[float]] = self._operator.borders(task)
        return borders

    def edit(self) -> Edit | None:
        """Return what finishes the picture that came back, if anything does."""
        return None
