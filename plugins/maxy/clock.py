"""The time, injected, so that tests decide what it is."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The end of the year 9998 in milliseconds since 1970: a day or so more still makes an instant.
LARGEST_MS = 253_370_764_799_999


class Clock(Protocol):
    """What the loops know of time."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that only grow, for rates."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present instant, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


def to_ms(moment: datetime) -> int:
    """Return milliseconds since 1970-01-01 UTC, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(milliseconds: int) -> datetime:
    """Return the instant so many milliseconds after 1970-01-01 UTC."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
