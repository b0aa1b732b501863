"""Airflow 2's backfill in today's words, and which day a test run computes; no stack is needed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from local.__main__ import main
from local.airflow2_backfill import parse_backfill
from local.airflow_cli import explain_day, parse_test_options
from scripts.backfill import BackfillRequest, Reprocess
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DAG = "device_statistic_daily"
NOW = datetime(2026, 11, 28, 16, tzinfo=UTC)


def request(first: str, last: str, **options: Any) -> BackfillRequest:
    return BackfillRequest(first=date.fromisoformat(first), last=date.fromisoformat(last), dag_id=DAG, **options)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-s", "2026-11-01", "-e", "2026-11-10", DAG], request("2026-11-01", "2026-11-10")),
        (["--start-date", "2026-11-01", "--end-date", "2026-11-10", DAG], request("2026-11-01", "2026-11-10")),
        ([DAG, "--start-date=2026-11-01", "--end-date=2026-11-10"], request("2026-11-01", "2026-11-10")),
        (["-s2026-11-01", "-e2026-11-10", DAG], request("2026-11-01", "2026-11-10")),
        (["-s", "20261101", "-e", "20261110", DAG], request("2026-11-01", "2026-11-10")),
        # One of them alone is both, as in Airflow 2.
        (["-s", "2026-11-01", DAG], request("2026-11-01", "2026-11-01")),
        (["-e", "2026-11-01", DAG], request("2026-11-01", "2026-11-01")),
        # Moments: the days that begin between them. Seoul's midnight is 15:00 in UTC.
        (["-s", "2026-11-01T00:00:00", "-e", "2026-11-02T00:00:00", DAG], request("2026-11-01", "2026-11-02")),
        (["-s", "2026-11-01 00:00:01", "-e", "2026-11-03 23:59:59", DAG], request("2026-11-02", "2026-11-03")),
        (["-s", "2026-11-01T00:00:00+09:00", "-e", "2026-11-02", DAG], request("2026-11-01", "2026-11-02")),
        (["-s", "2026-10-31T15:00:00Z", "-e", "2026-11-01T14:59:59Z", DAG], request("2026-11-01", "2026-11-01")),
        (["-s", "2026-10-31T15:00:01+00:00", "-e", "2026-11-01T15:00Z", DAG], request("2026-11-02", "2026-11-02")),
        (["-s", "2026-11-01", "--reset-dagruns", DAG], request("2026-11-01", "2026-11-01", reprocess="completed")),
        (["-s", "2026-11-01", "--rerun-failed-tasks", DAG], request("2026-11-01", "2026-11-01", reprocess="failed")),
        (
            ["-s", "2026-11-01", "--rerun-failed-tasks", "--reset-dagruns", DAG],
            request("2026-11-01", "2026-11-01", reprocess=Reprocess.COMPLETED),
        ),
        (["-s", "2026-11-01", "-B", DAG], request("2026-11-01", "2026-11-01", run_backwards=True)),
        (["-s", "2026-11-01", "--run-backwards", DAG], request("2026-11-01", "2026-11-01", run_backwards=True)),
        (["-s", "2026-11-01", "-n", DAG], request("2026-11-01", "2026-11-01", dry_run=True)),
        (["-s", "2026-11-01", "--dry-run", DAG], request("2026-11-01", "2026-11-01", dry_run=True)),
        (
            ["-s", "2026-11-01T20:00:00Z", "-e", "2026-11-03", "--timezone", "America/New_York", DAG],
            request("2026-11-02", "2026-11-03", timezone="America/New_York"),
        ),
        (["-s", "2026-11-01", "--unpause", DAG], request("2026-11-01", "2026-11-01", unpause=True)),
        (["-s", "2026-11-01", "--max-active-runs", "7", DAG], request("2026-11-01", "2026-11-01", max_active_runs=7)),
        # Without an effect, and accepted since nothing is lost.
        (
            ["-s", "2026-11-01", "-y", "-l", "-x", "-v", "-I", "--continue-on-failures", "--delay-on-limit", DAG],
            request("2026-11-01", "2026-11-01"),
        ),
    ],
    ids=lambda value: " ".join(value[:6]) if isinstance(value, list) else "",
)
def test_airflow_2s_backfill_is_translated(arguments: list[str], expected: BackfillRequest) -> None:
    assert parse_backfill(arguments, "Asia/Seoul") == expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "2026-11-01", "--timezone", "Asia/Soul", DAG], "Asia/Soul is not an IANA time zone"),
        (["-s", "2026-11-01", "-c", '{"stat_date": "2026-11-09"}', DAG], "-c is not done here: .* many times"),
        (["-s", "2026-11-01", "--conf", "{}", DAG], "--conf is not done here: .*airflow dags trigger -c"),
        (["-s", "2026-11-01", "-m", DAG], "-m is not done here: a day that was not computed"),
        (["-s", "2026-11-01", "-t", "rollup", DAG], "-t is not done here: .*airflow tasks clear"),
        (["-s", "2026-11-01", "--pool", "small", DAG], "--pool is not done here"),
        (["-s", "2026-11-01", "-S", "dags", DAG], "-S is not done here"),
        (["-s", "2026-11-01", "--treat-dag-id-as-regex", "device.*"], "--treat-dag-id-as-regex is not done here"),
        (["-s", "2026-11-01", "--disable-retry", DAG], "--disable-retry is not done here"),
        (["-s", "2026-11-01", "--fast", DAG], "unrecognized arguments: --fast"),
        (["-s", "2026-11-01", "-q", DAG], "unrecognized arguments: -q"),
        (["-s", "2026-11-01", DAG, "another"], "unrecognized arguments: another"),
        (["-s", "2026-11-01"], "required: dag_id"),
        ([DAG], "give -s/--start-date or -e/--end-date"),
        (["-s", "2026-02-30", DAG], "argument -s/--start-date: expected a day as YYYY-MM-DD, not '2026-02-30'"),
        (["-e", "yesterday", DAG], "argument -e/--end-date: expected a day"),
        (["-s", "2026-W44-7", DAG], "argument -s/--start-date: expected a day"),
        (["-s", "2026-11-10", "-e", "2026-11-01", DAG], "no day begins between -s 2026-11-10 and -e 2026-11-01"),
        (["-s", "2026-11-01T12:00", DAG], "no day begins between"),
        (["-s", "2026-11-01", "--max-active-runs", "0", DAG], "expected a number above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_it_cannot_follow_is_refused_with_the_reason(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_backfill(arguments, "Asia/Seoul")

    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("airflow dags backfill: error: ")
    assert re.search(words, last), last


@pytest.mark.parametrize(
    ("zone", "arguments", "lines"),
    [
        # In UTC a bare date is the very midnight at which the day before has ended.
        (
            "UTC",
            ["2026-11-20"],
            [
                "This computes 2026-11-19 in UTC: Airflow takes the interval that has ended by the given date.",
                f'For 2026-11-20: airflow dags test {DAG} 2026-11-21, or -c \'{{"stat_date": "2026-11-20"}}\'',
            ],
        ),
        # 09:00 of the same day.
        (
            "Asia/Seoul",
            ["2026-11-20"],
            [
                "This computes 2026-11-19 in Asia/Seoul: Airflow takes the interval that has ended by the given date.",
                f'For 2026-11-20: airflow dags test {DAG} 2026-11-21, or -c \'{{"stat_date": "2026-11-20"}}\'',
            ],
        ),
        # 19:00 of the day before.
        (
            "America/New_York",
            ["2026-11-20"],
            [
                "This computes 2026-11-18 in America/New_York: Airflow takes the interval that has ended by the given"
                " date.",
                f'For 2026-11-20: airflow dags test {DAG} 2026-11-22, or -c \'{{"stat_date": "2026-11-20"}}\'',
            ],
        ),
        ("Asia/Seoul", ["-c", '{"stat_date": "2026-11-18"}'], ["This computes 2026-11-18, the stat_date of -c."]),
        (
            "Asia/Seoul",
            ["2026-11-20", "--conf", '{"stat_date": "2026-11-18"}'],
            ["This computes 2026-11-18, the stat_date of -c."],
        ),
        # 01:00 of the 29th in Seoul.
        ("Asia/Seoul", [], ["This computes 2026-11-28, the last full day in Asia/Seoul."]),
        ("UTC", [], ["This computes 2026-11-27, the last full day in UTC."]),
        ("UTC", ["not a date"], []),
        ("UTC", ["2026-11-20", "-c", "{"], []),
    ],
)
def test_a_test_run_says_which_day_it_computes(zone: str, arguments: list[str], lines: list[str]) -> None:
    options = parse_test_options(["dags", "test", DAG, *arguments])
    assert options is not None
    assert explain_day(options, ["dags", "test"], timezone=zone, now=NOW) == lines


def test_a_tested_task_says_it_too() -> None:
    options = parse_test_options(["tasks", "test", "--map-index", "0", DAG, "rollup", "2026-11-20"])
    assert options is not None

    assert explain_day(options, ["tasks", "test"], timezone="UTC", now=NOW)[1] == (
        f'For 2026-11-20: airflow tasks test {DAG} rollup 2026-11-21, or -t \'{{"stat_date": "2026-11-20"}}\''
    )


def test_nothing_is_said_of_other_dags_nor_of_arguments_that_airflow_refuses() -> None:
    other = parse_test_options(["dags", "test", "realtime_watch", "2026-11-20"])
    assert other is not None
    assert explain_day(other, ["dags", "test"], timezone="UTC", now=NOW) == []
    assert parse_test_options(["dags", "test", "--unknown", DAG]) is None
    assert parse_test_options(["tasks", "test", DAG]) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["dags", "list"],
        ["dags", "test", DAG, "2026-11-20"],
        ["dags", "backfill", "-s", "2026-11-20", DAG],
        ["variables", "list"],
    ],
    ids=" ".join,
)
def test_without_the_stack_there_is_one_clear_sentence_and_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("MAXY_LOCAL_DIR", str(tmp_path / "local"))
    monkeypatch.setenv("MAXY_ENV_FILE", "/dev/null")

    assert main(["airflow", *arguments]) == 1
    assert "the stack does not run, so Airflow has no database: `python -m local up` first" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.db"))


CHILD = """
import signal, sys, time
def leave(number, frame):
    print("got", number, flush=True)
    sys.exit(7)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, leave)
print("ready", flush=True)
while True: time.sleep(0.01)
"""
WRAPPER = (
    "import os, sys; from local.child_process import run_in_foreground;"
    " sys.exit(run_in_foreground([sys.executable, '-c', sys.argv[1]], os.environ))"
)


def wrapped(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRAPPER, code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_reach_the_command_and_its_status_comes_back(number: signal.Signals) -> None:
    process = wrapped(CHILD)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"

    process.send_signal(number)
    output, _ = process.communicate(timeout=30)

    assert output == f"got {number.value}\n"
    assert process.returncode == 7


def test_streams_and_the_status_of_a_killed_command_pass_through() -> None:
    process = wrapped(
        "import os, sys; print(sys.stdin.read().upper(), flush=True); print('e', file=sys.stderr);"
        " os.kill(os.getpid(), 9)"
    )

    output, error = process.communicate("text", timeout=30)

    assert (output, error, process.returncode) == ("TEXT\n", "e\n", 137)
