"""The daily job on the whole stack: a real scheduler, triggerer and API, real ClickHouse tables, a real Valkey.

The tests share one stack and its data, so each has days of its own, further than 30 days from the others'.
"""

from __future__ import annotations

import os
import signal
import threading
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest
import redis

from local.statistics.sample_data.bulk import fill_page_flow_day
from local.statistics.sample_data.generator import SampleData, page_flow_rows
from scripts.backfill import ApiError
from tests.oracle import expected_statistics
from tests.support import hashes
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

    from tests.e2e.conftest import RunningStack

DAG_ID = "device_statistic_daily"
SEEDED_DAYS = 6
SCALE = 0.05
# A retry waits for up to a minute; starting what was killed takes its time too.
RUN_SECONDS = 240.0
COUNTS = "visit, install, login, dau, revisit_7d, mau, crash_count, error_count, js_error_count, log_count, pv"
COLUMNS = f"package_nm, server_type, os_type, {COUNTS}, intervaltime_avg, lcp_avg, ttfb_avg, fcp_avg, inp_avg"


class Daily:
    """The job as its users see it.

    :param stack: the running stack.
    :param client: connected to ClickHouse.
    :param valkey: connected to Valkey.
    """

    def __init__(self, stack: RunningStack, client: Client, valkey: redis.Redis) -> None:
        self.stack = stack
        self.client = client
        self.valkey = valkey
        self.timezone = stack.settings.timezone
        self.today = datetime.now(ZoneInfo(self.timezone)).date()

    def days_ago(self, days: int) -> date:
        return self.today - timedelta(days=days)

    def trigger(self, **conf: Any) -> str:
        """Start a manual run and return its id."""
        body = {"logical_date": None, "conf": conf}
        return str(self.stack.api.request("POST", f"/dags/{DAG_ID}/dagRuns", body=body)["dag_run_id"])

    def state(self, run_id: str) -> str:
        return str(self.stack.api.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"])

    def task(self, run_id: str, task_id: str) -> dict[str, Any]:
        return self.stack.api.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}")

    def log(self, run_id: str, task_id: str, try_number: int = 1) -> str:
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        return str(self.stack.api.request("GET", path, query={"full_content": "true"}))

    def wait(self, *run_ids: str, state: str = "success") -> None:
        """Wait until all runs have ended, each in the given state."""
        wait_until(
            lambda: all(self.state(run_id) in ("success", "failed") for run_id in run_ids), RUN_SECONDS, "the runs' end"
        )
        assert {run_id: self.state(run_id) for run_id in run_ids} == dict.fromkeys(run_ids, state)

    def run(self, day: date, **conf: Any) -> str:
        run_id = self.trigger(stat_date=day.isoformat(), **conf)
        self.wait(run_id)
        return run_id

    def clear(self, run_id: str) -> None:
        body = {"dry_run": False, "dag_run_id": run_id, "only_failed": False}
        self.stack.api.request("POST", f"/dags/{DAG_ID}/clearTaskInstances", body=body)

    def runs_of(self, run_type: str) -> list[dict[str, Any]]:
        answer = self.stack.api.request("GET", f"/dags/{DAG_ID}/dagRuns", query={"run_type": run_type, "limit": 100})
        return list(answer["dag_runs"])

    def asset_event(self, run_id: str) -> dict[str, Any]:
        """Return the event that the run emitted."""
        query = {"source_dag_id": DAG_ID, "source_run_id": run_id}
        (event,) = self.stack.api.request("GET", "/assets/events", query=query)["asset_events"]
        return dict(event)

    def rows(self, day: date) -> list[tuple[Any, ...]]:
        query = f"SELECT {COLUMNS} FROM max_device_statistic WHERE stat_date = {{day:Date}} ORDER BY ALL"
        return [tuple(row) for row in self.client.query(query, parameters={"day": day}).result_rows]

    def cached(self, day: date) -> list[tuple[Any, ...]]:
        """Return the day's hashes in the form of the table's rows."""
        prefix = f"{self.stack.settings.valkey_prefix}:daily:{day}:"
        names = COLUMNS.split(", ")
        rows = []
        for fields in hashes(self.valkey, f"{prefix}*").values():
            assert fields["stat_date"] == day.isoformat()
            convert = [str if name in ("package_nm", "os_type") else float for name in names]
            rows.append(tuple(kind(fields[name]) for kind, name in zip(convert, names, strict=True)))
        return sorted(rows)

    def check(self, day: date) -> list[tuple[Any, ...]]:
        """Check what must hold for every day, and return its rows."""
        rows = self.rows(day)
        assert len({row[:3] for row in rows}) == len(rows)
        assert self.cached(day) == sorted(rows)
        assert self.client.query("SELECT name FROM system.tables WHERE name LIKE '%stage%'").result_rows == []
        return rows


@pytest.fixture(scope="module")
def daily(stack: RunningStack) -> Iterator[Daily]:
    seeded = stack.run_command("seed", "--days", str(SEEDED_DAYS), "--scale", str(SCALE))
    assert seeded.returncode == 0, seeded.stdout + seeded.stderr
    wait_until(lambda: known(stack), 60, "Airflow knows the DAG")
    stack.api.request("PATCH", f"/dags/{DAG_ID}", body={"is_paused": False})
    with stack.clickhouse() as client, stack.stack.valkey.client() as valkey:
        yield Daily(stack, client, valkey)


def known(stack: RunningStack) -> bool:
    try:
        stack.api.request("GET", f"/dags/{DAG_ID}")
    except ApiError:
        return False
    return True


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


class Reader:
    """Asks again and again while the block runs, and remembers every different answer; a server that is down has none.

    :param ask: returns one answer.
    """

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: set[Any] = set()

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self.answers.add(self._ask())
            except (clickhouse_connect.driver.exceptions.Error, redis.RedisError, OSError):
                self._done.wait(0.05)


def kill_when(daily: Daily, part: str, run_id: str, task_id: str, condition: Callable[[], bool]) -> None:
    """Kill a part as soon as the condition holds, which is while the task runs; bring it back, and let the run end."""
    wait_until(condition, 60, "the moment to kill", interval=0.001)
    pid = daily.stack.pids()[part]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: daily.stack.pids()[part] is None, 10, f"{part} is gone", interval=0.01)
    assert daily.task(run_id, task_id)["state"] == "running"
    up = daily.stack.run_command("up")
    assert up.returncode == 0, up.stdout + up.stderr
    daily.wait(run_id)


def test_killing_clickhouse_amid_a_rollup_costs_a_retry_and_readers_see_whole_days(daily: Daily) -> None:
    day = daily.days_ago(85)
    fill_page_flow_day(daily.client, day=day, rows=20_000, packages=50, timezone=daily.timezone)
    daily.run(day)
    before = daily.check(day)
    # Enough that the rollup takes about a second, with keys of the former rows kept and replaced.
    fill_page_flow_day(daily.client, day=day, rows=3_000_000, packages=100, timezone=daily.timezone, seed=2)

    def sums() -> tuple[int, int]:
        query = "SELECT count(), sum(pv) FROM max_device_statistic WHERE stat_date = {day:Date}"
        (answer,) = daily.client.query(query, parameters={"day": day}).result_rows
        return answer

    def rolling_up() -> bool:
        query = "SELECT count() FROM system.processes WHERE query LIKE '%INSERT INTO max_device_statistic__stage%'"
        # This query itself is one that matches.
        return bool(daily.client.query(query).result_rows[0][0] > 1)

    with Reader(sums) as reader:
        run_id = daily.trigger(stat_date=day.isoformat())
        kill_when(daily, "clickhouse", run_id, "rollup", rolling_up)
    after = daily.check(day)
    assert daily.task(run_id, "rollup")["try_number"] >= 2
    assert sum(row[13] for row in after) == 3_020_000
    assert reader.answers == {(len(rows), sum(row[13] for row in rows)) for rows in (before, after)}


def test_killing_valkey_amid_the_cache_task_loses_nothing_and_readers_see_whole_days(daily: Daily) -> None:
    day = daily.days_ago(60)
    index = f"{daily.stack.settings.valkey_prefix}:index:daily:{day}"
    fill_page_flow_day(daily.client, day=day, rows=20_000, packages=20, timezone=daily.timezone)
    daily.run(day)
    before = daily.check(day)
    fill_page_flow_day(daily.client, day=day, rows=300_000, packages=400, timezone=daily.timezone, seed=2)
    keys_before = daily.valkey.dbsize()

    def keys_of_the_day() -> tuple[int, int]:
        # Both in one step: how many keys the day has, and of how many computations they are.
        keys, versions = (
            daily.valkey.pipeline(transaction=True).zcard(index).zrange(index, 0, -1, withscores=True).execute()
        )
        return keys, len({version for _, version in versions})

    with Reader(keys_of_the_day) as reader:
        run_id = daily.trigger(stat_date=day.isoformat())
        kill_when(daily, "valkey", run_id, "cache", lambda: daily.valkey.dbsize() > keys_before + 500)
    # The client's own retries may have bridged the restart, or the task's.
    after = daily.check(day)
    assert len(after) > len(before) + 1000
    assert reader.answers == {(len(before), 1), (len(after), 1)}
