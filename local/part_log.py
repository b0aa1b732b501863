"""A part's log file: written by a process of its own (log_pump.py), which bounds its size while the part runs.

A file that the part itself writes to cannot be put aside without losing lines, or a restart. The stack has nobody who
would see to it anyway: its commands end, its parts go on for months.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections import deque
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_PUMP = Path(__file__).with_name("log_pump.py")
# Of eight parts, 320 MB at most.
LARGEST = 10_000_000
KEPT = 3


class PartLog:
    """:param path: the newest file; what was put aside has .1 to .KEPT behind its name, the oldest the highest.

    :param lock: a file that is locked as long as somebody may still write to the log.
    """

    def __init__(self, path: Path, *, lock: Path, largest: int = LARGEST, kept: int = KEPT) -> None:
        self.path = path
        self._lock = lock
        self._largest = largest
        self._kept = kept
        self._pumps: list[subprocess.Popen[bytes]] = []

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Yield a file descriptor for a process that is started meanwhile, and for all that it starts.

        :raises OSError: the pump cannot be executed.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        read, write = os.pipe()
        try:
            try:
                self._start_pump(read)
            finally:
                os.close(read)
            yield write
        finally:
            os.close(write)

    def wait_until_written(self, timeout: float = 2.0) -> bool:
        """Wait until nobody can add to the log any more. False when somebody still may after so many seconds."""
        try:
            lock = self._lock.open("r")
        except FileNotFoundError:
            return True
        deadline = time.monotonic() + timeout
        with lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        return False
                    time.sleep(0.01)
                else:
                    self._reap()
                    return True

    def tail(self, lines: int) -> list[str]:
        """The last lines, also of what has just been put aside; none when there is no such file."""
        return tail_of(self.path, lines)

    def _start_pump(self, source: int) -> None:
        self._reap()
        with self._lock.open("w") as lock:
            # Shared: what an ended part has left behind may still write while the next one starts. The pump has the
            # lock by the descriptor that it inherits, and so until it ends.
            fcntl.flock(lock, fcntl.LOCK_SH)
            pump = subprocess.Popen(
                [sys.executable, "-I", "-S", _PUMP, self.path, str(self._largest), str(self._kept)],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock.fileno()],
                env={},
                cwd="/",
                start_new_session=True,
                umask=0o077,
            )
        self._pumps.append(pump)

    def _reap(self) -> None:
        """A child stays a zombie until it is asked for its status."""
        self._pumps = [pump for pump in self._pumps if pump.poll() is None]


def tail_of(path: Path, lines: int) -> list[str]:
    """The last lines of a log, also of what has just been put aside; none when there is no such file."""
    last = _last_lines(path, lines)
    if len(last) < lines:
        return [*_last_lines(path.with_name(f"{path.name}.1"), lines - len(last)), *last]
    return last


def _last_lines(path: Path, lines: int) -> list[str]:
    if lines <= 0:
        return []
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]
    except FileNotFoundError:
        return []


class FollowedLog:
    """What is added to a log from now on, also across the moment when it is put aside.

    :param path: of the newest file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._unfinished = b""
        self._file: BinaryIO | None = None
        with suppress(FileNotFoundError):
            self._file = path.open("rb")
            self._file.seek(0, os.SEEK_END)

    def new_lines(self) -> list[str]:
        """The lines that have been finished since the last call."""
        text = self._unfinished + self._read()
        if self._is_replaced():
            # Nothing is added to the old file any more: first what came between the two looks at it.
            text += self._read()
            self.close()
            with suppress(FileNotFoundError):
                self._file = self.path.open("rb")
            text += self._read()
        *lines, self._unfinished = text.split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> bytes:
        return self._file.read() if self._file else b""

    def _is_replaced(self) -> bool:
        try:
            current = self.path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or not os.path.samestat(current, os.fstat(self._file.fileno()))
