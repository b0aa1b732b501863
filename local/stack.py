"""The whole stack: what is started in which order, and how it is ended again."""

from __future__ import annotations

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psutil
import psycopg2
import redis

from local.clocks import describe_difference, measure_difference
from local.disk_space import find_full_disks
from local.families import FAMILIES, make_families
from local.file_limit import raise_file_limit
from local.lock import StackLock, locked_file
from local.process_identity import daemons_of
from local.processes import Abandoned, ProcessError
from local.services.airflow import COMPONENTS, AirflowDeployment, AirflowProcess
from local.services.airflow_cleanup import AirflowCleanup
from local.services.clickhouse import ClickHouse, QueryError
from local.services.part import PortTaken, one_line
from local.services.postgres import Postgres
from local.services.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from local.family import LocalFamily
    from local.services.part import Part
    from local.settings import Settings


# Seconds for a part of Airflow to give a sign of life after its database has come back. One that lost it may be ending
# without getting there: a scheduler was seen to wait for its tasks for minutes.
_STUCK_AFTER = 30.0
#: What a service in trouble makes its clients raise; anything else is a mistake in here, and keeps its traceback.
SERVICE_ERRORS = (QueryError, psycopg2.Error, redis.RedisError, OSError)


class StackError(RuntimeError):
    """A part did not come up, or the stack runs in a way that does not fit the settings."""


@dataclass(frozen=True)
class PartStatus:
    """:param pid: None when it does not run.

    :param since: start of the process, in the machine's zone.
    :param answers: whether the service itself says that it works.
    :param optional: the stack is complete without it.
    :param problem: why it does not answer, in one line, mostly in its own words.
    """

    name: str
    address: str
    pid: int | None
    since: datetime | None
    answers: bool
    optional: bool = False
    problem: str | None = None

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
    """ClickHouse, Valkey, PostgreSQL and Airflow's four processes of one checkout, and what families bring along.

    :param settings: where they live and listen.
    :param progress: told about every step.
    :param command: what others that wait for this one are told that it does.
    :param read_settings: reads them again once the lock is held: a `clean` that was waited for takes the passwords
        along. Without it they stay as they are.
    """

    def __init__(
        self,
        settings: Settings,
        progress: Progress,
        *,
        command: str = "python",
        read_settings: Callable[[], Settings] | None = None,
    ) -> None:
        self._progress = progress
        self._lock = StackLock(settings.local_dir / "up.lock", command=command, report=progress.line)
        self._read_settings = read_settings
        # Set when a step of `up` has failed, so that the others do not wait for it in vain.
        self._abandoned = threading.Event()
        self._assemble(settings)

    def _assemble(self, settings: Settings) -> None:
        self.settings = settings
        self.clickhouse = ClickHouse(settings)
        self.valkey = Valkey(settings)
        self.postgres = Postgres(settings)
        self.airflow = AirflowDeployment(settings, self.postgres)
        self._airflow_parts = [AirflowProcess(component, settings, self.airflow) for component in COMPONENTS]
        self._cleanup = AirflowCleanup(settings, self.airflow)
        #: Those that were chosen.
        self.families = make_families(settings, settings.families)
        self._services = [self.clickhouse, self.valkey, self.postgres, *_services_of(self.families)]
        #: What `up` starts.
        self.parts: list[Part] = [*self._services, *self._airflow_parts, self._cleanup]
        self.feeds: list[Part] = _feeds_of(self.families)
        self.all_parts: list[Part] = [*self.parts, *self.feeds]
        # They may run since another command that had chosen them.
        others = make_families(settings, [name for name in FAMILIES if name not in settings.families])
        self._other_services, self._other_feeds = _services_of(others), _feeds_of(others)
        self._started_with = settings.local_dir / "run" / "settings.json"

    def up(self) -> None:
        """Start what does not run yet, and wait until every part works. Harmless when all run.

        :raises StackError: parts that did not come up, each with the reason; the others keep running.
        """
        with self.exclusive():
            start = time.monotonic()
            self._abandoned.clear()
            self._check_settings()
            self.airflow.check_configuration()
            self._raise_file_limit()
            for part in self.parts:
                if part.process.running():
                    part.process.renew_pid_file()
                else:
                    part.process.end_leftovers()
                    self._check_ports(part)
            self._remember_settings()
            # Three chains that do not need each other; Airflow's is the long one.
            try:
                self._in_parallel(
                    [
                        self._up_airflow,
                        self._up_clickhouse,
                        lambda: self._ensure(self.valkey),
                        *[lambda part=part: self._ensure(part) for part in _services_of(self.families)],
                    ]
                )
                self._progress.line(f"up in {time.monotonic() - start:.1f} s")
            finally:
                # A full disk may be the reason of a failure.
                for warning in self.warnings():
                    self._progress.line(f"warning: {warning}")

    def start_feeds(self) -> None:
        """Have live traffic come in until `down`. Harmless when it does already.

        :raises QueryError: ClickHouse does not answer.
        :raises ProcessError: it did not bring any row into the tables.
        """
        with self.exclusive():
            self.clickhouse.query("SELECT 1", timeout=5)
            self._abandoned.clear()
            self._raise_file_limit()
            for feed in self.feeds:
                self._ensure(feed)

    def down(self) -> None:
        """End everything that `up` and `start_feeds` started, and what was left of a part that was killed.

        :raises StackError: a process that does not end, or that runs for the stack without its knowledge.
        """
        with self.exclusive():
            *airflow, scheduler = sorted(self._airflow_parts, key=lambda part: part.name == "airflow-scheduler")
            api_server = next(part for part in airflow if part.name == "airflow-api-server")
            loops = [part for part in airflow if part is not api_server]
            # Those that use a service end before it does; running tasks still report to the api-server.
            for group in (
                [*self.feeds, *self._other_feeds, self._cleanup, scheduler, *loops],
                [api_server],
                [*self._services, *self._other_services],
            ):
                self._in_parallel([lambda part=part: self._stop(part) for part in group])  # type: ignore[misc]
            self._refuse_unknown_processes()
            self._close_folders()

    def status(self) -> list[PartStatus]:
        return [self._status(part) for part in self.all_parts]

    def warnings(self) -> list[str]:
        """What will be, or already is, in the way of parts that run: full disks, clocks that differ. One line each."""
        found = [f"disk space: {warning}" for warning in find_full_disks(self._data_folders())]
        for part in self.parts:
            if part.process.running() and (warning := _compare_clock(part)) is not None:
                found.append(warning)
        return found

    def require_airflow(self) -> None:
        """:raises StackError: one of its processes does not run."""
        missing = [part.name for part in self._airflow_parts if not part.process.running()]
        if missing:
            verb = "does" if len(missing) == 1 else "do"
            raise StackError(f"{', '.join(missing)} {verb} not run: `make up` first")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only command that changes the stack; see StackLock for what is done in it and what is not."""
        with self._lock.held() as is_first:
            if is_first and self._read_settings is not None and (settings := self._read_settings()) != self.settings:
                self._assemble(settings)
            yield

    def remove_data(self) -> None:
        """Remove all that the stack has made, and nothing else that someone may keep in that folder.

        :raises OSError: such as for files of another user, who once ran the stack here.
        """
        with self.exclusive():
            if any(part.process.running() for part in (*self.all_parts, *self._other_services, *self._other_feeds)):
                raise StackError("the stack runs: `python -m local down` first")
            self._refuse_unknown_processes()
            self._close_folders()
            self.postgres.remove_socket_directory()
            for name in ("airflow", "clickhouse", "logs", "postgres", "postgres.new", "run", "valkey"):
                folder = self.settings.local_dir / name
                if folder.exists():
                    shutil.rmtree(folder)
            # Under its lock, and the lock last: a command that reads its settings now generates all or nothing.
            with locked_file(self.settings.credentials_lock):
                for file in (self.settings.credentials_file, self.settings.credentials_lock):
                    file.unlink(missing_ok=True)
            (self.settings.local_dir / "up.lock").unlink(missing_ok=True)
            # Not empty where somebody keeps something there, or another command has begun.
            with suppress(OSError):
                self.settings.local_dir.rmdir()

    def _up_clickhouse(self) -> None:
        self._ensure(self.clickhouse)
        # Imported here: its libraries take half a second, which `status` need not wait for.
        from scripts.migrate import MigrateError, Migrations

        with self._progress.step("clickhouse", "tables up to date"):
            try:
                Migrations(self.settings.migration_environment()).apply_clickhouse()
            except MigrateError as error:
                raise StackError(f"clickhouse: {error}") from error

    def _up_airflow(self) -> None:
        database_was_gone = self._ensure(self.postgres)
        self.postgres.ensure_database()
        self._migrate_postgres()
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
                lambda: self._ensure(self._cleanup),
            ]
        )

    def _migrate_postgres(self) -> None:
        """Bring the package's own database up to date; a server of a former release gets it here."""
        from scripts.migrate import MigrateError, Migrations

        with self._progress.step("postgres", "tables up to date"):
            try:
                Migrations(self.settings.migration_environment()).apply_postgres()
            except MigrateError as error:
                raise StackError(f"postgres: {error}") from error

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
        identity = part.process.identity()
        since = None if identity is None else datetime.fromtimestamp(identity.started_at()).astimezone()
        try:
            problem = part.problem()
        except ProcessError as error:
            problem = one_line(str(error))
        return PartStatus(part.name, part.address, process.pid, since, problem is None, optional, problem)

    def _in_parallel(self, jobs: Sequence[Callable[[], object]]) -> None:
        """:raises StackError: with the reasons of all that failed."""
        with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
            futures = [pool.submit(self._run_job, job) for job in jobs]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, (ProcessError, StackError, *SERVICE_ERRORS)):
                raise error
        if errors:
            causes = [error for error in errors if not isinstance(error, Abandoned)]
            if not causes:
                raise Abandoned(str(errors[0]))
            raise StackError("\n".join(_words_of(error) for error in causes)) from causes[0]

    def _run_job(self, job: Callable[[], object]) -> None:
        try:
            job()
        except BaseException:
            self._abandoned.set()
            raise

    def _check_settings(self) -> None:
        """A part that runs on its old port or database would be waited for in vain."""
        if not any(part.process.running() for part in (*self.all_parts, *self._other_services, *self._other_feeds)):
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
        temporary = self._started_with.with_suffix(".new")
        temporary.write_text(json.dumps(self._visible_settings()), encoding="utf-8")
        temporary.replace(self._started_with)

    def _raise_file_limit(self) -> None:
        if (warning := raise_file_limit()) is not None:
            self._progress.line(f"warning: {warning}")

    def _check_ports(self, part: Part) -> None:
        """:raises ProcessError: somebody listens on one of the part's ports, perhaps a lost process of this stack."""
        try:
            part.check_ports()
        except PortTaken:
            self._refuse_unknown_processes()
            raise

    def _refuse_unknown_processes(self) -> None:
        """:raises StackError: processes of this stack's folder run that no pid file knows.

        Nothing may then be said to have stopped, and nothing be removed. Former versions lost their processes when
        the machine's clock was stepped.
        """
        known = {pid for part in self.all_parts if (pid := part.process.running_pid()) is not None}
        # Not those that only follow a log, which is as well a person's `tail -f`.
        folders = [self.settings.local_dir / name for name in ("airflow", "clickhouse", "postgres", "run", "valkey")]
        unknown = [process for process in daemons_of(*folders) if process.pid not in known]
        if unknown:
            listed = "".join(f"\n  {process.pid:<8} {_command_line(process)}" for process in unknown)
            pids = " ".join(str(process.pid) for process in unknown)
            raise StackError(
                f"these processes run in or for {self.settings.local_dir} and no pid file knows them. End them, if you"
                f" did not start them for something else (kill {pids}), and repeat the command.{listed}"
            )

    def _close_folders(self) -> None:
        try:
            self.postgres.close_folders()
        except OSError as error:
            # Such as on a full disk. All has stopped nevertheless, and the next `down` tries again.
            self._progress.line(f"warning: folders that were opened for postgres stay open: {error}")

    def _data_folders(self) -> dict[str, Path]:
        folders = {name: self.settings.local_dir / name for name in ("clickhouse", "valkey", "postgres")}
        return folders | {"airflow": self.airflow.home, "logs": self.settings.local_dir / "logs"}

    def _visible_settings(self) -> dict[str, str]:
        values = self.settings.service_environment() | {
            "AIRFLOW_PORT": str(self.settings.airflow_port),
            "MAXY_STATISTICS": self.settings.statistics,
            "MAXY_REALTIME": self.settings.realtime,
            "MAXY_METRIC_RANGES": self.settings.metric_ranges,
            "MAXY_MAX_NAME_LENGTH": str(self.settings.max_name_length),
            # In one, so that one more or less is a change too.
            "AIRFLOW__METRICS__*": json.dumps(dict(self.settings.metrics)),
        }
        return {name: value for name, value in values.items() if "PASSWORD" not in name}


def _services_of(families: Iterable[LocalFamily]) -> list[Part]:
    return [service for family in families for service in family.services()]


def _feeds_of(families: Iterable[LocalFamily]) -> list[Part]:
    return [feed for family in families if (feed := family.feed()) is not None]


def _compare_clock(part: Part) -> str | None:
    """The warning about a part's clock. None also where it cannot be read: the part's status tells of its trouble."""
    try:
        return describe_difference(part.name, measure_difference(part.read_clock))
    except Exception:
        # As in Part.problem: whatever a service answers.
        return None


def _words_of(error: BaseException) -> str:
    """The message; of a service's error, which may be pages long, one line that begins with the kind."""
    if isinstance(error, (ProcessError, StackError)):
        return str(error)
    return one_line(f"{type(error).__name__}: {error}")


def _command_line(process: psutil.Process) -> str:
    try:
        return one_line(" ".join(process.cmdline()))
    except psutil.Error:
        return "(ended meanwhile)"
