"""The commands of the embedded stack on one that runs, which they leave running: through `python -m local`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import psutil

from local.settings import LOOPBACK
from tests.e2e.conftest import PARTS, ROOT, asked_of_each

if TYPE_CHECKING:
    from tests.e2e.conftest import RunningStack


def test_status_has_a_line_per_part(stack: RunningStack) -> None:
    result = stack.run_command("status")

    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [*PARTS, "feed"]
    assert all(line.split()[1:3] == ["running", "pid"] for line in lines[:-1])
    assert lines[-1].split(maxsplit=1) == ["feed", "stopped (optional: `make run` starts it)"]
    assert f"127.0.0.1:{stack.settings.airflow_port}" in result.stdout


def test_up_is_harmless_when_all_runs(stack: RunningStack) -> None:
    before = stack.pids()

    result = stack.run_command("up")

    assert result.returncode == 0, result.stdout + result.stderr
    assert stack.pids() == before
    assert result.stdout.count("already running") == len(PARTS)


def test_other_settings_than_the_running_ones_are_refused(stack: RunningStack) -> None:
    result = stack.run_command("up", VALKEY_PREFIX="another")

    assert result.returncode == 1
    assert "VALKEY_PREFIX was stats:realtime, is another" in result.stderr
    assert "down` first" in result.stderr


def test_everything_listens_on_this_machine_only(stack: RunningStack) -> None:
    connections = asked_of_each(stack.belongings(), lambda process: process.net_connections("inet"))
    addresses = {one.laddr.ip for one in chain(*connections) if one.status == psutil.CONN_LISTEN}

    assert addresses == {LOOPBACK}


def test_no_secret_is_on_a_command_line_or_in_a_log(stack: RunningStack) -> None:
    secrets = json.loads(stack.settings.credentials_file.read_text()).values()
    lines = asked_of_each(stack.belongings(), lambda process: " ".join(process.cmdline()))
    logs = [part.process.log.read_text(errors="replace") for part in stack.stack.parts]

    assert len(lines) >= len(PARTS)
    assert not [text for text in (*lines, *logs) for secret in secrets if secret in text]


def test_sql_prints_a_table_or_clickhouses_error(stack: RunningStack) -> None:
    table = stack.run_command("sql", "SELECT 40 + 2 AS answer")
    assert table.returncode == 0, table.stderr
    assert "answer" in table.stdout
    assert "42" in table.stdout

    assert stack.run_command("sql", "--format", "CSV", stdin="SELECT 1, 'a'").stdout == '1,"a"\n'

    wrong = stack.run_command("sql", "SELECT nothing")
    assert wrong.returncode == 1
    assert "UNKNOWN_IDENTIFIER" in wrong.stderr


def test_logs_shows_the_end_of_a_parts_log(stack: RunningStack) -> None:
    result = stack.run_command("logs", "valkey", "-n", "3")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 4

    unknown = stack.run_command("logs", "mysql")
    assert unknown.returncode == 1
    assert "the parts are clickhouse, valkey" in unknown.stderr


def test_airflow_has_the_listed_connections_and_pools(stack: RunningStack) -> None:
    connections = stack.api.request("GET", "/connections")["connections"]
    pools = stack.api.request("GET", "/pools")["pools"]

    assert {connection["connection_id"] for connection in connections} >= {
        "clickhouse_default",
        "clickhouse_http",
        "redis_default",
    }
    assert {pool["name"] for pool in pools} >= {"clickhouse"}


def test_backfill_makes_one_run_for_each_day_both_ends_included(stack: RunningStack) -> None:
    # Long ago, where there are no rows: the days are computed at once and leave nothing behind.
    result = stack.run_command("backfill", "--from", "2021-03-01", "--to", "2021-03-03", "--unpause")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 of 3 days done" in result.stdout
    runs = stack.api.request(
        "GET",
        "/dags/device_statistic_daily/dagRuns",
        query={"logical_date_gte": "2021-01-01T00:00:00Z", "logical_date_lte": "2021-12-31T00:00:00Z"},
    )["dag_runs"]
    zone = ZoneInfo(stack.settings.timezone)
    assert sorted(datetime.fromisoformat(run["logical_date"]) for run in runs) == [
        datetime(2021, 3, day, tzinfo=zone) for day in (1, 2, 3)
    ]
    assert {run["state"] for run in runs} == {"success"}


def runs_of_2021(stack: RunningStack) -> list[datetime]:
    runs = stack.api.request(
        "GET",
        "/dags/device_statistic_daily/dagRuns",
        query={"logical_date_gte": "2021-01-01T00:00:00Z", "logical_date_lte": "2021-12-31T00:00:00Z"},
    )["dag_runs"]
    return sorted(datetime.fromisoformat(run["logical_date"]) for run in runs)


def test_airflows_command_line_works_on_the_stack(stack: RunningStack) -> None:
    listed = stack.run_command("airflow", "dags", "list", "--output", "json")
    assert listed.returncode == 0, listed.stderr
    assert "device_statistic_daily" in {dag["dag_id"] for dag in json.loads(listed.stdout)}

    stored = stack.run_command("airflow", "variables", "set", "of_the_command_line", "7")
    assert stored.returncode == 0, stored.stderr
    assert stack.api.request("GET", "/variables/of_the_command_line")["value"] == "7"

    unknown = stack.run_command("airflow", "dags", "list-runs", "no_such_dag")
    assert unknown.returncode != 0
    assert "no_such_dag" in unknown.stdout + unknown.stderr
    assert not list(stack.settings.local_dir.rglob("*.db")), "no sqlite was made in passing"


def test_airflow_2s_backfill_includes_both_days_and_its_tasks_log_once(stack: RunningStack) -> None:
    arguments = ("airflow", "dags", "backfill", "-s", "2021-06-01", "-e", "2021-06-02", "device_statistic_daily")
    result = stack.run_command(*arguments, "--unpause")

    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 of 2 days done" in result.stdout
    zone = ZoneInfo(stack.settings.timezone)
    days = [datetime(2021, 6, day, tzinfo=zone) for day in (1, 2)]
    assert [run for run in runs_of_2021(stack) if run.month in (5, 6)] == days
    again = stack.run_command(*arguments, "--reset-dagruns", "--dry-run")
    assert again.stdout.count("success, would be computed") == 2

    # What every task's log has, and LocalExecutor would have the scheduler print as well.
    mark = "::group::Post Execute"
    task_logs = (stack.settings.local_dir / "airflow" / "logs").glob("dag_id=device_statistic_daily/**/attempt=1.log")
    assert any(mark in log.read_text(encoding="utf-8") for log in task_logs)
    scheduler = next(part for part in stack.stack.parts if part.name == "airflow-scheduler")
    logs = scheduler.process.log.parent.glob("airflow-scheduler.log*")
    assert not [log for log in logs if mark in log.read_text(encoding="utf-8", errors="replace")]


def test_test_runs_keep_out_of_the_schedulers_way(stack: RunningStack) -> None:
    before = runs_of_2021(stack)
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "local", "airflow", *arguments],
            cwd=ROOT,
            env=dict(stack.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments in (
            ["dags", "test", "device_statistic_daily", "2021-08-20"],
            ["dags", "test", "device_statistic_daily", "-c", '{"stat_date": "2021-08-18"}'],
            ["tasks", "test", "device_statistic_daily", "wait_until_settled", "2021-08-20"],
        )
    ]
    outputs = [command.communicate(timeout=600)[0] for command in commands]

    assert [command.returncode for command in commands] == [0, 0, 0], outputs
    first_lines = [output.splitlines()[0] for output in outputs]
    assert first_lines[0].startswith("This computes 2021-08-19 in Asia/Seoul")
    assert first_lines[1] == "This computes 2021-08-18, the stat_date of -c."
    assert first_lines[2] == first_lines[0]
    assert not [output for output in outputs if "TaskAlreadyRunning" in output]
    # Their runs were in databases of their own, which are gone.
    assert runs_of_2021(stack) == before
    with stack.stack.postgres.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'airflow%' ORDER BY 1")
        assert cursor.fetchall() == [("airflow",), ("airflow_test_template",)]


def test_old_logs_and_metadata_are_removed(stack: RunningStack) -> None:
    logs = stack.settings.local_dir / "airflow" / "logs" / "dag_id=gone" / "run_id=long ago"
    logs.mkdir(parents=True)
    (logs / "attempt=1.log").write_text("old")
    long_ago = time.time() - 15 * 86_400
    os.utime(logs / "attempt=1.log", (long_ago, long_ago))
    with stack.stack.postgres.connection() as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO log (dttm, event) VALUES (now() - interval '31 days', 'old'), (now(), 'young')")
        connection.commit()

    result = stack.run_command("cleanup")

    assert result.returncode == 0, result.stdout + result.stderr
    assert not (logs / "attempt=1.log").exists()
    with stack.stack.postgres.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT event FROM log WHERE event IN ('old', 'young')")
        assert cursor.fetchall() == [("young",)]
        cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_name LIKE '\\_airflow\\_deleted%'")
        assert cursor.fetchone() == (0,)


def test_a_wrong_backfill_is_refused_with_the_reason(stack: RunningStack) -> None:
    result = stack.run_command("backfill", "--from", "2021-13-01", "--to", "2021-03-03")

    assert result.returncode == 1
    assert "--from 2021-13-01: expected an existing day as YYYY-MM-DD" in result.stderr
