"""Disks, clocks, versions and days: from when on something is wrong."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.service_checks import (
    Disk,
    ServerProblem,
    check_clock,
    check_disks,
    check_version,
    clock_skew,
    persistence_of,
)
from maxy.statistics.day_checks import CheckedDay, ProblemKind, check_days

GIB = 1024**3
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("free", "total", "is_wrong"),
    [
        (0, 100 * GIB, True),
        (10 * GIB - 1, 100 * GIB, True),
        (10 * GIB, 100 * GIB, False),
        # A small disk: a tenth is not enough.
        (GIB - 1, 4 * GIB, True),
        (GIB, 4 * GIB, False),
        # An object store says a size that nothing has, or none.
        (0, 2**64 - 1, False),
        (0, 0, False),
    ],
)
def test_a_disk_is_nearly_full_below_a_tenth_or_a_gibibyte(free: int, total: int, is_wrong: bool) -> None:
    found = check_disks([Disk("roomy", 50 * GIB, 100 * GIB), Disk("d", free, total)])
    assert [(one.kind, one.values["disk"]) for one in found] == ([(ServerProblem.DISK_SPACE, "d")] if is_wrong else [])


def test_a_clock_is_apart_by_what_the_way_cannot_explain() -> None:
    took = timedelta(seconds=3)
    at = NOW.timestamp() * 1000
    # Anything between asking and answering may be the same clock.
    assert [clock_skew(at + ms, NOW, NOW + took) for ms in (0, 1500, 3000)] == [0, 0, 0]
    assert clock_skew(at + 8000, NOW, NOW + took) == pytest.approx(5)
    assert clock_skew(at - 8000, NOW, NOW + took) == pytest.approx(-8)


@pytest.mark.parametrize(("skew", "words"), [(2.1, "2.1 s ahead of"), (-3600.0, "3600.0 s behind")])
def test_clocks_that_are_more_than_two_seconds_apart_are_told(skew: float, words: str) -> None:
    (found,) = check_clock("Valkey", skew)
    assert words in found.message
    assert found.values == {"server": "Valkey", "seconds": skew}


@pytest.mark.parametrize("skew", [None, 0.0, 2.0, -2.0])
def test_clocks_that_agree_are_not_told(skew: float | None) -> None:
    assert check_clock("Valkey", skew) == []


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("23.6.2.18", True),
        ("25.12.1.1", True),
        ("26.5.9.99", True),
        ("26.6.0.1", True),
        ("26.6.1.962", False),
        ("26.6", False),
        ("26.10.1.1", False),
        ("27.1.1.1", False),
        ("head", False),
    ],
)
def test_replaced_rows_come_back_before_26_6_1(version: str, is_old: bool) -> None:
    found = check_version(version, table="scores", has_short_lifetime=False)
    assert [one.kind for one in found] == ([ServerProblem.OLD_CLICKHOUSE] if is_old else [])
    assert all("ALTER TABLE scores " in command for one in found for command in one.commands)
    assert check_version(version, table="scores", has_short_lifetime=True) == []


def test_the_statistics_tell_of_every_problem_of_a_server() -> None:
    assert {str(kind) for kind in ServerProblem} < {str(kind) for kind in ProblemKind}


@pytest.mark.parametrize(
    ("info", "is_failing"),
    [
        ({}, False),
        ({"aof_enabled": 1, "aof_last_write_status": "ok", "rdb_last_bgsave_status": "ok"}, False),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, True),
        ({"aof_enabled": 1, "aof_last_bgrewrite_status": "err"}, True),
        # Of a file that is not kept any more.
        ({"aof_enabled": 0, "aof_last_write_status": "err"}, False),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, True),
    ],
)
def test_files_that_valkey_cannot_write(info: dict[str, object], is_failing: bool) -> None:
    assert persistence_of(info).is_failing is is_failing


DAYS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 3), st.integers(1, 3), st.none() | st.integers(0, 3)),
    unique_by=lambda one: one[0],
)


@given(DAYS)
def test_every_wrong_day_is_in_just_one_finding_and_no_right_one_is(
    given_days: list[tuple[int, int, int, int | None]],
) -> None:
    first = date(2026, 11, 1)
    days = [
        CheckedDay(first + timedelta(days=place), rows=keys + extra, keys=keys, cached_keys=cached)
        for place, extra, keys, cached in given_days
    ]
    found = check_days(days)
    wrong = {
        ProblemKind.DUPLICATE_ROWS: {day.day for day in days if day.rows > day.keys},
        ProblemKind.NOT_CACHED: {day.day for day in days if day.cached_keys is not None and day.cached_keys < day.keys},
    }
    for kind, expected in wrong.items():
        told: list[date] = []
        for one in (one for one in found if one.kind is kind):
            begin, end = (date.fromisoformat(str(one.values[name])) for name in ("first", "last"))
            told += [begin + timedelta(days=number) for number in range((end - begin).days + 1)]
            assert all(str(begin) in command and str(end) in command for command in one.commands)
        assert sorted(told) == sorted(expected)
