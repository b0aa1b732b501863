"""Starting, finding and ending processes that outlive the command which started them.

A process is known by its pid AND its start (process_identity.py), so that a recycled pid is never taken for ours. Each
one leads a session of its own (setsid): what it forked can still be found, and ended, after it was killed itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import psutil

from local.part_log import PartLog
from local.process_identity import Identity, has_ended, identify_former

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path


class ProcessError(RuntimeError):
    """A process did not start, did not become ready, or did not end; the text says which and where its log is."""


class Abandoned(ProcessError):
    """Waiting ended because another process failed, which is the one to tell about."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to start.

    :param argv: no secrets here: every user of the machine can read them with `ps`.
    :param environment: the complete environment.
    :param user: run as this user of the machine (only root may ask for it).
    """

    argv: Sequence[str | os.PathLike[str]]
    environment: Mapping[str, str] = field(repr=False)
    directory: Path
    user: str | None = None


class DetachedProcess:
    """A named process with a pid file and a log file.

    :param name: the part's name, also that of its files.
    :param run_dir: where its pid file is kept.
    :param log: its standard output and error; appended to, and put aside when it is large.
    :param stop_signal: asks it to end.
    :param stop_timeout: seconds it gets for that, before it is killed.
    :param insist_after: seconds until the signal is sent a second time, for servers that take this as "at once".
    :param leftover_timeout: seconds that what it left behind gets, before it is killed.
    :param owned_directory: whatever works in there belongs to it too (for servers whose children leave the session).
    """

    def __init__(
        self,
        name: str,
        *,
        run_dir: Path,
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 20.0,
        insist_after: float | None = None,
        leftover_timeout: float = 3.0,
        owned_directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._log = PartLog(log, lock=run_dir / f"{name}.log.lock")
        self._pid_file = run_dir / f"{name}.pid"
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._insist_after = insist_after
        self._leftover_timeout = leftover_timeout
        self._owned_directory = owned_directory
        self._child: subprocess.Popen[bytes] | None = None

    def identity(self) -> Identity | None:
        """Who was started last, running or not; None when nobody was, or was ended by stop()."""
        try:
            record = json.loads(self._pid_file.read_text(encoding="utf-8"))
            if "started" in record:
                return identify_former(record["pid"], record["started"], self._pid_file.parents[1])
            return Identity(**record)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            raise ProcessError(
                f"{self.name}: {self._pid_file} is damaged. End the process by hand if it runs, and remove the file."
            ) from None

    def running(self) -> psutil.Process | None:
        identity = self.identity()
        return identity.process() if identity else None

    def running_pid(self) -> int | None:
        process = self.running()
        return process.pid if process else None

    def renew_pid_file(self) -> None:
        """Have the pid file of a running process say what this version looks for; the stack's lock is held."""
        identity = self.identity()
        if identity is not None and identity.process() is not None:
            self._write_pid_file(identity)

    def start(self, command: Command) -> Identity:
        """Start it detached from this process and its terminal.

        :raises ProcessError: it cannot be executed.
        """
        if self.running():
            raise ProcessError(f"{self.name} runs already")
        self._pid_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._log.opened() as log:
                process = subprocess.Popen(
                    [os.fspath(part) for part in command.argv],
                    env=dict(command.environment),
                    cwd=command.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    umask=0o077,
                    user=command.user,
                    group=command.user,
                    extra_groups=None if command.user is None else (),
                )
        except OSError as error:
            raise ProcessError(f"{self.name} cannot be started: {error}") from error
        try:
            identity = Identity.of(process.pid)
        except psutil.NoSuchProcess:
            raise self._died(process) from None
        self._child = process
        try:
            self._write_pid_file(identity)
        except OSError as error:
            # Nobody would find it again.
            self._end([psutil.Process(process.pid)])
            raise ProcessError(f"{self.name}: {self._pid_file} cannot be written: {error}") from error
        return identity

    def wait_until(
        self, problem: Callable[[], str | None], *, timeout: float, abandoned: threading.Event, interval: float = 0.1
    ) -> None:
        """Ask until there is no problem left.

        :param problem: why it is not ready yet, in one line; None when it is.
        :param abandoned: set when there is no use in waiting any longer, for what it needs has failed.
        :raises ProcessError: it ended or the time is up; with the end of its log.
        :raises Abandoned: the event was set.
        """
        deadline = time.monotonic() + timeout
        while (words := problem()) is not None:
            if abandoned.is_set():
                raise Abandoned(f"{self.name} was not waited for any longer")
            if self.running() is None:
                self._reap()
                self._log.wait_until_written()
                raise ProcessError(f"{self.name} ended while it was starting. {self.log_excerpt()}")
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready within {timeout:.0f} s: {words}. {self.log_excerpt()}")
            abandoned.wait(interval)

    def stop(self) -> bool:
        """End it with all that belongs to it, gently first. True when there was something to end."""
        main, others = self._main_and_others()
        if main is not None:
            _signal(main, self._stop_signal)
            if self._insist_after is not None and _wait_gone([main], self._insist_after):
                _signal(main, self._stop_signal)
            _wait_gone([main], self._stop_timeout)
        # Collected again: a server that ends well takes its children along, and may have forked since.
        leftovers = {process.pid: process for process in [*others, *self._belongings()]}
        remaining = [process for process in [main, *leftovers.values()] if process is not None]
        self._end(remaining)
        self._pid_file.unlink(missing_ok=True)
        self._reap()
        self._log.wait_until_written()
        return main is not None or bool(others)

    def end_leftovers(self) -> int:
        """After it was killed: end what it left behind. Returns how many processes that were."""
        main, others = self._main_and_others()
        if main is not None:
            return 0
        self._end(others)
        return len(others)

    def log_excerpt(self, lines: int = 15) -> str:
        tail = "".join(f"\n    {line}" for line in self._log.tail(lines))
        return f"Its log {self.log}" + (f" ends with:{tail}" if tail else " is empty.")

    def _write_pid_file(self, identity: Identity) -> None:
        temporary = self._pid_file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(identity)), encoding="utf-8")
        temporary.replace(self._pid_file)

    def _reap(self) -> None:
        """A child that this very process started stays a zombie until it is asked for its status."""
        if self._child is not None:
            self._child.poll()

    def _died(self, process: subprocess.Popen[bytes]) -> ProcessError:
        status = process.wait()
        self._log.wait_until_written()
        return ProcessError(f"{self.name} ended at once with status {status}. {self.log_excerpt()}")

    def _main_and_others(self) -> tuple[psutil.Process | None, list[psutil.Process]]:
        main = self.running()
        return main, [process for process in self._belongings() if main is None or process.pid != main.pid]

    def _belongings(self) -> list[psutil.Process]:
        """The session's members, their descendants and whoever works in the owned directory, itself included."""
        identity = self.identity()
        if identity is None:
            return []
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            if self._belongs(process, identity):
                found[process.pid] = process
        for process in list(found.values()):
            try:
                found |= {child.pid: child for child in process.children(recursive=True)}
            except psutil.NoSuchProcess:
                continue
        found.pop(os.getpid(), None)
        return [process for process in found.values() if not has_ended(process)]

    def _belongs(self, process: psutil.Process, identity: Identity) -> bool:
        try:
            # A session keeps its leader's pid from being reused as long as it has members, so once another process
            # has that pid, the session is no longer ours.
            in_session = os.getsid(process.pid) == identity.pid
            if in_session and identity.started_no_later_than(process.pid) and not identity.taken_over():
                return True
            # Somebody's shell in that directory has a terminal.
            owned = self._owned_directory is not None and process.cwd() == str(self._owned_directory)
            return owned and process.terminal() is None
        except (psutil.Error, OSError):
            return False

    def _end(self, processes: Sequence[psutil.Process]) -> None:
        for process in processes:
            _signal(process, signal.SIGTERM)
        alive = _wait_gone(processes, self._leftover_timeout)
        for process in alive:
            _signal(process, signal.SIGKILL)
        alive = _wait_gone(alive, 5.0)
        if alive:
            pids = ", ".join(str(process.pid) for process in alive)
            raise ProcessError(f"{self.name}: could not end process {pids}")


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    # psutil checks the start time again before it sends, so a pid recycled meanwhile is safe.
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied:
        raise ProcessError(f"process {process.pid} cannot be ended: it belongs to another user") from None


def _wait_gone(processes: Iterable[psutil.Process], timeout: float) -> list[psutil.Process]:
    deadline = time.monotonic() + timeout
    alive = [process for process in processes if not has_ended(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)
        alive = [process for process in alive if not has_ended(process)]
    return alive
