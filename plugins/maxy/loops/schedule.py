"""When the ticks of a loop are due: at a fixed rate, until a deadline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from maxy.clock import Clock

_LONGEST_BACKOFF_SECONDS = 60.0


class Schedule:
    """Says when the next tick is due.

    Ticks are due at multiples of the period after the start. One that is late because the one before took too long is
    skipped, not queued. After failures they come after growing pauses, up to a minute or the period.

    :param clock: tells the time, and waits.
    :param period_seconds: from one tick to the next.
    :param deadline: when to stop, with its zone; absolute, so that a restart in between does not move it.
    """

    def __init__(self, clock: Clock, *, period_seconds: float, deadline: datetime) -> None:
        self._clock = clock
        self._period = period_seconds
        self._deadline = deadline
        self._start = clock.monotonic()
        self._number = 0

    @property
    def due(self) -> float:
        """When the current tick is due, on the monotonic clock."""
        return self._start + self._number * self._period

    @property
    def seconds_until_due(self) -> float:
        """Seconds until the current tick is due; 0 or less if it is."""
        return self.due - self._clock.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the deadline has come."""
        return self._clock.now() >= self._deadline

    def start(self) -> None:
        """Have the first tick be due now."""
        self._start = self._clock.monotonic()
        self._number = 0

    def advance(self, *, failures: int) -> int:
        """Move on to the next tick: the first one that is not due yet, later after failures.

        :param failures: failed ticks in a row.
        :return: how many ticks were skipped because the former one took too long.
        """
        # A tick that ends exactly when the next one is due is in time.
        first = max(self._number + 1, math.ceil(round((self._clock.monotonic() - self._start) / self._period, 6)))
        skipped = first - self._number - 1
        if failures:
            pause = min(self._period * 2.0 ** min(failures - 1, 10), max(_LONGEST_BACKOFF_SECONDS, self._period))
            first = max(first, self._number + math.ceil(pause / self._period))
        self._number = first
        return skipped

    async def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the deadline."""
        left = (self._deadline - self._clock.now()).total_seconds()
        await self._clock.sleep(max(0.0, min(seconds, left)))
