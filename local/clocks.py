"""Comparing a service's clock with this machine's."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds; a difference beyond is worth a warning: results carry these clocks' times.
LARGEST_DIFFERENCE = 2.0


def measure_difference(read: Callable[[], float], now: Callable[[], float] = time.time) -> float:
    """Return by how many seconds another clock is ahead of this machine's; negative when it is behind.

    What the time of the answer itself can explain is no difference, however long the answer took.

    :param read: asks the other clock: seconds since the epoch.
    :param now: this machine's clock: seconds since the epoch.
    """
    before = now()
    there = read()
    after = now()
    if there < before:
        return there - before
    return max(there - after, 0.0)


def describe_difference(name: str, seconds: float) -> str | None:
    """The warning about a part's clock, or None where it goes well.

    :param name: of the part.
    :param seconds: see `measure_difference`.
    """
    if abs(seconds) <= LARGEST_DIFFERENCE:
        return None
    direction = "ahead of" if seconds > 0 else "behind"
    return f"the clock of {name} is {abs(seconds):,.1f} s {direction} this machine's"
