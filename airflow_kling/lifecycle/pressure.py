"""Back-pressure: how long to wait for a free slot of the account, and until when."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

FIRST_DELAY = 30.0
MAX_DELAY = 300.0
MAX_DOUBLINGS = 10
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Pressure:
    """
    A wait for a free slot, kept over deferrals.

    :param since: Seconds since the epoch at which it began; the oldest is served first.
    :param deadline: Seconds since the epoch at which it ends.
    :param attempts: How often the create was refused.
    """

    since: float
    deadline: float
    attempts: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what a trigger carries over a deferral."""
        return asdict(self)

    def next(
        self, now: float, retry_after: float | None, uniform: Callable[[float, float], float] = random.uniform
    ) -> tuple[Pressure, float] | None:
        """
        Return the wait after another refusal, and the seconds until the next attempt; None where its time is over.
        """
        left = self.deadline - now
        if left <= 0:
            return None
        ceiling = min(FIRST_DELAY * 2 ** min(self.attempts, MAX_DOUBLINGS), MAX_DELAY)
        delay = max(ceiling * uniform(1 - JITTER, 1 + JITTER), retry_after or 0.0)
        return replace(self, attempts=self.attempts + 1), min(delay, left)


def read_pressure(event: Mapping[str, Any] | None) -> Pressure:
    """
    Return the wait that a trigger's event carries.

    :raises ValueError: for one that is not ours.
    """
    try:
        return Pressure(**event)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(f"not an event of a Kling trigger: {error}") from None
