"""What one client may take, so that none can take everything: sizes, times, and how many statements run at once."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What helps when all turns are taken must not wait for one. A server makes the same exceptions.
_UNLIMITED = re.compile(
    rb"\s*(KILL\b|SHOW\s+(FULL\s+)?PROCESSLIST\b|SELECT\b.*\bFROM\s+system\s*\.\s*processes\b)",
    re.IGNORECASE | re.DOTALL,
)
# How often a statement that waits looks whether it is still wanted.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Limits:
    """Bounds of a server, the same for both protocols.

    :param max_concurrent_statements: statements that the engine runs at once; more wait for their turn.
    :param queue_seconds: how long a statement waits for its turn before it is refused (code 202).
    :param max_connections: clients connected at once over each protocol; more are refused.
    :param max_request_bytes: the body of one request or insert, after decompression (code 307).
    :param idle_seconds: how long a connection may be open without a request.
    :param stalled_seconds: how long a client may send nothing amid a request, or read nothing of its answer.
    """

    max_concurrent_statements: int = 100
    queue_seconds: float = 60.0
    max_connections: int = 256
    max_request_bytes: int = 16 * 1024**3
    idle_seconds: float = 3600.0
    stalled_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name} must be above 0, not {getattr(self, field.name)}")


class StatementGate:
    """Lets so many statements run at once, the others in the order in which they came.

    An insert passes it when its data is complete, so a client that stalls amid its data takes nobody's turn.

    :param limits: how many, and how long the others wait.
    :param clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._changed = threading.Condition()
        self._running = 0
        self._queue: list[object] = []

    @property
    def running(self) -> int:
        """How many run now."""
        return self._running

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    @contextlib.contextmanager
    def turn(self, is_cancelled: Callable[[], bool] = lambda: False, *, sql: bytes = b"") -> Iterator[None]:
        """Wait for a turn, and hold it until the end of the block.

        :param is_cancelled: asked now and then while it waits.
        :param sql: the statement; the one that ends others, or lists them, needs no turn.
        :raises EngineError: 202 (TOO_MANY_SIMULTANEOUS_QUERIES) when the turn did not come in time, 394
            (QUERY_WAS_CANCELLED) when nobody wants it any more.
        """
        if _UNLIMITED.match(sql):
            yield
            return
        self._enter(is_cancelled)
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _enter(self, is_cancelled: Callable[[], bool]) -> None:
        mine = object()
        deadline = self._clock() + self._limits.queue_seconds
        with self._changed:
            self._queue.append(mine)
            try:
                while self._queue[0] is not mine or self._running >= self._limits.max_concurrent_statements:
                    if is_cancelled():
                        raise EngineError(394, "QUERY_WAS_CANCELLED", "Query was cancelled while it was waiting.")
                    left = deadline - self._clock()
                    if left <= 0:
                        raise EngineError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", self._refusal())
                    self._changed.wait(min(left, _LOOK_SECONDS))
                self._running += 1
            finally:
                self._queue.remove(mine)
                self._changed.notify_all()

    def _refusal(self) -> str:
        limits = self._limits
        return (
            f"Too many simultaneous queries: {limits.max_concurrent_statements} run, "
            f"and none ended within {limits.queue_seconds:g} s."
        )
