"""The statistics day: which date a run is for, and when that day begins and ends."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True)
class StatisticsDay:
    """One calendar day in the statistics time zone.

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
        return StatisticsDay(self.date + timedelta(days=1), self.timezone).start

    def __str__(self) -> str:
        return self.date.isoformat()


def parse_stat_date(value: str) -> date:
    """Read a date written as YYYY-MM-DD.

    :raises ValueError: naming the value, if it is written in another way or is not in the calendar.
    """
    if not _ISO_DATE.fullmatch(value):
        raise ValueError(f"stat_date {value!r} is not a date of the form YYYY-MM-DD")
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"stat_date {value!r} is not in the calendar: {error}") from None


def statistics_day_of_run(dag_run: Any, params: Mapping[str, Any], timezone: ZoneInfo) -> StatisticsDay:
    """Return the day that a DAG run computes. Every path to a date goes through here.

    In this order: the parameter ``stat_date``; the day on which the run's data interval begins, in the statistics time
    zone (scheduled and backfill runs); the day before the run may start, in that zone (manual runs without a logical
    date). ``ds`` is never used: it is the UTC date of the interval's start and absent in manual runs.

    :param dag_run: the run, as found in a task's context.
    :param params: the run's parameters.
    :param timezone: the statistics time zone.
    :raises ValueError: if ``stat_date`` is not a date.
    """
    stat_date = params.get("stat_date")
    if stat_date is not None:
        return StatisticsDay(parse_stat_date(str(stat_date)), timezone)
    interval_start: datetime | None = dag_run.data_interval_start
    if interval_start is not None:
        return StatisticsDay(interval_start.astimezone(timezone).date(), timezone)
    run_after: datetime = dag_run.run_after
    return StatisticsDay(run_after.astimezone(timezone).date() - timedelta(days=1), timezone)
