"""What can go wrong with the servers that every family works on: disks, clocks, Valkey's files, an old ClickHouse.

Plain functions from what the servers say to findings, so that the health page and the watch judge alike. What can go
wrong with a family's own data is judged by the family.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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


class ServerProblem(StrEnum):
    """What a finding of a server is about."""

    DISK_SPACE = "disk_space"
    VALKEY_PERSISTENCE = "valkey_persistence"
    CLOCK_SKEW = "clock_skew"
    OLD_CLICKHOUSE = "old_clickhouse"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or will be.

    :param kind: what it is about: of a server, or of a family's own.
    :param message: an English sentence.
    :param values: what is named in it, for texts in other languages.
    :param commands: what repairs it, each a line for a shell; the first one in a checkout, others elsewhere.
    """

    kind: StrEnum
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


def check_disks(disks: Iterable[Disk]) -> list[Finding]:
    """Return a finding for each disk that is full or nearly so."""
    return [
        Finding(
            ServerProblem.DISK_SPACE,
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
    return [Finding(ServerProblem.VALKEY_PERSISTENCE, message, {"reason": persistence.reason})]


def check_clock(server: str, skew_seconds: float | None) -> list[Finding]:
    """Return a finding if a server's clock is too far away from this process's.

    :param server: its name.
    :param skew_seconds: by how much its clock is ahead; None where that is not known.
    """
    if skew_seconds is None or abs(skew_seconds) <= MOST_SKEW_SECONDS:
        return []
    where = "ahead of" if skew_seconds > 0 else "behind"
    message = f"{server}'s clock is {abs(skew_seconds):.1f} s {where} that of the process that asks"
    return [Finding(ServerProblem.CLOCK_SKEW, message, {"server": server, "seconds": round(skew_seconds, 1)})]


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


def check_version(version: str, *, table: str, has_short_lifetime: bool) -> list[Finding]:
    """Return a finding for a ClickHouse in which a restart can undo REPLACE PARTITION.

    :param version: as the server says it.
    :param table: one whose partitions are replaced.
    :param has_short_lifetime: the table sets ``old_parts_lifetime``, which is the remedy.
    """
    numbers = [int(part) for part in version.split(".")[:3] if part.isdigit()]
    if has_short_lifetime or len(numbers) < 2 or tuple(numbers) >= FIRST_SAFE_CLICKHOUSE[: len(numbers)]:
        return []
    message = (
        f"ClickHouse {version} is older than 26.6.1: a restart within minutes after a day was replaced can bring its "
        "former rows back. Upgrade, or let replaced parts go at once"
    )
    command = f"ALTER TABLE {table} MODIFY SETTING old_parts_lifetime = 1"
    return [Finding(ServerProblem.OLD_CLICKHOUSE, message, {"version": version}, (command,))]


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
