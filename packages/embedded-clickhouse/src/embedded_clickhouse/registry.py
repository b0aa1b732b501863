"""The statements that run: by their ids, so that they are found, listed and killed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.quoting import quote_string

if TYPE_CHECKING:
    from collections.abc import Callable

    from embedded_clickhouse.ticket import Ticket

# How long a kill looks for a statement that is registered but not yet known to the engine.
_KILL_SECONDS = 2.0


@dataclass(frozen=True)
class RunningStatement:
    """A row of :meth:`StatementRegistry.running`."""

    query_id: str
    sql: str
    elapsed_seconds: float


class StatementRegistry:
    """The running statements of an engine. Every method may be called from any thread.

    :param ask: runs a statement of the server itself, and returns its result as TSV text.
    """

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._tickets: dict[str, Ticket] = {}

    def register(self, ticket: Ticket) -> None:
        """Enter a statement that begins.

        :raises EngineError: 216 when one with its id is running.
        """
        with self._lock:
            if ticket.query_id in self._tickets:
                message = f"Query with id = {ticket.query_id} is already running."
                raise EngineError(216, "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING", message)
            self._tickets[ticket.query_id] = ticket

    def unregister(self, ticket: Ticket) -> None:
        """Remove a statement that ended."""
        with self._lock:
            if self._tickets.get(ticket.query_id) is ticket:
                del self._tickets[ticket.query_id]
            ticket.ended.set()
            self._changed.notify_all()

    def wait_until_none(self, timeout: float) -> list[str]:
        """Wait for the end of all statements, for at most ``timeout`` seconds.

        :returns: the ids of those that are left.
        """
        with self._lock:
            self._changed.wait_for(lambda: not self._tickets, timeout)
            return list(self._tickets)

    def kill(self, query_id: str) -> bool:
        """Cancel the statement with this id.

        :returns: whether there was one.
        """
        with self._lock:
            ticket = self._tickets.get(query_id)
        if ticket is None:
            return False
        ticket.cancelled.set()
        deadline = time.monotonic() + _KILL_SECONDS
        while not ticket.ended.is_set() and not self._kill_in_engine(ticket) and time.monotonic() < deadline:
            ticket.ended.wait(0.02)
        return True

    def wait_for_beginnings(self, kill: Ticket) -> None:
        """Wait until the engine knows all statements by their ids: one that it does not know yet, it cannot kill.

        :param kill: the statement that waits.
        """
        with self._lock:
            tickets = [ticket for ticket in self._tickets.values() if ticket is not kill]
        for ticket in tickets:
            ticket.wait_until_known()

    def pass_on_kills(self) -> None:
        """Cancel the inserts that were killed while their data was still to come: the engine does not tell them."""
        with self._lock:
            waiting = [ticket for ticket in self._tickets.values() if ticket.waits_for_data]
        if not any(ticket.is_known_by_comment for ticket in waiting):
            return
        # A killed one is marked for a moment, and then gone.
        running = self._ask("SELECT hex(Settings['log_comment']) FROM system.processes WHERE NOT is_cancelled")
        alive = set(running.split())
        for ticket in waiting:
            is_alive = ticket.query_id.encode().hex().upper() in alive
            # Looked at again: meanwhile it may have gone on to store its data.
            if ticket.is_known_by_comment and not is_alive and ticket.waits_for_data:
                ticket.cancelled.set()

    def running(self) -> list[RunningStatement]:
        """The statements that run now, oldest first."""
        now = time.monotonic()
        with self._lock:
            tickets = list(self._tickets.values())
        return [RunningStatement(ticket.query_id, ticket.sql, now - ticket.started) for ticket in tickets]

    def _kill_in_engine(self, ticket: Ticket) -> bool:
        # The engine gives every statement an id of its own. Ours travels as its log comment. Only a statement that sets
        # that comment itself is found by its text: others may run the same text at the same time.
        conditions = [f"Settings['log_comment'] = {quote_string(ticket.query_id)}"]
        if not ticket.is_known_by_comment:
            conditions.append(f"startsWith(query, {quote_string(ticket.sql)})")
        return any(self._ask(f"KILL QUERY WHERE {condition} ASYNC") for condition in conditions)
