"""Writes what comes on standard input to a log file of bounded size, for as long as somebody may still write.

    python -I -S log_pump.py LOG LARGEST KEPT

A file that has grown to LARGEST bytes is put aside as LOG.1, the one before as LOG.2 and so on up to LOG.KEPT, between
two lines. It ends when nobody has the other end of its pipe any more, so it loses nothing of a program that is killed,
nor of what that program has left behind. Only the standard library: one such process runs for each part of the stack.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536
# A line that never ends must not keep the file from being put aside.
_LONGEST_LINE = 1_048_576


class RotatedLog:
    """A log file and its predecessors; several processes may write to it at once.

    :param path: of the file.
    :param largest: bytes from which on it is put aside.
    :param kept: how many files that were put aside are kept.
    """

    def __init__(self, path: str, *, largest: int, kept: int) -> None:
        self._path = path
        self._largest = largest
        self._kept = kept
        self._file = -1
        # Bytes that the disk did not take, and why.
        self._lost = 0
        self._lost_reason = ""
        self._within_line = False

    def write(self, data: bytes) -> None:
        """Add to the log. What cannot be written is counted and left out, for whoever logs must not have to wait."""
        try:
            self._reopen_if_replaced()
            self._tell_of_loss()
            rest = self._put_aside_if_full(data)
            self._append(rest)
        except OSError as error:
            self._lost += len(data)
            self._lost_reason = error.strerror or str(error)

    def _put_aside_if_full(self, data: bytes) -> bytes:
        """Return what of the data belongs into the file that is now the newest: all, or what follows the open line."""
        size = os.fstat(self._file).st_size
        if size < self._largest:
            return data
        line_end = data.find(b"\n") + 1 if self._within_line else 0
        if self._within_line and not line_end and size < self._largest + _LONGEST_LINE:
            return data
        self._append(data[:line_end])
        self._put_aside()
        return data[line_end:]

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        if data:
            self._within_line = not data.endswith(b"\n")

    def _tell_of_loss(self) -> None:
        if self._lost:
            self._append(f"\n[{self._lost} bytes of this log are lost: {self._lost_reason}]\n".encode())
            self._lost = 0

    def _reopen_if_replaced(self) -> None:
        """Another writer may have put the file aside, or somebody may have removed it."""
        try:
            current = os.stat(self._path)
        except FileNotFoundError:
            current = None
        if current is None or self._file < 0 or not os.path.samestat(current, os.fstat(self._file)):
            self._open()

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        if self._file >= 0:
            os.close(self._file)
        self._file = new

    def _put_aside(self) -> None:
        with self._locked():
            # Another writer may have been faster.
            self._reopen_if_replaced()
            if os.fstat(self._file).st_size < self._largest:
                return
            for number in range(self._kept, 0, -1):
                older = self._path if number == 1 else f"{self._path}.{number - 1}"
                with contextlib.suppress(FileNotFoundError):
                    os.replace(older, f"{self._path}.{number}")
            self._open()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            yield
        finally:
            os.close(directory)


def main(path: str, largest: str, kept: str) -> None:
    # It ends with the last writer, however the others are told to end.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log = RotatedLog(path, largest=int(largest), kept=int(kept))
    # The file is there from the beginning, for those who follow it.
    log.write(b"")
    while data := os.read(sys.stdin.fileno(), _CHUNK):
        log.write(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
