"""Waiting for what other threads and processes do; a deadline decides only how long a failure takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[..., object], seconds: float, what: str, *, interval: float = 0.3) -> None:
    """Look again and again until it holds.

    :raises AssertionError: naming it, if it has not come about in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(interval)


def eventually(condition: Callable[[], bool], what: str = "it happens") -> None:
    """Wait for what takes moments, for a minute at the most: the machine may be busy."""
    wait_until(condition, 60.0, what, interval=0.01)
