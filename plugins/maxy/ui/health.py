"""How the loops, the daily job and the servers fare. What cannot be asked is said, and does not hide the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maxy.ui.history import DAILY_DAG_ID, daily
from maxy.ui.live_store import LiveStore, reports
from maxy.ui.models import ClickHouseServer, Daily, Health, LoopReport, Queries, QueryCost, Server
from maxy.ui.sources import SourceUnavailable
from maxy.valkey.text import utc_iso

if TYPE_CHECKING:
    from maxy.ui.sources import PageSettings, Sources

_QUERIES_SECONDS = 3600
_MOST_QUERIES = 50


async def health(sources: Sources) -> Health:
    """Return everything; the parts are asked side by side."""
    settings = error = None
    try:
        settings = await sources.settings()
    except SourceUnavailable as unavailable:
        error = str(unavailable)
    (valkey, loops), clickhouse, days, queries = await asyncio.gather(
        _live(sources, settings), _clickhouse(sources), _daily(sources), _queries(sources)
    )
    return Health(
        at=utc_iso(sources.clock.now()),
        timezone=settings.timezone.key if settings else None,
        error=error,
        valkey=valkey,
        clickhouse=clickhouse,
        loops=loops,
        daily=days,
        queries=queries,
    )


async def _live(sources: Sources, settings: PageSettings | None) -> tuple[Server, list[LoopReport]]:
    """Return whether Valkey answers, and how each loop fares."""
    error = None
    statuses = None
    try:
        async with sources.valkey() as valkey:
            # There may be no loop to ask for.
            await valkey.ping()
            if settings:
                statuses = await LiveStore(valkey, settings).statuses()
    except SourceUnavailable as unavailable:
        error = str(unavailable)
    loops = reports(statuses, settings, sources.clock.now()) if settings else []
    return Server(is_reachable=error is None, error=error), loops


async def _clickhouse(sources: Sources) -> ClickHouseServer:
    try:
        result = await sources.select("ui/version.sql", {})
    except SourceUnavailable as error:
        return ClickHouseServer(is_reachable=False, error=str(error))
    return ClickHouseServer(is_reachable=True, version=str(result["version"][0]))


async def _daily(sources: Sources) -> Daily:
    try:
        return Daily(dag_id=DAILY_DAG_ID, days=await daily(sources))
    except SourceUnavailable as error:
        return Daily(dag_id=DAILY_DAG_ID, days=None, error=str(error))


async def _queries(sources: Sources) -> Queries:
    try:
        result = await sources.select("ui/queries.sql", {"seconds": _QUERIES_SECONDS, "most": _MOST_QUERIES})
    except SourceUnavailable as error:
        return Queries(rows=None, error=str(error))
    names = list(QueryCost.model_fields)
    rows = zip(*(result[name] for name in names), strict=True)
    return Queries(rows=[QueryCost(**dict(zip(names, row, strict=True))) for row in rows])
