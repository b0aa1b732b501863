"""X-ClickHouse-Progress: how far a statement was before its reply began."""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedded_clickhouse.ticket import Progress, Stats

DEFAULT_INTERVAL_SECONDS = 0.1
# Clients refuse a reply with more than about a hundred headers. The newest are kept.
_MAX_HEADERS = 50


class ProgressHeaders:
    """Collects the progress of one statement.

    A server sends each header when it is known, and so its status before the statement's end. Here the head of a reply
    goes out once, with the status the statement deserves: what is known by then.

    :param interval_seconds: the shortest time between two headers.
    :param clock: seconds that only grow.
    """

    def __init__(
        self, interval_seconds: float = DEFAULT_INTERVAL_SECONDS, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._next = 0.0
        self._values: deque[str] = deque(maxlen=_MAX_HEADERS)

    def add(self, progress: Progress) -> None:
        """Note a progress, unless the last is too new. Called from a thread of the engine."""
        if (now := self._clock()) >= self._next:
            self._next = now + self._interval_seconds
            self._values.append(
                _encode(
                    read_rows=progress.read_rows,
                    read_bytes=progress.read_bytes,
                    written_rows=progress.written_rows,
                    written_bytes=progress.written_bytes,
                    total_rows_to_read=progress.total_rows_to_read,
                    elapsed_ns=int(progress.elapsed_seconds * 1e9),
                )
            )

    def headers(self, stats: Stats) -> list[tuple[str, str]]:
        """All of them, and where the statement is now."""
        now = _encode(
            read_rows=stats.read_rows,
            read_bytes=stats.read_bytes,
            written_rows=stats.written_rows,
            written_bytes=stats.written_bytes,
            total_rows_to_read=stats.read_rows,
            elapsed_ns=int(stats.elapsed_seconds * 1e9),
        )
        return [("X-ClickHouse-Progress", value) for value in [*self._values, now]]


def _encode(**values: int) -> str:
    return json.dumps({name: str(value) for name, value in values.items()}, separators=(",", ":"))
