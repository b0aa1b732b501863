"""The native protocol of the embedded ClickHouse, spoken by clickhouse-driver and by Airflow's hooks."""

from __future__ import annotations

import datetime as dt
import http.client
import secrets
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
import zstandard
from clickhouse_driver.errors import ServerException
from clickhouse_driver.protocol import ServerPacketTypes

from clickhouse_testkit.native_client import DEADLINE_SECONDS, Packets, connected, is_running
from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.config import Credentials
from embedded_clickhouse.limits import Limits, StatementGate
from embedded_clickhouse.native import server as native_server
from embedded_clickhouse.native.protocol import exception_packet
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_driver import Client

    from embedded_clickhouse.errors import EngineError
    from embedded_clickhouse.testing import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(
        tmp_path_factory.mktemp("clickhouse"),
        timezone="Asia/Seoul",
        user="tester",
        password=secrets.token_urlsafe(),
        database="stats",
    ) as running:
        yield running


@pytest.fixture
def table(name: str) -> str:
    return name


def test_the_server_introduces_itself(client: Client) -> None:
    client.execute("SELECT 1")
    info = client.connection.server_info
    assert info.name == "ClickHouse"
    assert info.version_tuple()[:2] == (26, 9)
    assert info.revision == info.used_revision == 54453
    assert info.timezone == "Asia/Seoul"
    assert info.display_name
    assert client.connection.ping() is True


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"password": "wrong"}, 516, "Authentication failed"),
        ({"user": "somebody"}, 516, "Authentication failed"),
        ({"user": "\N{SNOWMAN}"}, 516, "Authentication failed"),
        ({"database": "nowhere"}, 81, "nowhere"),
    ],
)
def test_a_client_that_may_not_in_is_told_why(server: Server, changes: dict[str, str], code: int, words: str) -> None:
    with connected(server, **changes) as stranger, pytest.raises(ServerException, match=words) as caught:
        stranger.execute("SELECT 1")
    assert caught.value.code == code


_VALUES: dict[str, list[Any]] = {
    "Int8": [-128, 127],
    "UInt64": [0, 2**64 - 1],
    "Int128": [-(2**127), 2**127 - 1],
    "UInt256": [0, 2**256 - 1],
    "Float64": [-0.5, 1e300],
    "Bool": [True, False],
    "String": ["", "한글 'quoted' \\ \n" * 20],
    "FixedString(4)": ["abcd", "wxyz"],
    "Date": [dt.date(1970, 1, 1), dt.date(2149, 6, 6)],
    "Date32": [dt.date(1925, 1, 1), dt.date(2283, 11, 11)],
    "DateTime('UTC')": [dt.datetime(2026, 11, 1, 6, 30, tzinfo=ZoneInfo("UTC"))] * 2,
    "DateTime64(3, 'America/New_York')": [
        dt.datetime(2026, month, 1, 1, 30, 0, 123000, tzinfo=ZoneInfo("America/New_York")) for month in (1, 7)
    ],
    "Enum8('a' = 1, 'b, (c' = 2)": ["a", "b, (c"],
    "UUID": [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)],
    "IPv4": [IPv4Address("0.0.0.0"), IPv4Address("255.1.2.3")],
    "IPv6": [IPv6Address("::"), IPv6Address("2001:db8::1")],
    "Decimal(38, 10)": [Decimal("-1.0000000001"), Decimal("9" * 28)],
    "Nullable(String)": [None, "x"],
    "LowCardinality(Nullable(String))": [None, "x"],
    "Array(Array(Nullable(Int32)))": [[[1, None], []], []],
    "Array(LowCardinality(String))": [["x", "y", "x"], ["z"]],
    "Tuple(a UInt8, b Array(String))": [(1, ["p", "q"]), (2, [])],
    "Map(String, UInt64)": [{"a": 1, "b": 2}, {}],
    "Map(LowCardinality(String), Array(UInt8))": [{"a": [1]}, {"b": []}],
    "SimpleAggregateFunction(sum, UInt64)": [1, 2],
    "Point": [(1.0, 2.0), (-3.0, 4.5)],
}


@pytest.mark.parametrize("compression", [False, "lz4", "zstd"])
def test_values_of_every_type_come_back_as_they_were_inserted(
    server: Server, table: str, compression: str | bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The driver asks for the package of this name, which has the same two functions.
    monkeypatch.setitem(sys.modules, "zstd", zstandard)
    types = ", ".join(f"c{index} {type_name}" for index, type_name in enumerate(_VALUES))
    rows = list(zip(range(2), *_VALUES.values(), strict=True))
    settings = {"network_compression_method": str(compression).upper()} if compression else {}
    with connected(server, compression=compression) as client:
        client.execute(f"CREATE TABLE {table} (n UInt8, {types}) ENGINE = MergeTree ORDER BY n")
        assert client.execute(f"INSERT INTO {table} VALUES", rows) == 2
        stored, columns = client.execute(f"SELECT * FROM {table} ORDER BY n", with_column_types=True, settings=settings)
    assert stored == rows
    assert [type_name for _, type_name in columns] == ["UInt8", *_VALUES]


def test_a_zone_in_a_datetime_type_is_kept(client: Client) -> None:
    rows, columns = client.execute(
        "SELECT toDateTime(0, 'UTC') AS utc, 'x' AS s, toDateTime(0) AS here, toDateTime(0, 'America/New_York')",
        with_column_types=True,
    )
    assert [type_name for _, type_name in columns] == [
        "DateTime('UTC')",
        "String",
        "DateTime",
        "DateTime('America/New_York')",
    ]
    utc, _, here, new_york = rows[0]
    assert utc.astimezone(ZoneInfo("UTC")) == new_york.astimezone(ZoneInfo("UTC"))
    assert (utc.hour, here.hour, new_york.hour) == (0, 9, 19)


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT 1 AS a, toDateTime(0, 'UTC') AS t WHERE 0", [("a", "UInt8"), ("t", "DateTime('UTC')")]),
        ("WITH 1 AS x SELECT x LIMIT 0 -- nothing", [("x", "UInt8")]),
        ("(SELECT 1 AS a WHERE 0) UNION ALL (SELECT 2 WHERE 0);", [("a", "UInt8")]),
        ("SHOW TABLES LIKE 'no such table'", [("name", "String")]),
        ("CREATE TEMPORARY TABLE nothing_to_tell (a UInt8)", []),
    ],
)
def test_an_empty_result_has_its_columns(client: Client, sql: str, columns: list[tuple[str, str]]) -> None:
    assert client.execute(sql, with_column_types=True) == ([], columns)


def test_results_of_other_statements_come_too(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt8) ENGINE = Memory")
    assert client.execute(f"EXISTS TABLE {table}") == [(1,)]
    assert [row[:2] for row in client.execute(f"DESCRIBE TABLE {table}")] == [("a", "UInt8")]
    assert (table,) in client.execute("SHOW TABLES")
    assert client.execute("SELECT 1 AS a FORMAT JSON") == [(1,)]


def test_a_long_result_comes_in_blocks_and_order(client: Client) -> None:
    rows = client.execute_iter("SELECT number, toString(number) FROM numbers(300000)", chunk_size=1)
    assert all(row == (index, str(index)) for index, row in enumerate(rows))


def test_only_columns_that_are_stored_are_asked_for(client: Client, table: str) -> None:
    client.execute(
        f"CREATE TABLE {table} (a UInt32, b UInt32 MATERIALIZED a + 1, c UInt32 ALIAS a + 2, e UInt32 EPHEMERAL,"
        " d UInt32 DEFAULT a + e, `odd ``name` String) ENGINE = MergeTree ORDER BY a"
    )
    client.execute(f"INSERT INTO {table} VALUES", [(1, 10, "x")])
    client.execute(f"INSERT INTO {table} (`odd ``name`, e, a) VALUES", [("y", 5, 2)])
    client.execute(f"INSERT INTO {table} (* EXCEPT (d)) VALUES", [(3, "z")])
    assert client.execute(f"SELECT a, b, c, d, `odd ``name` FROM {table} ORDER BY a") == [
        (1, 2, 3, 10, "x"),
        (2, 3, 4, 7, "y"),
        (3, 4, 5, 3, "z"),
    ]


def test_data_in_the_text_of_an_insert_is_stored(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    client.execute(f"INSERT INTO {table} VALUES (1, 'x;y'), (2, '--');")
    client.execute(f"INSERT INTO {table} SETTINGS max_threads = 1 VALUES (0, 'set')")
    client.execute(f"ALTER TABLE {table} DELETE WHERE a = 0 SETTINGS mutations_sync = 1")
    client.execute(f"INSERT INTO {table} SELECT a + 2, s FROM {table}")
    assert client.last_query.progress.written_rows == 2
    assert client.execute(f"SELECT * FROM {table} ORDER BY a") == [(1, "x;y"), (2, "--"), (3, "x;y"), (4, "--")]


def test_an_insert_without_rows_stores_none(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    assert client.execute(f"INSERT INTO {table} VALUES", []) == 0
    assert client.execute(f"SELECT count() FROM {table}") == [(0,)]


def test_an_insert_in_many_blocks_is_stored_whole(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    rows = ((index, str(index)) for index in range(5000))
    client.execute(f"INSERT INTO {table} VALUES", rows, settings={"insert_block_size": 100})
    assert client.last_query.progress.written_rows == 5000
    assert client.execute(f"SELECT count(), sum(a) FROM {table}") == [(5000, sum(range(5000)))]


def test_rows_and_bytes_are_reported(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.execute(f"INSERT INTO {table} SELECT number FROM numbers(1000)")
    assert client.last_query.progress.written_rows == 1000
    assert client.last_query.progress.written_bytes == 8000
    client.execute(f"SELECT a FROM {table} WHERE a < 10")
    assert client.last_query.progress.rows == 1000
    assert client.last_query.progress.bytes == 8000
    assert client.last_query.profile_info.rows == 10


def test_a_long_statement_reports_progress_meanwhile(client: Client) -> None:
    progress = client.execute_with_progress(
        "SELECT sum(sipHash64(number)) FROM numbers(100000000) SETTINGS max_threads = 1"
    )
    reports = [rows for rows, _ in progress]
    assert len(reports) > 1
    assert reports == sorted(reports)
    assert reports[-1] == 100_000_000
    assert len(progress.get_result()) == 1


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT nope", 47),
        ("SELECT * FROM no_such_table", 60),
        ("selec 1", 62),
        ("", 62),
        ("SELECT 1; SELECT 2", 62),
        ("SELECT throwIf(number = 250000, 'too far') FROM numbers(300000)", 395),
        ("INSERT INTO no_such_table VALUES", 60),
    ],
)
def test_an_error_leaves_the_connection_usable(client: Client, sql: str, code: int) -> None:
    packets = Packets(client)
    packets.query(sql)
    error = packets.answer()[-1].exception
    assert error.code == code
    assert "DB::Exception" in str(error)
    assert packets.rows("SELECT 42") == [(42,)]


@pytest.mark.parametrize(
    ("columns", "code", "words"),
    [("(a, nope)", 16, "nope"), ("(a, j)", 48, "Column j: Type JSON"), ("(u)", 48, "AggregateFunction")],
)
def test_an_insert_that_cannot_be_is_refused_before_its_data(
    client: Client, table: str, columns: str, code: int, words: str
) -> None:
    client.execute(
        f"CREATE TABLE {table} (a UInt8, j JSON, u AggregateFunction(uniq, UInt8)) ENGINE = MergeTree ORDER BY a"
    )
    packets = Packets(client)
    packets.query(f"INSERT INTO {table} {columns} VALUES")
    error = packets.answer()[-1].exception
    assert error.code == code
    assert words in str(error)
    assert packets.rows(f"SELECT count() FROM {table}") == [(0,)]


def test_an_insert_that_fails_stores_nothing_and_its_data_is_not_taken_for_packets(client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32, CONSTRAINT small CHECK a < 1000) ENGINE = MergeTree ORDER BY a")
    packets = Packets(client)
    packets.query(f"INSERT INTO {table} VALUES")
    sample = packets.connection.receive_packet().block.columns_with_types
    assert sample == [("a", "UInt32")]
    packets.data([(index,) for index in range(10)], sample)
    packets.data([(1000,)], sample)
    packets.end_of_data()
    assert packets.answer()[-1].exception.code == 469
    assert packets.rows(f"SELECT count() FROM {table}") == [(0,)]


@pytest.mark.parametrize("cut", [None, -1, 9])
def test_a_client_that_leaves_in_the_middle_of_an_insert_stores_nothing(
    server: Server, client: Client, table: str, cut: int | None
) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    query_id = str(uuid.uuid4())
    with connected(server) as leaving:
        packets = Packets(leaving)
        packets.query(f"INSERT INTO {table} VALUES", query_id)
        sample = packets.connection.receive_packet().block.columns_with_types
        packets.data([(index,) for index in range(1000)], sample)
        if cut is not None:
            block = b"\x02\x00\x01\x00\x02\xff\xff\xff\xff\x00\x01\x01\x01a\x06UInt32\x07\x00\x00\x00"
            packets.connection.socket.sendall(block[:cut])
    # An id is free again once its statement has ended.
    eventually(lambda: _id_is_free(client, table, query_id), "the end of the insert")
    assert client.execute(f"SELECT * FROM {table}") == [(42,)]


def _id_is_free(client: Client, table: str, query_id: str) -> bool:
    try:
        client.execute(f"INSERT INTO {table} VALUES", [(42,)], query_id=query_id)
    except ServerException as error:
        if error.code != 216:
            raise
        return False
    return True


@pytest.mark.parametrize(
    "sql",
    ["SELECT number FROM system.numbers", "SELECT count() FROM system.numbers WHERE NOT ignore(number)"],
)
def test_a_client_may_cancel(client: Client, sql: str) -> None:
    packets = Packets(client)
    packets.query(sql)
    packets.connection.receive_packet()
    packets.connection.send_cancel()
    assert packets.answer()[-1].type == ServerPacketTypes.END_OF_STREAM
    assert packets.rows("SELECT 42") == [(42,)]


def test_another_client_may_kill(server: Server, client: Client) -> None:
    query_id = f"it's {uuid.uuid4()}"
    with ThreadPoolExecutor(1) as pool, connected(server) as victim:
        result = pool.submit(victim.execute, "SELECT count() FROM system.numbers", query_id=query_id)
        eventually(lambda: is_running(client, query_id), "the start of the query")
        client.execute("KILL QUERY WHERE query_id = %(id)s SYNC", {"id": query_id})
        with pytest.raises(ServerException) as caught:
            result.result(DEADLINE_SECONDS)
    assert caught.value.code == 394


def test_the_query_of_a_client_that_left_is_ended(server: Server, client: Client) -> None:
    query_id = str(uuid.uuid4())
    with connected(server) as leaving:
        Packets(leaving).query("SELECT count() FROM system.numbers", query_id)
        eventually(lambda: is_running(client, query_id), "the start of the query")
    eventually(lambda: not is_running(client, query_id), "the end of the query")


def test_what_a_client_sets_lives_as_long_as_its_connection(server: Server, client: Client) -> None:
    client.execute("CREATE TEMPORARY TABLE mine (a UInt8)")
    client.execute("INSERT INTO mine VALUES", [(7,)])
    client.execute("SET max_block_size = 17")
    client.execute("USE system")
    assert client.execute("SELECT a, currentDatabase() FROM mine") == [(7, "system")]
    assert client.execute("SELECT getSetting('max_block_size')") == [(17,)]
    with connected(server) as other:
        assert other.execute("SELECT currentDatabase()") == [("stats",)]
        with pytest.raises(ServerException):
            other.execute("SELECT a FROM mine")


def test_settings_of_a_query_are_its_own(client: Client) -> None:
    sql = "SELECT getSetting('max_block_size')"
    before = client.execute(sql)
    assert client.execute(sql, settings={"max_block_size": 1234}) == [(1234,)]
    assert client.execute(sql) == before


def test_many_clients_at_once(server: Server, client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (who UInt8, n UInt32) ENGINE = MergeTree ORDER BY (who, n)")

    def work(who: int) -> list[tuple[int, int]]:
        with connected(server, compression=bool(who % 2)) as own:
            for start in range(0, 500, 100):
                own.execute(f"INSERT INTO {table} VALUES", [(who, start + n) for n in range(100)])
            rows: list[tuple[int, int]] = own.execute(f"SELECT count(), sum(n) FROM {table} WHERE who = {who}")
            return rows

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [[(500, sum(range(500)))]] * 8


@pytest.mark.parametrize(
    "words",
    [b"\x16\x03\x01\x02\x00", b"get", b"\x00" + b"\xff" * 64, b"\x00\x01a\x01\x01\xad\xa8\x01\x00\x00\x00"],
)
def test_who_does_not_speak_the_protocol_is_shown_out(server: Server, words: bytes) -> None:
    with socket.create_connection((server.host, server.tcp_port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(words)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(4096):
            answer += data
    assert answer.startswith(b"\x02")
    assert b"DB::Exception" in answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "QUERY"])
def test_who_speaks_http_is_told_the_port(server: Server, method: str) -> None:
    connection = http.client.HTTPConnection(server.host, server.tcp_port, timeout=DEADLINE_SECONDS)
    connection.request(method, "/?query=SELECT+1", body=b"SELECT 1" if method in {"POST", "PUT"} else None)
    reply = connection.getresponse()
    assert reply.status == 400
    words = "" if method == "HEAD" else _wrong_port(server)
    assert reply.read().decode() == words
    connection.close()


# As the first packet may be cut, and whatever becomes of the rest.
@pytest.mark.parametrize("words", [b"G", b"PO", b"GET / HT", b"HEAD", b"CONNECT a:1 HTTP/1.1\r\nHost: a"])
@pytest.mark.parametrize("goes_on", [True, False])
def test_who_begins_to_speak_http_is_told_the_port(server: Server, words: bytes, goes_on: bool) -> None:
    with socket.create_connection((server.host, server.tcp_port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(words)
        if not goes_on:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while data := sock.recv(4096):
            answer += data
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    assert body == _wrong_port(server)


def _wrong_port(server: Server) -> str:
    return (
        f"Port {server.tcp_port} is for clickhouse-client program.\r\n"
        f"You must use port {server.http_port} for HTTP.\r\n"
    )


def test_a_client_that_is_gone_before_it_is_served_does_not_end_the_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals: list[EngineError] = []

    def refuse(error: EngineError) -> bytes:
        refusals.append(error)
        if len(refusals) == 1:
            raise ConnectionResetError
        return exception_packet(error)

    monkeypatch.setattr(native_server, "exception_packet", refuse)
    limits = Limits(max_connections=1)
    full = native_server.NativeServer(
        None,
        Credentials("u", "p"),
        limits,
        StatementGate(limits),
        host="127.0.0.1",
        port=0,
        http_port=0,
        timezone="UTC",
        display_name="d",
    )
    address = ("127.0.0.1", full.start())
    try:
        answers = []
        with socket.create_connection(address):
            for _ in range(2):
                with socket.create_connection(address, timeout=DEADLINE_SECONDS) as sock:
                    answers.append(sock.recv(1))
    finally:
        full.stop(0)
    assert answers == [b"", b"\x02"]


def test_an_unknown_packet_ends_the_connection_with_an_error(client: Client) -> None:
    packets = Packets(client)
    packets.connection.socket.sendall(b"\x2a" + b"x" * 100_000)
    assert packets.answer()[-1].exception.code == 99
    with pytest.raises(EOFError):
        packets.answer()


def test_damaged_data_ends_the_connection_with_an_error(server: Server, client: Client, table: str) -> None:
    client.execute(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    with connected(server, compression="lz4") as damaging:
        packets = Packets(damaging)
        packets.query(f"INSERT INTO {table} VALUES")
        packets.connection.receive_packet()
        packets.connection.socket.sendall(b"\x02\x00" + bytes(16) + b"\x82\x0b\x00\x00\x00\x01\x00\x00\x00\x10\x00")
        error = packets.answer()[-1].exception
    assert error.code == 271
    assert "checksum" in str(error)
    assert client.execute(f"SELECT count() FROM {table}") == [(0,)]


def test_the_driver_of_the_database_api_works(server: Server, table: str) -> None:
    from clickhouse_driver import dbapi

    with dbapi.connect(
        host=server.host,
        port=server.tcp_port,
        user=server.user,
        password=server.password,
        database=server.database,
    ) as connection:
        cursor = connection.cursor()
        cursor.execute(f"CREATE TABLE {table} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
        cursor.executemany(f"INSERT INTO {table} (a, s) VALUES", [(1, "x"), (2, "y")])
        assert cursor.rowcount == 2
        cursor.execute(f"SELECT a, s FROM {table} WHERE s = %(s)s", {"s": "y"})
        assert [(column.name, column.type_code) for column in cursor.description] == [
            ("a", "UInt32"),
            ("s", "String"),
        ]
        assert cursor.fetchall() == [(2, "y")]


def test_the_hooks_of_airflow_work(server: Server, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_clickhouse_plugin.hooks.clickhouse import ClickHouseHook
    from airflow_clickhouse_plugin.hooks.clickhouse_dbapi import ClickHouseDbApiHook

    uri = f"clickhouse://{server.user}:{server.password}@{server.host}:{server.tcp_port}/{server.database}"
    monkeypatch.setenv("AIRFLOW_CONN_EMBEDDED", uri)
    hook = ClickHouseHook(clickhouse_conn_id="embedded")
    hook.execute(f"CREATE TABLE {table} (a UInt32) ENGINE = MergeTree ORDER BY a")
    assert hook.execute(f"INSERT INTO {table} VALUES", [(1,), (2,)]) == 2
    assert hook.execute([f"SELECT sum(a) FROM {table}", "SELECT 1 WHERE 0"]) == []
    api = ClickHouseDbApiHook(clickhouse_conn_id="embedded")
    assert api.get_records(f"SELECT a FROM {table} ORDER BY a") == [(1,), (2,)]
    assert api.get_first(f"SELECT max(a) FROM {table}") == (2,)


def test_a_server_that_stops_lets_a_statement_end_and_idle_clients_go(tmp_path: Path) -> None:
    account = {"user": "tester", "password": secrets.token_urlsafe(), "database": "stats"}
    with (
        running_server(tmp_path, timezone="UTC", **account) as stopping,
        ThreadPoolExecutor(1) as pool,
        connected(stopping) as idle,
        connected(stopping) as busy,
    ):
        idle.execute("SELECT 1")
        result = pool.submit(busy.execute, "SELECT sleepEachRow(0.5) FROM numbers(3)", query_id="slow")
        eventually(lambda: is_running(idle, "slow"), "the start of the query")
        stopping.process.terminate()
        assert result.result(DEADLINE_SECONDS) == [(0,)] * 3
        assert stopping.process.wait(DEADLINE_SECONDS) == 0
        with pytest.raises(EOFError):
            idle.connection.receive_packet()
