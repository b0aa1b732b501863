"""Days of a key over time, from ClickHouse."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from maxy.clock import from_ms
from maxy.days import CalendarDay
from maxy.instants import utc_iso
from maxy.statistics.web.figures import measured
from maxy.statistics.web.models import METRICS, DayState, Figures, History, HistoryDay, Key

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from maxy.clickhouse.client import Columns
    from maxy.statistics.web.sources import StatisticsSources

#: The DAG that computes the days.
DAILY_DAG_ID = "device_statistic_daily"
#: The longest range that is answered.
MOST_DAYS = 400
#: Days that are shown unless others are asked for.
DEFAULT_DAYS = 30
# What the table's type of a day can hold, with a week to spare.
_FIRST_DAY, _LAST_DAY = date(1971, 1, 1), date(2148, 1, 1)
_WEEK = timedelta(days=7)
_KEY_DAYS = 30


class BadRange(ValueError):
    """A range of days that is not answered; the message says why."""


def day_range(first: date | None, last: date | None, today: date) -> tuple[date, date]:
    """Return the days to show, both included.

    :param first: as asked for; by default as many days before ``last`` as usual.
    :param last: as asked for; yesterday by default.
    :raises BadRange: it ends before it begins, is longer than ``MOST_DAYS``, or outside of what the table can hold.
    """
    last = _held("last", last or today - timedelta(days=1))
    first = _held("first", first or max(last - timedelta(days=DEFAULT_DAYS - 1), _FIRST_DAY))
    if first > last:
        raise BadRange(f"first: {first} is after last: {last}")
    if (last - first).days >= MOST_DAYS:
        raise BadRange(f"first: {first} to last: {last} are more than {MOST_DAYS} days")
    return first, last


def _held(name: str, day: date) -> date:
    if not _FIRST_DAY <= day <= _LAST_DAY:
        raise BadRange(f"{name}: {day} is not between {_FIRST_DAY} and {_LAST_DAY}")
    return day


async def history(sources: StatisticsSources, key: Key, first: date, last: date) -> History:
    """Return the days of a key.

    :raises maxy.web.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    zone, today = (await sources.settings()).timezone, await sources.today()
    rows = await sources.select(
        "statistics/web/history.sql",
        {
            "first": first - _WEEK,
            "last": last,
            "package_nm": key.package_nm,
            "server_type": key.server_type,
            "os_type": key.os_type,
            "most": MOST_DAYS + _WEEK.days,
        },
    )
    computed = await computed_days(sources, first - _WEEK, last)
    earliest = await first_computed(sources)
    figures, updated = _by_day(rows)

    def state(day: date) -> DayState:
        return state_of(day, today, earliest, computed, figures)

    days = [
        _day(CalendarDay(first + timedelta(days=index), zone), figures, updated, state)
        for index in range((last - first).days + 1)
    ]
    return History(
        timezone=zone.key,
        first=str(first),
        last=str(last),
        first_computed=str(earliest) if earliest else None,
        dag_id=DAILY_DAG_ID,
        days=days,
    )


async def recent_keys(sources: StatisticsSources, most: int) -> list[Key]:
    """Return the keys of the last 30 days, sorted; at most ``most + 1``.

    :raises maxy.web.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    today = await sources.today()
    result = await sources.select(
        "statistics/web/keys.sql", {"first": today - timedelta(days=_KEY_DAYS), "last": today, "most": most + 1}
    )
    return _keys(result)


async def busiest_key(sources: StatisticsSources) -> Key | None:
    """Return the busiest key of the busiest package of the newest computed days; None where there are none.

    :raises maxy.web.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    today = await sources.today()
    result = await sources.select(
        "statistics/web/busiest.sql", {"first": today - timedelta(days=_KEY_DAYS), "last": today}
    )
    keys = _keys(result)
    return keys[0] if keys else None


async def computed_days(sources: StatisticsSources, first: date, last: date) -> set[str]:
    """Return the days of a range that have rows of any key."""
    result = await sources.select(
        "statistics/web/days.sql", {"first": first, "last": last, "most": (last - first).days + 1}
    )
    return set(result["day"])


async def first_computed(sources: StatisticsSources) -> date | None:
    """Return the first day that was ever computed; None where there is none."""
    result = await sources.select("statistics/web/first_day.sql", {})
    return date.fromisoformat(result["day"][0]) if result["has_days"][0] else None


def state_of(
    day: date,
    today: date,
    first: date | None,
    computed: Collection[str],
    of_key: Collection[str] | None = None,
) -> DayState:
    """Say what the table has of a day.

    :param today: in the statistics zone.
    :param first: the first day that was ever computed; None where there is none.
    :param computed: days that have rows of any key.
    :param of_key: days that have a row of the key that is asked for; None: no key is.
    """
    name = str(day)
    if name in computed:
        return DayState.PRESENT if of_key is None or name in of_key else DayState.NO_ROW
    if day >= today:
        return DayState.NOT_DUE
    return DayState.BEFORE_FIRST if first is None or day < first else DayState.MISSING


def _keys(result: Columns) -> list[Key]:
    columns = (result[name] for name in ("package_nm", "server_type", "os_type"))
    return [
        Key(package_nm=package, server_type=server, os_type=system)
        for package, server, system in zip(*columns, strict=True)
    ]


def _by_day(rows: Columns) -> tuple[dict[str, Figures], dict[str, str]]:
    days = rows["day"]
    columns = {metric: rows[metric] for metric in METRICS}
    figures: dict[str, Figures] = {
        day: {metric: measured(metric, columns[metric][index]) for metric in METRICS} for index, day in enumerate(days)
    }
    updated = {day: utc_iso(from_ms(ms)) for day, ms in zip(days, rows["updated_ms"], strict=True)}
    return figures, updated


def _day(
    day: CalendarDay, figures: Mapping[str, Figures], updated: Mapping[str, str], state: Callable[[date], DayState]
) -> HistoryDay:
    name, before = str(day), day.date - _WEEK
    return HistoryDay(
        stat_date=name,
        start=utc_iso(day.start),
        end=utc_iso(day.end),
        state=state(day.date),
        figures=figures.get(name),
        week_before=figures.get(str(before)),
        week_before_state=state(before),
        updated_at=updated.get(name),
    )
