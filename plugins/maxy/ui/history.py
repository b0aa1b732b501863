"""Days of a key over time, from ClickHouse."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from maxy.realtime.clock import from_ms
from maxy.statistics_day import StatisticsDay
from maxy.ui.models import METRICS, DailyDay, DayState, Figures, History, HistoryDay, Key
from maxy.valkey.text import utc_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.realtime.clickhouse import Columns
    from maxy.ui.sources import Sources

#: The DAG that computes the days.
DAILY_DAG_ID = "device_statistic_daily"
#: The longest range that is answered.
MOST_DAYS = 400
#: Days that are shown unless others are asked for.
DEFAULT_DAYS = 30
# What the table's type of a day can hold, with a week to spare.
_FIRST_DAY, _LAST_DAY = date(1971, 1, 1), date(2148, 1, 1)
_WEEK = timedelta(days=7)
_HEALTH_DAYS = 14
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


async def history(sources: Sources, key: Key, first: date, last: date) -> History:
    """Return the days of a key.

    :raises maxy.ui.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    zone, today = (await sources.settings()).timezone, await sources.today()
    rows = await sources.select(
        "ui/history.sql",
        {
            "first": first - _WEEK,
            "last": last,
            "package_nm": key.package_nm,
            "server_type": key.server_type,
            "os_type": key.os_type,
            "most": MOST_DAYS + _WEEK.days,
        },
    )
    computed = await _computed_days(sources, first, last)
    figures, updated = _by_day(rows)
    days = [
        _day(StatisticsDay(first + timedelta(days=index), zone), today, figures, updated, computed.keys())
        for index in range((last - first).days + 1)
    ]
    return History(timezone=zone.key, first=str(first), last=str(last), dag_id=DAILY_DAG_ID, days=days)


async def daily(sources: Sources) -> list[DailyDay]:
    """Return what the table has of the last days, newest first.

    :raises maxy.ui.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    today = await sources.today()
    every = [today - timedelta(days=days) for days in range(1, _HEALTH_DAYS + 1)]
    computed = await _computed_days(sources, every[-1], every[0])
    return [
        DailyDay(
            stat_date=str(day),
            state=DayState.PRESENT if str(day) in computed else DayState.MISSING,
            keys=computed.get(str(day), (0, 0))[0],
            updated_at=utc_iso(from_ms(computed[str(day)][1])) if str(day) in computed else None,
        )
        for day in every
    ]


async def recent_keys(sources: Sources, most: int) -> list[Key]:
    """Return the keys of the last 30 days, sorted; at most ``most + 1``.

    :raises maxy.ui.sources.SourceUnavailable: ClickHouse or the settings cannot be asked.
    """
    today = await sources.today()
    result = await sources.select(
        "ui/keys.sql", {"first": today - timedelta(days=_KEY_DAYS), "last": today, "most": most + 1}
    )
    columns = (result[name] for name in ("package_nm", "server_type", "os_type"))
    return [
        Key(package_nm=package, server_type=server, os_type=system)
        for package, server, system in zip(*columns, strict=True)
    ]


def as_csv(answer: History, key: Key) -> str:
    """Write the days as CSV, with the names of the table's columns.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["stat_date", "package_nm", "server_type", "os_type", *METRICS, "updated_at", "state"])
    for day in answer.days:
        figures: Mapping[str, Any] = day.figures or {}
        writer.writerow(
            [
                day.stat_date,
                _harmless(key.package_nm),
                key.server_type,
                _harmless(key.os_type),
                *(figures.get(metric) for metric in METRICS),
                day.updated_at,
                day.state,
            ]
        )
    return text.getvalue()


def _harmless(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


async def _computed_days(sources: Sources, first: date, last: date) -> dict[str, tuple[int, int]]:
    """Return, for each day that has rows, how many keys, and when the newest was computed (epoch ms)."""
    result = await sources.select("ui/days.sql", {"first": first, "last": last, "most": MOST_DAYS})
    columns = (result[name] for name in ("day", "keys", "updated_ms"))
    return {day: (keys, updated_ms) for day, keys, updated_ms in zip(*columns, strict=True)}


def _by_day(rows: Columns) -> tuple[dict[str, Figures], dict[str, str]]:
    days = rows["day"]
    columns = {metric: rows[metric] for metric in METRICS}
    figures: dict[str, Figures] = {
        day: {metric: columns[metric][index] for metric in METRICS} for index, day in enumerate(days)
    }
    updated = {day: utc_iso(from_ms(ms)) for day, ms in zip(days, rows["updated_ms"], strict=True)}
    return figures, updated


def _day(
    day: StatisticsDay,
    today: date,
    figures: Mapping[str, Figures],
    updated: Mapping[str, str],
    computed: Any,
) -> HistoryDay:
    name = str(day)
    if name in figures:
        state = DayState.PRESENT
    elif name in computed:
        state = DayState.NO_ROW
    else:
        state = DayState.MISSING if day.date < today else DayState.NOT_DUE
    return HistoryDay(
        stat_date=name,
        start=utc_iso(day.start),
        end=utc_iso(day.end),
        state=state,
        figures=figures.get(name),
        week_before=figures.get(str(day.date - _WEEK)),
        updated_at=updated.get(name),
    )
