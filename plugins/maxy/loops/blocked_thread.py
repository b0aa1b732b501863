"""Where in its code a loop blocks the thread of all, seen from another thread while it does.

What runs in the blocked thread can say how long it was, but only when it is over. So a thread of its own looks twice a
second at the step that is under way.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import ref

if TYPE_CHECKING:
    from types import FrameType

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
#: Then it is said while it still lasts: it might never end.
TELL_SECONDS = 10.0

_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_OWN_FILE = str(Path(__file__).with_name("thread_use.py"))


class RunningStep(Protocol):
    """A step of a loop that is under way."""

    @property
    def loop(self) -> str:
        """Whose it is."""

    def seconds(self) -> float:
        """Return how long it takes so far."""


class UsedThread(Protocol):
    """What the loops of one thread are at."""

    places: dict[str, str]

    @property
    def step(self) -> RunningStep | None:
        """The step that is under way, if it is one of a loop."""


class BlockedThread:
    """Looks at the thread in which it is made.

    :param use: what the loops of that thread are at.
    """

    def __init__(self, use: UsedThread) -> None:
        self._use = ref(use)
        self._thread = threading.get_ident()
        self._told: object = None

    def start(self) -> None:
        """Look again and again until the thread's event loop is gone."""
        threading.Thread(target=self._run, name="maxy-blocked-thread", daemon=True).start()

    def look(self) -> None:
        """Look at the step that is under way, and note where it is if it is a long one."""
        use = self._use()
        step = use.step if use is not None else None
        frame = sys._current_frames().get(self._thread)
        if use is None or step is None or frame is None:
            return
        seconds = step.seconds()
        # Only if it is the same step still: then the frame was of that step.
        if seconds < _LOOK_SECONDS or use.step is not step:
            return
        place = place_of(frame)
        use.places[step.loop] = place
        if seconds >= TELL_SECONDS and self._told is not step:
            self._told = step
            _log.error(
                "%s has blocked the thread of all loops for %.0f s, and still does: %s", step.loop, seconds, place
            )

    def _run(self) -> None:
        # An event that is never set: a wait that a clock of the tests need not know.
        pause = threading.Event()
        while self._use() is not None:
            self.look()
            pause.wait(_LOOK_SECONDS)


def place_of(frame: FrameType) -> str:
    """Return where the code of a loop is, such as ``figures in /…/sales.py, line 41``.

    :param frame: the innermost one; those of Python's and other libraries are passed over.
    """
    found: FrameType | None = frame
    while found is not None and found.f_code.co_filename != _OWN_FILE:
        file = found.f_code.co_filename
        if not file.startswith((*_LIBRARIES, "<")):
            return _words(found)
        found = found.f_back
    return _words(frame)


def _words(frame: FrameType) -> str:
    return f"{frame.f_code.co_name} in {frame.f_code.co_filename}, line {frame.f_lineno}"
