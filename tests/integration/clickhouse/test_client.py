"""The live loops' client of ClickHouse, also when the server is away or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from maxy.clickhouse.client import ClickHouseAddress, ClickHouseReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

NAME = "a_loop"


@pytest.fixture
def admin(clickhouse_server: Server) -> Iterator[Client]:
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments()) as client:
        yield client


def address(server: Server) -> ClickHouseAddress:
    return ClickHouseAddress(server.host, server.http_port, server.user, server.database, server.password)


@asynccontextmanager
async def reading(server: Server, **options: Any) -> AsyncIterator[ClickHouseReader]:
    reader = ClickHouseReader(address(server), name=NAME, **options)
    try:
        yield reader
    finally:
        await reader.close()


def with_reader(server: Server, story: Callable[[ClickHouseReader], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with reading(server, **options) as reader:
            await story(reader)

    asyncio.run(asyncio.wait_for(run(), 60))


def open_sockets() -> int:
    descriptors = Path("/proc/self/fd")
    return sum(os.readlink(entry).startswith("socket:") for entry in list(descriptors.iterdir()) if entry.is_symlink())


# ---- statements ----


def test_result_comes_as_columns_with_typed_parameters(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        result = await reader.select(
            "SELECT number AS n, concat({text:String}, toString(number)) AS t,"
            " number IN {some:Array(UInt64)} AS is_some FROM numbers({rows:UInt64})",
            {"text": "it's ä\\\n\t{x:Int} ", "some": [0, 2], "rows": 3},
        )
        assert list(result.names) == ["n", "t", "is_some"]
        assert len(result) == 3
        assert list(result["n"]) == [0, 1, 2]
        assert list(result["t"]) == [f"it's ä\\\n\t{{x:Int}} {number}" for number in range(3)]
        assert list(result["is_some"]) == [1, 0, 1]
        with pytest.raises(ValueError, match="nope"):
            result["nope"]

    with_reader(clickhouse_server, story)


def test_empty_result_has_columns_of_no_rows(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        result = await reader.select("SELECT number AS n FROM numbers(0)")
        assert len(result) == 0
        assert list(result["n"]) == []

    with_reader(clickhouse_server, story)


def test_strings_come_as_text_or_as_bytes(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        statement = "SELECT 'é' AS s, unhex('FF00') AS b, CAST(NULL AS Nullable(String)) AS n"
        for _ in range(2):
            result = await reader.select(statement, string_as_bytes=True)
            assert [result[name][0] for name in "sbn"] == ["é".encode(), b"\xff\x00", None]
            assert (await reader.select(statement))["s"][0] == "é"

    with_reader(clickhouse_server, story)


def test_text_is_text_wherever_it_stands_and_what_is_none_stays_bytes(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        bad = "unhex('FF41')"
        result = await reader.select(
            f"SELECT arrayJoin(['é', {bad}]) AS s, ['é', {bad}, 'abcd'] AS a, map('é', {bad}) AS m,"
            f" CAST((1, {bad}), 'Tuple(n Int8, s String)') AS t, toNullable('é') AS n, toLowCardinality('é') AS l,"
            " CAST('é', 'Variant(UInt8, String)') AS v, CAST('{\"é\": [\"é\"]}', 'JSON') AS j"
        )
        assert list(result["s"]) == ["é", b"\xffA"]
        assert result["a"][0] == ["é", b"\xffA", "abcd"]
        assert result["m"][0] == {"é": b"\xffA"}
        assert result["t"][0] == {"n": 1, "s": b"\xffA"}
        assert [result[name][0] for name in "nlv"] == ["é"] * 3
        assert result["j"][0] == {"é": ["é"]}

    with_reader(clickhouse_server, story)


def test_times_keep_all_their_digits_and_their_zone(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        at = "toDateTime64('2026-07-01 12:00:00.123456789', 9, 'Europe/Berlin')"
        statement = f"SELECT {at} AS at, [{at}] AS many, {at}::DateTime64(6, 'Europe/Berlin') AS micro, now() AS n"
        for statements in (2, 3):
            result = await reader.select(statement)
            # The first time, the answer tells what has to be asked for.
            assert reader.statements == statements
            (moment,), (micro,) = result["at"], result["micro"]
            assert (moment.hour, moment.microsecond, moment.nanosecond) == (12, 123456, 789)
            assert moment == micro == result["many"][0][0]
            assert result["n"][0].utcoffset() == timedelta()
            assert list(map(result.type_of, ["micro", "n", "nope"])) == [
                "DateTime64(6, 'Europe/Berlin')", "DateTime", "",
            ]  # fmt: skip

    with_reader(clickhouse_server, story)


def test_times_that_name_no_zone_are_utc_in_sql_in_parameters_and_in_results(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        noon = datetime(2026, 7, 1, 12, tzinfo=UTC)
        result = await reader.select(
            "SELECT {noon:DateTime} AS noon, toUnixTimestamp({noon:DateTime}) AS s,"
            " toDateTime('2026-07-01 12:00:00') AS t",
            {"noon": noon.astimezone(ZoneInfo("Asia/Seoul"))},
        )
        assert result["noon"][0] == result["t"][0] == noon
        assert result["s"][0] == noon.timestamp()

    with_reader(clickhouse_server, story)


def test_a_column_that_the_client_cannot_read_is_named_with_what_to_select(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        with pytest.raises(
            ValueError, match=r"column state has the type Aggregate.*select finalizeAggregation\(state\)"
        ):
            await reader.select("-- A comment.\nSELECT 1 AS n, sumState({x:UInt8}) AS state -- and one", {"x": 1})

    with_reader(clickhouse_server, story)


def test_many_parameters_fit(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        names = [f"package.{number}" for number in range(20_000)]
        result = await reader.select("SELECT length({names:Array(String)}) AS l", {"names": names})
        assert result["l"][0] == len(names)

    with_reader(clickhouse_server, story)


def test_settings_hold_for_every_statement_or_for_one(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        statement = "SELECT toInt64(getSetting('max_threads')) AS t, toInt64(getSetting('max_block_size')) AS b"
        one = await reader.select(statement, settings={"max_block_size": 77})
        other = await reader.select(statement)
        assert (one["t"][0], one["b"][0]) == (1, 77)
        assert other["t"][0] == 1
        assert other["b"][0] != 77

    with_reader(clickhouse_server, story, settings={"max_threads": 1})


def test_execute_tells_what_was_written(clickhouse_server: Server, admin: Client) -> None:
    admin.command("DROP TABLE IF EXISTS reader_target SYNC")
    admin.command("CREATE TABLE reader_target (n UInt64) ENGINE = MergeTree ORDER BY n")

    async def story(reader: ClickHouseReader) -> None:
        summary = await reader.execute(
            "INSERT INTO reader_target SELECT number FROM numbers({rows:UInt64})", {"rows": 5}
        )
        assert int(summary["written_rows"]) == 5

    with_reader(clickhouse_server, story)
    assert admin.command("SELECT count() FROM reader_target") == 5
    admin.command("DROP TABLE reader_target SYNC")


def test_query_ids_name_the_loop_and_one_handshake_serves_all(clickhouse_server: Server, admin: Client) -> None:
    def logged() -> list[tuple[str, str]]:
        admin.command("SYSTEM FLUSH LOGS query_log")
        found = admin.query(
            "SELECT query, if(log_comment = '', query_id, log_comment) FROM system.query_log"
            " WHERE type = 'QueryFinish' AND match(query, '^SELECT') AND query NOT LIKE '%system.query_log%'"
            " ORDER BY event_time_microseconds"
        )
        return [(query, name) for query, name in found.result_rows]

    marker = os.urandom(8).hex()
    before = len(logged())

    async def story(reader: ClickHouseReader) -> None:
        assert reader.statements == 0
        await asyncio.gather(*(reader.select(f"SELECT '{marker}'") for _ in range(5)))
        for _ in range(15):
            await reader.select(f"SELECT '{marker}'")
        assert reader.statements == 20

    with_reader(clickhouse_server, story)
    new = logged()[before:]
    ids = [query_id for query, query_id in new if marker in query]
    assert len(set(ids)) == len(ids) == 20
    assert all(query_id.startswith(f"maxy_realtime_{NAME}_") for query_id in ids)
    # The version, the settings that there are, and a first try.
    assert len(new) - len(ids) <= 3


def test_error_of_the_server_tells_what_it_said_and_the_next_statement_works(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        for _ in range(3):
            with pytest.raises(ClickHouseError, match="no_such_table"):
                await reader.select("SELECT 1 FROM no_such_table")
            with pytest.raises(ClickHouseError, match=r"half way|FUNCTION_THROW_IF"):
                await reader.select("SELECT throwIf(number = 100000, 'half way') FROM numbers(200000)")
            with pytest.raises(ClickHouseError):
                await reader.execute("INSERT INTO no_such_table SELECT 1")
            assert (await reader.select("SELECT 1 AS one"))["one"][0] == 1

    with_reader(clickhouse_server, story)


def test_wrong_password_is_an_error_that_does_not_tell_it(clickhouse_server: Server) -> None:
    async def story() -> None:
        wrong = replace(address(clickhouse_server), password="not-the-password")
        assert "not-the-password" not in repr(wrong)
        reader = ClickHouseReader(wrong, name=NAME)
        for _ in range(2):
            with pytest.raises(ClickHouseError) as caught:
                await reader.select("SELECT 1")
            assert "not-the-password" not in str(caught.value)
        await reader.close()

    asyncio.run(story())


def test_closed_reader_can_be_closed_again_and_used_again(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        await reader.close()
        assert (await reader.select("SELECT 1 AS one"))["one"][0] == 1
        await reader.close()
        await reader.close()
        assert (await reader.select("SELECT 2 AS two"))["two"][0] == 2

    before = open_sockets()
    with_reader(clickhouse_server, story)
    assert open_sockets() == before


# ---- a server that is away or hangs ----


class Door:
    """A port that leads to the server while it is open, so that a test can be without the server for a while.

    :param server: the server behind it.
    """

    def __init__(self, server: Server) -> None:
        self._behind = server
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        #: Requests that are met by the end of their connection, as by a server that was just stopped.
        self.refused = 0

    async def open(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def close(self) -> None:
        assert self._listener is not None, "it is not open"
        self._listener.close()
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        behind_reader, behind_writer = await asyncio.open_connection(self._behind.host, self._behind.http_port)
        back = asyncio.create_task(self._forward(behind_reader, writer))
        await self._forward(reader, behind_writer, is_request=True)
        behind_writer.close()
        writer.close()
        await back

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if is_request and self.refused:
                    self.refused -= 1
                    return
                writer.write(data)
                await writer.drain()


def with_door(server: Server, story: Callable[[ClickHouseReader, Door], Awaitable[None]]) -> None:
    async def run() -> None:
        door = Door(server)
        reader = ClickHouseReader(replace(address(server), port=door.port), name=NAME)
        await story(reader, door)
        await reader.close()
        await door.close()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_server_that_comes_later_goes_and_comes_back(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader, door: Door) -> None:
        for _ in range(2):
            for _ in range(2):
                with pytest.raises(OperationalError):
                    await reader.select("SELECT 1")
            await door.open()
            assert (await reader.select("SELECT 1 AS one"))["one"][0] == 1
            await door.close()
        await door.open()

    with_door(clickhouse_server, story)


def test_query_on_a_connection_that_has_died_is_asked_again(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader, door: Door) -> None:
        await door.open()
        await reader.select("SELECT 1")
        # The server was restarted, and the client has seen it.
        await door.close()
        await door.open()
        assert (await reader.select("SELECT 2 AS two"))["two"][0] == 2
        # It was, and the client finds out when it asks.
        door.refused = 1
        assert (await reader.select("SELECT 3 + {n:UInt8} AS n", {"n": 4}))["n"][0] == 7
        assert door.refused == 0

    with_door(clickhouse_server, story)


def test_statement_that_writes_is_never_sent_twice(clickhouse_server: Server, admin: Client) -> None:
    admin.command("DROP TABLE IF EXISTS reader_target SYNC")
    admin.command("CREATE TABLE reader_target (n UInt64) ENGINE = MergeTree ORDER BY n")

    async def story(reader: ClickHouseReader, door: Door) -> None:
        await door.open()
        await reader.select("SELECT 1")
        door.refused = 1
        with pytest.raises(OperationalError):
            await reader.execute("INSERT INTO reader_target SELECT 1")
        await reader.execute("INSERT INTO reader_target SELECT 2")

    with_door(clickhouse_server, story)
    assert admin.query("SELECT n FROM reader_target").result_rows == [(2,)]
    admin.command("DROP TABLE reader_target SYNC")


@pytest.mark.parametrize("connected", [True, False])
def test_hanging_server_is_cut_off_and_asked_again_when_it_goes_on(clickhouse_server: Server, connected: bool) -> None:
    async def story(reader: ClickHouseReader) -> None:
        if connected:
            await reader.select("SELECT 1")
        os.kill(clickhouse_server.pid, signal.SIGSTOP)
        try:
            began = asyncio.get_running_loop().time()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.select("SELECT 1"), 0.05)
            assert asyncio.get_running_loop().time() - began < 2
        finally:
            os.kill(clickhouse_server.pid, signal.SIGCONT)
        assert (await reader.select("SELECT 5 AS five"))["five"][0] == 5

    with_reader(clickhouse_server, story)


def test_hanging_server_is_an_error_after_the_receive_timeout(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        await reader.select("SELECT 1")
        os.kill(clickhouse_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises((OperationalError, TimeoutError)):
                await reader.select("SELECT 1")
        finally:
            os.kill(clickhouse_server.pid, signal.SIGCONT)
        assert (await reader.select("SELECT 5 AS five"))["five"][0] == 5

    with_reader(clickhouse_server, story, receive_timeout=0.3)


def test_cancelled_statements_leave_no_connections_behind(clickhouse_server: Server) -> None:
    async def story(reader: ClickHouseReader) -> None:
        await reader.select("SELECT 1")
        before = open_sockets()
        for number in range(50):
            statement = asyncio.create_task(
                # Cut off before the answer, and in the midst of it.
                reader.select("SELECT sleep(1)" if number % 2 else "SELECT number FROM numbers(20000000)")
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(statement, 0.01)
        assert (await reader.select("SELECT 5 AS five"))["five"][0] == 5
        assert open_sockets() <= before + 1

    with_reader(clickhouse_server, story)
