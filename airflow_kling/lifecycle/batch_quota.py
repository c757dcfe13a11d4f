"""How many of the account's slots a batch may hold: learnt from refusals (1303), probed again now and then, capped."""

from __future__ import annotations

import math

from airflow_kling.lifecycle.pressure import Pressure

FIRST_LIMIT = 8
MAX_LIMIT = 1000
FIRST_PROBE = 30.0
MIN_PROBE = 2.0
MAX_PROBE = 300.0
FIRST_PAUSE = 1.0
MAX_PAUSE = 30.0


class Quota:
    """
    The limit as it is known.

    It doubles until the first refusal, which tells the quota: what is held then is all that may be. From then on one
    task more is tried now and then, for a pack may have been bought, or another user of the account may have ended.
    Times are seconds since the epoch; ``held`` are the slots of the batch's other tasks, those under way included.

    :param cap: Slots that the batch may hold at most; None for as many as the account gives.
    :param submit_timeout: Seconds to wait for the first free slot while the batch itself holds none.
    """

    def __init__(self, cap: int | None, submit_timeout: float) -> None:
        self.cap = cap or MAX_LIMIT
        self.limit = min(FIRST_LIMIT, self.cap)
        self.paused_until = 0.0
        #: The wait for a slot while the batch holds none; over where it has none left.
        self.pressure: Pressure | None = None
        self.exhausted = False
        self._submit_timeout = submit_timeout
        self._learnt = False
        self._probe_at = math.inf
        self._probe_delay = FIRST_PROBE
        self._pause = FIRST_PAUSE

    def take(self, slots: int, held: int, now: float) -> bool:
        """Return whether a task may be tried now."""
        if now < self.paused_until or (held and held + slots > self.cap):
            return False
        if not held or held + slots <= self.limit:
            return True
        if self._learnt and now >= self._probe_at:
            self._probe_at = math.inf
            return True
        return False

    def accepted(self, slots: int, held: int, now: float) -> None:
        """
        Take note of a task that was made.

        :param held: Slots of all of the batch's tasks, this one included.
        """
        self.pressure, self._pause = None, FIRST_PAUSE
        if not self._learnt:
            self.limit = min(self.cap, self.limit + slots)
        elif held > self.limit:
            self.limit = min(self.cap, held)
            self._probe_delay = max(MIN_PROBE, self._probe_delay / 2)
            self._probe_at = now + self._probe_delay
        elif self._probe_at == math.inf:
            # The last probe told nothing: another task had ended meanwhile, or it failed for another reason.
            self._probe_at = now + self._probe_delay

    def busy(self, held: int, retry_after: float | None, now: float) -> None:
        """Take note of a task that was refused because all slots are taken."""
        if self._learnt and held >= self.limit:
            self._probe_delay = min(MAX_PROBE, self._probe_delay * 2)
        self._learnt = True
        self.limit = max(1, min(self.limit, held))
        self._probe_at = now + self._probe_delay
        if held:
            # What ends next makes room: until then the limit keeps everything back.
            self.paused_until = max(self.paused_until, now + (retry_after or 0.0))
        else:
            self._starve(retry_after, now)

    def too_fast(self, held: int, retry_after: float | None, now: float) -> None:
        """Take note of a task that was refused because requests came too fast."""
        if now < self.paused_until:
            return  # sent before the first of them was refused
        if not held:
            self._starve(retry_after, now)
            return
        self.paused_until = now + max(self._pause, retry_after or 0.0)
        self._pause = min(MAX_PAUSE, self._pause * 2)

    def _starve(self, retry_after: float | None, now: float) -> None:
        if now < self.paused_until:
            return
        pressure = self.pressure or Pressure(now, now + self._submit_timeout)
        step = pressure.next(now, retry_after)
        if step is None:
            self.exhausted = True
            return
        self.pressure, delay = step
        self.paused_until = now + delay
