"""What the table and Valkey have of the daily job's last days, for the health page."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from maxy.clock import from_ms
from maxy.instants import utc_iso
from maxy.statistics.day_checks import CheckedDay, cached_counts
from maxy.statistics.web.history import DAILY_DAG_ID, MOST_DAYS, first_computed, state_of
from maxy.statistics.web.models import Daily, DailyDay, LeftOut
from maxy.web.sources import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from maxy.statistics.web.sources import StatisticsSources

#: Days that are shown.
_SHOWN_DAYS = 14
_MOST_CAUSES = 1000


async def daily(sources: StatisticsSources) -> tuple[Daily, list[CheckedDay]]:
    """Return what there is of the last days, newest first, and every day that readers may rely on, oldest first.

    What cannot be asked is said in its place.
    """
    try:
        today = await sources.today()
        checked, updated = await _checked_days(sources, today)
        earliest = await first_computed(sources)
    except SourceUnavailable as error:
        return Daily(dag_id=DAILY_DAG_ID, days=None, error=str(error)), []
    shown = [today - timedelta(days=back) for back in range(1, _SHOWN_DAYS + 1)]
    left_out, left_out_error = await _left_out(sources, shown[-1], shown[0])
    by_day = {str(day.day): day for day in checked}
    days = [
        _daily_day(day, today, earliest, by_day, updated.get(str(day)), left_out.get(str(day), [])) for day in shown
    ]
    told = Daily(
        dag_id=DAILY_DAG_ID,
        days=days,
        first_computed=str(earliest) if earliest else None,
        left_out_error=left_out_error,
    )
    return told, checked


def _daily_day(
    day: date,
    today: date,
    earliest: date | None,
    checked: Mapping[str, CheckedDay],
    updated_at: str | None,
    left_out: list[LeftOut],
) -> DailyDay:
    known = checked.get(str(day), CheckedDay(day, rows=0, keys=0))
    return DailyDay(
        stat_date=str(day),
        state=state_of(day, today, earliest, checked),
        keys=known.keys,
        rows=known.rows,
        cached_keys=known.cached_keys,
        updated_at=updated_at,
        left_out=left_out,
    )


async def _checked_days(sources: StatisticsSources, today: date) -> tuple[list[CheckedDay], dict[str, str]]:
    """Return the computed days as far back as Valkey keeps them, and when each was computed."""
    cache_days = min((await sources.settings()).daily_cache_days, MOST_DAYS)
    parameters: dict[str, Any] = {
        "first": today - timedelta(days=max(cache_days, _SHOWN_DAYS)),
        "last": today - timedelta(days=1),
        "most": MOST_DAYS,
    }
    result = await sources.select("statistics/web/checked_days.sql", parameters)
    rows = list(zip(*(result[name] for name in ("day", "rows", "keys", "updated_ms")), strict=True))
    expected = [day for name, *_ in rows if (today - (day := date.fromisoformat(name))).days <= cache_days]
    cached = await _cached(sources, expected)
    days = [CheckedDay(day := date.fromisoformat(name), count, keys, cached.get(day)) for name, count, keys, _ in rows]
    return days, {name: utc_iso(from_ms(updated_ms)) for name, *_, updated_ms in rows}


async def _cached(sources: StatisticsSources, days: Sequence[date]) -> dict[date, int]:
    """Return how many keys Valkey has of each day; nothing where it cannot be asked: the servers' status says so."""
    prefix = (await sources.settings()).prefix
    try:
        async with sources.valkey() as valkey:
            return await cached_counts(valkey, prefix, days)
    except SourceUnavailable:
        return {}


async def _left_out(sources: StatisticsSources, first: date, last: date) -> tuple[dict[str, list[LeftOut]], str | None]:
    try:
        result = await sources.select(
            "statistics/web/left_out.sql", {"first": str(first), "last": str(last), "most": _MOST_CAUSES}
        )
    except SourceUnavailable as error:
        return {}, str(error)
    found: dict[str, list[LeftOut]] = {}
    for day, cause, rows, examples in zip(
        *(result[name] for name in ("day", "cause", "rows", "examples")), strict=True
    ):
        found.setdefault(day, []).append(LeftOut(cause=cause, rows=rows, examples=list(examples)))
    return found, None
