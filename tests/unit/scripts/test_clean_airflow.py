"""Old task logs and old metadata are removed, and nothing else; no Airflow is started."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from airflow.cli.cli_parser import get_parser

from scripts.clean_airflow import (
    AUDIT_VARIABLE,
    METADATA_VARIABLE,
    TASK_LOG_SIZE_VARIABLE,
    TASK_LOG_VARIABLE,
    CleaningError,
    Retention,
    Timer,
    main,
    metadata_command,
    read_retention,
    remove_old_logs,
)
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FORTNIGHT = Retention(
    task_logs=timedelta(days=14), task_log_size=10**9, metadata=timedelta(days=30), audit=timedelta(days=400)
)


def write(path: Path, *, days_old: float, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    age(path, days_old)
    return path


def age(path: Path, days_old: float) -> None:
    moment = (NOW - timedelta(days=days_old)).timestamp()
    os.utime(path, (moment, moment), follow_symlinks=False)


def test_old_logs_go_and_young_ones_stay(tmp_path: Path) -> None:
    dag = tmp_path / "dag_id=daily"
    old = write(dag / "run_id=old" / "task_id=cache" / "attempt=1.log", days_old=14.1)
    older = write(dag / "run_id=old" / "task_id=cache" / "attempt=2.log", days_old=90, size=1000)
    young = write(dag / "run_id=young" / "task_id=cache" / "attempt=1.log", days_old=13.9)
    # Two attempts of one task: the folder stays as long as one of them does.
    retried = write(dag / "run_id=retried" / "task_id=cache" / "attempt=1.log", days_old=15)
    retry = write(dag / "run_id=retried" / "task_id=cache" / "attempt=2.log", days_old=1)
    removed = remove_old_logs([dag, tmp_path / "missing"], FORTNIGHT, now=NOW)

    assert (removed.files, removed.size, removed.kept_size, removed.failed) == (3, 1020, 20, [])
    assert not old.exists()
    assert not older.exists()
    assert young.exists()
    assert not retried.exists()
    assert retry.exists()


def test_a_dry_run_counts_and_removes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "dag_id=daily" / "attempt=1.log", days_old=20, size=7)

    removed = remove_old_logs([tmp_path], FORTNIGHT, now=NOW, dry_run=True)

    assert (removed.files, removed.size) == (1, 7)
    assert path.exists()


def test_links_are_neither_followed_nor_removed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere" / "precious.txt", days_old=400)
    logs = tmp_path / "logs"
    logs.mkdir()
    for name, target in (("folder", elsewhere.parent), ("file", elsewhere), ("nowhere", tmp_path / "none")):
        (logs / name).symlink_to(target)
        age(logs / name, 400)
    (tmp_path / "dag_id=link").symlink_to(elsewhere.parent)

    removed = remove_old_logs([logs, tmp_path / "dag_id=link"], FORTNIGHT, now=NOW)

    assert removed.files == 0
    assert elsewhere.exists()
    assert len(list(logs.iterdir())) == 3


def test_the_oldest_go_first_where_all_are_too_large_together_but_none_of_today(tmp_path: Path) -> None:
    logs = {
        days_old: write(tmp_path / "dag_id=loop" / f"run_id={days_old}" / "1.log", days_old=days_old, size=300)
        for days_old in (0.1, 0.9, 1.5, 3, 5, 15)
    }

    def left(limit: int) -> list[float]:
        retention = Retention(
            task_logs=timedelta(days=14), task_log_size=limit, metadata=timedelta(days=30), audit=timedelta(days=400)
        )
        removed = remove_old_logs([tmp_path / "dag_id=loop"], retention, now=NOW)
        remaining = [days_old for days_old, path in logs.items() if path.exists()]
        assert removed.kept_size == 300 * len(remaining)
        return remaining

    assert left(10_000) == [0.1, 0.9, 1.5, 3, 5]
    assert left(1_500) == [0.1, 0.9, 1.5, 3, 5]
    assert left(1_000) == [0.1, 0.9, 1.5]
    assert left(1) == [0.1, 0.9]


def test_empty_folders_go_when_nobody_can_be_about_to_use_them(tmp_path: Path) -> None:
    dag = tmp_path / "dag_id=daily"
    write(dag / "run_id=old" / "task_id=cache" / "attempt=1.log", days_old=20).unlink()
    for folder in (dag / "run_id=old" / "task_id=cache", dag / "run_id=old", dag):
        age(folder, 2)

    remove_old_logs([dag], FORTNIGHT, now=NOW)
    assert not (dag / "run_id=old" / "task_id=cache").exists()
    # Has changed by that, and so goes at the next time.
    age(dag / "run_id=old", 2)
    remove_old_logs([dag], FORTNIGHT, now=NOW)
    assert not (dag / "run_id=old").exists()


def test_an_empty_folder_that_was_made_just_now_stays(tmp_path: Path) -> None:
    folder = tmp_path / "dag_id=daily" / "run_id=now"
    folder.mkdir(parents=True)
    age(folder, 0)

    remove_old_logs([tmp_path / "dag_id=daily"], FORTNIGHT, now=NOW)

    assert folder.exists()


def test_a_file_that_cannot_be_removed_is_named_and_the_others_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = write(tmp_path / "a.log", days_old=20)
    other = write(tmp_path / "b.log", days_old=20)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stubborn:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    removed = remove_old_logs([tmp_path], FORTNIGHT, now=NOW)

    assert removed.failed == [f"{stubborn}: Permission denied"]
    assert removed.files == 1
    assert not other.exists()


def given(**values: str) -> Callable[[str, str], str]:
    return lambda name, default: values.get(name, default)


def test_the_retention_is_that_of_the_variables_and_the_defaults_are_those_of_the_settings_file() -> None:
    assert read_retention(given()) == FORTNIGHT
    assert read_retention(
        given(**{TASK_LOG_VARIABLE: "3", TASK_LOG_SIZE_VARIABLE: "20", METADATA_VARIABLE: " 365 ", AUDIT_VARIABLE: "7"})
    ) == Retention(
        task_logs=timedelta(days=3), task_log_size=20_000_000, metadata=timedelta(days=365), audit=timedelta(days=7)
    )
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"]
    listed = {entry["variable_name"]: entry["variable_value"] for entry in settings["variables"]}
    assert read_retention(lambda name, default: listed[name]) == read_retention(given())


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "a month", "", "9999999", "١٤"])
@pytest.mark.parametrize("name", [TASK_LOG_VARIABLE, TASK_LOG_SIZE_VARIABLE, METADATA_VARIABLE, AUDIT_VARIABLE])
def test_a_wrong_retention_is_named_and_nothing_is_removed(name: str, value: str) -> None:
    with pytest.raises(CleaningError, match=f"variable {name} is '{value}': expected whole "):
        read_retention(given(**{name: value}))


@pytest.mark.parametrize("dry_run", [True, False])
def test_airflow_takes_the_command_for_its_metadata(dry_run: bool) -> None:
    command = metadata_command(datetime(2026, 10, 29, 12, tzinfo=UTC), dry_run=dry_run)

    options = get_parser().parse_args(command[command.index("airflow") + 1 :])
    assert options.clean_before_timestamp == datetime(2026, 10, 29, 12, tzinfo=UTC)
    assert options.dry_run is dry_run
    # Neither asks, nor keeps what it removes in tables that nobody drops, nor hides an error.
    assert (options.yes, options.skip_archive, options.error_on_cleanup_failure) == (True, True, True)


class Rounds:
    """Time that passes only by sleeping, until so many rounds have been done."""

    def __init__(self, state: Path, statuses: list[int]) -> None:
        self.state = state
        self.statuses = statuses
        self.started: list[float] = []
        self.seconds = NOW.timestamp()

    def clean(self) -> int:
        if not self.statuses:
            raise InterruptedError
        self.started.append(self.seconds - NOW.timestamp())
        return self.statuses.pop(0)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def run(self, **options: float) -> list[float]:
        """The seconds from now on at which a round began."""
        timer = Timer(self.clean, state=self.state, now=lambda: self.seconds, sleep=self.sleep, **options)
        with pytest.raises(InterruptedError):
            timer.run()
        return self.started


@pytest.mark.parametrize(
    ("days_since", "statuses", "started"),
    [
        # No round yet: after the delay, then once a day.
        (None, [0, 0, 0], [600, 600 + 86_400, 600 + 2 * 86_400]),
        # One that failed is tried again after an hour.
        (None, [1, 0, 0], [600, 600 + 3_600, 600 + 3_600 + 86_400]),
        # A restart does not put it off, and does not bring it forward.
        (0.75, [0, 0], [21_600, 21_600 + 86_400]),
        # Long due.
        (9, [0, 0], [0, 86_400]),
        # A clock that was ahead.
        (-400, [0], [86_400]),
    ],
)
def test_a_round_is_due_a_day_after_the_last_good_one(
    tmp_path: Path, days_since: float | None, statuses: list[int], started: list[float]
) -> None:
    state = tmp_path / "home" / "cleaned"
    if days_since is not None:
        write(state, days_old=days_since)

    assert Rounds(state, statuses).run(every=86_400, delay=600) == started


def test_only_a_good_round_counts_as_done(tmp_path: Path) -> None:
    state = tmp_path / "cleaned"

    Rounds(state, [1, 2]).run(every=86_400)
    assert not state.exists()
    Rounds(state, [0]).run(every=86_400)
    assert state.exists()


@pytest.mark.parametrize(
    "arguments", [["--every", "24"], ["--state", "file"], ["--every", "0", "--state", "file"], ["--every", "x"]]
)
def test_wrong_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err
