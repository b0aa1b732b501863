"""Values in the place of %(name)s, and what a % means elsewhere."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Address
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.clickhouse.lexer import SqlError, locate
from maxy.clickhouse.literals import UnquotableError, literal
from maxy.clickhouse.parameters import fill, placeholders, quote


class Colour(Enum):
    RED = "it's red"


class Level(IntEnum):
    LOW = -3


class Word(StrEnum):
    HELLO = "a\\b"


class Set(Enum):
    FEW = frozenset({1})


@pytest.mark.parametrize(
    ("statement", "filled"),
    [
        ("SELECT %(n)s, %(n)s, '%%' || %(text)s", "SELECT 7, 7, '%' || 'it\\'s 100%'"),
        ("SELECT 5 -%(minus)s", "SELECT 5 - -1"),
        ("SELECT %(n)s%%2 AS `100%%`", "SELECT 7%2 AS `100%`"),
        ("SELECT %(a name)s", "SELECT NULL"),
        ("SELECT %(n)s -- 100% sure of %(bb)s and %s\n", "SELECT 7 -- 100% sure of %(bb)s and %s\n"),
        ("/* 100% /* %(bb)s */ %% */ SELECT %(n)s # %\n", "/* 100% /* %(bb)s */ %% */ SELECT 7 # %\n"),
        ("SELECT %(n)s FROM t WHERE x LIKE '%%(n)s%%'", "SELECT 7 FROM t WHERE x LIKE '%(n)s%'"),
        ("SELECT formatDateTime(now(), '%%Y-%%m'), %(n)s", "SELECT formatDateTime(now(), '%Y-%m'), 7"),
        ("SELECT $$100%%$$, %(n)s", "SELECT $$100%$$, 7"),
        ("SELECT a %%(b)s", "SELECT a %(b)s"),
    ],
)
def test_values_take_their_places(statement: str, filled: str) -> None:
    values = quote({"n": 7, "minus": -1, "text": "it's 100%", "a name": None, "unused": 1})
    assert fill(statement, values) == filled


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT a % 2, '100%', '%%', formatDateTime(now(), '%Y-%m')",
        "SELECT 1 -- 100% sure, see %(n)s",
        "SELECT '%(other)s', `%s`",
        "SELECT a %(b), a %(2) + 1",
        "INSERT INTO t FORMAT CSV 100%,%(other)s,it's",
        "",
    ],
)
def test_a_statement_without_values_stays_as_it_is(statement: str) -> None:
    assert fill(statement, {"n": "7"}) == statement
    assert placeholders(statement) == set()


@pytest.mark.parametrize(
    ("statement", "words", "place"),
    [
        ("SELECT 1,\n  %(bb)s", "%(bb)s has no value; a % of its own is written %%", "line 2, column 3"),
        ("SELECT %(n)s, %(N)s", "%(N)s has no value", "line 1, column 15"),
        ("SELECT %(n)s\n, '\n100%'", "a % of its own is written %%", "line 3, column 4"),
        ("SELECT %(n)s, 7 % 2", "a % of its own is written %%", "line 1, column 17"),
        ("SELECT %(n)s, 7 %%% 2", "a % of its own is written %%", "line 1, column 19"),
        ("SELECT 'day %(n)s'", "%(n)s stands in quotes", "line 1, column 13"),
        ("SELECT 1 AS `%(n)s`", "%(n)s stands in quotes", "line 1, column 14"),
        ("SELECT $$%(n)s$$", "%(n)s stands in quotes", "line 1, column 10"),
        ("SELECT %(n)d", "%(n)d: a value is written %(n)s", "line 1, column 8"),
        ("SELECT %(n)r, %(n)s", "%(n)r: a value is written %(n)s", "line 1, column 8"),
        ("SELECT %(n)s, 'never closed", "the quote ' is never closed", "line 1, column 15"),
    ],
)
def test_what_cannot_be_filled_is_named_with_its_place(statement: str, words: str, place: str) -> None:
    with pytest.raises(SqlError) as failed:
        fill(statement, quote({"n": 7}))
    assert str(failed.value).startswith(words)
    assert locate(statement, failed.value.position) == place


# What stands in a statement with values, and what is sent for it.
_PIECES = [
    ("a", "a"),
    (" 7 %% 2 ", " 7 % 2 "),
    ("%(n)s", "7"),
    ("%(text)s", r"'it\'s %(n)s'"),
    ("(%(n)s)s", "(7)s"),
    ("'100%%'", "'100%'"),
    (r"'it\'s %%(n)s; '''", r"'it\'s %(n)s; '''"),
    ('"%%"', '"%"'),
    ("`a``%%b`", "`a``%b`"),
    ("$x$ %%d ' $x$", "$x$ %d ' $x$"),
    ("-- 100% %(n)s %s '\n", "-- 100% %(n)s %s '\n"),
    ("/* % /* %(bb)s */ %% ' */", "/* % /* %(bb)s */ %% ' */"),
    ("# % `\n", "# % `\n"),
]


@given(st.lists(st.sampled_from(_PIECES), max_size=10))
def test_statements_built_from_pieces_are_filled_piece_by_piece(pieces: list[tuple[str, str]]) -> None:
    statement = " ".join(["SELECT %(n)s", *(piece for piece, _ in pieces)])
    filled = " ".join(["SELECT 7", *(sent for _, sent in pieces)])
    assert fill(statement, quote({"n": 7, "text": "it's %(n)s"})) == filled


def test_the_names_of_a_statements_values_are_known() -> None:
    assert placeholders("SELECT %(b)s, %(a)s, '%%(c)s' -- %(d)s\n, %(b)s, %%(e)s") == {"a", "b"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, "a dict cannot be written"),
        ({1, 2}, "a set cannot be written"),
        (frozenset(), "a frozenset cannot be written"),
        (b"abc", "a bytes cannot be written.*hex"),
        (bytearray(b"a"), "a bytearray cannot be written"),
        (timedelta(days=1), "a datetime.timedelta cannot be written"),
        (object(), "a object cannot be written"),
        (Fraction(1, 3), "a fractions.Fraction cannot be written"),
        (1j, "a complex cannot be written"),
        (range(3), "a range cannot be written"),
        (int, "a type cannot be written"),
        (IPv4Network("10.0.0.0/8"), "a ipaddress.IPv4Network cannot be written"),
        (np.array([1, 2]), "a numpy.ndarray cannot be written"),
        (np.bool_(True), "a numpy.bool cannot be written"),
        (np.float32(0.1), "a numpy.float32 cannot be written"),
        (Set.FEW, "a frozenset cannot be written"),
        ([1, [2, {3}]], "element 2: element 2: a set cannot be written"),
        ((None, b""), "element 2: a bytes cannot be written"),
        (2**256, "more than 256 bits"),
        (-(2**255) - 1, "more than 256 bits"),
        (Decimal("NaN"), "the Decimal is NaN"),
        (Decimal("-Infinity"), "the Decimal is -Infinity"),
        (Decimal("1E+76"), "the Decimal has 77 digits"),
        (Decimal("1E-77"), "the Decimal has 77 digits"),
        ("a\ud800b", r"the str has '\\ud800'"),
        (datetime(1899, 12, 31), "1900 to 2299"),
        (datetime(9999, 12, 31, tzinfo=UTC), "1900 to 2299"),
        (datetime(2300, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=-1))), "1900 to 2299"),
        (pendulum.duration(days=1), "Duration cannot be written"),
        (date(1, 1, 1), "1900 to 2299"),
        (time(12, tzinfo=UTC), "the time has a zone"),
        (IPv6Address("fe80::1%eth0"), "has a scope"),
        ([True, 2], "both bool and int"),
        ([[2.5], [None, False]], "both bool and float"),
        ([(1, True), (2, 2)], "both bool and int"),
        ([Decimal("1.1"), 2.5], "both Decimal and float"),
    ],
)
def test_what_cannot_be_written_exactly_is_refused_with_its_name_and_type(value: Any, words: str) -> None:
    _check_refusal(value, words)


def test_times_of_pandas_are_written_to_the_microsecond_and_else_refused() -> None:
    # Here alone, since its import takes longer than all other tests of this file.
    import pandas as pd

    whole = pd.Timestamp("2026-11-20 01:00:00.5", tz="UTC")
    assert literal(whole) == "fromUnixTimestamp64Micro(1795136400500000)"
    _check_refusal(pd.Timestamp("2026-11-20 00:00:00.123456789"), "nanoseconds")
    _check_refusal(pd.NaT, "NaTType")


def _check_refusal(value: object, words: str) -> None:
    with pytest.raises(UnquotableError, match=f"^parameter wanted: .*{words}"):
        quote({"fine": 1, "wanted": value})


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, "NULL"),
        (True, "true"),
        (-(2**63), " -9223372036854775808"),
        (2**64 - 1, "18446744073709551615"),
        (2**64, "toInt128('18446744073709551616')"),
        (2**127, "toInt256('170141183460469231731687303715884105728')"),
        (2**255, f"toUInt256('{2**255}')"),
        (np.int64(-5), " -5"),
        (np.float64(1.5), "1.5"),
        (-0.0, " -0.0"),
        (math.inf, "inf"),
        (-math.inf, " -inf"),
        (math.nan, "nan"),
        (Decimal("1.10"), "CAST('1.10', 'Decimal(38, 2)')"),
        (Decimal("-1E+3"), "CAST('-1000', 'Decimal(38, 0)')"),
        (Decimal("-1E-76"), f"CAST('-0.{'0' * 75}1', 'Decimal(76, 76)')"),
        (Decimal("-0.00"), "CAST('-0.00', 'Decimal(38, 2)')"),
        (Decimal("0." + "1" * 40), f"CAST('0.{'1' * 40}', 'Decimal(76, 40)')"),
        (Colour.RED, "'it\\'s red'"),
        (Level.LOW, " -3"),
        (Word.HELLO, "'a\\\\b'"),
        (datetime(2026, 11, 20, 1, 2, 3), "toDateTime('2026-11-20 01:02:03')"),
        (datetime(2026, 11, 20, 1, 2, 3, 4), "toDateTime64('2026-11-20 01:02:03.000004', 6)"),
        (datetime(1970, 1, 1, 9, tzinfo=timezone(timedelta(hours=9))), "toDateTime(0)"),
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), "fromUnixTimestamp64Micro(1000005)"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "fromUnixTimestamp64Micro(-1000000)"),
        (pendulum.datetime(2026, 11, 20, 10, tz="Asia/Seoul"), "toDateTime(1795136400)"),
        (pendulum.datetime(2026, 11, 20, 1, 0, 0, 9), "fromUnixTimestamp64Micro(1795136400000009)"),
        (pendulum.naive(2026, 11, 20, 1, 2, 3), "toDateTime('2026-11-20 01:02:03')"),
        (datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York")), "toDateTime(1793511000)"),
        (datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York")), "toDateTime(1793514600)"),
        (pendulum.date(2026, 1, 2), "'2026-01-02'"),
        (date(2026, 1, 2), "'2026-01-02'"),
        (time(1, 2, 3, 4), "'01:02:03.000004'"),
        (uuid.UUID(int=1), "'00000000-0000-0000-0000-000000000001'"),
        (IPv6Address("2001:db8::1"), "'2001:db8::1'"),
        ([], "[]"),
        ((), "tuple()"),
        (("a",), "tuple('a')"),
        ((1, [True, None], ("b", -2.5)), "(1, [true, NULL], ('b',  -2.5))"),
        ([(1, True), (2, False)], "[(1, true), (2, false)]"),
    ],
)
def test_values_are_written_as_documented(value: Any, written: str) -> None:
    assert literal(value) == written
