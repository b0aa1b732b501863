"""Measures what the loops and the daily job stand on, whenever the watch has ticked, well or not."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol

from maxy.clickhouse.sql_files import read_statement
from maxy.service_checks import Disk, clock_skew, valkey_persistence, valkey_time_ms
from maxy.statistics.day_checks import CheckedDay, ProblemKind, cached_counts, check_days

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maxy.clock import Clock
    from maxy.loops.loop import LoopEnvironment
    from maxy.loops.observer import Observer
    from maxy.loops.status import LoopStatus

_log = logging.getLogger(__name__)

#: Days of the daily job that are looked at; those before are the health page's.
CHECKED_DAYS = 14
_MEASURE_SECONDS = 20.0


class ServiceAnnouncer(Protocol):
    """Where measurements go."""

    def service_gauge(self, name: str, value: float, **tags: str) -> None:
        """Set a metric of the service."""


class ServiceObserver:
    """Sends metrics of disks, clocks, Valkey's files, and days that are not as readers rely on them.

    It observes the watch, but does not depend on its lease: a Valkey that refuses every write is measured too. What
    cannot be asked is left out, so its metric goes, and the log says why; the watch itself is not held up.

    :param announcer: where measurements go.
    :param environment: of the watch: clients, prefix and zone.
    :param observer: is told about the ticks as well.
    :param clock: what time it is here.
    :param cache_days: days until a daily hash in Valkey expires.
    """

    def __init__(
        self,
        announcer: ServiceAnnouncer,
        environment: LoopEnvironment,
        observer: Observer,
        clock: Clock,
        *,
        cache_days: int,
    ) -> None:
        self._announcer = announcer
        self._environment = environment
        self._observer = observer
        self._clock = clock
        self._cache_days = cache_days
        self._measuring: asyncio.Task[None] | None = None

    def ticked(self, status: LoopStatus) -> None:
        """Hear of a tick of the watch, and measure unless that is under way."""
        self._observer.ticked(status)
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.ensure_future(self.measure())

    async def close(self) -> None:
        """End a measurement that is under way: the clients are about to be closed."""
        if self._measuring is not None:
            self._measuring.cancel()
            with suppress(asyncio.CancelledError):
                await self._measuring

    async def measure(self) -> None:
        """Measure each part by itself."""
        for part in (self._measure_disks, self._measure_clocks, self._measure_persistence, self._measure_days):
            await self._try(part)

    async def _try(self, part: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(_MEASURE_SECONDS):
                await part()
        except Exception as error:
            # Whatever it is, the loops' own ticks tell of a server that is away.
            _log.info("%s: %s: %s", part.__name__.strip("_"), type(error).__name__, error)

    async def _measure_disks(self) -> None:
        result = await self._environment.clickhouse.select(read_statement("web/disks.sql"))
        columns = (result[name] for name in ("name", "free_space", "total_space"))
        for disk in (Disk(*row) for row in zip(*columns, strict=True)):
            if disk.has_size:
                self._announcer.service_gauge("disk_free_bytes", disk.free_bytes, disk=disk.name)
                self._announcer.service_gauge("disk_free_ratio", disk.free_share, disk=disk.name)

    async def _measure_clocks(self) -> None:
        await self._try(self._measure_clickhouse_clock)
        asked_at = self._clock.now()
        server_ms = await valkey_time_ms(self._environment.valkey)
        self._tell_clock("valkey", clock_skew(server_ms, asked_at, self._clock.now()))

    async def _measure_clickhouse_clock(self) -> None:
        asked_at = self._clock.now()
        result = await self._environment.clickhouse.select(
            read_statement("web/server.sql"), {"table": "max_device_statistic"}
        )
        self._tell_clock("clickhouse", clock_skew(result["now_ms"][0], asked_at, self._clock.now()))

    def _tell_clock(self, server: str, skew_seconds: float) -> None:
        self._announcer.service_gauge("clock_skew_seconds", skew_seconds, server=server)

    async def _measure_persistence(self) -> None:
        persistence = await valkey_persistence(self._environment.valkey)
        if persistence is not None:
            self._announcer.service_gauge("valkey_can_persist", 0 if persistence.is_failing else 1)

    async def _measure_days(self) -> None:
        environment = self._environment
        today = self._clock.now().astimezone(environment.timezone).date()
        result = await environment.clickhouse.select(
            read_statement("statistics/web/checked_days.sql"),
            {"first": today - timedelta(days=CHECKED_DAYS), "last": today - timedelta(days=1), "most": CHECKED_DAYS},
        )
        rows = list(zip(*(result[name] for name in ("day", "rows", "keys")), strict=True))
        expected = [day for name, *_ in rows if (today - (day := date.fromisoformat(name))).days <= self._cache_days]
        cached = await cached_counts(environment.valkey, environment.prefix, expected)
        days = [CheckedDay(day := date.fromisoformat(name), count, keys, cached.get(day)) for name, count, keys in rows]
        for name, kind in (
            ("days_with_duplicate_rows", ProblemKind.DUPLICATE_ROWS),
            ("days_not_cached", ProblemKind.NOT_CACHED),
        ):
            count = sum(1 for day in days if any(one.kind is kind for one in check_days([day])))
            self._announcer.service_gauge(name, count)
