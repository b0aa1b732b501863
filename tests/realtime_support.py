"""Run live loops without Airflow: their clients on a test's own servers, and a clock that the test sets."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from redis.asyncio import Redis

from maxy.realtime.clickhouse import ClickHouseAddress, ClickHouseReader
from maxy.realtime.lease import Lease
from maxy.realtime.loop import Loop, LoopEnvironment, Tick, TickResult, loop_key
from maxy.realtime.settings import COMMON_OPTIONS, LoopSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from local.clickhouse.testing import Server

PREFIX = "stats:realtime"


class FakeClock:
    """A clock that moves when it is told to, and when somebody sleeps.

    :param now: where it begins, with its zone.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now.astimezone(UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


@dataclass
class RunningLoop:
    """A loop that holds its lease.

    :param loop: the loop.
    :param valkey: its client; answers are bytes.
    """

    loop: Any
    valkey: Redis
    lease: Lease

    async def tick(self, now: datetime) -> TickResult:
        return await self.loop.tick(Tick(now=now.astimezone(UTC)))


def copy_of(running: RunningLoop) -> RunningLoop:
    """Return another copy of the loop, as another triggerer has it: with a lease of its own, not taken yet."""
    environment = running.loop.environment
    lease = Lease(running.valkey, running.lease.key, ttl=timedelta(seconds=60))
    return RunningLoop(type(running.loop)(replace(environment, lease=lease)), running.valkey, lease)


@asynccontextmanager
async def running_loop(
    loop_class: type[Loop],
    server: Server,
    valkey_port: int,
    *,
    database: str = "scratch",
    timezone: str = "UTC",
    acquire: bool = True,
    **settings: Any,
) -> AsyncIterator[RunningLoop]:
    """Make a loop with clients of its own, and have it take the lease.

    :param settings: of the loop, on top of its defaults.
    """
    reader = ClickHouseReader(
        ClickHouseAddress(server.host, server.http_port, server.user, database, server.password), name=loop_class.name
    )
    valkey = Redis(host="127.0.0.1", port=valkey_port)
    lease = Lease(valkey, f"{loop_key(PREFIX, loop_class.name)}:lease", ttl=timedelta(seconds=60))
    checked = LoopSettings.from_json(
        settings,
        options=loop_class.options,
        period_seconds=loop_class.period_seconds,
        where=loop_class.name,
        rules=loop_class.rules,
    )
    loop = loop_class(LoopEnvironment(reader, valkey, lease, PREFIX, ZoneInfo(timezone), checked))
    try:
        if acquire:
            assert await lease.acquire()
        yield RunningLoop(loop, valkey, lease)
    finally:
        await lease.release()
        await reader.close()
        await valkey.aclose()


def fast_settings(period_seconds: float, **given: Any) -> LoopSettings:
    """Return the common settings with values far below the bounds, so that no test need wait for seconds."""
    values = {name: option.default for name, option in COMMON_OPTIONS.items()}
    return LoopSettings(period_seconds, {**values, **given})


def examples(count: int) -> int:
    """Return how many examples a property test tries: so many, times TEST_EFFORT of the environment (default 1)."""
    return count * int(os.environ.get("TEST_EFFORT", "1"))


#: Every type that a key of Valkey can have.
TYPES = ("string", "list", "set", "zset", "hash", "stream")


def spoil(client: Any, key: str | bytes, kind: str) -> bool:
    """Give a key another type, as somebody else's client might. False if it has that type already.

    :param client: a blocking client.
    :param kind: one of ``TYPES``.
    """
    former = client.type(key)
    if (former.decode() if isinstance(former, bytes) else former) == kind:
        return False
    client.delete(key)
    write = {
        "string": lambda: client.set(key, "not what you expect"),
        "list": lambda: client.rpush(key, "a", "b"),
        "set": lambda: client.sadd(key, "a", "b"),
        "zset": lambda: client.zadd(key, {"a": 1, "b": 2}),
        "hash": lambda: client.hset(key, "a", "b"),
        "stream": lambda: client.xadd(key, {"a": "b"}),
    }
    write[kind]()
    return True
