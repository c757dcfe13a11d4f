"""The emulator's clock: the machine's time plus what was advanced, or a virtual time that stands still."""

from __future__ import annotations

import math
import time

VIRTUAL_START = 1_740_000_000.0
"""Seconds since the epoch at which a virtual clock starts."""


class Clock:
    """
    Tells the emulator's time.

    :param virtual: Whether time passes only when it is advanced.
    """

    def __init__(self, *, virtual: bool = False) -> None:
        self.virtual = virtual
        self.advanced = 0.0

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return (VIRTUAL_START if self.virtual else time.time()) + self.advanced

    def advance(self, seconds: float) -> None:
        """
        Let time pass.

        :param seconds: 0 or more; time never runs backwards.
        :raises ValueError: for anything else.
        """
        if isinstance(seconds, bool) or not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"advance={seconds}: must be a number of seconds, 0 or more")
        self.advanced += seconds

    def reset(self) -> None:
        """Forget what was advanced."""
        self.advanced = 0.0


def milliseconds(moment: float) -> int:
    """Return seconds since the epoch as the API's whole milliseconds."""
    return int(moment * 1000)
