"""The status of the loops, the daily job and the servers. What cannot be asked is said, and does not hide the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maxy.instants import utc_iso
from maxy.service_checks import (
    Disk,
    Finding,
    check_clock,
    check_days,
    check_disks,
    check_persistence,
    check_version,
    clock_skew,
    valkey_persistence,
    valkey_time_ms,
)
from maxy.statistics.web.daily import daily
from maxy.statistics.web.live_store import LiveStore, reports
from maxy.statistics.web.models import (
    ClickHouseServer,
    DiskSpace,
    Health,
    HealthProblem,
    LoopReport,
    Queries,
    QueryCost,
    ValkeyServer,
)
from maxy.statistics.web.sources import SourceUnavailable

if TYPE_CHECKING:
    from maxy.statistics.web.sources import PageSettings, Sources

_QUERIES_SECONDS = 3600
_MOST_QUERIES = 50


async def health(sources: Sources) -> Health:
    """Return everything; the parts are asked side by side."""
    settings = error = None
    try:
        settings = await sources.settings()
    except SourceUnavailable as unavailable:
        error = str(unavailable)
    (valkey, loops, of_valkey), (clickhouse, of_clickhouse), (days, checked), queries = await asyncio.gather(
        _live(sources, settings), _clickhouse(sources), daily(sources), _queries(sources)
    )
    return Health(
        at=utc_iso(sources.clock.now()),
        timezone=settings.timezone.key if settings else None,
        error=error,
        valkey=valkey,
        clickhouse=clickhouse,
        loops=loops,
        problems=[_problem(finding) for finding in (*of_clickhouse, *of_valkey, *check_days(checked))],
        daily=days,
        queries=queries,
    )


def _problem(finding: Finding) -> HealthProblem:
    return HealthProblem(
        kind=finding.kind, message=finding.message, values=finding.values, commands=list(finding.commands)
    )


async def _live(
    sources: Sources, settings: PageSettings | None
) -> tuple[ValkeyServer, list[LoopReport], list[Finding]]:
    """Return whether Valkey answers, the status of each loop, and what is wrong with the server."""
    server = ValkeyServer(is_reachable=True)
    findings: list[Finding] = []
    statuses = None
    try:
        async with sources.valkey() as valkey:
            persistence = await valkey_persistence(valkey)
            asked_at = sources.clock.now()
            server_ms = await valkey_time_ms(valkey)
            server.clock_skew_seconds = clock_skew(server_ms, asked_at, sources.clock.now())
            server.can_persist = None if persistence is None else not persistence.is_failing
            findings = [*check_persistence(persistence), *check_clock("Valkey", server.clock_skew_seconds)]
            # There may be no loop to ask for.
            if settings:
                statuses = await LiveStore(valkey, settings).statuses()
    except SourceUnavailable as unavailable:
        server = ValkeyServer(is_reachable=False, error=str(unavailable))
        findings = []
    loops = reports(statuses, settings, sources.clock.now()) if settings else []
    return server, loops, findings


async def _clickhouse(sources: Sources) -> tuple[ClickHouseServer, list[Finding]]:
    try:
        asked_at = sources.clock.now()
        result = await sources.select("ui/server.sql", {})
        answered_at = sources.clock.now()
    except SourceUnavailable as error:
        return ClickHouseServer(is_reachable=False, error=str(error)), []
    version = str(result["version"][0])
    skew = clock_skew(result["now_ms"][0], asked_at, answered_at)
    disks = await _disks(sources)
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
        *check_version(version, has_short_lifetime=bool(result["short_lifetimes"][0])),
    ]


async def _disks(sources: Sources) -> list[Disk]:
    try:
        result = await sources.select("ui/disks.sql", {})
    except SourceUnavailable:
        # An account that may not see them: then it is not known.
        return []
    columns = (result[name] for name in ("name", "free_space", "total_space"))
    return [Disk(name, free, total) for name, free, total in zip(*columns, strict=True)]


async def _queries(sources: Sources) -> Queries:
    try:
        result = await sources.select("ui/queries.sql", {"seconds": _QUERIES_SECONDS, "most": _MOST_QUERIES})
    except SourceUnavailable as error:
        return Queries(rows=None, error=str(error))
    names = list(QueryCost.model_fields)
    rows = zip(*(result[name] for name in names), strict=True)
    return Queries(rows=[QueryCost(**dict(zip(names, row, strict=True))) for row in rows])
