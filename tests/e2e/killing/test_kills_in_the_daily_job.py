"""The daily job while ClickHouse or Valkey is killed under it: a retry, and readers who see whole days.

Each test has a day of its own, further than 30 days from the others'.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import redis

from local.statistics.sample_data.bulk import fill_page_flow_day
from tests.e2e.daily import Daily, unpaused_daily
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import RunningStack


@pytest.fixture(scope="module")
def daily(stack: RunningStack) -> Iterator[Daily]:
    with unpaused_daily(stack) as daily:
        yield daily


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
        rows, page_views = answer
        return rows, page_views

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
        step = daily.valkey.pipeline(transaction=True)
        step.zcard(index)
        step.zrange(index, 0, -1, withscores=True)
        keys, versions = step.execute()
        return keys, len({version for _, version in versions})

    with Reader(keys_of_the_day) as reader:
        run_id = daily.trigger(stat_date=day.isoformat())
        kill_when(daily, "valkey", run_id, "cache", lambda: daily.valkey.dbsize() > keys_before + 500)
    # The client's own retries may have bridged the restart, or the task's.
    after = daily.check(day)
    assert len(after) > len(before) + 1000
    assert reader.answers == {(len(before), 1), (len(after), 1)}
