from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.days import CalendarDay
from maxy.statistics.statistics_day import parse_stat_date, statistics_day_of_run

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")


def run(
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    after: datetime | None = None,
    logical: datetime | None = None,
    run_type: str = "manual",
) -> SimpleNamespace:
    return SimpleNamespace(
        run_type=run_type,
        data_interval_start=start,
        data_interval_end=end or (start and start + timedelta(days=1)),
        logical_date=logical or (start and start + timedelta(days=2)),
        run_after=after,
    )


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("UTC", date(2026, 11, 20), datetime(2026, 11, 20, tzinfo=UTC), 24),
        ("Asia/Seoul", date(2026, 11, 20), datetime(2026, 11, 19, 15, tzinfo=UTC), 24),
        ("America/New_York", date(2026, 3, 8), datetime(2026, 3, 8, 5, tzinfo=UTC), 23),
        ("America/New_York", date(2026, 11, 1), datetime(2026, 11, 1, 4, tzinfo=UTC), 25),
        # Clocks go from 23:59:59 to 01:00: the day begins with the change, at 01:00.
        ("Africa/Cairo", date(2026, 4, 24), datetime(2026, 4, 23, 22, tzinfo=UTC), 23),
        # Clocks go from 00:59:59 back to 00:00: the day begins the first time.
        ("America/Havana", date(2026, 11, 1), datetime(2026, 11, 1, 4, tzinfo=UTC), 25),
    ],
)
def test_day_begins_at_midnight_of_its_zone(zone: str, day: date, start: datetime, hours: int) -> None:
    statistics_day = CalendarDay(day, ZoneInfo(zone))
    assert statistics_day.start == start
    assert statistics_day.end - statistics_day.start == timedelta(hours=hours)


@given(st.dates(date(1980, 1, 1), date(2037, 12, 30)), st.sampled_from(["UTC", "Asia/Seoul", "America/New_York"]))
def test_days_follow_each_other_without_gap_and_hold_their_own_instants(day: date, zone: str) -> None:
    here = CalendarDay(day, ZoneInfo(zone))
    assert here.end == CalendarDay(day + timedelta(days=1), ZoneInfo(zone)).start
    assert here.start.astimezone(here.timezone).date() == day
    assert (here.end - timedelta(seconds=1)).astimezone(here.timezone).date() == day


@pytest.mark.parametrize("run_type", ["manual", "operator_triggered", "asset_triggered", "asset_materialization"])
def test_parameter_wins_over_an_interval_that_airflow_inferred(run_type: str) -> None:
    # Airflow's form fills in the present moment as the logical date, and infers the day before it.
    by_hand = run(
        start=datetime(2026, 11, 18, tzinfo=UTC), logical=datetime(2026, 11, 19, 7, 36, tzinfo=UTC), run_type=run_type
    )
    assert str(statistics_day_of_run(by_hand, {"stat_date": "2026-11-01"}, SEOUL)) == "2026-11-01"


class RunType(StrEnum):
    """As Airflow's task SDK has it."""

    BACKFILL = "backfill"
    SCHEDULED = "scheduled"


@pytest.mark.parametrize("run_type", ["scheduled", "backfill", *RunType])
@pytest.mark.parametrize(
    ("zone", "start", "own"),
    [
        ("UTC", datetime(2026, 9, 1, tzinfo=UTC), "2026-09-01"),
        # 2026-09-01 00:00 in Seoul; its date in UTC is the day before.
        ("Asia/Seoul", datetime(2026, 8, 31, 15, tzinfo=UTC), "2026-09-01"),
        ("America/New_York", datetime(2026, 9, 1, 4, tzinfo=UTC), "2026-09-01"),
        # The day begins at one o'clock, when clocks skip midnight.
        ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC), "2026-04-24"),
    ],
)
def test_a_run_that_is_made_for_a_day_computes_no_other(run_type: str, zone: str, start: datetime, own: str) -> None:
    made_for_a_day = run(start=start, run_type=run_type)
    assert str(statistics_day_of_run(made_for_a_day, {"stat_date": own}, ZoneInfo(zone))) == own
    for asked in ("2026-09-10", "2026-08-31", "2026-04-23", "2026-04-25"):
        with pytest.raises(ValueError, match=f"stat_date {asked} contradicts .* the day {own} in {zone}"):
            statistics_day_of_run(made_for_a_day, {"stat_date": asked}, ZoneInfo(zone))


def test_an_interval_that_was_given_with_a_run_by_hand_is_meant() -> None:
    # Airflow's API takes one; an inferred one ends by the logical date.
    day = datetime(2026, 11, 18, tzinfo=UTC)
    given_by_hand = run(start=day, logical=day)
    with pytest.raises(ValueError, match=r"stat_date 2026-11-01 contradicts .* the day 2026-11-18 in UTC"):
        statistics_day_of_run(given_by_hand, {"stat_date": "2026-11-01"}, ZoneInfo("UTC"))
    assert str(statistics_day_of_run(given_by_hand, {"stat_date": "2026-11-18"}, ZoneInfo("UTC"))) == "2026-11-18"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York", "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    "day",
    ["0001-01-01", "1969-12-31", "1970-01-01", "1970-01-29", "2149-06-01", "2149-06-05", "2149-06-06", "9999-12-31"],
)
def test_a_day_that_the_table_cannot_hold_is_refused(day: str, zone: str) -> None:
    with pytest.raises(ValueError, match=f"stat_date {day} .* from 1970-01-30 to 2149-05-31"):
        statistics_day_of_run(run(), {"stat_date": day}, ZoneInfo(zone))


@pytest.mark.parametrize("day", ["1970-01-30", "2149-05-31"])
def test_the_first_and_the_last_day_that_the_table_can_hold(day: str) -> None:
    # Date is counted in 16 bits from 1970-01-01, and the statistics look back 29 days.
    first, last = date(1970, 1, 1), date(1970, 1, 1) + timedelta(days=2**16 - 1)
    assert first <= date.fromisoformat(day) - timedelta(days=29)
    assert date.fromisoformat(day) < last
    assert str(statistics_day_of_run(run(), {"stat_date": day}, SEOUL)) == day


def test_interval_start_is_read_in_the_statistics_zone() -> None:
    # 2026-11-20 00:00 in Seoul; its date in UTC is the 19th.
    scheduled = run(start=datetime(2026, 11, 19, 15, tzinfo=UTC), after=datetime(2026, 11, 20, 15, tzinfo=UTC))
    assert str(statistics_day_of_run(scheduled, {"stat_date": None}, SEOUL)) == "2026-11-20"


def test_manual_run_without_interval_is_for_yesterday_in_the_statistics_zone() -> None:
    # 2026-11-21 01:30 in Seoul, still the 20th in UTC and New York.
    manual = run(after=datetime(2026, 11, 20, 16, 30, tzinfo=UTC))
    assert str(statistics_day_of_run(manual, {}, SEOUL)) == "2026-11-20"
    assert str(statistics_day_of_run(manual, {}, NEW_YORK)) == "2026-11-19"


@pytest.mark.parametrize(
    "text", ["", "2026-13-01", "2026-02-30", "yesterday", "20261101", "2026-11-1", "2026-11-01T00:00", "２０２６-11-01"]
)
def test_anything_but_a_date_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="stat_date") as caught:
        parse_stat_date(text)
    assert repr(text) in str(caught.value)
