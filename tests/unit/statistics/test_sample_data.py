"""The sample data: the same at each call, with the awkward rows in it, and its days cut where the zone cuts them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from local.statistics.sample_data.generator import (
    LOG_TYPE_APPLICATION_START,
    LOG_TYPE_INSTALL,
    Columns,
    SampleData,
    arrived_between,
    page_flow_rows,
)
from local.statistics.sample_data.population import PACKAGES, SERVER_TYPES, SYSTEMS, WEEKEND_PACKAGE, Population

# A Saturday, so that all packages are there.
DAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def deliveries() -> list[Columns]:
    return SampleData(scale=0.5, timezone="Asia/Seoul").page_flow(DAY)


@pytest.fixture(scope="module")
def rows(deliveries: list[Columns]) -> list[dict[str, Any]]:
    return list(page_flow_rows(deliveries))


def key_of(row: dict[str, Any]) -> tuple[int, str, int]:
    return row["page_start_tm"], row["device_id"], row["sum_mem_usage"]


def content_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "reg_dt"}


def test_a_day_is_the_same_whatever_was_asked_for_before() -> None:
    fresh = SampleData(seed=7, scale=0.05)
    used = SampleData(seed=7, scale=0.05)
    for back in range(1, 4):
        used.page_flow(DAY - timedelta(days=back))
        used.total_log(DAY - timedelta(days=back))
    assert used.page_flow(DAY) == fresh.page_flow(DAY)
    assert used.total_log(DAY) == fresh.total_log(DAY)


def test_another_seed_gives_other_rows() -> None:
    assert SampleData(seed=1, scale=0.05).page_flow(DAY) != SampleData(seed=2, scale=0.05).page_flow(DAY)


def test_all_columns_have_one_length(deliveries: list[Columns]) -> None:
    for columns in [*deliveries, *SampleData(scale=0.05).total_log(DAY)]:
        assert {len(values) for values in columns.values()} == {len(columns["reg_dt"])}


def test_a_repeat_has_the_key_and_the_content_of_its_original_and_arrives_later(rows: list[dict[str, Any]]) -> None:
    originals: dict[tuple[int, str, int], dict[str, Any]] = {}
    repeats = 0
    for row in rows:
        original = originals.setdefault(key_of(row), row)
        if original is not row:
            repeats += 1
            assert content_of(row) == content_of(original)
            assert row["reg_dt"] > original["reg_dt"]
    assert 0.005 < repeats / len(rows) < 0.02


def test_repeats_come_in_the_same_delivery_and_in_another_one(deliveries: list[Columns]) -> None:
    first, second = ([key_of(row) for row in page_flow_rows([columns])] for columns in deliveries)
    assert len(set(first)) < len(first)
    assert second
    assert set(second) <= set(first)


def test_days_share_no_key() -> None:
    data = SampleData(scale=0.1, timezone="America/New_York")
    days = [{key_of(row) for row in page_flow_rows(data.page_flow(date(2026, 11, number)))} for number in range(1, 5)]
    assert len(set.union(*days)) == sum(map(len, days))


@pytest.mark.parametrize(
    ("timezone", "day", "hours"),
    [
        ("UTC", DAY, 24),
        ("Asia/Seoul", DAY, 24),
        ("America/New_York", date(2026, 3, 8), 23),
        ("America/New_York", date(2026, 11, 1), 25),
    ],
)
def test_a_day_fills_its_local_day_to_both_edges(timezone: str, day: date, hours: int) -> None:
    data = SampleData(scale=0.1, timezone=timezone)
    start_ms, end_ms = data.bounds_ms(day)
    assert end_ms - start_ms == hours * 3_600_000
    instants = data.page_flow(day)[0]["page_start_tm"]
    assert min(instants) == start_ms
    assert max(instants) == end_ms - 1
    local_days = {
        row["page_start_tm_dt"].astimezone(ZoneInfo(timezone)).date() for row in page_flow_rows(data.page_flow(day))
    }
    assert local_days == {day}


def test_the_awkward_rows_are_there_and_few(rows: list[dict[str, Any]]) -> None:
    for missing in (None, "", "  "):
        assert any(row["package_nm"] == missing for row in rows)
        assert any(row["os_type"] == missing for row in rows)
    assert any(row["server_type"] is None for row in rows)
    awkward = sum(row["package_nm"] not in PACKAGES or row["os_type"] not in SYSTEMS for row in rows)
    assert awkward < 0.01 * len(rows)
    for metric in ("error_count", "intervaltime", "loading_time", "lcp", "log_type"):
        assert any(row[metric] is None for row in rows)


def test_no_number_is_nan_or_negative(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert all(value >= 0 for value in row.values() if isinstance(value, int | float))


def test_packages_differ_widely_in_size_and_all_dimensions_occur(rows: list[dict[str, Any]]) -> None:
    sizes = Counter(row["package_nm"] for row in rows if row["package_nm"] in PACKAGES)
    assert sizes.keys() == set(PACKAGES)
    assert sizes.most_common(1)[0][1] > 10 * min(sizes.values())
    assert {row["server_type"] for row in rows} >= set(SERVER_TYPES)
    assert {row["os_type"] for row in rows} >= set(SYSTEMS)


def test_one_package_is_used_at_weekends_only() -> None:
    data = SampleData(scale=0.2)
    days = [DAY + timedelta(days=number) for number in range(7)]
    used_on = [day.isoweekday() for day in days if WEEKEND_PACKAGE in data.page_flow(day)[0]["package_nm"]]
    assert used_on == [6, 7]


def test_devices_come_back_and_new_ones_appear() -> None:
    population = Population(seed=1, scale=0.2)
    days = [population.active_on(DAY - timedelta(days=back)) for back in range(30)]
    seen = [set(devices.device_id) for devices in days]
    assert len(seen[0] & set.union(*seen[1:8])) > len(seen[0]) / 2
    assert len(set.union(*seen)) > 1.5 * len(seen[0])
    for devices, earlier in zip(days, (set.union(*seen[back + 1 :]) for back in range(20)), strict=False):
        assert devices.is_new.any()
        assert not earlier & set(devices.device_id[devices.is_new])


def test_a_new_device_installs_and_then_starts_the_application() -> None:
    data = SampleData(scale=0.2)
    rows = list(page_flow_rows(data.page_flow(DAY)[:1]))
    installed = {row["device_id"] for row in rows if row["log_type"] == LOG_TYPE_INSTALL}
    started = {row["device_id"] for row in rows if row["log_type"] == LOG_TYPE_APPLICATION_START}
    assert installed
    # A row that lost its log type may be such a start.
    assert len(installed - started) <= 1
    assert len(started) > 5 * len(installed)


def test_nights_are_quieter_than_evenings(rows: list[dict[str, Any]]) -> None:
    hours = Counter(row["page_start_tm_dt"].astimezone(ZoneInfo("Asia/Seoul")).hour for row in rows)
    assert hours[21] > 4 * hours[4]


def test_loading_times_are_log_normal_in_shape(rows: list[dict[str, Any]]) -> None:
    times = sorted(row["loading_time"] for row in rows if row["loading_time"] is not None)
    median, mean, high = times[len(times) // 2], sum(times) / len(times), times[len(times) * 99 // 100]
    assert median < mean < high / 2


def test_rows_are_selected_by_their_arrival() -> None:
    columns = SampleData(scale=0.05).page_flow(DAY)[0]
    middle = sorted(columns["reg_dt"])[len(columns["reg_dt"]) // 2]
    early, late = arrived_between(columns, 0, middle), arrived_between(columns, middle, 2**62)
    assert max(early["reg_dt"]) == middle < min(late["reg_dt"])
    assert len(early["device_id"]) + len(late["device_id"]) == len(columns["device_id"])


def test_rows_say_their_instants_in_utc(rows: list[dict[str, Any]]) -> None:
    row = rows[0]
    assert row["page_start_tm_dt"] == datetime.fromtimestamp(row["page_start_tm"] // 1000, UTC)
    assert row["page_start_tm_dt"].tzinfo is UTC


def test_a_scale_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        SampleData(scale=0)
