"""Metrics as docs/metrics.md tells to switch them on, and task logs without others' warnings."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import TYPE_CHECKING

from local.airflow_tasks import wait_for_dag

if TYPE_CHECKING:
    from tests.e2e.conftest import RunningStack
    from tests.e2e.statsd import StatsdReceiver

DAILY = "device_statistic_daily"


def test_metrics_come_by_statsd_after_the_commands_of_the_page(stack: RunningStack, statsd: StatsdReceiver) -> None:
    for dag_id in ("realtime_log_meter", "realtime_watch"):
        wait_for_dag(stack.api, dag_id)
        stack.api.request("PATCH", f"/dags/{dag_id}", body={"is_paused": False})
    try:
        for metric, form in (
            ("airflow.maxy.realtime.ticks,loop=log_meter", r"1\|c"),
            ("airflow.maxy.realtime.tick,loop=log_meter", r"[\d.]+\|ms"),
            ("airflow.maxy.realtime.age_seconds,loop=log_meter", r"[\d.]+\|g"),
            ("airflow.maxy.service.valkey_can_persist", r"1(\.0)?\|g"),
            ("airflow.scheduler_heartbeat", r"1\|c"),
        ):
            line = statsd.wait_for(metric, timeout=120)
            assert re.fullmatch(form, line.removeprefix(f"{metric}:")), line
    finally:
        for dag_id in ("realtime_log_meter", "realtime_watch"):
            stack.api.request("PATCH", f"/dags/{dag_id}", body={"is_paused": True})


def test_no_log_of_a_task_has_a_warning_of_python(stack: RunningStack) -> None:
    wait_for_dag(stack.api, DAILY)
    # Of a day without any row the rollup is skipped; what is imported for it is the same.
    day = date.today() - timedelta(days=200)
    answer = stack.run_command("backfill", "--from", str(day), "--to", str(day), "--unpause", "--dag-id", DAILY)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    logs = list((stack.settings.local_dir / "airflow" / "logs").glob(f"dag_id={DAILY}/run_id=backfill__*/**/*.log"))
    assert {"task_id=rollup", "task_id=wait_until_settled"} <= {part for log in logs for part in log.parts}
    warnings = [line for log in logs for line in log.read_text().splitlines() if "py.warnings" in line]
    assert warnings == []
