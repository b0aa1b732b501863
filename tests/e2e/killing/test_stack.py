"""Starting and stopping the embedded stack, whatever was killed, taken or damaged: through `python -m local`."""

from __future__ import annotations

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
from tests.e2e.conftest import PARTS, ROOT, asked_of_each, belongings, own_environment, run_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.conftest import RunningStack


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
    processes = asked_of_each(stack.belongings(), lambda process: (process.name(), process.pid))
    assert [pid for name, pid in processes if "valkey-server" in name] == [stack.pids()["valkey"]]


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
