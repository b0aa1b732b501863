"""Locks between commands that run at the same time; a lock goes with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TextIO


@contextmanager
def locked_file(path: Path, *, report_holder: Callable[[str], None] = lambda text: None) -> Iterator[TextIO]:
    """Hold the lock of a file, which is made where it is missing.

    Whoever holds it may remove the file: those that wait for the removed one try again with the new one.

    :param report_holder: told before a wait what the present holder has written into the file.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:
            # The folder was removed in this moment.
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                report_holder(file.read().strip())
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield file
                return


class StackLock:
    """Lets one command at a time change the stack. The command that holds it may take it again.

    What holds it when:
    - `up`, `down` and `clean` all the time: whatever else they start or end would be theirs as well.
    - `seed` all the time: it looks at what is there and adds what is not, which two at once would both add.
    - `run` until the sample data is there, and again while it starts the feed; not while days are computed and loops
      are waited for.
    - `feed`, `backfill` and `recache` only at their beginning, so that they do not begin in the middle of another
      command. A backfill waits for another one in Airflow itself.
    - `status`, `logs`, `report` and `sql` never: they are for looking at what the others do.

    :param path: of the lock file.
    :param command: what the others are told that this process does.
    :param report: takes the line that says for whom it waits.
    """

    def __init__(self, path: Path, *, command: str, report: Callable[[str], None]) -> None:
        self._path = path
        self._command = command
        self._report = report
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold it. True where it was not held already by this command. For one thread at a time."""
        if self._depth:
            yield False
            return
        with locked_file(self._path, report_holder=self._report_holder) as file:
            # On a full disk the stack must still stop: then the others are not told who holds it.
            with contextlib.suppress(OSError):
                file.truncate(0)
                file.write(f"`{self._command}`, pid {os.getpid()}")
                file.flush()
            self._depth = 1
            try:
                yield True
            finally:
                self._depth = 0

    def _report_holder(self, holder: str) -> None:
        self._report(f"another command ({holder or 'unknown'}) is at work on the stack: waiting for it")


def _is_at(path: Path, file: TextIO) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
