"""How the loops, the daily job and the servers fare. What cannot be asked is said, and does not hide the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maxy.ui.history import DAILY_DAG_ID, daily
from maxy.ui.live_store import LiveStore, reports
from maxy.ui.models import ClickHouseServer, Daily, Health, Loops, Queries, QueryCost, Server
from maxy.ui.sources import SourceUnavailable
from maxy.valkey.text import utc_iso

if TYPE_CHECKING:
    from maxy.ui.sources import Sources

_QUERIES_SECONDS = 3600
_MOST_QUERIES = 50


async def loops(sources: Sources) -> Loops:
    """Return how each loop fares.

    :raises maxy.ui.sources.SourceUnavailable: the settings cannot be read; Valkey's error is in the answer.
    """
    settings = await sources.settings()
    error = None
    statuses = None
    try:
        async with sources.valkey() as valkey:
            statuses = await LiveStore(valkey, settings).statuses()
    except SourceUnavailable as unavailable:
        error = str(unavailable)
    now = sources.clock.now()
    return Loops(at=utc_iso(now), error=error, loops=reports(statuses, settings, now))


async def health(sources: Sources) -> Health:
    """Return everything; the parts are asked side by side.

    :raises maxy.ui.sources.SourceUnavailable: the package's settings cannot be read.
    """
    settings = await sources.settings()
    live, clickhouse, days, queries = await asyncio.gather(
        loops(sources), _clickhouse(sources), _daily(sources), _queries(sources)
    )
    return Health(
        at=live.at,
        timezone=settings.timezone.key,
        valkey=Server(is_reachable=live.error is None, error=live.error),
        clickhouse=clickhouse,
        loops=live.loops,
        daily=days,
        queries=queries,
    )


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
