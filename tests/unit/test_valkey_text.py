from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.valkey.text import one_line, texts, utc_iso


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


def test_arrays_tuples_and_maps_without_bytes_are_written() -> None:
    assert texts([["a", 1], ("b", None), {"c": 2.5}], "x") == ["['a', 1]", "('b', None)", "{'c': 2.5}"]


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
