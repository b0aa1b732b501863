"""Sessions over HTTP: a connection to the engine that outlives one request."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedded_clickhouse.engine import Engine, EngineSession

DEFAULT_TIMEOUT_SECONDS = 60.0
MAX_TIMEOUT_SECONDS = 3600.0


@dataclass
class _Entry:
    session: EngineSession
    timeout: float
    locked: bool
    has_tables: bool = False
    expires: float = 0.0


class SessionStore:
    """The open sessions by their id. Every method may be called from any thread.

    :param engine: where new sessions come from.
    :param clock: seconds that only grow.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._closing = False

    def acquire(self, session_id: str, *, timeout: float, must_exist: bool) -> EngineSession:
        """Take a session for one request; new when there is none with this id.

        :param timeout: seconds it lives on after the request.
        :raises EngineError: 373 when another request has it, 372 when it must exist and does not.
        """
        self.close_expired()
        with self._lock:
            entry = self._entries.get(session_id)
            if entry is not None:
                if entry.locked:
                    raise EngineError(
                        373, "SESSION_IS_LOCKED", f"Session {session_id} is locked by a concurrent client"
                    )
                entry.locked, entry.timeout = True, timeout
                return entry.session
            if must_exist:
                raise EngineError(372, "SESSION_NOT_FOUND", f"Session {session_id} not found")
            session = self._engine.session(keep=True)
            self._entries[session_id] = _Entry(session, timeout, locked=True)
            return session

    def release(self, session_id: str, *, close: bool = False) -> None:
        """Give a session back after a request; with ``close`` it ends at once."""
        with self._lock:
            entry = self._entries[session_id]
            entry.locked = False
            entry.expires = self._clock() + entry.timeout
            close = close or self._closing
            if close:
                del self._entries[session_id]
        if close:
            entry.session.close()

    def has_tables(self, session_id: str) -> bool:
        """Whether the session may have temporary tables. Asked by who has acquired it."""
        with self._lock:
            return self._entries[session_id].has_tables

    def note_tables(self, session_id: str) -> None:
        """Remember that the session may have temporary tables from now on. Called by who has acquired it."""
        with self._lock:
            self._entries[session_id].has_tables = True

    def close_expired(self) -> None:
        """End the sessions that were not used for their timeout."""
        self._close_where(lambda entry: not entry.locked and entry.expires <= self._clock())

    def close_all(self) -> None:
        """End every session: those that a request has now, when it gives them back."""
        with self._lock:
            self._closing = True
        self._close_where(lambda entry: not entry.locked)

    def _close_where(self, condition: Callable[[_Entry], bool]) -> None:
        with self._lock:
            chosen = [session_id for session_id, entry in self._entries.items() if condition(entry)]
            entries = [self._entries.pop(session_id) for session_id in chosen]
        for entry in entries:
            entry.session.close()
