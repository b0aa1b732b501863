"""The status of the loops, the daily job and the servers. What cannot be asked is said, and does not hide the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maxy.instants import utc_iso
from maxy.statistics.day_checks import ProblemKind, check_days
from maxy.statistics.web.daily import daily
from maxy.statistics.web.models import Health, HealthProblem
from maxy.web.models import LoopReport, ValkeyServer
from maxy.web.servers import ask_clickhouse, ask_queries, ask_valkey
from maxy.web.shown_loops import read_statuses, reports
from maxy.web.sources import SourceUnavailable

if TYPE_CHECKING:
    from maxy.service_checks import Finding
    from maxy.statistics.web.sources import PageSettings, StatisticsSources

# Its partitions are replaced, day by day.
_TABLE = "max_device_statistic"


async def health(sources: StatisticsSources) -> Health:
    """Return everything; the parts are asked side by side."""
    settings = error = None
    try:
        settings = await sources.settings()
    except SourceUnavailable as unavailable:
        error = str(unavailable)
    (valkey, loops, of_valkey), (clickhouse, of_clickhouse), (days, checked), queries = await asyncio.gather(
        _live(sources, settings),
        ask_clickhouse(sources.clients, table=_TABLE),
        daily(sources),
        ask_queries(sources.clients),
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
        kind=ProblemKind(finding.kind),
        message=finding.message,
        values=finding.values,
        commands=list(finding.commands),
    )


async def _live(
    sources: StatisticsSources, settings: PageSettings | None
) -> tuple[ValkeyServer, list[LoopReport], list[Finding]]:
    """Return whether Valkey answers, the status of each loop, and what is wrong with the server."""
    findings: list[Finding] = []
    statuses = None
    try:
        async with sources.valkey() as valkey:
            server, findings = await ask_valkey(valkey, sources.clock)
            # There may be no loop to ask for.
            if settings:
                statuses = await read_statuses(valkey, settings)
    except SourceUnavailable as unavailable:
        server = ValkeyServer(is_reachable=False, error=str(unavailable))
        findings = []
    loops = reports(statuses, settings, sources.clock.now()) if settings else []
    return server, loops, findings
