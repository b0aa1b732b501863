"""A backfill over a day of a DAG that runs several times a day, by Airflow's own scheduler."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from local.airflow_tasks import wait_for_dag

if TYPE_CHECKING:
    from tests.e2e.conftest import RunningStack

DAG_ID = "several_a_day"
# Six hours each, from 0 o'clock in UTC: those that begin on that day in Seoul.
LOGICAL_DATES = [datetime(2026, 11, day, hour, tzinfo=UTC) for day, hour in ((9, 18), (10, 0), (10, 6), (10, 12))]


def test_all_runs_of_a_day_are_waited_for_and_the_failed_one_is_named(stack: RunningStack) -> None:
    wait_for_dag(stack.api, DAG_ID)
    command = ("backfill", "--dag-id", DAG_ID, "--from", "2026-11-10", "--to", "2026-11-10")
    assert "pass --timezone" in stack.run_command(*command, "--unpause").stderr

    answer = stack.run_command(*command, "--timezone", "Asia/Seoul", "--unpause", "--max-active-runs", "4")

    runs = stack.api.request("GET", f"/dags/{DAG_ID}/dagRuns", query={"run_type": "backfill", "limit": 100})["dag_runs"]
    states = {datetime.fromisoformat(run["logical_date"]): run["state"] for run in runs}
    assert states == {moment: "failed" if moment.hour == 18 else "success" for moment in LOGICAL_DATES}
    (failed,) = [run["dag_run_id"] for run in runs if run["state"] == "failed"]
    address = f"{stack.settings.airflow_url}/dags/{DAG_ID}/runs/{quote(failed, safe='')}"
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-3:] == [
        "2026-11-10: 3 of 4 runs done",
        f"  2026-11-10T03:00+09:00: FAILED, see {address}",
        "0 of 1 days done (3 of 4 runs), 1 NOT",
    ]

    # Of the next day in UTC three runs exist, and none of the last.
    answer = stack.run_command(
        "backfill", "--dag-id", DAG_ID, "--from", "2026-11-10", "--to", "2026-11-10", "--timezone", "UTC"
    )
    assert answer.stdout.splitlines()[0].endswith("1 day in UTC, 4 runs; 1 to compute")
    assert answer.returncode == 1, "the run at 18 o'clock fails on that day too"
