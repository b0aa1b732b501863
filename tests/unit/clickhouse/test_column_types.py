from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from maxy.clickhouse.column_types import enum_names, parse_type
from maxy.clickhouse.version_columns import newest_value
from maxy.instants import PreciseInstant


@pytest.mark.parametrize(
    ("text", "names", "elements"),
    [
        ("Tuple(Int8, String)", (), ("Int8", "String")),
        ("Tuple()", (), ()),
        ("Tuple(a Int8, b Array(Tuple(String, Int8)))", ("a", "b"), ("Int8", "Array(Tuple(String, Int8))")),
        ("Tuple(`a b` Int8, `c``d` String)", ("a b", "c`d"), ("Int8", "String")),
        (r"Tuple(`q\`\\),(` Int8, `x\ny` String)", ("q`\\),(", "x\ny"), ("Int8", "String")),
        ("Tuple(String String, Array Array(Int8))", ("String", "Array"), ("String", "Array(Int8)")),
        (r"Tuple(Enum8('a b' = 1, 'it\'s, (x)' = -2), Int8)", (), (r"Enum8('a b' = 1, 'it\'s, (x)' = -2)", "Int8")),
        ("Nested(a DateTime64(3, 'UTC'), b LowCardinality(Nullable(String)))", ("a", "b"),
         ("DateTime64(3, 'UTC')", "LowCardinality(Nullable(String))")),
        ("Map(String, Tuple(a Int8, b Array(String)))", (), ("String", "Tuple(a Int8, b Array(String))")),
        ("SimpleAggregateFunction(groupArrayArray(5), Array(Decimal(9, 2)))", (), ("Array(Decimal(9, 2))",)),
        ("Polygon", (), ("Ring",)),
    ],
)  # fmt: skip
def test_types_are_taken_apart(text: str, names: tuple[str, ...], elements: tuple[str, ...]) -> None:
    parsed = parse_type(text)
    assert (parsed.text, parsed.names, tuple(element.text for element in parsed.elements)) == (text, names, elements)


@pytest.mark.parametrize("text", ["Array(String", "Tuple(a Int8"])
def test_brackets_that_do_not_match_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no type"):
        parse_type(text)


def test_enums_tell_their_names() -> None:
    parsed = parse_type(r"Enum16('' = -300, 'a, b' = 0, 'it\'s' = 1, 'two''s' = 2, 'line\n' = 3, '\\' = 4)")
    assert enum_names(parsed) == {-300: "", 0: "a, b", 1: "it's", 2: "two's", 3: "line\n", 4: "\\"}


@pytest.mark.parametrize(
    ("values", "column_type", "newest"),
    [
        ([3, 2**70, 5], "UInt128", 2**70),
        ([date(2026, 1, 2), date(2026, 1, 1)], "Nullable(Date32)", date(2026, 1, 2)),
        ([datetime(2026, 1, 1, tzinfo=UTC)], "LowCardinality(DateTime)", datetime(2026, 1, 1, tzinfo=UTC)),
        ([], "DateTime64(9)", None),
    ],
)
def test_the_newest_value_orders_a_result(values: list[Any], column_type: str, newest: Any) -> None:
    assert newest_value(values, "v", column_type) == newest


def test_of_two_times_in_one_microsecond_the_later_one_is_newest() -> None:
    later, earlier = (PreciseInstant.from_nanoseconds(1_795_000_000_000_000_000 + rest) for rest in (2, 1))
    for values in ([later, earlier], [earlier, later]):
        assert newest_value(values, "v", "DateTime64(9)") is later


@pytest.mark.parametrize(
    "column_type",
    ["String", "Float64", "Decimal(9, 2)", "Bool", "Enum8('a' = 1)", "Array(UInt8)", "Time"],
)
def test_other_types_order_nothing_also_without_rows(column_type: str) -> None:
    with pytest.raises(ValueError, match="version_field: column revision has the type"):
        newest_value([], "revision", column_type)


def test_null_orders_nothing() -> None:
    with pytest.raises(ValueError, match="version_field: column at is NULL in 1 of 2 rows"):
        newest_value([5, None], "at", "Nullable(UInt8)")
