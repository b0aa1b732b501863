from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxy.statistics_day import StatisticsDay, parse_stat_date, statistics_day_of_run

SEOUL = ZoneInfo("Asia/Seoul")
NEW_YORK = ZoneInfo("America/New_York")


def run(*, start: datetime | None = None, after: datetime | None = None) -> SimpleNamespace:
    return SimpleNamespace(data_interval_start=start, run_after=after)


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
    statistics_day = StatisticsDay(day, ZoneInfo(zone))
    assert statistics_day.start == start
    assert statistics_day.end - statistics_day.start == timedelta(hours=hours)


@given(st.dates(date(1980, 1, 1), date(2037, 12, 30)), st.sampled_from(["UTC", "Asia/Seoul", "America/New_York"]))
def test_days_follow_each_other_without_gap_and_hold_their_own_instants(day: date, zone: str) -> None:
    here = StatisticsDay(day, ZoneInfo(zone))
    assert here.end == StatisticsDay(day + timedelta(days=1), ZoneInfo(zone)).start
    assert here.start.astimezone(here.timezone).date() == day
    assert (here.end - timedelta(seconds=1)).astimezone(here.timezone).date() == day


def test_parameter_wins_over_interval() -> None:
    scheduled = run(start=datetime(2026, 11, 18, tzinfo=UTC), after=datetime(2026, 11, 19, tzinfo=UTC))
    assert str(statistics_day_of_run(scheduled, {"stat_date": "2026-11-01"}, SEOUL)) == "2026-11-01"


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
