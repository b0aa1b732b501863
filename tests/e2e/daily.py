"""The daily job on a whole stack, as its users see it: its runs, its rows, its hashes."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from local.airflow_tasks import wait_for_dag
from tests.support import hashes
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from clickhouse_connect.driver.client import Client

    from tests.e2e.conftest import RunningStack

DAG_ID = "device_statistic_daily"
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


@contextmanager
def unpaused_daily(stack: RunningStack) -> Iterator[Daily]:
    """The job of a stack, which is let run."""
    wait_for_dag(stack.api, DAG_ID)
    stack.api.request("PATCH", f"/dags/{DAG_ID}", body={"is_paused": False})
    with stack.clickhouse() as client, stack.stack.valkey.client() as valkey:
        yield Daily(stack, client, valkey)
