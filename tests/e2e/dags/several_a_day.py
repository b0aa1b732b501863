"""Runs every six hours; the run of six in the evening (UTC) fails. test_backfill_of_any_dag.py computes days of it."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronDataIntervalTimetable, task

with DAG(
    dag_id="several_a_day",
    schedule=CronDataIntervalTimetable("0 */6 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
):

    @task(retries=0)
    def compute(data_interval_start: datetime) -> None:
        """Fail in the evening."""
        if data_interval_start.hour == 18:
            raise ValueError("this part of the day has a fault")

    compute()  # type: ignore[call-arg, misc]
