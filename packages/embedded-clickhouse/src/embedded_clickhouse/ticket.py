"""A running statement as others see it: its id, settings and state, how far it is, how it is cancelled."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUERY_WAS_CANCELLED = 394
# More than a statement is described for.
_DESCRIBING_SECONDS = 10.0
# Within it the engine has entered a statement that it was given, however long that then takes.
_BEGINNING_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a running statement is, as the engine counts it."""

    read_rows: int
    read_bytes: int
    total_rows_to_read: int
    written_rows: int
    written_bytes: int
    elapsed_seconds: float


@dataclass
class Stats:
    """What a statement has done so far; final once it has ended.

    ``read_*`` is what came from storage, ``result_*`` what went to the client, ``written_*`` what was stored.
    """

    read_rows: int = 0
    read_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_seconds: float = 0.0


class Ticket:
    """One statement from before its start to its end: how others find it, and what it runs with."""

    def __init__(
        self,
        query_id: str,
        sql: bytes | str,
        settings: Mapping[str, str] | None,
        database: str | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.query_id = query_id
        self.sql = sql.decode(errors="replace") if isinstance(sql, bytes) else sql
        self.settings = {"log_comment": query_id, "log_queries": "1", **(settings or {})}
        self.database = database
        self.on_progress = on_progress
        self.started = time.monotonic()
        self.cancelled = threading.Event()
        self.ended = threading.Event()
        # An insert that the engine knows of, and whose data has not come yet.
        self.waits_for_data = False
        # While a result is described and begun, the engine does not know it by its id yet.
        self._is_described = threading.Event()
        self._is_begun = threading.Event()
        self._described_at = float("-inf")
        for event in (self._is_described, self._is_begun):
            event.set()

    @property
    def is_known_by_comment(self) -> bool:
        """Whether the engine knows it by its id, as the log comment. A statement may set a comment of its own."""
        return self.settings["log_comment"] == self.query_id and "log_comment" not in self.sql

    def describing(self) -> None:
        """Note that it is being described, and will begin afterwards."""
        self._is_begun.clear()
        self._is_described.clear()

    def described(self) -> None:
        """Note that it begins now."""
        self._described_at = time.monotonic()
        self._is_described.set()

    def begun(self) -> None:
        """Note that it has begun, or has ended before."""
        self._is_described.set()
        self._is_begun.set()

    def wait_until_known(self) -> None:
        """Wait until the engine knows it by its id; a moment after it was described, that is so in any case."""
        self._is_described.wait(_DESCRIBING_SECONDS)
        self._is_begun.wait(max(0.0, self._described_at + _BEGINNING_SECONDS - time.monotonic()))

    def check(self) -> None:
        """Raise when somebody cancelled it."""
        if self.cancelled.is_set():
            raise EngineError(QUERY_WAS_CANCELLED, "QUERY_WAS_CANCELLED", "Query was cancelled.")
