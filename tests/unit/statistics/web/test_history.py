"""Ranges of days, and days as CSV."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.statistics.web.csv_file import as_csv
from maxy.statistics.web.history import MOST_DAYS, BadRange, day_range
from maxy.statistics.web.models import METRICS, DayState, History, HistoryDay, Key

TODAY = date(2026, 11, 21)
DAYS = st.dates()


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (None, None, (date(2026, 10, 22), date(2026, 11, 20))),
        (date(2026, 11, 1), None, (date(2026, 11, 1), date(2026, 11, 20))),
        (None, date(2026, 3, 31), (date(2026, 3, 2), date(2026, 3, 31))),
        (TODAY, TODAY, (TODAY, TODAY)),
        (date(2026, 12, 1), date(2026, 12, 31), (date(2026, 12, 1), date(2026, 12, 31))),
        (date(2025, 10, 17), date(2026, 11, 20), (date(2025, 10, 17), date(2026, 11, 20))),
        (None, date(1971, 1, 3), (date(1971, 1, 1), date(1971, 1, 3))),
    ],
)
def test_days_that_are_shown(first: date | None, last: date | None, expected: tuple[date, date]) -> None:
    assert day_range(first, last, TODAY) == expected
    assert (expected[1] - expected[0]).days + 1 <= MOST_DAYS


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        (date(2026, 11, 21), None, "first: 2026-11-21 is after last: 2026-11-20"),
        (date(2025, 10, 16), date(2026, 11, 20), "first: 2025-10-16 to last: 2026-11-20 are more than 400 days"),
        (date(1970, 12, 31), date(1971, 1, 2), "first: 1970-12-31 is not between 1971-01-01 and 2148-01-01"),
        (date(2026, 11, 1), date(2148, 1, 2), "last: 2148-01-02 is not between 1971-01-01 and 2148-01-01"),
        (date.min, date.max, "last: 9999-12-31 is not between"),
        (None, date.min, "last: 0001-01-01 is not between"),
    ],
)
def test_ranges_that_are_refused(first: date | None, last: date | None, why: str) -> None:
    with pytest.raises(BadRange, match=re.escape(why)):
        day_range(first, last, TODAY)


@given(st.none() | DAYS, st.none() | DAYS)
def test_any_days_are_a_range_that_the_table_can_hold_or_refused(first: date | None, last: date | None) -> None:
    try:
        begin, end = day_range(first, last, TODAY)
    except BadRange:
        return
    assert begin == (first or begin)
    assert end == (last or TODAY - timedelta(days=1))
    assert date(1971, 1, 1) <= begin <= end <= date(2148, 1, 1)
    assert (end - begin).days < MOST_DAYS


def day(stat_date: str, state: DayState = DayState.PRESENT, **figures: Any) -> HistoryDay:
    return HistoryDay(
        stat_date=stat_date,
        start=f"{stat_date}T00:00:00.000000Z",
        end=f"{stat_date}T24:00:00.000000Z",
        state=state,
        figures={**dict.fromkeys(METRICS, 0), **figures} if state is DayState.PRESENT else None,
        week_before=None,
        week_before_state=DayState.MISSING,
        updated_at="2026-11-21T01:00:00.000000Z" if state is DayState.PRESENT else None,
    )


def history(*days: HistoryDay) -> History:
    return History(
        timezone="UTC",
        first=days[0].stat_date,
        last=days[-1].stat_date,
        first_computed=days[0].stat_date,
        dag_id="d",
        days=list(days),
    )


def written(answer: History, package: str = "shop", system: str = "iOS") -> list[dict[str, str]]:
    text = as_csv(answer, Key(package_nm=package, server_type=1, os_type=system))
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_day_is_a_line_and_a_day_without_figures_has_empty_cells_and_its_state() -> None:
    lines = written(
        history(
            day("2026-11-01", visit=12, lcp_avg=1234.5678),
            day("2026-11-02", DayState.MISSING),
            day("2026-11-03", DayState.NO_ROW),
            day("2026-11-04", DayState.NOT_DUE),
        )
    )
    assert list(lines[0]) == ["stat_date", "package_nm", "server_type", "os_type", *METRICS, "updated_at", "state"]
    assert [(line["stat_date"], line["state"]) for line in lines] == [
        ("2026-11-01", "present"),
        ("2026-11-02", "missing"),
        ("2026-11-03", "no_row"),
        ("2026-11-04", "not_due"),
    ]
    assert (lines[0]["visit"], lines[0]["lcp_avg"], lines[0]["login"]) == ("12", "1234.5678", "0")
    assert lines[0]["updated_at"] == "2026-11-21T01:00:00.000000Z"
    assert {lines[1][metric] for metric in (*METRICS, "updated_at")} == {""}


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_of_any_kind_stand_in_their_own_cells(package: str, system: str) -> None:
    (line,) = written(history(day("2026-11-01", visit=7)), package, system)
    for name, cell in ((package, line["package_nm"]), (system, line["os_type"])):
        assert cell in (name, f"'{name}")
        # No cell is a formula.
        assert cell[0] not in "=+-@\t\r\n"
    assert (line["server_type"], line["visit"], line["state"]) == ("1", "7", "present")


@pytest.mark.parametrize("name", ['=HYPERLINK("http://a","b")', "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_what_a_spreadsheet_would_compute_is_text(name: str) -> None:
    (line,) = written(history(day("2026-11-01")), name, name)
    assert (line["package_nm"], line["os_type"]) == (f"'{name}", f"'{name}")
