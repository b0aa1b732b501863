"""A clock that a test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that moves when it is told to, and when somebody sleeps.

    :param now: where it begins, with its zone.
    :raises ValueError: for an instant without a zone.
    """

    def __init__(self, now: datetime) -> None:
        if now.tzinfo is None:
            raise ValueError(f"{now.isoformat()} carries no time zone")
        self._now = now.astimezone(UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """Return the instant that it shows, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return seconds that only grow."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Move on, without waiting."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move on."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
