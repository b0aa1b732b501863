"""Whether the servers that all families work on answer, and what the package's statements cost them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.service_checks import (
    Disk,
    Finding,
    check_clock,
    check_disks,
    check_persistence,
    check_version,
    clock_skew,
    valkey_persistence,
    valkey_time_ms,
)
from maxy.web.models import ClickHouseServer, DiskSpace, Queries, QueryCost, ValkeyServer
from maxy.web.sources import SourceUnavailable

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from maxy.clock import Clock
    from maxy.web.sources import Clients

_QUERIES_SECONDS = 3600
_MOST_QUERIES = 50


async def ask_valkey(valkey: Redis, clock: Clock) -> tuple[ValkeyServer, list[Finding]]:
    """Return the state of Valkey, and what is wrong with it.

    :raises redis.RedisError: on a server or network error.
    """
    persistence = await valkey_persistence(valkey)
    asked_at = clock.now()
    skew = clock_skew(await valkey_time_ms(valkey), asked_at, clock.now())
    server = ValkeyServer(
        is_reachable=True,
        clock_skew_seconds=skew,
        can_persist=None if persistence is None else not persistence.is_failing,
    )
    return server, [*check_persistence(persistence), *check_clock("Valkey", skew)]


async def ask_clickhouse(clients: Clients, *, table: str) -> tuple[ClickHouseServer, list[Finding]]:
    """Return the state of ClickHouse, and what is wrong with it. That it cannot be asked is said in its place.

    :param table: one whose partitions are replaced, which an old ClickHouse may undo.
    """
    try:
        asked_at = clients.clock.now()
        result = await clients.select("web/server.sql", {"table": table})
        answered_at = clients.clock.now()
    except SourceUnavailable as error:
        return ClickHouseServer(is_reachable=False, error=str(error)), []
    version = str(result["version"][0])
    skew = clock_skew(result["now_ms"][0], asked_at, answered_at)
    disks = await _disks(clients)
    server = ClickHouseServer(
        is_reachable=True,
        version=version,
        clock_skew_seconds=skew,
        disks=[
            DiskSpace(name=disk.name, free_bytes=disk.free_bytes, total_bytes=disk.total_bytes)
            for disk in disks
            if disk.has_size
        ],
    )
    return server, [
        *check_disks(disks),
        *check_clock("ClickHouse", skew),
        *check_version(version, table=table, has_short_lifetime=bool(result["short_lifetimes"][0])),
    ]


async def _disks(clients: Clients) -> list[Disk]:
    try:
        result = await clients.select("web/disks.sql", {})
    except SourceUnavailable:
        # An account that may not see them: then it is not known.
        return []
    columns = (result[name] for name in ("name", "free_space", "total_space"))
    return [Disk(name, free, total) for name, free, total in zip(*columns, strict=True)]


async def ask_queries(clients: Clients) -> Queries:
    """Return what the statements of the last hour have cost, the dearest first."""
    try:
        result = await clients.select("web/queries.sql", {"seconds": _QUERIES_SECONDS, "most": _MOST_QUERIES})
    except SourceUnavailable as error:
        return Queries(rows=None, error=str(error))
    names = list(QueryCost.model_fields)
    rows = zip(*(result[name] for name in names), strict=True)
    return Queries(rows=[QueryCost(**dict(zip(names, row, strict=True))) for row in rows])
