"""The whole stack: what is started in which order, and how it is ended again."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from local.processes import Abandoned, ProcessError
from local.services.airflow import COMPONENTS, AirflowDeployment, AirflowProcess
from local.services.clickhouse import ClickHouse
from local.services.feed import Feed
from local.services.postgres import Postgres
from local.services.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from local.services.part import Part
    from local.settings import Settings


# Seconds for a part of Airflow to give a sign of life after its database has come back. One that lost it may be ending
# without getting there: a scheduler was seen to wait for its tasks for minutes.
_STUCK_AFTER = 30.0


class StackError(RuntimeError):
    """A part did not come up, or the stack runs in a way that does not fit the settings."""


@dataclass(frozen=True)
class PartStatus:
    """:param pid: None when it does not run.

    :param since: start of the process, in the machine's zone.
    :param answers: whether the service itself says that it works.
    :param optional: the stack is complete without it.
    """

    name: str
    address: str
    pid: int | None
    since: datetime | None
    answers: bool
    optional: bool = False

    @property
    def in_order(self) -> bool:
        return self.answers or (self.optional and self.pid is None)


class Progress:
    """Prints each step with its duration; steps of different threads come as whole lines.

    :param write: takes one line.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        with self._lock:
            self._write(text)

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[list[str]]:
        """:param doing: shown with the duration at the end; the block may append other words for it."""
        words = [doing]
        start = time.monotonic()
        try:
            yield words
        except Abandoned:
            self.line(f"  {name:<22} {doing}: given up after {time.monotonic() - start:.1f} s")
            raise
        except BaseException:
            self.line(f"  {name:<22} {doing}: FAILED after {time.monotonic() - start:.1f} s")
            raise
        self.line(f"  {name:<22} {words[-1]:<40} {time.monotonic() - start:5.1f} s")


class Stack:
    """ClickHouse, Valkey, PostgreSQL and Airflow's four processes of one checkout, and the feed where it was started.

    :param settings: where they live and listen.
    :param progress: told about every step.
    """

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self.clickhouse = ClickHouse(settings)
        self.valkey = Valkey(settings)
        self.postgres = Postgres(settings)
        self.airflow = AirflowDeployment(settings, self.postgres)
        self._progress = progress
        self._airflow_parts = [AirflowProcess(component, settings, self.airflow) for component in COMPONENTS]
        self.feed = Feed(settings)
        #: What `up` starts.
        self.parts: list[Part] = [self.clickhouse, self.valkey, self.postgres, *self._airflow_parts]
        self.all_parts: list[Part] = [*self.parts, self.feed]
        # Set when a step of `up` has failed, so that the others do not wait for it in vain.
        self._abandoned = threading.Event()
        self._started_with = settings.local_dir / "run" / "settings.json"

    def up(self) -> None:
        """Start what does not run yet, and wait until every part works. Harmless when all run.

        :raises StackError: parts that did not come up, each with the reason; the others keep running.
        """
        with self._exclusive():
            start = time.monotonic()
            self._abandoned.clear()
            self._check_settings()
            for part in self.parts:
                if not part.process.running():
                    part.process.end_leftovers()
                    part.check_ports()
            self._remember_settings()
            # Three chains that do not need each other; Airflow's is the long one.
            self._in_parallel([self._up_airflow, self._up_clickhouse, lambda: self._ensure(self.valkey)])
            self._progress.line(f"up in {time.monotonic() - start:.1f} s")

    def start_feed(self) -> None:
        """Have live traffic come in until `down`. Harmless when it does already.

        :raises ProcessError: it did not bring any row into the tables; ClickHouse must run.
        """
        with self._exclusive():
            self._abandoned.clear()
            self._ensure(self.feed)

    def down(self) -> None:
        """End everything that `up` and `start_feed` started, and what was left of a part that was killed.

        :raises StackError: a process that does not end.
        """
        with self._exclusive():
            *airflow, scheduler = sorted(self._airflow_parts, key=lambda part: part.name == "airflow-scheduler")
            api_server = next(part for part in airflow if part.name == "airflow-api-server")
            loops = [part for part in airflow if part is not api_server]
            # Those that use a service end before it does; running tasks still report to the api-server.
            for group in (
                [self.feed, scheduler, *loops],
                [api_server],
                [self.clickhouse, self.valkey, self.postgres],
            ):
                self._in_parallel([lambda part=part: self._stop(part) for part in group])  # type: ignore[misc]

    def status(self) -> list[PartStatus]:
        return [self._status(part) for part in self.all_parts]

    def remove_data(self) -> None:
        """Remove all that the stack has made, and nothing else that someone may keep in that folder.

        :raises OSError: such as for files of another user, who once ran the stack here.
        """
        with self._exclusive():
            if any(part.process.running() for part in self.all_parts):
                raise StackError("the stack runs: `python -m local down` first")
            self.postgres.remove_socket_directory()
            for name in ("airflow", "clickhouse", "logs", "postgres", "postgres.new", "run", "valkey"):
                folder = self.settings.local_dir / name
                if folder.exists():
                    shutil.rmtree(folder)
            for name in ("credentials.json", "credentials.lock", "up.lock"):
                (self.settings.local_dir / name).unlink(missing_ok=True)
        if not any(self.settings.local_dir.iterdir()):
            self.settings.local_dir.rmdir()

    def _up_clickhouse(self) -> None:
        self._ensure(self.clickhouse)
        # Imported here: its libraries take half a second, which `status` need not wait for.
        from scripts.migrate import MigrateError, migrate_from_environment

        with self._progress.step("clickhouse", "tables up to date"):
            try:
                migrate_from_environment(self.settings.migration_environment())
            except MigrateError as error:
                raise StackError(f"clickhouse: {error}") from error

    def _up_airflow(self) -> None:
        database_was_gone = self._ensure(self.postgres)
        self.postgres.ensure_database()
        if not self.airflow.is_migrated():
            with self._progress.step("airflow", "metadata tables made or brought up to date"):
                self.airflow.migrate()
        if database_was_gone:
            # A process that lost its database may be about to end: what it said before does not count.
            for part in self._airflow_parts:
                part.heartbeat_after = time.time()
        stuck_after = _STUCK_AFTER if database_was_gone else None
        self._in_parallel(
            [
                *[lambda part=part: self._ensure(part, stuck_after=stuck_after) for part in self._airflow_parts],
                self._apply_airflow_settings,
            ]
        )

    def _apply_airflow_settings(self) -> None:
        if self.airflow.has_settings():
            return
        with self._progress.step("airflow", "connections, pools and variables"):
            self.airflow.apply_settings()

    def _ensure(self, part: Part, *, stuck_after: float | None = None) -> bool:
        """Have it run and work. True when it had to be started.

        :param stuck_after: seconds; a process that runs but does not answer for so long is ended and started anew.
        """
        if part.process.running() and self._works(part, stuck_after):
            return False
        with self._progress.step(part.name, "starting") as words:
            part.start(self._abandoned)
            words.append(f"started (pid {part.process.running_pid()})")
        return True

    def _works(self, part: Part, stuck_after: float | None) -> bool:
        """Wait until a running part answers. False when it ended instead, or was stuck and has been ended.

        :raises ProcessError: it runs, but does not answer in time.
        """
        with self._progress.step(part.name, "asking") as words:
            try:
                part.wait_until_ready(self._abandoned, timeout=stuck_after)
            except Abandoned:
                raise
            except ProcessError:
                if not part.process.running():
                    words.append("ended meanwhile")
                elif stuck_after is None:
                    raise
                else:
                    part.process.stop()
                    words.append("was stuck, and has been ended")
                return False
            words.append(f"already running (pid {part.process.running_pid()})")
            return True

    def _stop(self, part: Part) -> None:
        with self._progress.step(part.name, "stopping") as words:
            words.append("stopped" if part.process.stop() else "was not running")

    def _status(self, part: Part) -> PartStatus:
        process = part.process.running()
        optional = part not in self.parts
        if process is None:
            return PartStatus(part.name, part.address, None, None, False, optional)
        since = datetime.fromtimestamp(process.create_time()).astimezone()
        try:
            answers = part.ready()
        except ProcessError:
            answers = False
        return PartStatus(part.name, part.address, process.pid, since, answers, optional)

    def _in_parallel(self, jobs: Sequence[Callable[[], object]]) -> None:
        """:raises StackError: with the reasons of all that failed."""
        with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
            futures = [pool.submit(self._run_job, job) for job in jobs]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, (ProcessError, StackError)):
                raise error
        if errors:
            causes = [error for error in errors if not isinstance(error, Abandoned)]
            if not causes:
                raise Abandoned(str(errors[0]))
            raise StackError("\n".join(str(error) for error in causes)) from causes[0]

    def _run_job(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException:
            self._abandoned.set()
            raise

    def _check_settings(self) -> None:
        """A part that runs on its old port or database would be waited for in vain."""
        if not any(part.process.running() for part in self.all_parts):
            return
        try:
            before = json.loads(self._started_with.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return
        now = self._visible_settings()
        # One that is not there was written by an older version, which did not know the setting.
        changed = [
            f"{name} was {before[name]}, is {now[name]}" for name in before.keys() & now if before[name] != now[name]
        ]
        if changed:
            raise StackError(f"the stack runs with other settings ({'; '.join(changed)}): `python -m local down` first")

    def _remember_settings(self) -> None:
        self._started_with.parent.mkdir(parents=True, exist_ok=True)
        self._started_with.write_text(json.dumps(self._visible_settings()), encoding="utf-8")

    def _visible_settings(self) -> dict[str, str]:
        values = self.settings.service_environment() | {
            "AIRFLOW_PORT": str(self.settings.airflow_port),
            "MAXY_REALTIME": self.settings.realtime,
            "MAXY_METRIC_RANGES": self.settings.metric_ranges,
            "MAXY_MAX_NAME_LENGTH": str(self.settings.max_name_length),
        }
        return {name: value for name, value in values.items() if "PASSWORD" not in name}

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One `up` or `down` at a time; the lock goes with the process that holds it, however that ends."""
        self.settings.local_dir.mkdir(parents=True, exist_ok=True)
        with (self.settings.local_dir / "up.lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                self._progress.line(
                    f"another command (pid {lock.read().strip()}) is at work on the stack: waiting for it"
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
