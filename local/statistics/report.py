"""The last days' statistics, and how much of them is in Valkey."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import redis

from local.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from local.stack import Stack

REPORTED_DAYS = 7

_REPORT = """
SELECT stat_date, count() AS keys, sum(visit) AS visits, sum(dau) AS dau, sum(pv) AS pv
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
GROUP BY stat_date
ORDER BY stat_date
"""


def last_full_days(timezone: str, count: int, now: datetime | None = None) -> tuple[date, date]:
    """Return the first and the last of the newest days that have ended in the zone."""
    today = (now or datetime.now(UTC)).astimezone(ZoneInfo(timezone)).date()
    return today - timedelta(days=count), today - timedelta(days=1)


def print_report(stack: Stack, now: datetime | None = None) -> bool:
    """Print the last days' statistics and the cache's size. True when every day is there."""
    settings = stack.settings
    first, last = last_full_days(settings.timezone, REPORTED_DAYS, now)
    rows = _statistics(stack, first, last)
    print(f"\nmax_device_statistic, last {REPORTED_DAYS} full days in {settings.timezone}:")
    print(f"  {'day':<12}{'keys':>8}{'visits':>14}{'dau':>14}{'pv':>14}")
    for number in range(REPORTED_DAYS):
        day = (first + timedelta(days=number)).isoformat()
        figures = rows.get(day)
        print(f"  {day:<12}" + (_figures(figures) if figures else f"{'no statistics':>22}"))
    print(f"Valkey: {_count_keys(stack)} keys {settings.valkey_prefix}:daily:*")
    return len(rows) == REPORTED_DAYS


def _statistics(stack: Stack, first: date, last: date) -> dict[str, list[Any]]:
    answer = stack.clickhouse.query(
        _REPORT, default_format="JSONCompactEachRow", param_first=first.isoformat(), param_last=last.isoformat()
    )
    rows = [json.loads(line) for line in answer.splitlines()]
    return {row[0]: row[1:] for row in rows}


def _figures(figures: Sequence[Any]) -> str:
    # 64-bit integers may come as texts in JSON.
    keys, visits, dau, pv = (int(value) for value in figures)
    return f"{keys:>8,}{visits:>14,}{dau:>14,}{pv:>14,}"


def _count_keys(stack: Stack) -> int:
    prefix = stack.settings.valkey_prefix
    escaped = "".join(f"\\{character}" if character in "\\*?[]^" else character for character in prefix)
    try:
        with stack.valkey.client() as client:
            # SCAN may name a key twice.
            return len(set(client.scan_iter(match=f"{escaped}:daily:*", count=1000)))
    except redis.RedisError as error:
        raise StackError(f"Valkey at {stack.valkey.address} cannot be asked: {error}") from error
