"""What a parameter holds: whether it was given, and whether that is final when the DAG is parsed."""

from __future__ import annotations

from collections.abc import Mapping


def is_given(value: object) -> bool:
    """Return whether a parameter says something: a rendered text may be empty."""
    return value is not None and value != ""


def is_constant(value: object) -> bool:
    """Return whether a parameter holds its final value already when the DAG is parsed."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, (Mapping, list, tuple)):
        rows = value.values() if isinstance(value, Mapping) else value
        return all(map(is_known, rows))
    return isinstance(value, (int, float, bytes))


def is_known(value: object) -> bool:
    """Return whether a value, with all that is in it, is final when the DAG is parsed; None is: not given."""
    return value is None or is_constant(value)
