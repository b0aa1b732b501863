from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from enum import IntEnum
from ipaddress import IPv4Address
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.clickhouse.values import require_written, texts
from maxy.instants import PreciseInstant, to_nanoseconds, utc_iso
from maxy.text import one_line


def test_times_are_utc_with_microseconds() -> None:
    seoul = timezone(timedelta(hours=9))
    assert utc_iso(datetime(2026, 11, 21, 16, 36, 14, 102570, tzinfo=seoul)) == "2026-11-21T07:36:14.102570Z"
    assert utc_iso(datetime(2026, 11, 21, 7, 36, 14, tzinfo=UTC)) == "2026-11-21T07:36:14.000000Z"


def test_a_time_without_zone_is_refused_naming_its_column() -> None:
    with pytest.raises(ValueError, match=r"updated_at.*time zone"):
        texts([datetime(2026, 1, 1)], "updated_at")


def test_each_type_is_written_as_readers_expect() -> None:
    assert texts(["a", "한국"], "x") == ["a", "한국"]
    assert texts([0, 2**64 - 1], "x") == ["0", "18446744073709551615"]
    assert texts([date(2026, 11, 20)], "x") == ["2026-11-20"]
    assert texts([True, False], "x") == ["1", "0"]
    assert texts([Decimal("1.50")], "x") == ["1.50"]
    assert texts([1, None, 2.5, "a"], "x") == ["1", None, "2.5", "a"]
    assert texts([], "x") == []


@pytest.mark.parametrize(
    "column",
    [
        [b"bad\xff\xfe.app"],
        ["fine", b"\xff", "fine"],
        [None, bytearray(b"\x00\x01")],
        [memoryview(b"\xc3\x28")],
        # Arrays, tuples and maps of such texts.
        [["fine", b"\xff"]],
        [("fine", ("deeper", [b"\xff"]))],
        [{b"\xff": 1}],
        [{"name": b"\xff"}],
    ],
)
def test_bytes_are_refused_naming_the_column_and_what_to_do(column: list[object]) -> None:
    with pytest.raises(ValueError, match=r"^column package_nm: b'.* toValidUTF8\(") as refused:
        texts(column, "package_nm")
    assert len(str(refused.value)) < 300


def test_long_bytes_are_shown_in_part() -> None:
    with pytest.raises(ValueError, match="toValidUTF8") as refused:
        texts([b"\xff" * 1_000_000], "x")
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["a", 1], '["a",1]'),
        (("b", None, True), '["b",null,true]'),
        ({"c": 2.5, 3: math.nan}, '{"c":2.5,"3":null}'),
        ([date(2026, 11, 20), datetime(2026, 11, 20, tzinfo=UTC)], '["2026-11-20","2026-11-20T00:00:00.000000Z"]'),
        ({"price": Decimal("1E-8"), "한국": "\"'\n"}, '{"price":0.00000001,"한국":"\\"\'\\n"}'),
        ([UUID(int=1), IPv4Address("10.0.0.1")], '["00000000-0000-0000-0000-000000000001","10.0.0.1"]'),
        ([[], {}, ()], "[[],{},[]]"),
    ],
)
def test_nested_values_of_no_known_type_are_json_too(value: object, text: str) -> None:
    assert texts([value], "x") == [text]
    json.loads(text)


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, timedelta(seconds=1), [object()], {"a": {1, 2}}, [datetime(2026, 1, 1)]]
)
def test_what_has_no_text_is_refused_naming_its_column(value: object) -> None:
    with pytest.raises(ValueError, match=r"^column strange: "):
        texts([value, 1], "strange")


def test_numbers_and_texts_of_other_python_types_are_written_by_their_values() -> None:
    class Colour(IntEnum):
        RED = 3

    class Name(str):
        def __str__(self) -> str:
            return "not this"

    assert texts([np.int64(5), np.float64(0.1), Colour.RED, Name("name"), Decimal("1E+3")], "x") == [
        "5", "0.1", "3", "name", "1000",
    ]  # fmt: skip


# By the column's type, where that says more than the value.


@given(st.lists(st.floats(width=32)))
def test_a_float32_is_the_shortest_text_that_reads_back_as_it(values: list[float]) -> None:
    for value, text in zip(values, texts(values, "x", "Float32"), strict=True):
        if not math.isfinite(value):
            assert text is None
            continue
        assert text is not None
        assert np.float32(text) == np.float32(value)
        # numpy's own shortest digits.
        assert float(text) == float(str(np.float32(value)))


@given(st.integers(-(10**38) + 1, 10**38 - 1), st.integers(0, 38))
def test_a_decimal_has_all_digits_of_its_scale(digits: int, scale: int) -> None:
    with localcontext(prec=80):
        value = Decimal(digits).scaleb(-scale)
        # As one of the drivers leaves it: without the zeros at its end.
        shortened = value.normalize()
    whole, fraction = divmod(abs(digits), 10**scale)
    expected = f"{'-' * (digits < 0)}{whole}" + (f".{fraction:0{scale}d}" if scale else "")
    assert texts([value, shortened], "x", f"Decimal(38, {scale})") == [expected] * 2


@pytest.mark.parametrize(
    ("column_type", "values", "expected"),
    [
        ("Nullable(Decimal(9, 2))", [Decimal("12.5"), None], ["12.50", None]),
        ("LowCardinality(Nullable(Float32))", [0.10000000149011612, None], ["0.1", None]),
        ("FixedString(4)", [b"a\x00\x00\x00", "b\x00"], ["a", "b"]),
        ("Nullable(Array(UInt8))", [None, [1]], [None, "[1]"]),
        ("SimpleAggregateFunction(anyLast, Nullable(Decimal(9, 1)))", [Decimal(1), None], ["1.0", None]),
        ("Tuple(`a, b)` Int8, c Nullable(Float32))", [(1, None), {"c": 0.5, "a, b)": 2}],
         ['{"a, b)":1,"c":null}', '{"a, b)":2,"c":0.5}']),
        ("Map(Enum8('a' = 1), Array(Decimal(9, 3)))", [{"a": [Decimal("0.5")]}], ['{"a":[0.500]}']),
        ("Time", [timedelta(hours=100, seconds=1), -timedelta(minutes=1)], ["100:00:01", "-00:01:00"]),
        ("Time64(2)", [timedelta(seconds=1, microseconds=500_000)], ["00:00:01.50"]),
        ("String", [None, "\x00", "null"], [None, "\x00", "null"]),
    ],
)  # fmt: skip
def test_values_are_written_by_the_type_of_their_column(
    column_type: str, values: list[object], expected: list[str | None]
) -> None:
    assert texts(values, "x", column_type) == expected


def test_what_a_loop_has_made_of_a_column_is_written_by_what_it_is() -> None:
    assert texts(["1,2", None], "x", "Array(UInt8)") == ["1,2", None]
    assert texts([0.5, 3], "x", "Decimal(9, 2)") == ["0.5", "3"]
    assert texts([[1]], "x", "Float32") == ["[1]"]


@pytest.mark.parametrize("column_type", ["Array(FixedString(2))", "FixedString(2)", "Map(String, UInt8)", "String"])
def test_bytes_are_refused_whatever_the_type(column_type: str) -> None:
    value = {"Array(FixedString(2))": [b"\xff\x00"], "Map(String, UInt8)": {b"\xff": 1}}.get(column_type, b"\xff\x00")
    with pytest.raises(ValueError, match=r"^column x: b'\\xff.* toValidUTF8\("):
        texts([value], "x", column_type)


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_instant_keeps_its_nanoseconds(nanoseconds: int) -> None:
    instant = PreciseInstant.from_nanoseconds(nanoseconds, ZoneInfo("America/New_York"))
    assert to_nanoseconds(instant) == nanoseconds
    (text,) = texts([instant], "x", "DateTime64(9)")
    expected = np.datetime_as_string(np.datetime64(nanoseconds, "ns"))
    if nanoseconds != -(2**63):  # numpy's NaT
        assert text == f"{expected}Z"


@pytest.mark.parametrize(
    ("column_type", "said"),
    [
        ("JSON", r"column v has the type JSON, which is not written: select toJSONString\(v\)"),
        ("JSON(a Int64)", r"select toJSONString\(v\)"),
        ("Variant(String, UInt8)", r"select toJSONString\(v\)"),
        ("Dynamic(max_types=3)", r"select toJSONString\(v\)"),
        ("AggregateFunction(sum, UInt8)", r"select finalizeAggregation\(v\)"),
        ("Time64(9)", r"select toString\(v\)"),
        ("QBit(Float32, 4)", r"select toString\(v\)"),
        ("Array(Nullable(Time64(7)))", r"and Time64\(7\) is not written: select toJSONString\(v\)"),
        ("Tuple(a Int8, b Map(String, Variant(Int8, String)))", r"and Variant\(Int8, String\) is not written"),
        ("SomethingNew", "which is not written"),
    ],
)
def test_a_type_that_is_not_written_is_refused_with_its_column_and_what_to_do(column_type: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        require_written([("n", "UInt8"), ("v", column_type)])
    require_written([("n", "Array(Nested(a UInt8, b Map(Date, Tuple(Time64(6), Point))))"), ("unknown", "")])


def test_advice_quotes_a_name_that_has_to_be() -> None:
    with pytest.raises(ValueError, match=r"toJSONString\(`my value`\)"):
        require_written([("my value", "Dynamic")])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("com.example", "com.example"),
        ("한국 [x] 'q' 😀", "한국 [x] 'q' 😀"),
        ("a\nb", "a\\nb"),
        ("a\r\n2026-11-21 INFO forged", "a\\r\\n2026-11-21 INFO forged"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("next\x85line\u2028and\u2029", "next\\x85line\\u2028and\\u2029"),
        ("\u202egpj.exe\u200b", "\\u202egpj.exe\\u200b"),
    ],
)
def test_a_text_becomes_one_line_in_which_all_can_be_seen(text: str, line: str) -> None:
    assert one_line(text) == line
    assert len(one_line(text).splitlines()) == 1


@given(st.lists(st.floats(width=64)))
def test_floats_read_back_exactly_and_what_is_no_number_is_left_out(values: list[float]) -> None:
    for value, text in zip(values, texts(values, "x"), strict=True):
        if math.isfinite(value):
            assert text is not None
            assert float(text) == value
        else:
            assert text is None
