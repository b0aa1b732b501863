"""The folder of one server: who has it, and where its files lie."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_POLL_SECONDS = 0.05


class FolderInUseError(Exception):
    """Another server has the folder."""


@dataclass(frozen=True)
class Ready:
    """What a server that answers tells others."""

    pid: int
    http_port: int
    tcp_port: int


class Folder:
    """A server's folder and its lock, which ends with the process that holds it, however that ends.

    :param path: the folder; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_path = path / "server.lock"
        self._ready_path = path / "server.json"
        self._lock: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        :raises FolderInUseError: when a server has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        # Never truncated before it is locked: it holds the other server's pid.
        lock = self._lock_path.open("a+", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = self._read_pid(lock)
            lock.close()
            raise FolderInUseError(f"{self.path} is in use by another ClickHouse gateway (pid {pid}).") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._ready_path.unlink(missing_ok=True)
        self._lock = lock

    def release(self) -> None:
        """Give the lock back."""
        self._ready_path.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def publish(self, ready: Ready) -> None:
        """Record that the server answers."""
        write_ready(self._ready_path, ready)

    def owner(self) -> int | None:
        """The pid of the server that has the folder now; None when there is none."""
        try:
            with self._lock_path.open("r", encoding="ascii") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return self._read_pid(lock)
        except FileNotFoundError:
            pass
        return None

    def ready(self) -> Ready | None:
        """What the server that has the folder published; None while it does not answer."""
        pid = self.owner()
        try:
            ready = Ready(**json.loads(self._ready_path.read_text(encoding="ascii")))
        except FileNotFoundError:
            return None
        return ready if ready.pid == pid else None

    def wait_until_free(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the server to end; tells whether it has."""
        deadline = time.monotonic() + timeout
        while self.owner() is not None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    @staticmethod
    def _read_pid(lock: IO[str]) -> int | None:
        lock.seek(0)
        text = lock.read()
        return int(text) if text.isdecimal() else None


def write_ready(path: Path, ready: Ready) -> None:
    """Write a ready file in one step, so that nobody reads half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(ready)) + "\n", encoding="ascii")
    temporary.replace(path)
