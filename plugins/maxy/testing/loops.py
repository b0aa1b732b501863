"""Run a live loop without Airflow: on servers that a test names, at times that it sets."""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from redis.asyncio import Redis

from maxy.clickhouse.client import ClickHouseAddress, ClickHouseReader
from maxy.loops.hash_loop import HashLoop
from maxy.loops.loop import Loop, LoopEnvironment, Tick, TickResult, is_loop_key, loop_key
from maxy.loops.registry import loop_settings
from maxy.loops.runner import LoopRunner
from maxy.loops.thread_use import SYSTEM_STOPWATCH, StepTimer
from maxy.testing.clock import FakeClock
from maxy.text import decoded
from maxy.valkey.lease import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from maxy.loops.status import LoopStatus

_LEASE = timedelta(seconds=60)
_HTTP_PORTS = {"http": 8123, "https": 8443}
_GLOB = re.compile(r"([*?\[\]\\])")


@dataclass(frozen=True)
class LoopRun:
    """What a loop has done in some ticks.

    :param statuses: after each tick, good or not, the last one last.
    :param types: of the keys that the loop keeps for readers: ``hash``, ``zset`` …, by the key without the prefix.
    :param hashes: the fields of those that are hashes.
    """

    statuses: tuple[LoopStatus, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def status(self) -> LoopStatus:
        """The status after the last tick."""
        return self.statuses[-1]


@dataclass
class RunningLoop:
    """A loop that holds its lease.

    :param loop: the loop.
    :param valkey: its client; answers are bytes.
    :param lease: of the loop.
    """

    loop: Any
    valkey: Redis
    lease: Lease

    async def tick(self, now: datetime) -> TickResult:
        """Do one tick, outside the runner: what it raises comes through.

        :param now: the instant for which it computes, with its zone.
        """
        result: TickResult = await self.loop.tick(Tick(now=now.astimezone(UTC)))
        return result

    async def figures(self, now: datetime) -> list[dict[str, Any]]:
        """Return what a :class:`~maxy.loops.hash_loop.HashLoop` computes, a dict per row; nothing is written.

        :raises TypeError: for a loop of another kind.
        """
        if not isinstance(self.loop, HashLoop):
            raise TypeError(f"{type(self.loop).__name__} is no HashLoop, so it has no figures()")
        result = await self.loop.figures(Tick(now=now.astimezone(UTC)))
        return [dict(zip(result.names, row, strict=True)) for row in zip(*result.columns, strict=True)]


def run_loop(
    loop_class: type[Loop],
    *,
    clickhouse: str,
    valkey: str,
    now: datetime,
    ticks: int = 1,
    timezone: str = "UTC",
    prefix: str | None = None,
    before_tick: Callable[[int], None] | None = None,
    **settings: Any,
) -> LoopRun:
    """Run a loop for some ticks by the runner that the triggerer uses, and return what has become of it.

    A tick that fails raises nothing: it is in the status (``failures``, ``last_error``), and the next ones come later,
    as in the triggerer, so there may be fewer. Time stands still while a tick runs; how long it blocks the thread is
    measured all the same (``blocked_seconds``).

    :param clickhouse: URL of ClickHouse's HTTP interface, ``http[s]://user:password@host:port/database``.
    :param valkey: URL of Valkey, ``redis[s]://…`` or ``valkey[s]://…``.
    :param now: the instant of the first tick, with its zone; the next ones follow after a period each.
    :param ticks: how many are due.
    :param timezone: the statistics time zone.
    :param prefix: of every key. Unless given, it is one that nobody else has, and nothing is left of it.
    :param before_tick: called before each tick with its number, from 0, such as to insert rows.
    :param settings: of the loop, as in ``maxy_realtime.loops.<name>``.
    :raises ValueError: naming it, for a setting that does not exist or has a wrong value, and for what is no such URL.
    """
    own = prefix or f"maxy-test:{uuid.uuid4().hex}"

    async def run() -> LoopRun:
        async with running_loop(
            loop_class, clickhouse=clickhouse, valkey=valkey, timezone=timezone, prefix=own, acquire=False, **settings
        ) as running:
            try:
                statuses = await _ticks(running.loop, now, ticks, before_tick)
                return await _found(running.valkey, own, statuses)
            finally:
                if prefix is None:
                    await _remove(running.valkey, own)

    return asyncio.run(run())


@asynccontextmanager
async def running_loop(
    loop_class: type[Loop],
    *,
    clickhouse: str,
    valkey: str,
    timezone: str = "UTC",
    prefix: str,
    acquire: bool = True,
    **settings: Any,
) -> AsyncIterator[RunningLoop]:
    """Make a loop with clients of its own, and have it take the lease; for tests that tick step by step.

    :param acquire: take the lease. Without it the loop's first write raises ``LeaseLost``.
    :param prefix: of every key; what is written stays. The other parameters are those of :func:`run_loop`.
    :raises RuntimeError: if another copy holds the lease.
    """
    checked = loop_settings(loop_class, settings, where=loop_class.name)
    reader = ClickHouseReader(_clickhouse_address(clickhouse), name=loop_class.name)
    client = _valkey_client(valkey)
    lease = Lease(client, f"{loop_key(prefix, loop_class.name)}:lease", ttl=_LEASE)
    try:
        loop = loop_class(LoopEnvironment(reader, client, lease, prefix, ZoneInfo(timezone), checked))
        if acquire and not await lease.acquire():
            raise RuntimeError(f"another copy holds {lease.key}")
        yield RunningLoop(loop, client, lease)
    finally:
        await lease.release()
        await reader.close()
        await client.aclose()


def copy_of(running: RunningLoop) -> RunningLoop:
    """Return another copy of the loop, as another triggerer has it: with a lease of its own, not taken yet."""
    environment = running.loop.environment
    lease = Lease(running.valkey, running.lease.key, ttl=_LEASE)
    return RunningLoop(type(running.loop)(replace(environment, lease=lease)), running.valkey, lease)


class _Recorder:
    def __init__(self) -> None:
        self.statuses: list[LoopStatus] = []

    def ticked(self, status: LoopStatus) -> None:
        self.statuses.append(replace(status))


async def _ticks(
    loop: Loop, now: datetime, ticks: int, before_tick: Callable[[int], None] | None
) -> tuple[LoopStatus, ...]:
    period = loop.environment.settings.period_seconds
    clock, recorder = FakeClock(now), _Recorder()
    if before_tick is not None:
        _call_before_ticks(loop, before_tick)
    # Between the last tick and the one after it.
    deadline = clock.now() + timedelta(seconds=(ticks - 0.5) * period)
    steps = StepTimer(loop.name, SYSTEM_STOPWATCH)
    await LoopRunner(loop, clock=clock, deadline=deadline, host="test", observer=recorder, steps=steps).run()
    return tuple(recorder.statuses)


def _call_before_ticks(loop: Any, before_tick: Callable[[int], None]) -> None:
    tick, count = loop.tick, 0

    async def wrapped(given: Tick) -> TickResult:
        nonlocal count
        # In a thread: what a test does there may block, and that is not the loop's doing.
        await asyncio.to_thread(before_tick, count)
        count += 1
        result: TickResult = await tick(given)
        return result

    loop.tick = wrapped


async def _keys(valkey: Redis, prefix: str) -> list[str]:
    pattern = _GLOB.sub(r"\\\1", prefix) + ":*"
    return sorted([decoded(key) async for key in valkey.scan_iter(match=pattern, count=1000)])


async def _found(valkey: Redis, prefix: str, statuses: tuple[LoopStatus, ...]) -> LoopRun:
    keys = [key for key in await _keys(valkey, prefix) if not is_loop_key(prefix, key)]
    types = {key: decoded(await valkey.type(key)) for key in keys}
    hashes = {
        key.removeprefix(f"{prefix}:"): {
            decoded(name): decoded(value) for name, value in (await valkey.hgetall(key)).items()
        }
        for key, kind in types.items()
        if kind == "hash"
    }
    return LoopRun(statuses, {key.removeprefix(f"{prefix}:"): kind for key, kind in types.items()}, hashes)


async def _remove(valkey: Redis, prefix: str) -> None:
    for key in await _keys(valkey, prefix):
        await valkey.delete(key)


def _clickhouse_address(url: str) -> ClickHouseAddress:
    parts = urlsplit(url)
    if parts.scheme not in _HTTP_PORTS or not parts.hostname:
        raise ValueError(f"clickhouse: {_shown(url)} is no URL such as http://user:password@localhost:8123/database")
    return ClickHouseAddress(
        host=parts.hostname,
        port=parts.port or _HTTP_PORTS[parts.scheme],
        user=unquote(parts.username or "default"),
        database=unquote(parts.path.strip("/")) or "default",
        password=unquote(parts.password or ""),
        secure=parts.scheme == "https",
    )


def _valkey_client(url: str) -> Redis:
    try:
        return Redis.from_url(re.sub("^valkey", "redis", url))
    except ValueError:
        raise ValueError(f"valkey: {_shown(url)} is no URL such as redis://localhost:6379/0") from None


def _shown(url: str) -> str:
    """Return a URL without its password."""
    return repr(re.sub(r"(//[^/@:]*):[^@]*@", r"\1:***@", url))
