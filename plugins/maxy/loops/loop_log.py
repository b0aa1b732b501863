"""What a loop logs: bounded per minute, whatever the data are and however often something fails.

A loop ticks thousands of times in a run, and one log takes them all. So nothing may be logged at each tick.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from maxy.loops.options import LoopSettings

MINUTE = 60.0
# Of one kind, if they differ.
_LINES_PER_MINUTE = 3


class LoopLog:
    """Logs for a loop.

    - A line that says the same as the one of its kind before it comes once a minute.
    - Of lines of one kind that differ, three come in a minute.
    - Keys and their values: as the settings ``log_values_per_minute`` and ``log_values_per_tick`` say.

    :param monotonic: returns seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lines: dict[str, deque[float]] = {}
        self._said: dict[str, str] = {}
        self._values_end = -1.0
        self._values_left = 0

    def log(
        self,
        logger: logging.Logger,
        level: int,
        template: str,
        *args: object,
        about: str | None = None,
        error: BaseException | None = None,
    ) -> bool:
        """Log a line, unless it is one too many.

        :param template: the line with ``%`` formats; at the same time its kind.
        :param args: the values.
        :param about: lines that agree in this say the same; the whole line unless given.
        :param error: logged with its stack.
        :return: whether it was logged.
        """
        now = self._monotonic()
        lines = self._lines.setdefault(template, deque(maxlen=_LINES_PER_MINUTE))
        said = template % args if about is None else about
        if lines and now - lines[-1] < MINUTE and self._said.get(template) == said:
            return False
        if len(lines) == _LINES_PER_MINUTE and now - lines[0] < MINUTE:
            return False
        lines.append(now)
        self._said[template] = said
        logger.log(level, template, *args, exc_info=error)
        return True

    def room_for_values(self, settings: LoopSettings, wanted: int) -> int:
        """Return how many keys may be logged with their values now, and count them as logged.

        :param settings: of the loop.
        :param wanted: number of keys that a tick has written.
        """
        if not settings["log_values"]:
            return 0
        now = self._monotonic()
        if now >= self._values_end:
            self._values_end = now + MINUTE
            self._values_left = int(settings["log_values_per_minute"])
        room = min(wanted, int(settings["log_values_per_tick"]), self._values_left)
        self._values_left -= room
        return room
