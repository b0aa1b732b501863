"""Whether a loop is in trouble, as the watch and the health page see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from maxy.instants import utc_iso

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from maxy.loops.options import LoopSettings
    from maxy.loops.status import LoopStatus


# Clocks that NTP keeps differ by far less. A status of the future would else look fresh for as long as it is ahead.
_CLOCK_TOLERANCE_SECONDS = 10.0


class LoopState(StrEnum):
    """The states that a loop can be in."""

    OK = "ok"
    #: It has left no status.
    NEVER = "never"
    #: Ticks failed one after the other.
    FAILING = "failing"
    #: It has had no good tick for long.
    STALE = "stale"
    #: Its ticks end long after they were due.
    LATE = "late"
    #: Its ticks block the thread of all loops.
    BLOCKING = "blocking"
    #: Its status is of the future, so nothing can be said of its age.
    CLOCK = "clock"


@dataclass(frozen=True)
class LoopHealth:
    """What is to be said of a loop.

    :param state: its state.
    :param problem: what is wrong, an English sentence; None where nothing is.
    """

    state: LoopState
    problem: str | None = None


@dataclass(frozen=True)
class HealthLimits:
    """From when on a loop is in trouble.

    :param stale_periods: periods without a good tick.
    :param stale_seconds: seconds without a good tick, at the least.
    :param failures: failed ticks in a row.
    :param lag_periods: periods by which ticks end late.
    :param blocked_seconds: for which a tick blocks the thread of all loops.
    """

    stale_periods: float
    stale_seconds: float
    failures: int
    lag_periods: float
    blocked_seconds: float = 1.0

    @classmethod
    def from_settings(cls, settings: LoopSettings | Mapping[str, Any]) -> HealthLimits:
        """Take them from the settings of the watch."""
        return cls(
            stale_periods=settings["stale_periods"],
            stale_seconds=settings["stale_seconds"],
            failures=settings["failures"],
            lag_periods=settings["lag_periods"],
            blocked_seconds=settings["blocked_seconds"],
        )

    def judge(self, status: LoopStatus | None, now: datetime, *, held_up_seconds: float = 0.0) -> LoopHealth:
        """Judge a loop by its status. For what another loop has made it late by, it is in no trouble.

        :param status: as it stands in Valkey; None if there is none.
        :param held_up_seconds: for which other loops have blocked its thread since its last good tick.
        """
        if status is None:
            return LoopHealth(LoopState.NEVER, "has never ticked")
        blocks = self._blocks(status)
        error = f": {status.last_error}" if status.last_error else ""
        also = f"; {blocks}" if blocks else ""
        if status.consecutive_failures >= self.failures:
            return LoopHealth(LoopState.FAILING, f"{status.consecutive_failures} ticks failed in a row{error}{also}")
        if (ahead := _seconds_ahead(status, now)) > _CLOCK_TOLERANCE_SECONDS:
            return LoopHealth(
                LoopState.CLOCK,
                f"its status is {ahead:.0f} s ahead of the clock here: the clock of its host ({status.host}) and this"
                f" one differ, or one was set{error}",
            )
        if self.is_stale(status, now, held_up_seconds=held_up_seconds):
            since = utc_iso(status.last_success_at) if status.last_success_at else "its start"
            return LoopHealth(LoopState.STALE, f"no good tick since {since}{error}{also}")
        if blocks:
            return LoopHealth(LoopState.BLOCKING, blocks)
        if status.lag_seconds - status.held_up_seconds > self.lag_periods * status.period_seconds:
            return LoopHealth(LoopState.LATE, f"its ticks end {status.lag_seconds:.1f} s after they are due")
        return LoopHealth(LoopState.OK)

    def is_stale(self, status: LoopStatus | None, now: datetime, *, held_up_seconds: float = 0.0) -> bool:
        """Whether a loop has had no good tick for long, or ever.

        :param held_up_seconds: for which other loops have blocked its thread since its last good tick.
        """
        if status is None or status.last_success_at is None:
            return True
        limit = max(self.stale_seconds, self.stale_periods * status.period_seconds) + held_up_seconds
        return now - status.last_success_at > timedelta(seconds=limit)

    def _blocks(self, status: LoopStatus) -> str:
        """Return what is to be said of a loop that blocks the others; nothing if it does not."""
        if status.blocked_seconds <= self.blocked_seconds:
            return ""
        return f"it blocked the thread of all loops for {status.blocked_seconds:.1f} s in one tick"


def _seconds_ahead(status: LoopStatus, now: datetime) -> float:
    """Return by how many seconds a status lies in the future; 0 or less if it does not."""
    instants = [instant for instant in (status.last_tick_at, status.last_success_at) if instant is not None]
    return (max(instants) - now).total_seconds() if instants else 0.0
