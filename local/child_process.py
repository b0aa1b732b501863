"""A command run in the foreground, as if it had been called itself: streams, signals and status pass through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def run_in_foreground(argv: Sequence[str | os.PathLike[str]], environment: Mapping[str, str]) -> int:
    """Run a command with this process's streams and directory, and hand signals on to it.

    :return: its status; 128 and the signal's number where one has ended it, as a shell says it.
    :raises OSError: it cannot be executed.
    """
    # It inherits the handlers' default actions: those of Python's own are not passed on.
    process = subprocess.Popen([os.fspath(part) for part in argv], env=dict(environment))
    with _forwarded_to(process):
        status = process.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _forwarded_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        # The terminal has sent it to both already.
        if not (number in (signal.SIGINT, signal.SIGQUIT) and _is_in_foreground()):
            process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        # No terminal, or no standard input.
        return False
