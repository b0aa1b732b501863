"""Real stacks for the end-to-end tests: each started by its own command line on free ports, in a folder of its own.

The tests of a folder have a stack in common. Those in shared/ leave it as it is: each has days, DAGs or names of its
own. Those in killing/ kill, freeze or stop parts of theirs, and bring them back; whoever needs other settings starts
another. A folder's tests run in one process, one after the other, and its stack ends with them: one that waits takes
half a core.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import clickhouse_connect
import psutil

from local.settings import ADMIN_USER, VIEWER_USER, read_settings
from local.stack import Progress, Stack
from scripts.backfill import AirflowApi
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from clickhouse_connect.driver.client import Client

    from local.settings import Settings

_Answer = TypeVar("_Answer")
ROOT = Path(__file__).resolve().parents[2]
UNCAPPED = {"low_cap": 100_000, "normal_cap": 100_000, "slow_cap": 100_000}
FAST = {"lease_seconds": 6, "log_values_per_tick": 2}
# The lateness: as long as the stalls that a row may have to wait through.
FIVE_SECOND_LOOP = {"period_seconds": 2, "lateness_seconds": 60} | FAST
# Faster than usual, so that tests need not wait, with a hand-over every two minutes.
REALTIME = {
    "deadline_minutes": 2,
    "loops": {
        "log_meter": FIVE_SECOND_LOOP,
        # Caps that are not reached, so that every row is a point.
        **{name: FIVE_SECOND_LOOP | UNCAPPED for name in ("loading_time", "response_time")},
        **{name: {"period_seconds": 4} | FAST for name in ("device", "page")},
        "watch": {"period_seconds": 10},
    },
}
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
#: Sample data of the shared stack: the days before today, at which part of their usual size.
SEEDED_DAYS = 6
SCALE = 0.05
PORT_VARIABLES = ("CLICKHOUSE_PORT", "CLICKHOUSE_NATIVE_PORT", "VALKEY_PORT", "AIRFLOW_PORT")


#: DAGs that are there for the tests alone.
TEST_DAGS = Path(__file__).parent / "dags"
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"


def add_dags(home: Path, folder: Path) -> None:
    """Have an Airflow that has never been started read another folder of DAGs besides its own."""
    bundles = [
        {"name": "dags-folder", "classpath": BUNDLE, "kwargs": {}},
        {"name": folder.parent.name, "classpath": BUNDLE, "kwargs": {"path": str(folder)}},
    ]
    home.mkdir(parents=True)
    (home / "airflow.cfg").write_text(f"[dag_processor]\ndag_bundle_config_list = {json.dumps(bundles)}\n")


def own_environment(local_dir: Path, **variables: str) -> dict[str, str]:
    """This process's environment with ports and a folder that nobody else uses, and without the checkout's .env."""
    foreign = ("AIRFLOW", "CLICKHOUSE_", "VALKEY_", "MAXY_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    ports = {name: str(port) for name, port in zip(PORT_VARIABLES, free_ports(4), strict=True)}
    return environment | ports | {"MAXY_LOCAL_DIR": str(local_dir), "MAXY_ENV_FILE": os.devnull} | variables


@dataclass(frozen=True)
class RunningStack:
    """:param environment: what `python -m local` is to be called with.

    :param stack: the same stack for calls within this process: its parts, clients and pid files.
    :param api: Airflow's REST API, logged in.
    """

    settings: Settings
    environment: Mapping[str, str]
    stack: Stack
    api: AirflowApi

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> RunningStack:
        """Make it of the environment alone; nothing is started."""
        settings = read_settings(ROOT, environment)
        return cls(
            settings,
            environment,
            Stack(settings, Progress(lambda line: None)),
            AirflowApi(settings.airflow_url, username=ADMIN_USER, password=settings.airflow_admin_password),
        )

    def clickhouse(self) -> Client:
        """Connect to the stack's ClickHouse."""
        settings = self.settings
        return clickhouse_connect.get_client(
            host=settings.host,
            port=settings.clickhouse_port,
            username=settings.clickhouse_user,
            password=settings.clickhouse_password,
            database=settings.clickhouse_database,
            autogenerate_session_id=False,
        )

    def token(self, username: str) -> str:
        """Log in, and return a bearer token."""
        settings = self.settings
        passwords = {ADMIN_USER: settings.airflow_admin_password, VIEWER_USER: settings.airflow_viewer_password}
        request = urllib.request.Request(
            f"{settings.airflow_url}/auth/token",
            json.dumps({"username": username, "password": passwords[username]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["access_token"])

    def run_command(
        self, *arguments: str, stdin: str | None = None, timeout: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m local ARGUMENTS`.

        :param variables: changed for this call.
        """
        return run_local({**self.environment, **variables}, *arguments, stdin=stdin, timeout=timeout)

    def pids(self) -> dict[str, int | None]:
        return {part.name: part.process.running_pid() for part in self.stack.parts}

    def belongings(self) -> list[psutil.Process]:
        return belongings(self.settings)


def run_local(
    environment: Mapping[str, str], *arguments: str, stdin: str | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def belongings(settings: Settings) -> list[psutil.Process]:
    """All processes of the machine that have to do with this stack's folder or ports, however they came about."""
    ports = {
        settings.clickhouse_port,
        settings.clickhouse_native_port,
        settings.valkey_port,
        settings.airflow_port,
    }
    return [process for process in psutil.process_iter() if _belongs(process, str(settings.local_dir), ports)]


def asked_of_each(processes: Iterable[psutil.Process], read: Callable[[psutil.Process], _Answer]) -> list[_Answer]:
    """What each of some processes says of itself, but for those that have ended meanwhile: tasks come and go."""
    answers = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            answers.append(read(process))
    return answers


def _belongs(process: psutil.Process, folder: str, ports: set[int]) -> bool:
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        texts = [*process.cmdline(), process.cwd(), *process.environ().values()]
        listens = any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port in ports
            for connection in process.net_connections("inet")
        )
    except psutil.Error:
        return False
    return listens or any(folder in text for text in texts)


@contextmanager
def started_stack(*, dags: Path | None = None, **variables: str) -> Iterator[RunningStack]:
    """Run a stack of its own on free ports, and leave nothing of it.

    :param dags: a folder of DAGs besides its own.
    :param variables: what it is told in the environment.
    """
    # Not below pytest's own folder, which no other user may enter: as root, the database runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="maxy-e2e-"))
    running = RunningStack.of(own_environment(folder / "local", **variables))
    if dags is not None:
        add_dags(folder / "local" / "airflow", dags)
    try:
        started = running.run_command("up")
        assert started.returncode == 0, started.stdout + started.stderr
        print(started.stdout)
        yield running
    finally:
        stopped = running.run_command("clean")
        remaining = running.belongings()
        shutil.rmtree(folder, ignore_errors=True)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert remaining == []


#: Settings of the folders' stacks. Not UTC, so that a date which is one by luck alone shows.
STACK_SETTINGS = {"MAXY_TIMEZONE": "Asia/Seoul", "MAXY_REALTIME": json.dumps(REALTIME)}
