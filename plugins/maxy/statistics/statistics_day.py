"""The statistics day: which date a run is for."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from maxy.days import CalendarDay

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

#: The first day that can be computed: the devices of the 30 days that end with it are looked for, and ClickHouse's Date
#: begins with 1970-01-01.
FIRST_DAY = date(1970, 1, 30)
#: The last one: Date ends with 2149-06-06, and the days before that are where the rollup puts rows that it leaves out.
LAST_DAY = date(2149, 5, 31)

_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
# Runs that Airflow makes for an interval, and for no other purpose.
_INTERVAL_RUNS = frozenset({"scheduled", "backfill"})


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


def statistics_day_of_run(dag_run: Any, params: Mapping[str, Any], timezone: ZoneInfo) -> CalendarDay:
    """Return the day that a DAG run computes. Every path to a date goes through here.

    In this order: the parameter ``stat_date``; the day on which the run's data interval begins, in the statistics time
    zone (scheduled and backfill runs); the day before the run may start, in that zone (manual runs without a logical
    date). ``ds`` is never used: it is the UTC date of the interval's start and absent in manual runs.

    A day that is asked for must not contradict the interval of a run that was made for that interval: a backfill with
    one ``stat_date`` would compute that day again and again, and none of its own.

    :param dag_run: the run, as found in a task's context.
    :param params: the run's parameters.
    :param timezone: the statistics time zone.
    :raises ValueError: if ``stat_date`` is not a date or contradicts the run's interval, naming both; or if the table
        cannot hold the day.
    """
    stat_date = params.get("stat_date")
    interval_start: datetime | None = dag_run.data_interval_start
    if stat_date is not None:
        day = parse_stat_date(str(stat_date))
        _refuse_contradiction(dag_run, day, timezone)
    elif interval_start is not None:
        day = interval_start.astimezone(timezone).date()
    else:
        run_after: datetime = dag_run.run_after
        day = run_after.astimezone(timezone).date() - timedelta(days=1)
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"stat_date {day} cannot be computed: the days of the table go from {FIRST_DAY} to {LAST_DAY}")
    return CalendarDay(day, timezone)


def _refuse_contradiction(dag_run: Any, day: date, timezone: ZoneInfo) -> None:
    """:raises ValueError: for a day that is not the one that the run was made for."""
    if not _is_made_for_its_interval(dag_run):
        return
    own = dag_run.data_interval_start.astimezone(timezone).date()
    if day != own:
        raise ValueError(
            f"stat_date {day} contradicts the run's own interval, which is the day {own} in {timezone.key}: leave"
            f" stat_date out to compute {own}, or trigger a run by hand for {day}"
        )


def _is_made_for_its_interval(dag_run: Any) -> bool:
    """Whether the interval was meant by whoever made the run.

    Airflow's form fills in a logical date and infers an interval from it, which then says nothing of the day that is
    asked for. An inferred interval ends by the logical date; one that ends later was given with the run.
    """
    if dag_run.data_interval_start is None:
        return False
    if getattr(dag_run.run_type, "value", dag_run.run_type) in _INTERVAL_RUNS:
        return True
    logical_date: datetime | None = dag_run.logical_date
    return logical_date is not None and dag_run.data_interval_end > logical_date
