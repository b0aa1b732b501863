"""Run live loops on a test's own servers by the helpers of the package, and spoil their keys."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from maxy import testing
from maxy.loops.options import COMMON_OPTIONS, LoopSettings
from maxy.testing import FakeClock, RunningLoop, copy_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from embedded_clickhouse.testing import Server
    from maxy.loops.loop import Loop

__all__ = ["FakeClock", "RunningLoop", "copy_of"]

PREFIX = "stats:realtime"


@asynccontextmanager
async def running_loop(
    loop_class: type[Loop],
    server: Server,
    valkey_port: int,
    *,
    database: str = "scratch",
    **options: Any,
) -> AsyncIterator[RunningLoop]:
    """Make a loop with clients of its own on a test's servers, and have it take the lease.

    :param options: of the loop, on top of its defaults, and those of ``maxy.testing.running_loop``.
    """
    account = ":".join(quote(part, safe="") for part in (server.user, server.password))
    async with testing.running_loop(
        loop_class,
        clickhouse=f"http://{account}@{server.host}:{server.http_port}/{quote(database, safe='')}",
        valkey=f"redis://127.0.0.1:{valkey_port}",
        prefix=PREFIX,
        **options,
    ) as running:
        yield running


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
