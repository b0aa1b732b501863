"""What the embedded stack's parts are started with, and how it goes live."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.configuration import conf
from sqlalchemy import make_url

from local.__main__ import parser
from local.commands import status_lines
from local.live_loops import loop_lines, unpause_live_dags, wait_for_loops
from local.processes import ProcessError
from local.services.airflow import AirflowDeployment
from local.services.part import PortTaken
from local.services.postgres import Postgres
from local.settings import read_settings
from local.stack import PartStatus, Progress, Stack, StackError
from local.statistics.feed_part import Feed
from scripts.backfill import ApiError
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path


def test_airflow_knows_every_setting(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {})

    for name in AirflowDeployment(settings, Postgres(settings)).environment():
        if name.startswith("AIRFLOW__"):
            section, key = name.removeprefix("AIRFLOW__").lower().split("__")
            assert key in conf.configuration_description.get(section, {}).get("options", {}), name


@pytest.mark.parametrize("name", ["my c++ clone", "50%25", "a&b=c"])
def test_the_databases_address_is_right_whatever_the_checkout_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # In place of one that depends on how long this test's own path is.
    monkeypatch.setattr(Postgres, "socket_directory", tmp_path / name)

    url = make_url(Postgres(read_settings(tmp_path, {})).sqlalchemy_url())

    assert url.query == {"host": str(tmp_path / name)}


def test_a_user_whom_the_machine_does_not_know_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As in a container that is run under some number.
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_001)

    with pytest.raises(ProcessError, match="knows none for 2000000001"):
        Postgres(read_settings(tmp_path, {})).command()


def test_airflow_is_given_the_live_loops_settings(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {"MAXY_REALTIME": '{"enabled": []}'})
    assert (
        AirflowDeployment(settings, Postgres(settings)).environment()["AIRFLOW_VAR_MAXY_REALTIME"] == '{"enabled": []}'
    )


# --- Processes that the stack has lost ---


@pytest.fixture
def lost(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process like ClickHouse's, of which no pid file is left."""
    data = tmp_path / ".local" / "clickhouse"
    data.mkdir(parents=True)
    (data / "rows").write_text("precious")
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", data], start_new_session=True, stdin=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


def test_nothing_is_said_to_have_stopped_while_a_lost_process_runs(
    tmp_path: Path, lost: subprocess.Popen[bytes]
) -> None:
    stack = Stack(read_settings(tmp_path, {}), Progress(lambda line: None))

    with pytest.raises(StackError, match=rf"no pid file knows them(.|\n)*kill {lost.pid}\b"):
        stack.down()
    assert lost.poll() is None, "it is named, not ended: it might be somebody's own"


def test_no_data_is_removed_under_a_lost_process(tmp_path: Path, lost: subprocess.Popen[bytes]) -> None:
    stack = Stack(read_settings(tmp_path, {}), Progress(lambda line: None))

    with pytest.raises(StackError, match=rf"\n  {lost.pid} +.*python.*clickhouse"):
        stack.remove_data()
    assert (tmp_path / ".local" / "clickhouse" / "rows").read_text() == "precious"

    lost.kill()
    lost.wait()
    stack.remove_data()
    assert not (tmp_path / ".local").exists()


def test_a_port_that_a_lost_process_holds_is_not_put_down_to_another_program(
    tmp_path: Path, lost: subprocess.Popen[bytes]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        # Not the usual ones for the rest: another test's stack may have these.
        others = zip(("CLICKHOUSE_PORT", "CLICKHOUSE_NATIVE_PORT", "AIRFLOW_PORT"), free_ports(3), strict=True)
        settings = read_settings(tmp_path, {"VALKEY_PORT": port, **{name: str(other) for name, other in others}})
        with pytest.raises(StackError, match=f"no pid file knows them.*kill {lost.pid}"):
            Stack(settings, Progress(lambda line: None)).up()
        lost.kill()
        lost.wait()
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken by another program"):
            Stack(settings, Progress(lambda line: None)).up()


def test_what_somebody_keeps_in_the_folder_survives_clean(tmp_path: Path) -> None:
    stack = Stack(read_settings(tmp_path, {}), Progress(lambda line: None))
    (tmp_path / ".local" / "notes").write_text("mine")
    stack.remove_data()
    assert [path.name for path in (tmp_path / ".local").iterdir()] == ["notes"]


def test_the_port_numbers_of_a_part_that_does_not_answer_stay_in_its_line() -> None:
    part = PartStatus("valkey", "127.0.0.1:6379", 7, datetime(2026, 11, 28, 9, tzinfo=UTC), False, problem="MISCONF x")
    assert status_lines([part]) == [
        "valkey                 NOT ANSWERING: MISCONF x   pid 7        since 2026-11-28 09:00:00 127.0.0.1:6379"
    ]


# --- The feed as a part ---


def test_the_feed_is_a_part_that_up_leaves_out(tmp_path: Path) -> None:
    stack = Stack(read_settings(tmp_path, {}), Progress(lambda line: None))
    assert not set(stack.feeds) & set(stack.parts)
    assert stack.all_parts == [*stack.parts, *stack.feeds]
    status = stack.status()
    assert [part.name for part in status] == [part.name for part in stack.all_parts]
    assert [part.name for part in status if part.optional] == ["feed"]


def test_the_feeds_command_has_no_secret_in_it_and_finds_clickhouse(tmp_path: Path) -> None:
    settings = read_settings(tmp_path, {"CLICKHOUSE_PASSWORD": "given-secret", "MAXY_TIMEZONE": "Asia/Seoul"})
    command = Feed(settings).command()

    assert "given-secret" not in map(str, command.argv)
    assert command.argv[1:5] == ["-m", "local.statistics.feed", "--rate", "20"]
    assert command.environment["CLICKHOUSE_PASSWORD"] == "given-secret"
    assert command.environment["MAXY_TIMEZONE"] == "Asia/Seoul"


@pytest.mark.parametrize(
    ("started_ago", "stored_ago", "works"),
    [(60, None, False), (60, 1, True), (60, 40, False), (10, 20, False)],
    ids=["nothing stored", "works", "stands still", "another process's"],
)
def test_a_feed_works_that_has_stored_rows_lately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started_ago: float, stored_ago: float | None, works: bool
) -> None:
    feed = Feed(read_settings(tmp_path, {}))
    now = time.time()
    monkeypatch.setattr(feed.process, "identity", lambda: SimpleNamespace(started_at=lambda: now - started_ago))
    if stored_ago is not None:
        heartbeat = tmp_path / ".local" / "run" / "feed.heartbeat"
        heartbeat.parent.mkdir(parents=True)
        heartbeat.touch()
        os.utime(heartbeat, (now - stored_ago, now - stored_ago))

    assert feed.ready() is works


@pytest.mark.parametrize(
    ("optional", "pid", "answers", "in_order"),
    [
        (True, None, False, True),
        (True, 7, False, False),
        (True, 7, True, True),
        (False, None, False, False),
        (False, 7, True, True),
    ],
)
def test_a_stopped_feed_is_no_fault_and_a_stuck_one_is(
    optional: bool, pid: int | None, answers: bool, in_order: bool
) -> None:
    part = PartStatus("feed", "", pid, datetime.now(UTC) if pid else None, answers, optional)
    assert part.in_order is in_order
    assert status_lines([part])[0].split()[:2] == [
        "feed",
        "stopped" if pid is None else "running" if answers else "NOT",
    ]


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--rate", "much"], ["--seconds", "0"], ["--seconds", "1.5"]])
def test_a_wrong_option_of_the_feed_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["feed", *arguments])
    assert f"argument {arguments[0]}: expected a number above 0" in capsys.readouterr().err


def test_the_feeds_help_says_what_the_rate_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["feed", "--help"])
    assert "rows per second of EACH of the two tables" in " ".join(capsys.readouterr().out.split())


# --- Going live ---


class Waiting:
    """A clock that moves when someone waits, and what happens meanwhile.

    :param events: called after so many seconds.
    """

    def __init__(self, events: Mapping[float, Callable[[], None]] | None = None) -> None:
        self.seconds = 0.0
        self._events = dict(events or {})

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for due in [due for due in self._events if due <= self.seconds]:
            self._events.pop(due)()

    def monotonic(self) -> float:
        return self.seconds


class FakeAirflow:
    """Airflow's DAGs: whether each is paused, by id; a prefix in a request is not heeded.

    :param import_errors: by file.
    """

    def __init__(self, dags: Mapping[str, bool], import_errors: Mapping[str, str] | None = None) -> None:
        self.dags = dict(dags)
        self.import_errors = import_errors or {}
        self.patched: list[str] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        match method, path.split("/")[1:]:
            case "GET", ["dags"]:
                return {"dags": [{"dag_id": name, "is_paused": paused} for name, paused in self.dags.items()]}
            case "PATCH", ["dags", name] if name in self.dags:
                assert body == {"is_paused": False}
                self.dags[name] = False
                self.patched.append(name)
                return {}
            case "GET", ["importErrors"]:
                errors = self.import_errors.items()
                return {"import_errors": [{"filename": name, "stack_trace": text} for name, text in errors]}
        raise ApiError(HTTPStatus.NOT_FOUND, f"{method} {path}: 404")


def test_the_live_dags_alone_are_unpaused() -> None:
    airflow = FakeAirflow({"daily": True, "realtime_page": True, "realtime_device": False, "my_realtime_x": True})

    assert unpause_live_dags(airflow) == ["realtime_device", "realtime_page"]

    assert airflow.dags == {"daily": True, "realtime_page": False, "realtime_device": False, "my_realtime_x": True}
    assert airflow.patched == ["realtime_page"], "one that runs is left alone"


def test_the_live_dags_are_waited_for() -> None:
    airflow = FakeAirflow({"daily": True})
    waiting = Waiting({7: lambda: airflow.dags.update(realtime_page=True)})

    assert unpause_live_dags(airflow, sleep=waiting.sleep, monotonic=waiting.monotonic) == ["realtime_page"]
    assert waiting.seconds == 7


def test_without_live_dags_there_is_nothing_to_unpause() -> None:
    waiting = Waiting()
    assert unpause_live_dags(FakeAirflow({"daily": True}), sleep=waiting.sleep, monotonic=waiting.monotonic) == []
    assert waiting.seconds == 60


def test_a_file_that_airflow_cannot_import_is_named() -> None:
    waiting = Waiting()
    airflow = FakeAirflow({"daily": True}, {"realtime.py": "ValueError: caps"})
    with pytest.raises(StackError, match=r"no DAG realtime_\* within 60 s.\nrealtime.py:\nValueError: caps"):
        unpause_live_dags(airflow, sleep=waiting.sleep, monotonic=waiting.monotonic)


class FakeValkey:
    def __init__(self, hashes: Mapping[str, Mapping[str, str]]) -> None:
        self.hashes = dict(hashes)

    def hgetall(self, key: str) -> dict[str, str]:
        return dict(self.hashes.get(key, {}))


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def ticked(ago: float, **fields: str) -> dict[str, str]:
    """A loop's status, as the loops write it."""
    at = (NOW - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z")
    return {"last_tick_at": at, "last_success_at": at, "rows": "12", **fields}


def wait(valkey: FakeValkey, names: list[str], waiting: Waiting) -> dict[str, dict[str, str]]:
    client: Any = valkey
    return wait_for_loops(client, "stats", names, now=lambda: NOW, sleep=waiting.sleep, monotonic=waiting.monotonic)


def test_loops_that_have_ticked_are_not_waited_for() -> None:
    valkey = FakeValkey({"stats:loop:page": ticked(1), "stats:loop:watch": ticked(59)})
    waiting = Waiting()
    assert wait(valkey, ["page", "watch"], waiting) == {"page": ticked(1), "watch": ticked(59)}
    assert waiting.seconds == 0


def test_each_loop_is_waited_for_and_a_failed_tick_or_an_old_one_is_not_enough() -> None:
    failed = {"last_tick_at": "2026-11-21T12:00:00Z", "rows": "0"}
    valkey = FakeValkey({"stats:loop:page": failed, "stats:loop:device": ticked(7200)})
    waiting = Waiting(
        {
            5: lambda: valkey.hashes.update({"stats:loop:page": ticked(0)}),
            9: lambda: valkey.hashes.update({"stats:loop:device": ticked(0)}),
        }
    )
    assert wait(valkey, ["page", "device"], waiting) == {"page": ticked(0), "device": ticked(0)}
    assert waiting.seconds == 9


def test_a_loop_that_never_ticks_is_given_up_and_shown() -> None:
    waiting = Waiting()
    statuses = wait(FakeValkey({"stats:loop:page": ticked(3)}), ["page", "device"], waiting)
    assert waiting.seconds == 180
    assert [line.split() for line in loop_lines(statuses)[3:]] == [
        ["page", "2026-11-21T11:59:57Z", "12"],
        ["device", "none", "yet", "-"],
    ]
