"""The API of the statistics. Every answer is bounded; what many ask for is asked once."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse

from maxy.instants import utc_iso
from maxy.statistics.web import health as health_module
from maxy.statistics.web.csv_file import BYTE_ORDER_MARK, as_csv, content_disposition
from maxy.statistics.web.history import busiest_key, day_range, history, recent_keys
from maxy.statistics.web.live_store import LiveStore
from maxy.statistics.web.log_rate import slots_from_clickhouse
from maxy.statistics.web.models import Health, History, Key, Keys, LogRate, Scatter, ScatterName, Today
from maxy.statistics.web.points import PointSet
from maxy.statistics.web.topics import topics_of
from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.errors import BAD_PARAMETER, PROBLEMS
from maxy.web.shell import opened
from maxy.web.sources import SourceUnavailable
from maxy.web.streams import STREAM_SECONDS, answer_stream

if TYPE_CHECKING:
    from maxy.statistics.web.service import Service
    from maxy.statistics.web.sources import PageSettings, StatisticsSources

#: Whose routes these are.
FAMILY = "statistics"
#: Keys that are listed.
MOST_KEYS = 5000
# Keys whose figures of today are compared, where no day is computed yet.
_MOST_COMPARED = 1000
_LARGEST_UINT32 = 2**32 - 1
_NAME_LENGTH = "as long as names are taken at all: 300 characters unless maxy_max_name_length says otherwise"

# Names in the data hold anything, and are as long as `maxy_max_name_length` allows; numbers are those of the column.
PackageName = Annotated[str, Query(min_length=1, description=f"an application; {_NAME_LENGTH}")]
ServerType = Annotated[int, Query(ge=0, le=_LARGEST_UINT32, description="a server type")]
SystemName = Annotated[str, Query(min_length=1, description=f"an operating system; {_NAME_LENGTH}")]
FirstDay = Annotated[date | None, Query(description="the first day, in the statistics zone; by default 29 days before")]
LastDay = Annotated[date | None, Query(description="the last day, included; yesterday by default")]

router = APIRouter(prefix="/api", tags=["statistics"], dependencies=[MAY_SEE_PLUGINS], responses=PROBLEMS)


class BadName(ValueError):
    """A name that there cannot be figures of; the message says why."""


def service(request: Request) -> Service:
    """Return what the routes work with."""
    found: Service = opened(request, FAMILY)
    return found


async def check_names(request: Request) -> None:
    """Refuse names that every writer leaves out.

    :raises BadName: a name is longer than `maxy_max_name_length` allows.
    """
    longest = (await service(request).sources.settings()).max_name_length
    for parameter in ("package_nm", "os_type"):
        length = len(request.query_params.get(parameter, ""))
        if length > longest:
            raise BadName(f"{parameter}: {length} characters are more than the {longest} that names may have")


_HAS_NAMES = Depends(check_names)


@router.get("/keys", summary="What figures are kept for")
async def keys(request: Request) -> Keys:
    """List what figures are kept for: the keys of the live loops, else those of the last 30 days."""
    return await service(request).keys.get((), lambda: _keys(service(request)))


@router.get("/today", dependencies=[_HAS_NAMES], responses=BAD_PARAMETER, summary="Today's figures of a key")
async def today(request: Request, package_nm: PackageName, server_type: ServerType, os_type: SystemName) -> Today:
    """Tell today's figures of a key, as they stand in Valkey."""
    sources = service(request).sources
    settings = await sources.settings()
    async with sources.valkey() as valkey:
        ((device, page),) = await LiveStore(valkey, settings).today([(package_nm, server_type, os_type)])
    return Today(
        at=utc_iso(sources.clock.now()),
        package_nm=package_nm,
        server_type=server_type,
        os_type=os_type,
        device=device,
        page=page,
    )


@router.get("/log-rate", dependencies=[_HAS_NAMES], responses=BAD_PARAMETER, summary="Log rate of the last ten minutes")
async def log_rate(request: Request, package_nm: PackageName, server_type: ServerType) -> LogRate:
    """Tell how many rows came in over the last ten minutes, counted by ClickHouse."""
    found = service(request)
    pair = (package_nm, server_type)

    async def compute() -> LogRate:
        now = found.sources.clock.now()
        return LogRate(at=utc_iso(now), slots=await slots_from_clickhouse(found.sources, pair, now))

    return await found.log_rates.get(pair, compute)


@router.get(
    "/scatter", dependencies=[_HAS_NAMES], response_model=Scatter, responses=BAD_PARAMETER, summary="Points of a loop"
)
async def scatter(request: Request, loop: ScatterName, package_nm: PackageName, server_type: ServerType) -> Response:
    """Tell the points of the last minutes, as they stand in Valkey."""
    found = service(request)
    text = await found.scatters.get(
        (loop, package_nm, server_type), lambda: _scatter(found, loop, (package_nm, server_type))
    )
    # Thousands of points, which are not checked a second time.
    return Response(text, media_type="application/json")


async def _asked_history(
    request: Request,
    package_nm: PackageName,
    server_type: ServerType,
    os_type: SystemName,
    first: FirstDay = None,
    last: LastDay = None,
) -> tuple[Key, History]:
    """Return the days that a request asks for, and of which key."""
    found = service(request)
    key = Key(package_nm=package_nm, server_type=server_type, os_type=os_type)
    first, last = day_range(first, last, await found.sources.today())
    asked = (package_nm, server_type, os_type, first, last)
    return key, await found.histories.get(asked, lambda: history(found.sources, key, first, last))


AskedHistory = Annotated[tuple[Key, History], Depends(_asked_history)]


@router.get("/history", dependencies=[_HAS_NAMES], responses=BAD_PARAMETER, summary="Days of a key")
async def days(asked: AskedHistory) -> History:
    """Tell the days of a key, at most 400."""
    return asked[1]


@router.get(
    "/history.csv",
    summary="Days of a key as CSV",
    dependencies=[_HAS_NAMES],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}}, "description": "the days as CSV"}, **BAD_PARAMETER},
)
async def days_as_csv(
    asked: AskedHistory,
    bom: Annotated[
        bool, Query(description="begin with a byte order mark, without which Excel misreads names; false for programs")
    ] = True,
) -> Response:
    """Give the days of a key as CSV, with the names of the table's columns; what was not measured is empty."""
    key, answer = asked
    return Response(
        (BYTE_ORDER_MARK if bom else "") + as_csv(answer, key),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": content_disposition(answer, key)},
    )


@router.get("/health", summary="Status of loops, daily job and servers")
async def health(request: Request) -> Health:
    """Return the status of loops, daily job and servers; what cannot be asked is said in its place."""
    found = service(request)
    return await found.health.get((), lambda: health_module.health(found.sources))


@router.get(
    "/stream",
    summary="Live events of a key",
    dependencies=[_HAS_NAMES],
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "events `loops`, `today`, `log_rate` and `scatter`: everything at once, then what changes",
        },
        **BAD_PARAMETER,
    },
)
async def stream(
    request: Request, package_nm: PackageName, server_type: ServerType, os_type: SystemName
) -> StreamingResponse:
    """Send server-sent events for one key, at the rate of the live loops."""
    found = service(request)
    topics = topics_of(found.sources, (package_nm, server_type, os_type))
    return await answer_stream(found.hub.listen(topics, seconds=STREAM_SECONDS))


async def _keys(found: Service) -> Keys:
    sources = found.sources
    settings = await sources.settings()
    known: list[Key] = []
    # Without Valkey there are still days to look at.
    with suppress(SourceUnavailable):
        async with sources.valkey() as valkey:
            known = await LiveStore(valkey, settings).keys(MOST_KEYS)
    source = "valkey" if known else "clickhouse"
    known = known or await recent_keys(sources, MOST_KEYS)
    return Keys(
        at=utc_iso(sources.clock.now()),
        timezone=settings.timezone.key,
        today=str(await sources.today()),
        source=source,
        is_complete=len(known) <= MOST_KEYS,
        busiest=await _busiest(sources, settings, known),
        keys=known[:MOST_KEYS],
    )


async def _busiest(sources: StatisticsSources, settings: PageSettings, known: list[Key]) -> Key | None:
    """Return the key to show first: of the newest computed days, else of today, else the first by name."""
    with suppress(SourceUnavailable):
        found = await busiest_key(sources)
        # A package that has gone since is no good beginning.
        if found in known:
            return found
    with suppress(SourceUnavailable):
        async with sources.valkey() as valkey:
            return await LiveStore(valkey, settings).busiest(known[:_MOST_COMPARED])
    return known[0] if known else None


async def _scatter(found: Service, loop: ScatterName, pair: tuple[str, int]) -> str:
    settings = await found.sources.settings()
    async with found.sources.valkey() as valkey:
        kept = await LiveStore(valkey, settings).points(loop, pair)
    points = PointSet(loop)
    points.replace(kept.members)
    at = utc_iso(found.sources.clock.now())
    answer = Scatter.model_construct(at=at, loop=loop, points=points.points(), meta=kept.meta, wrong_key=kept.wrong_key)
    return answer.model_dump_json()
