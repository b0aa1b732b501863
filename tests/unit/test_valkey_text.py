from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.valkey.text import texts, utc_iso


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


@given(st.lists(st.floats(width=64)))
def test_floats_read_back_exactly_and_what_is_no_number_is_left_out(values: list[float]) -> None:
    for value, text in zip(values, texts(values, "x"), strict=True):
        if math.isfinite(value):
            assert text is not None
            assert float(text) == value
        else:
            assert text is None
