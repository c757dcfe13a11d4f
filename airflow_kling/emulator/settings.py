"""How an emulator behaves: its settings, their defaults, and the two dialects it speaks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from airflow_kling.api.families import FAMILIES, OutputKind

DEFAULT_KEY = "emulator-key"
DEFAULT_ACCESS_KEY = "emulator-access"
DEFAULT_SECRET_KEY = "emulator-secret-of-at-least-32-bytes!"  # noqa: S105 - it opens nothing but this emulator

DAY = 86_400.0

RESULT_LIFETIME = 30 * DAY
"""Seconds that results are kept (Kling's documents: "cleared after 30 days")."""


class Dialect(StrEnum):
    """Whose API is spoken; the value is the path's prefix."""

    KLING = "/v1"
    GATEWAY = "/kling/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorSettings:
    """
    How an emulator behaves.

    :param latency: Seconds from accepting a task to its end; making the picture can take longer.
    :param quota: Concurrency slots per account; None for no limit.
    :param keys: API keys that are accepted; None for any.
    :param key_pairs: AccessKey to SecretKey.
    :param pictures: ``real`` expands each picture, ``canned`` answers with the same tiny one (for load tests).
    :param clips: ``real`` films each picture, ``canned`` answers with the same tiny one, as canned pictures do.
    :param engine: How real pictures are continued: ``patchmatch`` paints them on, ``reflect`` mirrors them, which is
        quicker; ``auto`` takes the first where it is installed.
    :param virtual_clock: Whether time stands still except when it is advanced.
    :param seed: Of the pictures and of faults with a probability.
    :param stall_seconds: How long a stalled answer is held back.
    :param gateway_lookup: Whether ``/kling/v1`` finds tasks by external id, and so refuses duplicates.
    :param gateway_list: Whether ``/kling/v1`` lists tasks.
    :param gateway_routes: Names of the families that ``/kling/v1`` offers; None for all.
    :param gateway_envelope: Whether ``/kling/v1`` answers a query in Kling's own form, or wrapped in a gateway's.
    """

    latency: float = 5.0
    quota: int | None = 9
    keys: Collection[str] | None = (DEFAULT_KEY,)
    key_pairs: Mapping[str, str] = field(default_factory=lambda: {DEFAULT_ACCESS_KEY: DEFAULT_SECRET_KEY})
    pictures: Literal["real", "canned"] = "real"
    clips: Literal["real", "canned"] = "real"
    engine: Literal["auto", "patchmatch", "reflect"] = "auto"
    virtual_clock: bool = False
    seed: int = 0
    stall_seconds: float = 30.0
    gateway_lookup: bool = True
    gateway_list: bool = True
    gateway_routes: Collection[str] | None = None
    gateway_envelope: Literal["native", "wrapped"] = "native"

    def __post_init__(self) -> None:
        for name in ("latency", "stall_seconds"):
            seconds = getattr(self, name)
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"{name}={seconds}: must be a number of seconds, 0 or more")
        if self.quota is not None and self.quota < 1:
            raise ValueError(f"quota={self.quota}: must be at least 1 slot, or None for no limit")
        unknown = set(self.gateway_routes or ()) - set(FAMILIES)
        if unknown:
            raise ValueError(f"gateway_routes: unknown families {', '.join(sorted(unknown))}")

    def offers(self, family: str, dialect: Dialect) -> bool:
        """Return whether that dialect has a route for the family."""
        return dialect is Dialect.KLING or self.gateway_routes is None or family in self.gateway_routes

    def looks_up(self, dialect: Dialect) -> bool:
        """Return whether that dialect knows external ids."""
        return dialect is Dialect.KLING or self.gateway_lookup

    def cans(self, kind: OutputKind) -> bool:
        """Return whether all tasks with outputs of that kind answer with the same."""
        return self.pictures == "canned" or (kind is OutputKind.VIDEO and self.clips == "canned")

    def lists(self, dialect: Dialect) -> bool:
        """Return whether that dialect lists tasks."""
        return dialect is Dialect.KLING or self.gateway_list
