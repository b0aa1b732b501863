"""How the package reads and writes ClickHouse's SQL, compared with the engine itself."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from maxy.clickhouse.lexer import Kind, SqlError, tokenize
from maxy.clickhouse.literals import literal

if TYPE_CHECKING:
    import clickhouse_driver

_STRINGS = {"StringLiteral": Kind.STRING, "HereDoc": Kind.STRING, "QuotedIdentifier": Kind.NAME}
_PIECES = [
    *("$", "$a", "$a$", "$$", "$b$", "a$b", "a", "_", "0", "1", "1a", "0x1F", "1e5", ".", ".5"),
    *("'", "''", "\\", "\\'", '"', '""', "`", "``", "\\`", '\\"', "‘", "’", "“", "”", "(", ")"),
    *("-", "--", "/", "/*", "*/", "//", "*", "#", "# ", "#!", "\n", " ", "\t", "\r", "\v", "\u00a0", "\u3000"),
    *("\u200b", "\u2028", "é", "한", "😀", ";", ";", ";", ",", "+", "::", "%", "%%", "SELECT"),
]
_CURLY = ("‘".encode(), "“".encode())
_TEXTS = st.lists(st.sampled_from(_PIECES), max_size=14).map(lambda pieces: "a " + "".join(pieces))
_engine = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def of_engine(clickhouse: clickhouse_driver.Client, sql: str) -> list[tuple[str, int, int]]:
    tokens = f"arrayMap(token -> (toString(token.type), token.begin, token.end), tokenizeQuery({literal(sql)}))"
    ((rows,),) = clickhouse.execute(f"SELECT {tokens}")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("_round", range(4))
def test_quotes_and_semicolons_are_where_the_engine_has_them(clickhouse: clickhouse_driver.Client, _round: int) -> None:
    @_engine
    @given(_TEXTS)
    @example("a /* /* */ ' */ ; '")
    @example("a $x$ ; $x$ ; $y$ ; '\\\\' ;")
    def check(sql: str) -> None:
        expected = []
        for kind, start, end in of_engine(clickhouse, sql):
            if kind.endswith("NotClosed") or (kind == "Error" and sql.encode()[start:end] in _CURLY):
                with pytest.raises(SqlError):
                    list(tokenize(sql))
                return
            if kind in _STRINGS:
                expected.append((_STRINGS[kind], start, end))
            elif kind == "Semicolon":
                expected.append((Kind.SYMBOL, start, end))
        found = [
            (kind, len(sql[:start].encode()), len(sql[:end].encode()))
            for kind, start, end in tokenize(sql)
            if kind in {Kind.STRING, Kind.NAME} or (kind is Kind.SYMBOL and sql[start] == ";")
        ]
        assert found == expected

    check()


def test_every_text_comes_back_as_it_was(clickhouse: clickhouse_driver.Client) -> None:
    @_engine
    @given(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("'\\%\"`\0\n;-#$")), max_size=20))
    def check(text: str) -> None:
        assert clickhouse.execute(f"SELECT {literal(text)}, [{literal(text)}], ({literal(text)}, 1).1") == [
            (text, [text], text)
        ]

    check()


def test_every_number_comes_back_as_it_was(clickhouse: clickhouse_driver.Client) -> None:
    @_engine
    @given(
        st.one_of(st.integers(-(2**255), 2**256 - 1), st.integers(-(2**64), 2**65)),
        st.floats(),
        st.decimals(allow_nan=False, allow_infinity=False, places=5, min_value=-(10**30), max_value=10**30),
    )
    @example(-(2**63), -0.0, Decimal("1.10"))
    @example(2**127, 5e-324, Decimal("-1E+20"))
    @example(2**255, float("nan"), Decimal("123456789012345678901234567890.123456789"))
    def check(integer: int, number: float, decimal: Decimal) -> None:
        ((text, bits, exact),) = clickhouse.execute(
            f"SELECT toString({literal(integer)}), hex(reinterpretAsUInt64({literal(number)})),"
            f" toString({literal(decimal)})"
        )
        assert int(text) == integer
        # All NaN are one.
        assert number != number or int(bits, 16) == struct.unpack("<Q", struct.pack("<d", number))[0]
        assert Decimal(exact) == decimal
        assert clickhouse.execute(f"SELECT 0 -{literal(integer % 100 - 50)}") == [(50 - integer % 100,)]

    check()


_zones = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours, minutes=30 if hours > 0 else 0)))
_moments = st.datetimes(datetime(1900, 1, 2), datetime(2299, 12, 30))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/St_Johns"])
def test_every_moment_is_the_same_moment_in_any_session(clickhouse: clickhouse_driver.Client, zone: str) -> None:
    @_engine
    @given(_moments, _zones)
    @example(datetime(2026, 11, 20), UTC)
    @example(datetime(1970, 1, 1), UTC)
    @example(datetime(2106, 2, 7, 6, 28, 16), UTC)
    def check(moment: datetime, offset: timezone) -> None:
        aware = moment.replace(tzinfo=offset)
        microseconds = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        ((found,),) = clickhouse.execute(
            f"SELECT toUnixTimestamp64Micro(toDateTime64({literal(aware)}, 6))", settings={"session_timezone": zone}
        )
        assert found == microseconds

    check()


def test_times_without_a_zone_are_the_sessions_and_dates_and_addresses_come_back(
    clickhouse: clickhouse_driver.Client,
) -> None:
    @_engine
    @given(_moments, st.uuids(), st.ip_addresses(v=4), st.ip_addresses(v=6))
    @example(datetime(2026, 11, 20), uuid.UUID(int=0), IPv4Address("255.0.0.1"), IPv6Address("::ffff:1.2.3.4"))
    def check(moment: datetime, identity: uuid.UUID, four: IPv4Address, six: IPv6Address) -> None:
        values: list[Any] = [moment.date(), identity, four, six]
        types = ["Date32", "UUID", "IPv4", "IPv6"]
        casts = ", ".join(f"CAST({literal(v)}, '{kind}')" for v, kind in zip(values, types, strict=True))
        ((text, *found),) = clickhouse.execute(
            f"SELECT toString(toDateTime64({literal(moment)}, 6)), {casts}", settings={"session_timezone": "UTC"}
        )
        assert text == f"{moment:%Y-%m-%d %H:%M:%S.%f}"
        assert found == values

    check()


_scalars = st.one_of(
    st.integers(-1000, 1000), st.text("a'\\,;()[]", max_size=4), st.booleans(), st.dates(date(1970, 1, 2))
)


def test_lists_and_tuples_come_back_with_all_their_elements(clickhouse: clickhouse_driver.Client) -> None:
    @_engine
    @given(
        st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=5),
        st.lists(st.lists(st.text("a'\\,;()[]", max_size=4), max_size=3), min_size=1, max_size=3),
        st.tuples(st.integers(-5, 300), st.text(max_size=3), st.booleans(), st.none()),
    )
    def check(numbers: list[int | None], texts: list[list[str]], several: tuple[Any, ...]) -> None:
        ((read_numbers, read_texts, read_several),) = clickhouse.execute(
            f"SELECT {literal(numbers)}, {literal(texts)}, {literal(several)}"
        )
        assert read_numbers == numbers
        assert read_texts == texts
        assert read_several == several

    check()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("UInt8", [1, 3]),
        ("UInt8", (1, 3)),
        ("UInt8", (3,)),
        ("UInt8", ()),
        ("String", ["1", "3"]),
        ("Date", (date(1970, 1, 2), date(1970, 1, 4))),
        ("DateTime('Asia/Seoul')", [datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)]),
        ("DateTime64(3, 'UTC')", (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))),
        ("Decimal(18, 4)", [Decimal("1.00"), Decimal(3)]),
        ("Nullable(UInt8)", [1, None]),
    ],
)
def test_lists_and_tuples_serve_in(clickhouse: clickhouse_driver.Client, column: str, value: Any) -> None:
    clickhouse.execute(f"CREATE TABLE t (n UInt8, v {column}) ENGINE = Memory")
    clickhouse.execute("INSERT INTO t SELECT number, number FROM numbers(5)")
    found = {n for (n,) in clickhouse.execute(f"SELECT n FROM t WHERE v IN {literal(value)}")}
    seconds = {int(v.timestamp()) for v in value if isinstance(v, datetime)}
    days = {(v - date(1970, 1, 1)).days for v in value if isinstance(v, date) and not isinstance(v, datetime)}
    numbers = {int(v) for v in value if v is not None and not isinstance(v, date)}
    assert found == seconds | days | numbers
