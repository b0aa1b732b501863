"""Leaving out old parts never leaves out a row that is wanted."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedded_clickhouse.testing import running_server
from maxy.clickhouse.client import ClickHouseAddress, ClickHouseReader
from maxy.clickhouse.parts import PartPruner, take_snapshot
from maxy.clickhouse.sql_files import read_statement
from maxy.days import CalendarDay
from tests.realtime_support import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

    Story = Callable[["Scene"], Awaitable[None]]
    Play = Callable[[Story], None]

DATABASE = "new_parts"
#: What the loops' statements have.
UNSEEN_PARTS = read_statement("shared/unseen_parts.sql")
NOW = datetime(2025, 6, 30, 23, 59, tzinfo=UTC)
CREATE = (
    "CREATE TABLE {} (at DateTime64(3), day UInt8, n UInt64) ENGINE = MergeTree PARTITION BY day ORDER BY n"
    " SETTINGS old_parts_lifetime = 1"
)
MARGIN = timedelta(seconds=60)


@pytest.fixture(scope="module")
def database(clickhouse_server: Server) -> Iterator[Client]:
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as admin:
        admin.command(f"DROP DATABASE IF EXISTS {DATABASE} SYNC")
        admin.command(f"CREATE DATABASE {DATABASE}")
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as client:
        yield client


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


class Scene:
    """A table, and a pruner whose answers are compared with those of a statement without it."""

    def __init__(self, client: Client, reader: ClickHouseReader, **options: Any) -> None:
        self.client = client
        self.reader = reader
        self.pruner = PartPruner(reader, "t", margin=MARGIN, **options)
        for name in ("t", "u"):
            client.command(f"DROP TABLE IF EXISTS {name} SYNC")
        client.command(CREATE.format("t"))
        self.numbers = iter(range(1_000_000))

    def insert(self, *moments: datetime, day: int = 1, table: str = "t") -> None:
        self.client.insert(table, [(moment, day, next(self.numbers)) for moment in moments])

    async def read(self, since: datetime) -> tuple[list[int], list[int]]:
        """Return the rows from then on as the pruner has them and as they are."""
        statement = "SELECT n FROM t WHERE at >= {since:DateTime64(3, 'UTC')}"
        pruned = await self.reader.select(
            f"{statement} AND {UNSEEN_PARTS} ORDER BY n", {"since": since, **self.pruner.parameters(since)}
        )
        exact = await self.reader.select(f"{statement} ORDER BY n", {"since": since})
        return list(pruned["n"]), list(exact["n"])

    async def assert_complete(self, since: datetime) -> None:
        pruned, exact = await self.read(since)
        assert pruned == exact

    async def parts_read(self, since: datetime) -> int:
        """Return how many parts are not left out."""
        result = await self.reader.select(
            f"SELECT uniqExact(_part) AS parts FROM t WHERE {UNSEEN_PARTS}", self.pruner.parameters(since)
        )
        return int(result["parts"][0]) if len(result) else 0


@asynccontextmanager
async def scene_on(server: Server, client: Client, **options: Any) -> AsyncIterator[Scene]:
    assert client.database is not None
    reader = ClickHouseReader(
        ClickHouseAddress(server.host, server.http_port, server.user, client.database, server.password), name="test"
    )
    try:
        yield Scene(client, reader, **options)
    finally:
        await reader.close()


@pytest.fixture
def play(clickhouse_server: Server, database: Client) -> Play:
    def run(story: Story) -> None:
        async def told() -> None:
            async with scene_on(clickhouse_server, database) as scene:
                await story(scene)

        asyncio.run(told())

    return run


def test_a_snapshot_tells_what_the_table_consists_of(play: Play) -> None:
    async def story(scene: Scene) -> None:
        empty = await take_snapshot(scene.reader, "t")
        scene.insert(later(0), later(1), day=1)
        scene.insert(later(2), day=1)
        scene.insert(later(3), day=2)
        full, again = [await take_snapshot(scene.reader, "t") for _ in range(2)]
        uuid = scene.client.command(
            "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = 't'"
        )
        assert empty.table_uuid == full.table_uuid == uuid
        assert (empty.blocks, empty.first_blocks, empty.possible_rows) == ({}, {}, 0)
        # Which is the first number of all is the server's affair.
        first = full.first_blocks
        assert full.blocks == {"1": first["1"] + 1, "2": first["2"]}
        assert full.possible_rows == 4
        assert full.fingerprint == again.fingerprint != empty.fingerprint
        assert full.in_order
        assert scene.reader.statements == 3
        scene.client.command("OPTIMIZE TABLE t PARTITION 1 FINAL")
        merged = await take_snapshot(scene.reader, "t")
        assert (merged.blocks, merged.first_blocks) == (full.blocks, full.first_blocks)
        assert merged.fingerprint != full.fingerprint
        assert merged.loss_since(full) is None

    play(story)


def test_a_snapshot_of_no_table_is_empty(play: Play) -> None:
    async def story(scene: Scene) -> None:
        nothing = await take_snapshot(scene.reader, "no such table")
        assert (nothing.table_uuid, nothing.blocks, nothing.possible_rows) == ("", {}, 0)
        assert nothing.break_since(await take_snapshot(scene.reader, "t")) == "the source table was replaced"

    play(story)


def test_parts_without_rows_of_a_day_are_not_counted_for_it(play: Play) -> None:
    async def story(scene: Scene) -> None:
        day = CalendarDay(NOW.date(), ZoneInfo("UTC"))
        scene.client.command("DROP TABLE t SYNC")
        scene.client.command(
            "CREATE TABLE t (at DateTime('UTC'), n UInt64) ENGINE = MergeTree PARTITION BY toYYYYMMDD(at) ORDER BY n"
        )
        moments = [NOW - timedelta(days=1), NOW, NOW - timedelta(hours=5), NOW + timedelta(minutes=1)]
        scene.client.insert("t", [(moment, next(scene.numbers)) for moment in moments])
        assert (await take_snapshot(scene.reader, "t", day)).possible_rows == 2
        assert (await take_snapshot(scene.reader, "t")).possible_rows == 4

    play(story)


def test_parts_that_were_there_long_before_are_not_read(play: Play) -> None:
    async def story(scene: Scene) -> None:
        for day in (1, 2):
            scene.insert(later(-500), day=day)
            scene.insert(later(-400), day=day)
        await scene.pruner.look(NOW)
        assert await scene.parts_read(later(59)) == 4
        assert await scene.parts_read(later(60)) == 0
        scene.insert(later(61))
        scene.insert(later(61), day=3)
        assert await scene.parts_read(later(60)) == 2
        await scene.assert_complete(later(60))

    play(story)


def test_what_was_seen_last_is_not_used_before_its_time(play: Play) -> None:
    async def story(scene: Scene) -> None:
        for seconds in range(0, 300, 10):
            await scene.pruner.look(later(seconds))
            scene.insert(later(seconds + 5))
            await scene.assert_complete(later(seconds - 10))
        # Of thirty parts, those of the margin, of the overlap and of one refresh.
        assert await scene.parts_read(later(280)) <= 10

    play(story)


def test_looks_only_now_and_then(play: Play) -> None:
    async def story(scene: Scene) -> None:
        for seconds in range(0, 300, 5):
            await scene.pruner.look(later(seconds))
        assert scene.reader.statements == 10
        scene.pruner.forget()
        await scene.pruner.look(later(300))
        assert scene.reader.statements == 11
        assert await scene.parts_read(later(300)) == 0

    play(story)


def test_merge_between_the_look_and_the_read_hides_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.insert(later(-500))
        await scene.pruner.look(NOW)
        scene.insert(later(100))
        scene.client.command("OPTIMIZE TABLE t FINAL")
        await scene.assert_complete(later(90))
        assert await scene.parts_read(later(90)) == 1

    play(story)


def _truncate(scene: Scene) -> None:
    scene.client.command("TRUNCATE TABLE t")


def _recreate(scene: Scene) -> None:
    scene.client.command("DROP TABLE t SYNC")
    scene.client.command(CREATE.format("t"))


def _exchange(scene: Scene) -> None:
    scene.client.command(CREATE.format("u"))
    scene.insert(later(95), table="u")
    scene.client.command("EXCHANGE TABLES t AND u")


def _drop_partition(scene: Scene) -> None:
    scene.client.command("ALTER TABLE t DROP PARTITION 1")


def _replace_partition(scene: Scene) -> None:
    scene.client.command(CREATE.format("u"))
    scene.insert(later(95), table="u")
    scene.client.command("ALTER TABLE t REPLACE PARTITION 1 FROM u")


def _attach(scene: Scene) -> None:
    scene.client.command("ALTER TABLE t DETACH PARTITION 1")
    scene.client.command("ALTER TABLE t ATTACH PARTITION 1")


CHANGES = [_truncate, _recreate, _exchange, _drop_partition, _replace_partition, _attach]


@pytest.mark.parametrize("looked_again", ["not", "at once", "after the next rows"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_other_table_in_its_place_hides_nothing(play: Play, change: Callable[[Scene], None], looked_again: str) -> None:
    async def story(scene: Scene) -> None:
        for second in range(5):
            scene.insert(later(-500 + second))
        await scene.pruner.look(NOW)
        change(scene)
        if looked_again == "at once":
            await scene.pruner.look(later(40))
        scene.insert(later(100))
        if looked_again == "after the next rows":
            # Its blocks are numbered above the former ones by now.
            for second in range(6):
                scene.insert(later(100 + second))
            await scene.pruner.look(later(101))
        await scene.assert_complete(later(90))
        await scene.assert_complete(later(165))

    play(story)


def test_clock_that_is_set_back_hides_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        await scene.pruner.look(NOW)
        await scene.pruner.look(later(100))
        scene.insert(later(-3600))
        await scene.pruner.look(later(-3600))
        scene.insert(later(-3550))
        await scene.assert_complete(later(-3610))
        await scene.assert_complete(later(-3540))
        assert await scene.parts_read(later(100)) == 1

    play(story)


def test_table_that_is_not_there_yet_hides_nothing(play: Play) -> None:
    async def story(scene: Scene) -> None:
        scene.client.command("DROP TABLE t SYNC")
        await scene.pruner.look(NOW)
        scene.client.command(CREATE.format("t"))
        scene.insert(later(100))
        await scene.assert_complete(later(90))

    play(story)


@pytest.mark.parametrize(
    ("part", "is_read"),
    [
        # A replicated table counts from 0, by partition.
        ("20260102_0_0_0", True),
        ("20260101_5_5_0", False),
        ("20260101_0_5_3", False),
        ("20260101_0_6_3", True),
        ("20260101_0_5_3_7", False),
        ("20260101_6_6_0_7", True),
        ("all_0_0_0", True),
        ("strange", True),
        ("20260101_x_y_z", True),
    ],
)
def test_names_of_parts_are_read_right(database: Client, part: str, is_read: bool) -> None:
    database.command("CREATE TABLE IF NOT EXISTS named (n UInt8) ENGINE = MergeTree ORDER BY n")
    uuid = database.command(
        "SELECT toString(uuid) FROM system.tables WHERE database = currentDatabase() AND name = 'named'"
    )
    parameters = {"partitions": ["20260101"], "blocks": [5], "pruned_table": "named", "pruned_uuid": uuid, "part": part}
    condition = UNSEEN_PARTS.replace("_part)", "{part:String})")
    assert bool(database.command(f"SELECT {condition}", parameters=parameters)) == is_read


def test_server_that_starts_again_with_an_emptied_table_hides_nothing(tmp_path: Path) -> None:
    """It counts on from the blocks it finds: here from none."""

    async def story() -> None:
        scene = None
        with running_server(tmp_path) as server, clickhouse_connect.get_client(**server.http_arguments()) as client:
            async with scene_on(server, client) as scene:
                for _ in range(5):
                    scene.insert(later(-500))
                await scene.pruner.look(NOW)
                client.command("TRUNCATE TABLE t SYNC")
        with running_server(tmp_path) as server, clickhouse_connect.get_client(**server.http_arguments()) as client:
            address = ClickHouseAddress(server.host, server.http_port, server.user, server.database, server.password)
            scene.client, scene.reader = client, ClickHouseReader(address, name="test")
            scene.pruner._clickhouse = scene.reader
            for _ in range(7):
                scene.insert(later(30))
            await scene.pruner.look(later(31))
            scene.insert(later(100))
            await scene.assert_complete(later(90))
            await scene.reader.close()

    asyncio.run(story())


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("insert"), st.integers(1, 3), st.lists(st.integers(-30_000, 10_000), min_size=1, max_size=3)),
        st.tuples(st.just("tick"), st.sampled_from([1, 5_000, 5_000, 31_000, 90_000, 600_000, -50_000])),
        st.tuples(st.just("change"), st.sampled_from([_truncate, _recreate, _drop_partition, _attach])),
        st.tuples(st.just("merge")),
    ),
    max_size=25,
)


@settings(max_examples=examples(6), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(steps=_steps)
def test_every_wanted_row_is_read_whatever_happens(
    clickhouse_server: Server, database: Client, steps: Sequence[tuple[Any, ...]]
) -> None:
    async def story() -> None:
        async with scene_on(clickhouse_server, database) as scene:
            now, lookback = NOW, timedelta(seconds=15)
            for step, *arguments in steps:
                if step == "insert":
                    day, late = arguments
                    scene.insert(*(now - timedelta(milliseconds=each) for each in late), day=day)
                elif step == "tick":
                    now += timedelta(milliseconds=arguments[0])
                    await scene.pruner.look(now)
                    await scene.assert_complete(now - lookback)
                elif step == "change":
                    arguments[0](scene)
                else:
                    scene.client.command("OPTIMIZE TABLE t FINAL")
            await scene.assert_complete(now - lookback)

    asyncio.run(story())
