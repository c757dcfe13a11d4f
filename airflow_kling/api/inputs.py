"""A refused input, as a pure exception; light, for DAG files import it."""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_kling.api.redact import redact

SHOWN_VALUE_LENGTH = 80


class InputFault(ValueError):
    """
    An input that Kling would refuse, found before anything is sent.

    The contract knows nothing of Airflow, yet a DAG author who builds a request by hand must meet an error that does
    not burn retries. So the one subclass that the faces define (``KlingInputError``) takes this class's place as soon
    as it is imported.

    :param field: Name of the parameter.
    :param value: What was given; shown shortened and redacted.
    :param limit: What is allowed.
    :param advice: What to do.
    """

    _face: ClassVar[type[InputFault] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if InputFault._face is None:
            InputFault._face = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> InputFault:
        return super().__new__(InputFault._face if cls is InputFault and InputFault._face else cls, *args)

    def __init__(self, field: str, value: object, limit: str, advice: str) -> None:
        self.field, self.value, self.limit, self.advice = field, shown(value), limit, advice
        super().__init__(field, value, limit, advice)
        self.args = (field, self.value, limit, advice)

    def __str__(self) -> str:
        return f"{self.field}={self.value}: must be {self.limit}; {self.advice}"


def shown(value: object) -> str:
    """Return the value as it may appear in a message: redacted, one line, at most 80 characters."""
    text = redact(value if isinstance(value, str) else repr(value))
    return text if len(text) <= SHOWN_VALUE_LENGTH else f"{text[: SHOWN_VALUE_LENGTH - 1]}…"
