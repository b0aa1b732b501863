"""Remove old task logs, old rows of Airflow's metadata by its own ``airflow db clean``, and old records of the API's
changes: nothing else ever does.

    python scripts/clean_airflow.py [--dry-run]
    python scripts/clean_airflow.py --every 24 --state FILE [--delay MINUTES]

Runs where Airflow's own environment is configured and task logs can be reached (a container of its own in docker
compose, a part of the embedded stack). Not a DAG: a task of Airflow 3 cannot reach the metadata, and should not be
given its password. What is kept say the Airflow variables `maxy_task_log_retention_days` (14),
`maxy_task_log_retention_mb` (1000, of which the oldest go first), `maxy_metadata_retention_days` (30) and
`maxy_audit_retention_days` (400, where POSTGRES_HOST is set). Doing it again, or twice at once, is harmless. Exit
status: 0 done, 1 something could not be removed (the rest is), 2 a variable or option is wrong (nothing is removed).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

TASK_LOG_VARIABLE = "maxy_task_log_retention_days"
TASK_LOG_SIZE_VARIABLE = "maxy_task_log_retention_mb"
METADATA_VARIABLE = "maxy_metadata_retention_days"
AUDIT_VARIABLE = "maxy_audit_retention_days"

_DEFAULTS = {TASK_LOG_VARIABLE: "14", TASK_LOG_SIZE_VARIABLE: "1000", METADATA_VARIABLE: "30", AUDIT_VARIABLE: "400"}
_LONGEST_DAYS = 36_500
_LARGEST_MB = 1_000_000
# However large, the log of a task that is at work must not go.
_ALWAYS_KEPT = timedelta(days=1)
# Rows deleted in one transaction, so that the scheduler need not wait for long.
_BATCH_SIZE = 5_000
# Seconds until a round that failed is tried again.
_RETRY_AFTER = 3_600.0


class CleaningError(ValueError):
    """A setting is wrong; the text names it."""


@dataclass(frozen=True)
class Retention:
    """What is kept.

    :param task_logs: how long.
    :param task_log_size: bytes of all task logs together.
    :param metadata: how long.
    :param audit: how long.
    """

    task_logs: timedelta
    task_log_size: int
    metadata: timedelta
    audit: timedelta


def read_retention(get: Callable[[str, str], object]) -> Retention:
    """:param get: returns the value of an Airflow variable, or the default it is given.

    :raises CleaningError: not a whole number, 1 or more.
    """

    def number(name: str, largest: int, unit: str) -> int:
        text = str(get(name, _DEFAULTS[name])).strip()
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
            raise CleaningError(f"the Airflow variable {name} is {text!r}: expected whole {unit}, 1 to {largest}")
        return int(text)

    return Retention(
        task_logs=timedelta(days=number(TASK_LOG_VARIABLE, _LONGEST_DAYS, "days")),
        task_log_size=number(TASK_LOG_SIZE_VARIABLE, _LARGEST_MB, "MB") * 1_000_000,
        metadata=timedelta(days=number(METADATA_VARIABLE, _LONGEST_DAYS, "days")),
        audit=timedelta(days=number(AUDIT_VARIABLE, _LONGEST_DAYS, "days")),
    )


@dataclass
class Removed:
    """What was removed, or would be.

    :param size: bytes.
    :param kept_size: bytes that stay.
    :param failed: files that could not be removed, with the reason.
    """

    files: int = 0
    size: int = 0
    kept_size: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class _LogFile:
    """:param written_at: seconds since the epoch."""

    written_at: float
    size: int
    path: Path


def remove_old_logs(folders: Iterable[Path], retention: Retention, *, now: datetime, dry_run: bool = False) -> Removed:
    """Remove files that were last written to too long ago, the oldest of the others if they are too many together, and
    folders that are empty then.

    Links are not followed, and not removed. What was changed within a day stays.

    :param folders: those that are not there are passed over.
    :param now: with a zone.
    """
    present = [folder for folder in folders if folder.is_dir() and not folder.is_symlink()]
    files = sorted(file for folder in present for file in _files_below(folder))
    removed = Removed(kept_size=sum(file.size for file in files))
    too_old = (now - retention.task_logs).timestamp()
    young = (now - _ALWAYS_KEPT).timestamp()
    for file in files:
        if file.written_at < too_old or (removed.kept_size > retention.task_log_size and file.written_at < young):
            _remove(file, removed, dry_run=dry_run)
    if not dry_run:
        for folder in present:
            _remove_empty_folders(folder, young)
    return removed


def _files_below(folder: Path) -> Iterator[_LogFile]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            try:
                state = path.lstat()
            except FileNotFoundError:
                # Another cleaning was faster.
                continue
            if stat.S_ISREG(state.st_mode):
                yield _LogFile(state.st_mtime, state.st_size, path)


def _remove(file: _LogFile, removed: Removed, *, dry_run: bool) -> None:
    if not dry_run:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            removed.failed.append(f"{file.path}: {error.strerror}")
            return
    removed.files += 1
    removed.size += file.size
    removed.kept_size -= file.size


def _remove_empty_folders(top: Path, before: float) -> None:
    """Those that have not changed since a moment; somebody may be about to write into one that was made lately."""
    for place, _, _ in os.walk(top, topdown=False):
        folder = Path(place)
        with contextlib.suppress(OSError):
            # What was emptied just now goes at the next cleaning: by then the change is a day old.
            if folder.lstat().st_mtime < before:
                folder.rmdir()


def metadata_command(before: datetime, *, dry_run: bool) -> list[str]:
    """Airflow's own command that removes rows older than a moment; the last run of each DAG stays."""
    command = [sys.executable, "-m", "airflow", "db", "clean", "--clean-before-timestamp", before.isoformat()]
    command += ["--skip-archive", "--yes", "--error-on-cleanup-failure", "--batch-size", str(_BATCH_SIZE)]
    return [*command, "--dry-run"] if dry_run else command


def clean_once(now: datetime, *, dry_run: bool) -> int:
    """Clean logs and metadata of the Airflow that this process's environment describes; returns the exit status.

    :raises CleaningError: before anything is removed.
    """
    # Imported here, so that the process that only waits for the next day stays small.
    from airflow.configuration import conf
    from airflow.models.variable import Variable

    retention = read_retention(lambda name, default: Variable.get(name, default))
    base = Path(conf.get_mandatory_value("logging", "base_log_folder"))
    # Nothing else that somebody may keep in that folder.
    folders = [*sorted(base.glob("dag_id=*")), Path(conf.get("logging", "dag_processor_child_process_log_directory"))]
    removed = remove_old_logs(folders, retention, now=now, dry_run=dry_run)
    for failure in removed.failed:
        print(f"not removed: {failure}", file=sys.stderr, flush=True)
    print(
        f"task logs older than {retention.task_logs.days} days or beyond {retention.task_log_size / 1e6:.0f} MB:"
        f" {removed.files} files, {removed.size / 1e6:.1f} MB {'would be ' if dry_run else ''}removed,"
        f" {removed.kept_size / 1e6:.1f} MB kept",
        flush=True,
    )
    print(f"metadata older than {retention.metadata.days} days:", flush=True)
    status = subprocess.run(metadata_command(now - retention.metadata, dry_run=dry_run), check=False).returncode
    audit_is_clean = clean_audit(now - retention.audit, os.environ, dry_run=dry_run)
    return 1 if status or removed.failed or not audit_is_clean else 0


def clean_audit(before: datetime, environment: Mapping[str, str], *, dry_run: bool) -> bool:
    """Remove records of the API's changes from before a moment; False if that failed, with the reason on stderr."""
    if not environment.get("POSTGRES_HOST"):
        return True
    if find_spec("maxy") is None:
        # Of Airflow's processes this folder is on the path, of this one it need not be.
        sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))
    import psycopg

    from maxy.postgres.address import address_from_environment
    from maxy.web.changes.retention import remove_old_audit

    try:
        address = address_from_environment(environment)
        removed = 0 if address is None else remove_old_audit(address, before, dry_run=dry_run)
    except (psycopg.Error, ValueError) as error:
        print(f"audit not cleaned: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return False
    would_be = "would be " if dry_run else ""
    print(f"audit from before {before:%Y-%m-%d}: {removed} records {would_be}removed", flush=True)
    return True


class Timer:
    """Cleans again and again; what it remembers is the time of the last good round, in the age of a file.

    :param clean: one round; returns its exit status.
    :param state: the file. Cleaning is due when it is older than `every`, whoever has cleaned then.
    :param every: seconds.
    :param delay: seconds before the very first round, where there is no such file yet.
    :param now: seconds since the epoch.
    :param sleep: waits for seconds.
    """

    def __init__(
        self,
        clean: Callable[[], int],
        *,
        state: Path,
        every: float,
        delay: float = 0.0,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clean = clean
        self._state = state
        self._every = every
        self._delay = delay
        self._now = now
        self._sleep = sleep

    def run(self) -> None:
        """Never ends by itself."""
        self._sleep(self._until_due())
        while True:
            if self._clean() == 0:
                self._state.parent.mkdir(parents=True, exist_ok=True)
                self._state.touch()
                self._sleep(self._every)
            else:
                self._sleep(min(_RETRY_AFTER, self._every))

    def _until_due(self) -> float:
        try:
            age = self._now() - self._state.stat().st_mtime
        except FileNotFoundError:
            return self._delay
        # A file from the future (a clock that was ahead) must not put it off for longer than usual.
        return min(max(self._every - age, 0.0), self._every)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Remove old task logs and old rows of Airflow's metadata.")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    parser.add_argument("--every", type=_positive, metavar="HOURS", help="go on for ever, so often")
    parser.add_argument("--state", type=Path, metavar="FILE", help="with --every: touched after each good round")
    parser.add_argument("--delay", type=_positive, metavar="MINUTES", help="with --every: before the very first round")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if (options.every is None) != (options.state is None):
        parser.error("--every and --state belong together")
    if options.every is None:
        try:
            return clean_once(datetime.now(UTC), dry_run=options.dry_run)
        except CleaningError as error:
            print(f"clean_airflow: {error}", file=sys.stderr)
            return 2
    one_round = [sys.executable, str(Path(__file__).resolve()), *(["--dry-run"] if options.dry_run else [])]
    Timer(
        lambda: subprocess.run(one_round, check=False).returncode,
        state=options.state,
        every=options.every * 3_600,
        delay=(options.delay or 0) * 60,
    ).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
