"""What can go wrong around the loops and the daily job: disks, clocks, and days that are not as readers rely on them.

Plain functions from what the servers say to findings, so that the health page and the watch judge alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from redis.asyncio import Redis

#: A disk is nearly full below this share of its size, or below so many bytes.
LEAST_FREE_SHARE = 0.10
LEAST_FREE_BYTES = 1024**3
#: Clocks may be apart by so many seconds.
MOST_SKEW_SECONDS = 2.0
#: From this version of ClickHouse on, parts that REPLACE PARTITION has replaced do not come back with a restart.
FIRST_SAFE_CLICKHOUSE = (26, 6, 1)
# Object stores and the like have no size of their own.
_UNLIMITED_BYTES = 2**60
_MISCONF = "MISCONF"


class ProblemKind(StrEnum):
    """What a finding is about."""

    DUPLICATE_ROWS = "duplicate_rows"
    NOT_CACHED = "not_cached"
    DISK_SPACE = "disk_space"
    VALKEY_PERSISTENCE = "valkey_persistence"
    CLOCK_SKEW = "clock_skew"
    OLD_CLICKHOUSE = "old_clickhouse"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or will be.

    :param kind: what it is about.
    :param message: an English sentence.
    :param values: what is named in it, for texts in other languages.
    :param commands: what repairs it, each a line for a shell; the first one in a checkout, others elsewhere.
    """

    kind: ProblemKind
    message: str
    values: dict[str, str | int | float] = field(default_factory=dict)
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Disk:
    """A disk of ClickHouse.

    :param name: ClickHouse's name of it.
    :param free_bytes: that it may still take.
    :param total_bytes: its size.
    """

    name: str
    free_bytes: int
    total_bytes: int

    @property
    def has_size(self) -> bool:
        """Whether it can be full: an object store cannot."""
        return 0 < self.total_bytes < _UNLIMITED_BYTES

    @property
    def free_share(self) -> float:
        """The free part, 0 to 1."""
        return self.free_bytes / self.total_bytes if self.has_size else 1.0


@dataclass(frozen=True)
class Persistence:
    """Whether Valkey can write its files.

    :param is_failing: the last write failed.
    :param reason: what Valkey says of it; empty where it can write.
    """

    is_failing: bool
    reason: str = ""


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


def check_disks(disks: Iterable[Disk]) -> list[Finding]:
    """Return a finding for each disk that is full or nearly so."""
    return [
        Finding(
            ProblemKind.DISK_SPACE,
            f"ClickHouse's disk {disk.name} has {disk.free_bytes / 1024**3:.1f} GiB free, "
            f"{100 * disk.free_share:.1f} % of its size",
            {
                "server": "ClickHouse",
                "disk": disk.name,
                "free_bytes": disk.free_bytes,
                "total_bytes": disk.total_bytes,
            },
        )
        for disk in disks
        if disk.has_size and (disk.free_share < LEAST_FREE_SHARE or disk.free_bytes < LEAST_FREE_BYTES)
    ]


def check_persistence(persistence: Persistence | None) -> list[Finding]:
    """Return a finding if Valkey cannot write its files: it then refuses every write."""
    if persistence is None or not persistence.is_failing:
        return []
    message = f"Valkey cannot write its files: {persistence.reason}. Until it can, it refuses what is written to it"
    return [Finding(ProblemKind.VALKEY_PERSISTENCE, message, {"reason": persistence.reason})]


def check_clock(server: str, skew_seconds: float | None) -> list[Finding]:
    """Return a finding if a server's clock is too far away from this process's.

    :param server: its name.
    :param skew_seconds: by how much its clock is ahead; None where that is not known.
    """
    if skew_seconds is None or abs(skew_seconds) <= MOST_SKEW_SECONDS:
        return []
    where = "ahead of" if skew_seconds > 0 else "behind"
    message = f"{server}'s clock is {abs(skew_seconds):.1f} s {where} that of the process that asks"
    return [Finding(ProblemKind.CLOCK_SKEW, message, {"server": server, "seconds": round(skew_seconds, 1)})]


def clock_skew(server_ms: float, asked_at: datetime, answered_at: datetime) -> float:
    """Return by how many seconds a server's clock is ahead, at the least: the way there and back took its time.

    :param server_ms: its clock, milliseconds since 1970.
    :param asked_at: when it was asked, by the own clock.
    :param answered_at: when it had answered.
    """
    server = server_ms / 1000
    first, last = asked_at.timestamp(), answered_at.timestamp()
    if server > last:
        return server - last
    return min(0.0, server - first)


def check_version(version: str, *, has_short_lifetime: bool) -> list[Finding]:
    """Return a finding for a ClickHouse in which a restart can undo REPLACE PARTITION.

    :param version: as the server says it.
    :param has_short_lifetime: the table sets ``old_parts_lifetime``, which is the remedy.
    """
    numbers = [int(part) for part in version.split(".")[:3] if part.isdigit()]
    if has_short_lifetime or len(numbers) < 2 or tuple(numbers) >= FIRST_SAFE_CLICKHOUSE[: len(numbers)]:
        return []
    message = (
        f"ClickHouse {version} is older than 26.6.1: a restart within minutes after a day was replaced can bring its "
        "former rows back. Upgrade, or let replaced parts go at once"
    )
    command = "ALTER TABLE max_device_statistic MODIFY SETTING old_parts_lifetime = 1"
    return [Finding(ProblemKind.OLD_CLICKHOUSE, message, {"version": version}, (command,))]


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


async def valkey_persistence(valkey: Redis) -> Persistence | None:
    """Ask Valkey whether it can write its files.

    A server that cannot answers even PING with an error, and goes on answering what only reads.

    :return: None where the account may not ask.
    :raises redis.RedisError: on a server or network error.
    """
    try:
        await valkey.ping()
    except ResponseError as error:
        if _MISCONF not in str(error):
            raise
        return Persistence(is_failing=True, reason=str(error))
    try:
        return persistence_of(await valkey.info("persistence"))
    except ResponseError:
        return None


def persistence_of(info: Mapping[str, Any]) -> Persistence:
    """Read what INFO says of persistence."""
    wrong = {
        "aof_last_write_status": bool(info.get("aof_enabled")),
        "aof_last_bgrewrite_status": bool(info.get("aof_enabled")),
        "rdb_last_bgsave_status": True,
    }
    failing = [f"{name}: {info[name]}" for name, counts in wrong.items() if counts and info.get(name, "ok") != "ok"]
    return Persistence(is_failing=bool(failing), reason=", ".join(failing))


async def valkey_time_ms(valkey: Redis) -> float:
    """Return what time it is on Valkey's server, milliseconds since 1970.

    :raises redis.RedisError: on a server or network error.
    """
    seconds, microseconds = await valkey.time()
    return float(seconds) * 1000 + float(microseconds) / 1000


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
