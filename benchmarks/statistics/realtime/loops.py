"""All live loops in one process, driven tick by tick by a clock that the benchmark sets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import redis
from redis.asyncio import Redis

from benchmarks.statistics.realtime.measure import (
    Cost,
    Meter,
    Ports,
    aftermath,
    cpu_seconds,
    memory_mb,
    wait_until_merged,
)
from local.statistics.sample_data.bulk import insert_arrivals
from maxy.clickhouse.client import ClickHouseAddress, ClickHouseReader
from maxy.clock import to_ms
from maxy.loops.loop import Loop, LoopEnvironment, Tick, loop_key
from maxy.loops.registry import loop_class, loop_settings
from maxy.loops.status import LoopStatus, StatusWriter
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.valkey.lease import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from maxy.loops.options import LoopSettings

PREFIX = "stats:realtime"
FAST = ("log_meter", "loading_time", "response_time")
SLOW = ("device", "page")
NAMES = (*FAST, *SLOW)
#: Makes a repeated query look free, which no query of a new tick is.
NO_CACHE = {"use_query_condition_cache": 0}

_WARM_UP_STEP, _FAST_PERIOD, _SLOW_PERIOD = (timedelta(seconds=seconds) for seconds in (30, 5, 30))
_WINDOW = timedelta(seconds=300)
_IDLE_SECONDS = 3.0
_UNCOUNTED = 2


@dataclass(frozen=True)
class Segment:
    """One measurement.

    :param start: the instant at which its arrivals begin, in UTC.
    :param rate: arriving rows a second into each of the two tables.
    :param packages: that the arriving rows belong to.
    :param devices: a day.
    :param ticks: counted ticks of each loop.
    :param idle_keys: keys of yesterday to put into the indexes for further ticks; 0: no further ticks.
    """

    start: datetime
    rate: int
    packages: int
    devices: int
    ticks: int = 5
    idle_keys: int = 0


@dataclass
class SegmentResult:
    """What was measured.

    :param costs: of each loop's counted ticks.
    :param first: of each loop's first tick, which finds nothing in Valkey.
    :param idle_costs: of each loop's ticks with the idle keys.
    :param memory_before_mb: of the process with all imports and no loop.
    :param memory_mb: after the last tick.
    :param memory_peak_mb: the most in any tick.
    :param aftermath: CPU seconds of the engine after a page tick, such as for merges of the loop's own tables.
    :param engine_idle: CPU seconds a second of the engine while nobody asks it anything.
    :param end: the last tick's instant.
    """

    costs: dict[str, list[Cost]] = field(default_factory=dict)
    first: dict[str, Cost] = field(default_factory=dict)
    idle_costs: dict[str, list[Cost]] = field(default_factory=dict)
    memory_before_mb: float = 0.0
    memory_mb: float = 0.0
    memory_peak_mb: float = 0.0
    aftermath: float = 0.0
    engine_idle: float = 0.0
    end: datetime = datetime(2000, 1, 1, tzinfo=UTC)


def statement_settings(settings: LoopSettings) -> dict[str, Any]:
    """Return the settings of a loop's statements: the trigger's, and no cache."""
    return {
        "max_threads": settings["max_threads"],
        "max_execution_time": max(1, int(settings.tick_limit_seconds)),
        "cancel_http_readonly_queries_on_client_close": 1,
        **NO_CACHE,
    }


@contextlib.asynccontextmanager
async def live_loop(name: str, ports: Ports, *, lease_ttl: timedelta) -> AsyncIterator[Loop]:
    """Make a loop with clients of its own, as its trigger does."""
    found = loop_class(LIVE_LOOPS[name])
    settings = loop_settings(found, {}, where=name)
    http = ports.http
    address = ClickHouseAddress(http["host"], http["port"], http["username"], http["database"], http["password"])
    async with contextlib.AsyncExitStack() as clients:
        valkey = Redis(port=ports.valkey_port)
        clients.push_async_callback(valkey.aclose)
        reader = ClickHouseReader(address, name=name, settings=statement_settings(settings))
        clients.push_async_callback(reader.close)
        lease = Lease(valkey, f"{loop_key(PREFIX, name)}:lease", ttl=lease_ttl)
        yield found(LoopEnvironment(reader, valkey, lease, PREFIX, ZoneInfo("UTC"), settings))


def write_logs_nowhere() -> None:
    """Make log lines as the triggerer would, and throw them away."""
    logging.basicConfig(filename=os.devnull, level=logging.INFO, force=True)


def measure_segment(ports: Ports, segment: Segment) -> SegmentResult:
    """Run a segment in this process, which should have done nothing else before."""
    write_logs_nowhere()
    return asyncio.run(_SegmentRun(ports, segment).run())


class _SegmentRun:
    def __init__(self, ports: Ports, segment: Segment) -> None:
        self._ports = ports
        self._segment = segment
        self._now = segment.start
        self._loops: dict[str, Loop] = {}
        self._numbers: dict[str, list[int]] = defaultdict(list)
        self._result = SegmentResult()

    async def run(self) -> SegmentResult:
        with (
            clickhouse_connect.get_client(**self._ports.http, send_receive_timeout=600) as self._clickhouse,
            redis.Redis(port=self._ports.valkey_port, decode_responses=True) as valkey,
        ):
            valkey.flushall()
            self._meter = Meter(self._ports, valkey, self._clickhouse)
            async with contextlib.AsyncExitStack() as loops:
                # So that what the first tick would import is not taken for memory of a loop.
                gc.collect()
                self._result.memory_before_mb = memory_mb()
                for name in NAMES:
                    loop = await loops.enter_async_context(live_loop(name, self._ports, lease_ttl=timedelta(hours=1)))
                    assert await loop.environment.lease.acquire()
                    self._loops[name] = loop
                await self._all_ticks(valkey)
        return self._result

    async def _all_ticks(self, valkey: redis.Redis) -> None:
        await self._fill_window()
        for _ in range(self._segment.ticks + _UNCOUNTED):
            self._arrive(_FAST_PERIOD, insert_every=timedelta(seconds=1))
            await self._tick(FAST)
        aftermaths = []
        for _ in range(self._segment.ticks + _UNCOUNTED):
            self._arrive(_SLOW_PERIOD, insert_every=timedelta(seconds=5))
            await self._tick(FAST, to="other")
            await self._tick(SLOW)
            aftermaths.append(aftermath(self._ports, self._clickhouse))
        self._result.memory_mb = memory_mb()
        if self._segment.idle_keys:
            await self._ticks_with_idle_keys(valkey)
        self._result.engine_idle = self._idle()
        self._result.aftermath = statistics.fmean(
            cpu - self._result.engine_idle * seconds for cpu, seconds in aftermaths[_UNCOUNTED:]
        )
        self._collect()
        self._result.end = self._now

    async def _fill_window(self) -> None:
        """Let the scatters' window fill, and the loops learn which parts are old."""
        for step in range(_WINDOW // _WARM_UP_STEP):
            self._arrive(_WARM_UP_STEP, insert_every=_WARM_UP_STEP)
            await self._tick(NAMES, to="other" if step else "first")

    async def _ticks_with_idle_keys(self, valkey: redis.Redis) -> None:
        add_idle_keys(valkey, self._segment.idle_keys, self._now)
        for loop in self._loops.values():
            loop.reset()
        self._arrive(_SLOW_PERIOD, insert_every=timedelta(seconds=5))
        await self._tick(NAMES, to="other")
        for _ in range(_UNCOUNTED + 3):
            self._arrive(_FAST_PERIOD, insert_every=timedelta(seconds=1))
            await self._tick(FAST, to="idle")
        for _ in range(_UNCOUNTED + 3):
            self._arrive(_SLOW_PERIOD, insert_every=timedelta(seconds=5))
            await self._tick(FAST, to="other")
            await self._tick(SLOW, to="idle")

    def _arrive(self, length: timedelta, *, insert_every: timedelta) -> None:
        ends = self._now + length
        while self._now < ends:
            insert_arrivals(
                self._clickhouse,
                start=self._now,
                length=insert_every,
                rate=self._segment.rate,
                packages=self._segment.packages,
                devices_per_day=self._segment.devices,
            )
            self._now += insert_every

    async def _tick(self, names: Sequence[str], *, to: str = "costs") -> None:
        wait_until_merged(self._clickhouse)
        for name in names:
            loop = self._loops[name]
            status = LoopStatus(loop.period_seconds, last_tick_at=self._now, holder=loop.environment.lease.holder)
            writer = StatusWriter(loop.environment.lease, loop_key(PREFIX, name))
            self._meter.start()
            result = await loop.tick(Tick(self._now))
            status.rows, status.keys, status.left_out = result.rows, result.keys, result.left_out
            await writer.write(status)
            self._numbers[f"{to} {name}"].append(self._meter.stop())

    def _idle(self) -> float:
        """Return what the engine needs while nothing is asked, arrivals merged and logs flushed."""
        wait_until_merged(self._clickhouse)
        before = cpu_seconds(self._ports.engine_pid)
        time.sleep(_IDLE_SECONDS)
        return (cpu_seconds(self._ports.engine_pid) - before) / _IDLE_SECONDS

    def _collect(self) -> None:
        costs = self._meter.costs()
        by_name = {key: [costs[number] for number in numbers] for key, numbers in self._numbers.items()}
        for name in NAMES:
            self._result.costs[name] = by_name[f"costs {name}"][_UNCOUNTED:]
            self._result.first[name] = by_name[f"first {name}"][0]
            self._result.idle_costs[name] = by_name.get(f"idle {name}", [])[_UNCOUNTED:]
        self._result.memory_peak_mb = self._meter.highest_mb


def add_idle_keys(valkey: redis.Redis, number: int, now: datetime) -> None:
    """Put keys of yesterday into Valkey, and into the indexes of the loops that keep one."""
    yesterday = to_ms(now - timedelta(hours=20))
    pipeline = valkey.pipeline(transaction=False)
    for position in range(number):
        package = f"com.maxy.idle.{position}"
        dimensions: dict[Any, Any] = {"package_nm": package, "server_type": 0, "os_type": "Web"}
        keys = {"device": f"{PREFIX}:{package}:0:Web", "page": f"{PREFIX}:page:{package}:0:Web"}
        for name, key in keys.items():
            pipeline.hset(key, mapping={**dimensions, "updated_at": now.isoformat()})
            pipeline.pexpire(key, 6 * 3_600_000)
            pipeline.zadd(f"{loop_key(PREFIX, name)}:keys", {key: yesterday})
        pipeline.hset(f"{PREFIX}:totallog:{package}:0", mapping={"package_nm": package, "log_count": 0})
        for scatter in ("loadingtime", "responsetime"):
            pipeline.hset(f"{PREFIX}:{scatter}:{package}:0:meta", mapping={"package_nm": package, "points": 0})
        if position % 500 == 499:
            pipeline.execute()
    pipeline.execute()


def five_seconds(result: SegmentResult) -> dict[str, Mapping[str, float]]:
    """Return what each loop costs in five seconds: mean CPU seconds by process."""
    shares: dict[str, Mapping[str, float]] = {}
    for name, costs in result.costs.items():
        mean, divisor = Cost.mean(costs), 1 if name in FAST else _SLOW_PERIOD // _FAST_PERIOD
        shares[name] = {part: getattr(mean, part) / divisor for part in ("client", "engine", "valkey")}
    return shares
