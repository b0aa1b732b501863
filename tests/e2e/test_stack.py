"""The embedded stack as its users meet it: through `python -m local`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import psutil
import pytest

from local.processes import ProcessError
from local.services.postgres import Postgres
from local.services.valkey import Valkey
from local.settings import LOOPBACK, read_settings
from local.statistics.sample_data.generator import SampleData, page_flow_rows

from .conftest import ROOT, belongings, own_environment, run_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import RunningStack

PARTS = [
    "clickhouse",
    "valkey",
    "postgres",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-cleanup",
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that the database's own user may enter."""
    with tempfile.TemporaryDirectory(prefix="maxy-e2e-") as name:
        yield Path(name)


def wait_for(condition: Callable[[], bool], *, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kill(stack: RunningStack, *parts: str) -> None:
    pids = stack.pids()
    for part in parts:
        pid = pids[part]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(stack.pids()[part] is None for part in parts))


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


@pytest.mark.parametrize(
    "killed",
    [
        ["valkey"],
        ["clickhouse"],
        ["postgres"],
        ["airflow-scheduler"],
        ["airflow-api-server", "airflow-dag-processor", "airflow-triggerer"],
    ],
    ids="+".join,
)
def test_up_brings_back_what_was_killed_with_its_data(stack: RunningStack, killed: list[str]) -> None:
    mark = f"mark_{time.time_ns()}"
    stack.stack.clickhouse.query(f"CREATE TABLE {mark} (value UInt8) ENGINE = MergeTree ORDER BY value")
    stack.stack.clickhouse.query(f"INSERT INTO {mark} VALUES (7)")
    with stack.stack.valkey.client() as client:
        client.set(mark, "7")
        # The append-only file reaches the disk once a second.
        client.waitaof(1, 0, 5000)
    stack.api.request("POST", "/variables", body={"key": mark, "value": "7"})
    before = stack.pids()
    kill(stack, *killed)

    status = stack.run_command("status")
    assert status.returncode == 1
    assert [line.split()[0] for line in status.stdout.splitlines() if "stopped" in line] >= killed[:1]
    result = stack.run_command("up")

    assert result.returncode == 0, result.stdout + result.stderr
    assert stack.run_command("status").returncode == 0
    # Without its database a part of Airflow may end by itself, and is started again as well.
    untouched = set(PARTS) - set(killed) if killed != ["postgres"] else {"clickhouse", "valkey"}
    after = stack.pids()
    assert {part: after[part] for part in untouched} == {part: before[part] for part in untouched}
    assert stack.stack.clickhouse.query(f"SELECT value FROM {mark}") == "7\n"
    with stack.stack.valkey.client() as client:
        assert client.get(mark) == "7"
    assert stack.api.request("GET", f"/variables/{mark}")["value"] == "7"


def test_a_part_that_hangs_since_its_database_went_is_started_anew(stack: RunningStack) -> None:
    before = stack.pids()
    stuck = before["airflow-dag-processor"]
    assert stuck is not None
    kill(stack, "postgres")
    os.kill(stuck, signal.SIGSTOP)

    result = stack.run_command("up")

    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines() if "was stuck, and has been ended" in line] == [
        "airflow-dag-processor"
    ]
    assert not psutil.pid_exists(stuck)
    assert stack.run_command("status").returncode == 0


def test_down_leaves_no_process_even_after_a_kill_and_up_starts_with_the_data(stack: RunningStack) -> None:
    stack.stack.clickhouse.query("CREATE TABLE IF NOT EXISTS kept (value UInt8) ENGINE = MergeTree ORDER BY value")
    # Its workers live on without it.
    kill(stack, "airflow-scheduler")
    assert stack.belongings()

    stopped = stack.run_command("down")
    try:
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert stack.belongings() == []
        assert stack.run_command("status").returncode == 1
        assert stack.run_command("down").returncode == 0, "stopping twice is harmless"
    finally:
        started = stack.run_command("up")
    assert started.returncode == 0, started.stdout + started.stderr
    assert "metadata tables made" not in started.stdout, "Airflow's database was there already"
    assert stack.stack.clickhouse.query("SELECT count() FROM kept") == "0\n"


def test_two_ups_at_once_start_every_part_once(stack: RunningStack) -> None:
    kill(stack, "valkey")

    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "local", "up"],
            cwd=ROOT,
            env=dict(stack.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [command.communicate(timeout=120)[0] for command in commands]

    assert [command.returncode for command in commands] == [0, 0], outputs
    servers = [process for process in stack.belongings() if "valkey-server" in process.name()]
    assert [server.pid for server in servers] == [stack.pids()["valkey"]]


def test_two_seeds_at_once_send_each_row_once(stack: RunningStack) -> None:
    zone = ZoneInfo(stack.settings.timezone)
    # Yesterday's rows may still be arriving; where other tests have rows already, a seed sends less.
    taken = set(
        stack.stack.clickhouse.query(
            f"SELECT DISTINCT toDate(page_start_tm_dt, '{zone.key}') FROM maxy_device_page_flow"
        ).split()
    )
    days = [datetime.now(zone).date() - timedelta(days=back) for back in range(2, 13)]
    free = [day for day in days if str(day) not in taken]
    assert len(free) >= 2
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "local", "seed", "--days", "12", "--scale", "0.02"],
            cwd=ROOT,
            env=dict(stack.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    outputs = [command.communicate(timeout=180)[0] for command in commands]

    assert [command.returncode for command in commands] == [0, 0], outputs
    data = SampleData(scale=0.02, timezone=zone.key)
    expected = {
        str(day): sum(
            row["log_type"] in (1048597, 1048580) and row["server_type"] is not None
            for row in page_flow_rows(data.page_flow(day))
        )
        for day in free
    }
    stored = stack.stack.clickhouse.query(
        "SELECT log_date, sum(visit_cnt) FROM maxy_device_access_history GROUP BY log_date"
    )
    visits = {day: int(count) for day, count in (line.split("\t") for line in stored.splitlines())}
    assert {day: visits.get(day) for day in expected} == expected


def test_a_backfill_of_a_stopped_stack_is_told_so(folder: Path) -> None:
    result = run_local(own_environment(folder / "local"), "backfill", "--from", "2021-03-01", "--to", "2021-03-01")

    assert result.returncode == 1
    assert "airflow-triggerer do not run: `make up` first" in result.stderr


def test_other_settings_than_the_running_ones_are_refused(stack: RunningStack) -> None:
    result = stack.run_command("up", VALKEY_PREFIX="another")

    assert result.returncode == 1
    assert "VALKEY_PREFIX was stats:realtime, is another" in result.stderr
    assert "down` first" in result.stderr


def test_everything_listens_on_this_machine_only(stack: RunningStack) -> None:
    addresses = {
        connection.laddr.ip
        for process in stack.belongings()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses == {LOOPBACK}


def test_no_secret_is_on_a_command_line_or_in_a_log(stack: RunningStack) -> None:
    secrets = json.loads(stack.settings.credentials_file.read_text()).values()
    lines = [" ".join(process.cmdline()) for process in stack.belongings()]
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


@pytest.mark.parametrize("variable", ["CLICKHOUSE_NATIVE_PORT", "VALKEY_PORT", "AIRFLOW_PORT"])
def test_a_taken_port_is_named_with_its_variable_and_nothing_is_started(folder: Path, variable: str) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = str(other.getsockname()[1])
        environment = own_environment(folder / "local", **{variable: port})

        result = run_local(environment, "up")

    assert result.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken" in result.stderr
    assert variable in result.stderr
    assert belongings(read_settings(ROOT, environment)) == []


def test_a_part_that_dies_while_starting_shows_its_log(folder: Path) -> None:
    settings = read_settings(ROOT, own_environment(folder / "local"))
    damaged = settings.local_dir / "valkey" / "appendonlydir" / "appendonly.aof.manifest"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("this is no manifest\n")
    valkey = Valkey(settings)

    with pytest.raises(ProcessError, match="valkey ended while it was starting") as raised:
        valkey.start(threading.Event())
    assert str(settings.local_dir / "logs" / "valkey.log") in str(raised.value)
    assert "AOF" in str(raised.value)


def test_the_database_runs_in_a_deep_folder_and_knows_a_foreign_password(folder: Path) -> None:
    deep = folder.joinpath(*["a-rather-long-name"] * 8) / "local"
    environment = own_environment(deep)
    settings = read_settings(ROOT, environment)
    postgres = Postgres(settings)
    try:
        postgres.start(threading.Event())
        assert len(postgres.address) < 100
        assert postgres.ensure_database() is True
        assert postgres.ensure_database() is False

        settings.credentials_file.unlink()
        stranger = Postgres(read_settings(ROOT, environment))
        with pytest.raises(ProcessError, match="another password"):
            stranger.ready()
    finally:
        postgres.process.stop()
        postgres.remove_socket_directory()
    assert belongings(settings) == []
