"""The pages' application on a test's own servers, and what the live loops would leave in Valkey."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from maxy.clickhouse.client import ClickHouseAddress
from maxy.instants import utc_iso
from maxy.loops.loop import loop_key
from maxy.loops.registry import loop_class
from maxy.loops.status import LoopStatus
from maxy.statistics.live.device import Device
from maxy.statistics.live.page import Page
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.web.live_store import SCATTERS, LiveStore
from maxy.statistics.web.models import DEVICE_METRICS, PAGE_METRICS
from maxy.statistics.web.topics import topics_of
from maxy.valkey.keys import KeyTemplate
from maxy.web.sources import Clients
from tests.realtime_support import PREFIX
from tests.ui_support import browsing, page_settings, statistics_app
from tests.valkey_replies import put_hash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    import httpx
    from fastapi import FastAPI

    from embedded_clickhouse.testing import Server
    from maxy.clock import Clock
    from maxy.statistics.web.service import Service
    from maxy.statistics.web.sources import PageSettings
    from maxy.web.hub import LiveHub
    from tests.support import Valkey

    #: Takes a clock, and settings of ``maxy_realtime``.
    Serve = Callable[..., AbstractAsyncContextManager["Site"]]

#: Package, server type and system.
Triple = tuple[str, int, str]
NAMES = ("package_nm", "server_type", "os_type")
DATABASE = "ui"
PERIODS = {name: loop_class(path).period_seconds for name, path in LIVE_LOOPS.items()}


def asked(triple: Triple) -> dict[str, Any]:
    """Return the parameters by which the API is asked for a key."""
    return dict(zip(NAMES, triple, strict=True))


@dataclass
class Site:
    """An application with clients of its own.

    :param clients: of Valkey and ClickHouse, which all families share.
    :param client: of somebody who may see plugins; addresses are relative to the application's prefix.
    :param commands: what was asked of Valkey: command and first argument.
    """

    app: FastAPI
    clients: Clients
    client: httpx.AsyncClient
    commands: Counter[tuple[str, str]]

    @property
    def service(self) -> Service:
        """What the routes of the statistics work with."""
        service: Service = self.app.state.shell.families["statistics"]
        return service

    @property
    def hub(self) -> LiveHub[PageSettings, LiveStore]:
        return self.service.hub

    def listen(self, triple: Triple, *, seconds: float = 900.0) -> AsyncGenerator[bytes, None]:
        """Listen to the events of a key, as the stream's route does."""
        return self.hub.listen(topics_of(self.service.sources, triple), seconds=seconds)

    async def ask(self, path: str, *, status: int = 200, **parameters: Any) -> Any:
        """Ask the API.

        :return: the answer's JSON.
        """
        answer = await self.client.get(f"api/{path}", params=parameters)
        assert answer.status_code == status, answer.text
        return answer.json()


@asynccontextmanager
async def running_site(
    server: Server,
    valkey_port: int,
    clock: Clock,
    headers: dict[str, str],
    *,
    timezone: str = "UTC",
    valkey_host: str = "127.0.0.1",
    **realtime: Any,
) -> AsyncIterator[Site]:
    """Serve the database ``ui`` of a server, and a Valkey.

    :param headers: who asks.
    :param realtime: what ``maxy_realtime`` says.
    """
    commands: Counter[tuple[str, str]] = Counter()

    async def connect_valkey() -> Redis:
        return _Counting(commands, host=valkey_host, port=valkey_port, socket_timeout=5.0, retry=Retry(NoBackoff(), 1))

    async def find_clickhouse() -> ClickHouseAddress:
        return ClickHouseAddress(server.host, server.http_port, server.user, DATABASE, server.password)

    clients = Clients(clock, connect_valkey=connect_valkey, find_clickhouse=find_clickhouse)
    app = statistics_app(clients, lambda: page_settings(timezone, **realtime))
    try:
        async with browsing(app, headers) as client:
            yield Site(app, clients, client, commands)
    finally:
        await clients.close()


class _Counting(Redis):
    """Counts its commands.

    :param commands: how often each was sent, with its first argument.
    """

    def __init__(self, commands: Counter[tuple[str, str]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._commands = commands

    def pipeline(self, *arguments: Any, **options: Any) -> Any:
        made: Any = super().pipeline(*arguments, **options)
        execute = made.execute

        async def counting(*given: Any, **more: Any) -> Any:
            self._commands.update((str(command[0]), str(command[1])) for command, _ in made.command_stack)
            return await execute(*given, **more)

        made.execute = counting
        return made


def key_of(kind: str, values: Iterable[object]) -> str:
    """Return a key as the loops name it.

    :param kind: ``device``, ``page``, ``log_meter`` or a scatter.
    """
    found: Any = loop_class(LIVE_LOOPS[kind])
    template = KeyTemplate(found.key_template, prefix=f"{PREFIX}:", reserved=getattr(found, "reserved", ()))
    return next(template.keys([[str(value)] for value in values]))


class Loops:
    """Writes what the live loops write, with figures that the test makes up.

    :param valkey: their Valkey.
    """

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    def ticked(self, name: str, at: datetime, **fields: Any) -> None:
        """Leave a loop's status."""
        told: dict[str, Any] = {
            "holder": "1:token",
            "host": "here",
            "last_tick_at": at,
            "last_success_at": at,
            **fields,
        }
        put_hash(self._valkey, loop_key(PREFIX, name), LoopStatus(PERIODS[name], **told).texts())

    def all_ticked(self, at: datetime) -> None:
        """Leave the status of every loop."""
        for name in LIVE_LOOPS:
            self.ticked(name, at)

    def figures(self, loop: str, triple: Triple, at: datetime, **figures: Any) -> None:
        """Leave a key's hash, and note it in the index; figures that are not given are 0."""
        metrics = DEVICE_METRICS if loop == Device.name else PAGE_METRICS
        names = dict(zip(NAMES, map(str, triple), strict=True))
        key = key_of(loop, triple)
        written = {**names, **dict.fromkeys(metrics, 0), **figures, "updated_at": utc_iso(at)}
        put_hash(self._valkey, key, written)
        self._valkey.zadd(f"{loop_key(PREFIX, loop)}:keys", {key: at.timestamp()})

    def rate(self, pair: tuple[str, int], end: datetime, rows: int) -> None:
        """Leave what the log meter counted in its last period."""
        start = end - timedelta(seconds=PERIODS["log_meter"])
        self._valkey.hset(
            key_of("log_meter", pair),
            mapping={"log_count": rows, "window_start": utc_iso(start), "window_end": utc_iso(end)},
        )

    def points(self, loop: str, pair: tuple[str, int], points: Sequence[Mapping[str, Any]], at: datetime) -> None:
        """Leave a scatter's points: as texts that are never the same twice, by when they came in (epoch ms)."""
        key = key_of(loop, pair)
        self._valkey.delete(key)
        if points:
            self._valkey.zadd(key, {json.dumps(point): point["reg_ms"] for point in points})
        self._valkey.hset(f"{key}:meta", mapping={"last_saved_at": utc_iso(at)})


SCATTER_NAMES = [name.value for name in SCATTERS]
BOTH_FIGURES = (Device.name, Page.name)
