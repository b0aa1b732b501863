"""What clickhouse-driver can do beside plain statements: tables of its own, totals, data frames, odd types, zones."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from clickhouse_driver.errors import ErrorCodes, ServerException
from clickhouse_driver.protocol import ServerPacketTypes

from clickhouse_testkit.native_client import Packets, connected

if TYPE_CHECKING:
    from clickhouse_driver import Client

    from embedded_clickhouse.testing import Server

_UTC = ZoneInfo("UTC")
_SEOUL = ZoneInfo("Asia/Seoul")
_NEW_YORK = ZoneInfo("America/New_York")


def _external(name: str, rows: list[dict[str, Any]], /, **columns: str) -> dict[str, Any]:
    return {"name": name, "structure": list(columns.items()), "data": rows}


_PEOPLE = _external("people", [{"id": 1, "name": "한"}, {"id": 2, "name": "b"}], id="Int32", name="String")


@pytest.mark.parametrize("compression", [False, "lz4"])
def test_tables_that_come_with_a_query_are_there_for_that_query(server: Server, compression: bool | str) -> None:
    ages = _external("ages", [{"id": 2, "age": [7, None]}], id="Int32", age="Array(Nullable(UInt8))")
    with connected(server, compression=compression) as client:
        rows = client.execute(
            "SELECT id, name, age FROM people LEFT JOIN ages USING id ORDER BY id", external_tables=[_PEOPLE, ages]
        )
        assert rows == [(1, "한", []), (2, "b", [7, None])]
        for table in ("people", "ages"):
            with pytest.raises(ServerException) as caught:
                client.execute(f"SELECT * FROM {table}")
            assert caught.value.code == ErrorCodes.UNKNOWN_TABLE


def test_a_table_that_comes_with_a_query_may_be_empty_or_have_strange_names(client: Client) -> None:
    empty = _external("no `rows\\", [], **{"a` b": "Nullable(Int32)", "c": "FixedString(300)"})
    rows, columns = client.execute("SELECT * FROM `no \\`rows\\\\`", external_tables=[empty], with_column_types=True)
    assert (rows, [column for column, _ in columns]) == ([], ["a` b", "c"])


def test_a_table_that_comes_with_a_query_may_be_inserted(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (id Int32, name String) ENGINE = MergeTree ORDER BY id")
    client.execute(f"INSERT INTO {name} SELECT id, name FROM people", external_tables=[_PEOPLE])
    assert client.execute(f"SELECT * FROM {name} ORDER BY id") == [(1, "한"), (2, "b")]


def test_tables_that_came_are_dropped_after_an_error_too(client: Client) -> None:
    packets = Packets(client)
    for _ in range(2):
        packets.connection.send_query("SELECT nope FROM people")
        packets.connection.send_external_tables([_PEOPLE])
        assert packets.error() == ErrorCodes.UNKNOWN_IDENTIFIER
    packets.query("SELECT * FROM people")
    assert packets.error() == ErrorCodes.UNKNOWN_TABLE
    assert packets.rows("SELECT 42") == [(42,)]


def test_a_table_that_comes_with_a_query_does_not_replace_one_of_the_session(client: Client) -> None:
    packets = Packets(client)
    assert packets.rows("CREATE TEMPORARY TABLE people (mine UInt8)") == []
    packets.connection.send_query("SELECT * FROM people")
    packets.connection.send_external_tables([_external("first", [{"x": 1}], x="UInt8"), _PEOPLE])
    assert packets.error() == ErrorCodes.TABLE_ALREADY_EXISTS
    assert packets.rows("SELECT count() FROM people") == [(0,)]
    packets.query("SELECT * FROM first")
    assert packets.error() == ErrorCodes.UNKNOWN_TABLE


@pytest.mark.parametrize("type_name", ["Enum8('a' = 1), y UInt8 DEFAULT sleep(1)", "UInt8) ENGINE = Null --", "Nope"])
def test_the_type_of_a_column_that_comes_is_a_type_and_nothing_else(client: Client, type_name: str) -> None:
    packets = Packets(client)
    packets.connection.send_query("SELECT 1")
    encoded = type_name.encode()
    block = b"\x02\x01t\x01\x00\x02\xff\xff\xff\xff\x00\x01\x00\x01x" + bytes([len(encoded)]) + encoded
    packets.connection.socket.sendall(block)
    assert packets.error() in {48, 99}


_GROUPED = "SELECT number % 2 AS k, count() AS n FROM numbers(5) GROUP BY k{} ORDER BY k"


def _packets_with_rows(client: Client, sql: str) -> list[tuple[int, list[tuple[Any, ...]]]]:
    packets = Packets(client)
    packets.query(sql)
    blocks = [(packet.type, packet.block) for packet in packets.answer() if packet.block]
    return [(kind, list(block.get_rows())) for kind, block in blocks if block.num_rows]


def test_totals_and_extremes_come_in_packets_of_their_own(client: Client) -> None:
    data = (ServerPacketTypes.DATA, [(0, 3), (1, 2)])
    totals = (ServerPacketTypes.TOTALS, [(0, 5)])
    extremes = (ServerPacketTypes.EXTREMES, [(0, 2), (1, 3)])
    assert _packets_with_rows(client, _GROUPED.format("")) == [data]
    assert _packets_with_rows(client, _GROUPED.format(" WITH TOTALS")) == [data, totals]
    assert _packets_with_rows(client, _GROUPED.format("") + " SETTINGS extremes = 1") == [data, extremes]
    assert _packets_with_rows(client, _GROUPED.format(" WITH TOTALS") + " SETTINGS extremes = 1") == [
        data,
        totals,
        extremes,
    ]


def test_extremes_may_be_asked_for_by_query_and_by_session(client: Client) -> None:
    sql = "SELECT number FROM numbers(3)"
    rows, extremes = [(0,), (1,), (2,)], [(0,), (2,)]
    assert client.execute(sql, settings={"extremes": 1}) == rows + extremes
    assert client.execute(sql) == rows
    client.execute("SET extremes = 1")
    assert client.execute(sql) == rows + extremes
    assert client.execute(sql, settings={"extremes": 0}) == rows
    client.execute("SET extremes = 0")
    assert client.execute(sql) == rows


def test_rows_are_not_taken_for_totals(client: Client) -> None:
    """In the engine's text a row with one empty string is an empty line, as is what stands ahead of totals."""
    sql = "SELECT s FROM (SELECT arrayJoin(['', '', 'x']) AS s) {} -- WITH TOTALS"
    assert _packets_with_rows(client, sql.format("")) == [(ServerPacketTypes.DATA, [("",), ("",), ("x",)])]
    assert _packets_with_rows(client, sql.format("WHERE s = 'nope'")) == []
    assert _packets_with_rows(client, "SELECT '' AS s GROUP BY s WITH TOTALS") == [
        (ServerPacketTypes.DATA, [("",)]),
        (ServerPacketTypes.TOTALS, [("",)]),
    ]
    assert _packets_with_rows(client, "SELECT count() AS n FROM numbers(3) WITH TOTALS HAVING n > 5") == [
        (ServerPacketTypes.TOTALS, [(0,)])
    ]


def test_values_beside_totals_are_what_they_are_without(client: Client) -> None:
    sql = """
        SELECT number % 2 AS k, toString(k), unhex('ff0009') AS bytes, 'tab\\t line\\n \\\\N' AS text, 0.1 + 0.2 AS f,
            toFloat32(1) / 3 AS f32, -inf AS inf, toDecimal64('1.50', 4) AS d, k = 0 AS b, true AS t, NULL AS n,
            toNullable(k) AS nk, toInt256(-5) AS i, toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0') AS u,
            toDateTime('2026-11-01 05:30:00', 'UTC')::DateTime('America/New_York') AS first,
            toDateTime('2026-11-01 06:30:00', 'UTC')::DateTime('America/New_York') AS second,
            toDateTime64(-1.5, 3, 'UTC') AS before, toDate32('1925-01-01') AS d32, [toDateTime(5)] AS times,
            toLowCardinality(toNullable('x')) AS lc, map('a', [1, 2]) AS m, (1, 'x', NULL) AS tu, toIPv6('::1') AS ip,
            CAST('b, c', 'Enum8(\\'a\\' = 1, \\'b, c\\' = 2)') AS e, INTERVAL 3 DAY AS iv, [] AS nothing, k, k
        FROM numbers(4) GROUP BY k {} ORDER BY k
    """
    plain, plain_columns = client.execute(sql.format(""), with_column_types=True)
    rows, columns = client.execute(sql.format("WITH TOTALS"), with_column_types=True)
    assert columns == plain_columns
    assert rows[:2] == plain
    assert len(rows) == 3
    assert rows[2][4:] == plain[0][4:]


def test_a_long_result_with_totals_comes_in_blocks_and_order(client: Client) -> None:
    sql = "SELECT number, count() FROM numbers(200000) GROUP BY number WITH TOTALS ORDER BY number"
    (*rows, totals) = client.execute(sql)
    assert rows == [(number, 1) for number in range(200_000)]
    assert totals == (0, 200_000)


def test_settings_of_text_do_not_change_totals(client: Client) -> None:
    settings = {"date_time_output_format": "unix_timestamp", "format_tsv_null_representation": "x"}
    sql = "SELECT toDateTime(0, 'UTC') AS t, NULL AS n, 'x' AS s, count() AS c GROUP BY t, n, s WITH TOTALS"
    epoch = dt.datetime(1970, 1, 1, tzinfo=_UTC)
    assert client.execute(sql, settings=settings)[0] == (epoch, None, "x", 1)


def test_an_error_in_a_statement_with_totals_leaves_the_connection_usable(client: Client) -> None:
    packets = Packets(client)
    packets.query("SELECT throwIf(number = 3), count() FROM numbers(5) GROUP BY number WITH TOTALS")
    assert packets.error() == 395
    assert packets.rows("SELECT 42") == [(42,)]


def test_data_frames_go_in_and_come_out(server: Server, name: str) -> None:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "f": [0.5, float("nan"), -1.0],
            "s": ["a", "한", ""],
            "t": pd.to_datetime(["2026-11-01 00:00:00", "2026-01-01 12:00:00", "1970-01-02 00:00:00"]),
        }
    )
    with connected(server, settings={"use_numpy": True}) as client:
        client.execute(f"CREATE TABLE {name} (n Int64, f Float64, s String, t DateTime64(9)) ENGINE = Memory")
        assert client.insert_dataframe(f"INSERT INTO {name} VALUES", frame) == 3
        pd.testing.assert_frame_equal(
            client.query_dataframe(f"SELECT * FROM {name} ORDER BY n"), frame, check_dtype=False
        )


def test_columns_may_be_inserted_as_columns(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (a UInt8, b Array(String)) ENGINE = Memory")
    client.execute(f"INSERT INTO {name} VALUES", [[1, 2], [["x"], []]], columnar=True)
    assert client.execute(f"SELECT * FROM {name} ORDER BY a", columnar=True) == [(1, 2), (["x"], [])]


_POINT = (1.0, 2.0)
_ODD_VALUES: dict[str, list[Any]] = {
    "Enum16('x' = -300, 'it''s' = 300)": ["x", "it's"],
    "Decimal(9, 2)": [Decimal("-1.25"), Decimal("9999999.99")],
    "Decimal(76, 20)": [Decimal("-1e-20"), Decimal("1" * 50)],
    "Int256": [-(2**255), 2**255 - 1],
    "Nullable(UUID)": [None, uuid.UUID(int=7)],
    "Nullable(Decimal(18, 4))": [None, Decimal("1.5")],
    "LowCardinality(FixedString(3))": ["abc", "xyz"],
    "LowCardinality(Date)": [dt.date(2026, 1, 1), dt.date(1970, 1, 1)],
    "Array(LowCardinality(Nullable(String)))": [["a", None, "a"], []],
    "Array(Array(Array(UInt8)))": [[[[1], []], []], []],
    "Tuple(Tuple(a UInt8, b Nullable(String)), Array(Tuple(Int8, String)))": [
        ((1, None), [(1, "x")]),
        ((2, "y"), []),
    ],
    "Map(UInt8, Array(Nullable(Float64)))": [{1: [None, 0.5], 2: []}, {}],
    "Array(Map(String, String))": [[{"a": "b"}, {}], []],
    "Ring": [[_POINT, _POINT], []],
    "Polygon": [[[_POINT], []], []],
    "MultiPolygon": [[[[_POINT]]], []],
    "SimpleAggregateFunction(max, LowCardinality(Nullable(String)))": ["x", None],
    "SimpleAggregateFunction(groupArrayArray, Array(UInt8))": [[1, 2], []],
    "IntervalDay": [1, -3],
    "Nullable(Bool)": [True, None],
    "Array(Bool)": [[True, False], []],
}


@pytest.mark.parametrize("compression", [False, "lz4", "lz4hc"])
def test_odd_types_come_back_as_they_were_inserted(server: Server, name: str, compression: bool | str) -> None:
    types = ", ".join(f"c{index} {type_name}" for index, type_name in enumerate(_ODD_VALUES))
    rows = list(zip(range(2), *_ODD_VALUES.values(), strict=True))
    with connected(server, compression=compression) as client:
        client.execute(
            f"CREATE TABLE {name} (n UInt8, {types}) ENGINE = Memory",
            settings={"allow_suspicious_low_cardinality_types": 1},
        )
        assert client.execute(f"INSERT INTO {name} VALUES", rows) == 2
        stored = client.execute(f"SELECT * FROM {name} ORDER BY n")
    assert stored == rows


def test_nested_columns_go_in_and_come_out(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (a UInt8, n Nested(x UInt8, y Nullable(String))) ENGINE = Memory")
    client.execute(f"INSERT INTO {name} VALUES", [(1, [1, 2], ["p", None]), (2, [], [])])
    assert client.execute(f"SELECT * FROM {name} ORDER BY a") == [(1, [1, 2], ["p", None]), (2, [], [])]
    client.execute(f"DROP TABLE {name} SYNC")
    settings = {"flatten_nested": 0}
    client.execute(f"CREATE TABLE {name} (n Nested(x UInt8, y String)) ENGINE = Memory", settings=settings)
    client.execute(f"INSERT INTO {name} VALUES", [([(1, "p"), (2, "q")],)])
    assert client.execute(f"SELECT * FROM {name}") == [([(1, "p"), (2, "q")],)]


def test_nothing_and_null_come_out(client: Client) -> None:
    assert client.execute("SELECT NULL, [], [NULL], map()") == [(None, [], [None], {})]


def test_json_may_be_read_and_is_refused_in_an_insert(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (a UInt8, j JSON) ENGINE = Memory")
    client.execute(f"""INSERT INTO {name} VALUES (1, '{{"a": {{"b": 1}}}}')""")
    assert client.execute(f"SELECT toString(j) FROM {name}") == [('{"a":{"b":1}}',)]
    with pytest.raises(ServerException, match=r"Column j: Type JSON is not supported.*insert over HTTP") as caught:
        client.execute(f"INSERT INTO {name} VALUES", [(2, {"a": 1})])
    assert caught.value.code == ErrorCodes.NOT_IMPLEMENTED


def test_parameters_for_the_server_are_refused_with_words(server: Server) -> None:
    with connected(server, settings={"server_side_params": True}) as client:
        with pytest.raises(
            ServerException, match=r"`x` is not set.*over HTTP only.*let the client substitute"
        ) as caught:
            client.execute("SELECT {x:Int32}", {"x": 1})
        assert caught.value.code == 456
    with connected(server) as client:
        assert client.execute("SELECT %(x)s", {"x": "it's"}) == [("it's",)]


def test_a_query_id_is_the_clients(client: Client) -> None:
    query_id = f"mine {uuid.uuid4()}"
    client.execute("SELECT 1", query_id=query_id)
    client.execute("SYSTEM FLUSH LOGS")
    sql = "SELECT DISTINCT query FROM system.query_log WHERE log_comment = %(id)s AND query_kind != 'Set'"
    assert client.execute(sql, {"id": query_id}) == [("SELECT 1",)]


def test_an_iteration_that_is_left_ends_its_statement(client: Client) -> None:
    rows = client.execute_iter("SELECT number FROM system.numbers")
    assert [next(rows) for _ in range(3)] == [(0,), (1,), (2,)]
    client.cancel()
    assert client.execute("SELECT 42") == [(42,)]


_MOMENT = dt.datetime(2026, 11, 1, 5, 30, tzinfo=_UTC)
# The hour that comes twice in New York: 01:30 with summer time, and again without.
_AGAIN = _MOMENT + dt.timedelta(hours=1)


@pytest.mark.parametrize("wrapped", ["{}", "Nullable({})", "Array({})", "LowCardinality({})", "Map(String, {})"])
@pytest.mark.parametrize("kind", ["DateTime('America/New_York')", "DateTime64(3, 'America/New_York')"])
def test_a_zone_is_kept_in_both_directions(client: Client, name: str, wrapped: str, kind: str) -> None:
    if (wrapped, kind[:10]) == ("LowCardinality({})", "DateTime64"):
        wrapped = "Tuple({})"
    boxes: dict[str, Any] = {"A": lambda moment: [moment], "M": lambda moment: {"k": moment}, "T": lambda m: (m,)}
    box = boxes.get(wrapped[0], lambda moment: moment)
    settings = {"allow_suspicious_low_cardinality_types": 1}
    type_name = wrapped.format(kind)
    client.execute(f"CREATE TABLE {name} (n UInt8, t {type_name}) ENGINE = Memory", settings=settings)
    client.execute(f"INSERT INTO {name} VALUES", [(0, box(_MOMENT)), (1, box(_AGAIN))])
    rows, columns = client.execute(f"SELECT t FROM {name} ORDER BY n", with_column_types=True)
    assert columns == [("t", type_name)]
    assert rows == [(box(_MOMENT),), (box(_AGAIN),)]
    texts = client.execute(f"SELECT toString(t) LIKE '%2026-11-01 01:30:00%' FROM {name}")
    assert texts == [(1,), (1,)]


def test_a_time_without_a_zone_is_in_the_servers(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (t DateTime, u DateTime64(3)) ENGINE = Memory")
    naive = dt.datetime(2026, 7, 1, 9, 0)
    client.execute(f"INSERT INTO {name} VALUES", [(naive, naive)])
    sql = f"SELECT toUnixTimestamp(t), toUnixTimestamp64Milli(u), t, u, toString(t), timezone() FROM {name}"
    seconds = int(naive.replace(tzinfo=_SEOUL).timestamp())
    assert client.execute(sql) == [(seconds, seconds * 1000, naive, naive, "2026-07-01 09:00:00", "Asia/Seoul")]


def test_a_time_with_a_zone_is_the_same_moment_in_a_column_without(client: Client, name: str) -> None:
    client.execute(f"CREATE TABLE {name} (t DateTime) ENGINE = Memory")
    client.execute(f"INSERT INTO {name} VALUES", [(_MOMENT.astimezone(_NEW_YORK),)])
    assert client.execute(f"SELECT toUnixTimestamp(t) FROM {name}") == [(int(_MOMENT.timestamp()),)]
