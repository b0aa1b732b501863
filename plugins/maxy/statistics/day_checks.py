"""Whether the computed days are as readers rely on them: one row per key, and every key in Valkey.

Plain functions from what the servers say to findings, so that the health page and the watch judge alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from maxy.service_checks import Finding, ServerProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.asyncio import Redis


class ProblemKind(StrEnum):
    """What a finding of the statistics is about: days, or the servers that they stand on."""

    DUPLICATE_ROWS = "duplicate_rows"
    NOT_CACHED = "not_cached"
    DISK_SPACE = ServerProblem.DISK_SPACE.value
    VALKEY_PERSISTENCE = ServerProblem.VALKEY_PERSISTENCE.value
    CLOCK_SKEW = ServerProblem.CLOCK_SKEW.value
    OLD_CLICKHOUSE = ServerProblem.OLD_CLICKHOUSE.value


@dataclass(frozen=True)
class CheckedDay:
    """What the table and Valkey have of a day.

    :param day: which one.
    :param rows: of the table.
    :param keys: of the table, each counted once.
    :param cached_keys: in the day's index in Valkey; None where that is not known, or not expected.
    """

    day: date
    rows: int
    keys: int
    cached_keys: int | None = None


def check_days(days: Sequence[CheckedDay]) -> list[Finding]:
    """Return findings of days that are not as readers rely on them, with the command that repairs each; oldest first.

    Days that follow one another are one finding.
    """
    duplicates = [day for day in days if day.rows > day.keys]
    not_cached = [day for day in days if day.cached_keys is not None and day.cached_keys < day.keys]
    return [
        *(_duplicate_finding(run) for run in _runs(duplicates)),
        *(_not_cached_finding(run) for run in _runs(not_cached)),
    ]


def _duplicate_finding(run: Sequence[CheckedDay]) -> Finding:
    first, last = str(run[0].day), str(run[-1].day)
    rows, keys = sum(day.rows for day in run), sum(day.keys for day in run)
    return Finding(
        ProblemKind.DUPLICATE_ROWS,
        f"max_device_statistic has {rows} rows for {keys} keys {_period(first, last)}",
        {"first": first, "last": last, "rows": rows, "keys": keys},
        (
            f'make backfill FROM={first} TO={last} ARGS="--reprocess completed"',
            f"python3 scripts/backfill.py --from {first} --to {last} --reprocess completed",
        ),
    )


def _not_cached_finding(run: Sequence[CheckedDay]) -> Finding:
    first, last = str(run[0].day), str(run[-1].day)
    keys, cached = sum(day.keys for day in run), sum(day.cached_keys or 0 for day in run)
    return Finding(
        ProblemKind.NOT_CACHED,
        f"Valkey has {cached} of {keys} daily keys {_period(first, last)}",
        {"first": first, "last": last, "keys": keys, "cached_keys": cached},
        (
            f"make recache FROM={first} TO={last}",
            f"python3 scripts/recache.py --from {first} --to {last}",
        ),
    )


def _period(first: str, last: str) -> str:
    return f"of {first}" if first == last else f"of {first} to {last}"


def _runs(days: Iterable[CheckedDay]) -> list[list[CheckedDay]]:
    """Put days that follow one another together, oldest first."""
    runs: list[list[CheckedDay]] = []
    for day in sorted(days, key=lambda checked: checked.day):
        if runs and day.day - runs[-1][-1].day == timedelta(days=1):
            runs[-1].append(day)
        else:
            runs.append([day])
    return runs


async def cached_counts(valkey: Redis, prefix: str, days: Sequence[date]) -> dict[date, int]:
    """Return how many keys the index of each day has; 0 where there is none, or something else in its place.

    :param prefix: of every key.
    :raises redis.RedisError: on a server or network error.
    """
    if not days:
        return {}
    pipeline = valkey.pipeline(transaction=False)
    for day in days:
        pipeline.zcard(f"{prefix}:index:daily:{day}")
    answers = await pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
            raise answer
    return {day: answer if isinstance(answer, int) else 0 for day, answer in zip(days, answers, strict=True)}
