"""The daily job on the whole stack: a real scheduler, triggerer and API, real ClickHouse tables, a real Valkey.

The tests share one stack and its data, so each has days of its own, further than 30 days from the others'.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from local.statistics.sample_data.generator import SampleData, page_flow_rows
from scripts.backfill import ApiError
from tests.e2e.conftest import SCALE, SEEDED_DAYS
from tests.e2e.daily import COLUMNS, DAG_ID, RUN_SECONDS, Daily, unpaused_daily
from tests.oracle import expected_statistics
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import RunningStack


@pytest.fixture(scope="module")
def daily(stack: RunningStack) -> Iterator[Daily]:
    with unpaused_daily(stack) as daily:
        yield daily


def expected_rows(daily: Daily, day: date) -> dict[tuple[Any, ...], dict[str, float]]:
    """Compute a day in plain Python from the generated rows."""
    sample = SampleData(seed=1, scale=SCALE, timezone=daily.timezone)
    rows: list[dict[str, Any]] = []
    for back in range(SEEDED_DAYS, 0, -1):
        rows.extend(page_flow_rows(sample.page_flow(daily.days_ago(back))))
    history = list(daily.client.query("SELECT * FROM maxy_device_access_history").named_results())
    return dict(expected_statistics(rows, history, stat_date=day, timezone=daily.timezone).by_key)


def test_every_way_of_running_leaves_the_same_exact_rows(daily: Daily) -> None:
    first, day, last = (daily.days_ago(back) for back in (4, 3, 2))
    backfill = ("backfill", "--from", first.isoformat(), "--to", last.isoformat())
    expected = expected_rows(daily, day)

    def exact() -> None:
        found = {row[:3]: row[3:] for row in daily.check(day)}
        names = COLUMNS.split(", ")[3:]
        assert found.keys() == expected.keys()
        for key, metrics in expected.items():
            assert dict(zip(names, found[key], strict=True)) == pytest.approx(metrics, rel=1e-12), key

    done = daily.stack.run_command(*backfill)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 days done" in done.stdout
    exact()
    for other in (first, last):
        assert daily.check(other)

    by_hand = daily.run(day)
    exact()
    assert daily.asset_event(by_hand)["extra"]["stat_date"] == day.isoformat()

    daily.clear(by_hand)
    daily.wait(by_hand)
    exact()
    assert daily.task(by_hand, "rollup")["try_number"] == 2

    done = daily.stack.run_command(*backfill, "--reprocess", "completed")
    assert done.returncode == 0, done.stdout + done.stderr
    exact()

    daily.clear(by_hand)
    daily.wait(by_hand, *(daily.trigger(stat_date=day.isoformat()) for _ in range(3)))
    exact()


def test_the_schedule_and_a_run_by_hand_without_a_day_compute_yesterday(daily: Daily) -> None:
    wait_until(
        lambda: [run["state"] for run in daily.runs_of("scheduled")] == ["success"], RUN_SECONDS, "the scheduled run"
    )
    (scheduled,) = daily.runs_of("scheduled")
    begin = datetime.fromisoformat(scheduled["data_interval_start"])
    yesterday = begin.astimezone(ZoneInfo(daily.timezone)).date()
    assert yesterday in (daily.days_ago(1), daily.days_ago(0))
    rows = daily.check(yesterday)
    assert rows

    run_id = daily.trigger()
    daily.wait(run_id)
    assert f"partition {yesterday} now holds {len(rows)} rows" in daily.log(run_id, "rollup")
    assert daily.check(yesterday) == rows


def test_a_key_that_vanished_leaves_no_row_and_no_hash(daily: Daily) -> None:
    day = daily.days_ago(45)
    noon = datetime.combine(day, datetime.min.time(), ZoneInfo(daily.timezone)) + timedelta(hours=12)
    columns = ["device_id", "page_start_tm", "page_start_tm_dt", "package_nm", "server_type", "os_type", "log_type"]
    moment = int(noon.timestamp())
    daily.client.insert(
        "maxy_device_page_flow",
        [[f"d{name}", moment * 1000, moment, name, 1, "iOS", 1048580] for name in ("stays", "vanishes:1")],
        column_names=columns,
    )
    daily.run(day)
    assert {row[0] for row in daily.check(day)} == {"stays", "vanishes:1"}
    for table in ("maxy_device_page_flow", "maxy_device_access_history"):
        daily.client.command(
            f"ALTER TABLE {table} DELETE WHERE package_nm = 'vanishes:1'", settings={"mutations_sync": 2}
        )
    daily.run(day)
    assert {row[0] for row in daily.check(day)} == {"stays"}


def test_a_day_without_source_rows_is_skipped_with_its_reason(daily: Daily) -> None:
    day = daily.days_ago(200)
    run_id = daily.run(day)
    assert {task: daily.task(run_id, task)["state"] for task in ("rollup", "check_table", "cache")} == {
        "rollup": "skipped",
        "check_table": "skipped",
        "cache": "skipped",
    }
    assert f"the source has no rows for {day} and nothing is written yet" in daily.log(run_id, "rollup")
    assert daily.check(day) == []


@pytest.mark.parametrize("stat_date", ["2026-13-01", "text"])
def test_what_is_no_date_is_refused_when_triggered(daily: Daily, stat_date: str) -> None:
    with pytest.raises(ApiError, match="date") as refused:
        daily.trigger(stat_date=stat_date)
    assert refused.value.status == 400
    assert stat_date in str(refused.value)


def test_tomorrow_fails_at_once_and_says_so(daily: Daily) -> None:
    run_id = daily.trigger(stat_date=daily.days_ago(-2).isoformat())
    daily.wait(run_id, state="failed")
    assert daily.task(run_id, "wait_until_settled")["try_number"] == 1
    assert "lies in the future" in daily.log(run_id, "wait_until_settled")


def test_today_waits_in_the_triggerer_without_a_worker(daily: Daily) -> None:
    run_id = daily.trigger(stat_date=datetime.now(ZoneInfo(daily.timezone)).date().isoformat())
    wait_until(lambda: daily.task(run_id, "wait_until_settled")["state"] == "deferred", 60, "the task defers")
    wait_until(
        lambda: daily.task(run_id, "wait_until_settled")["triggerer_job"] is not None, 60, "a triggerer takes it"
    )
    assert daily.task(run_id, "rollup")["state"] is None
    daily.stack.api.request("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", body={"state": "failed"})
