"""Calendar days of a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


@dataclass(frozen=True)
class CalendarDay:
    """One calendar day in a time zone.

    :param date: the calendar date.
    :param timezone: the zone in which the day begins and ends at midnight.
    """

    date: date
    timezone: ZoneInfo

    @property
    def start(self) -> datetime:
        """The day's first instant, in UTC.

        Where clocks skip midnight, this is the instant of the change, the first one that bears this date; where
        midnight comes twice, it is the earlier one.
        """
        return datetime.combine(self.date, time.min, self.timezone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        """The next day's first instant, in UTC; the day does not include it."""
        return CalendarDay(self.date + timedelta(days=1), self.timezone).start

    def __str__(self) -> str:
        return self.date.isoformat()
