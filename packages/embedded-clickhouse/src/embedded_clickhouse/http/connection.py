"""Bounds of one HTTP connection: how long it may be idle, how long its client may not read, how many there are."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import h11

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.protocol import HttpProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from embedded_clickhouse.http.exchange import Receive, Send
    from embedded_clickhouse.http.protocol import Application, Connections
    from embedded_clickhouse.limits import Limits

# What a client that is refused is given to send its request and to read why.
_REFUSAL_SECONDS = 5.0


class _State(Enum):
    """What a connection waits for."""

    IDLE = auto()
    """A request."""
    HEAD = auto()
    """The rest of a request's head."""
    BUSY = auto()
    """The reply. The request's body is watched by who reads it."""
    LEFTOVER = auto()
    """The rest of a body that nobody wants: its reply has been given."""
    CLOSING = auto()
    """The client, to read the end of the last reply."""


class BoundedProtocol(HttpProtocol):
    """A connection with bounds.

    :param application: answers the requests.
    :param limits: the bounds.
    :param connections: those of the listener.
    :param loop: the event loop.
    """

    def __init__(
        self,
        application: Application,
        limits: Limits,
        connections: Connections,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(application, connections, loop)
        self._limits = limits
        self._state: _State | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._reader_check: asyncio.TimerHandle | None = None
        self.is_refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        others = [cast("BoundedProtocol", other).is_refused for other in self.connections.open if other is not self]
        if others.count(False) >= self._limits.max_connections:
            self.is_refused = True
            self.application = _refusal(self._limits.max_connections)
        if others.count(True) > self._limits.max_connections:
            # As many again may wait to be told why. More are cut off.
            self.transport.abort()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._reader_check):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def end_reply(self) -> None:
        super().end_reply()
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reader_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader_check is not None:
            self._reader_check.cancel()
            self._reader_check = None

    def refuse(self) -> None:
        super().refuse()
        self._look()

    def _look(self) -> None:
        """Set the time at which the connection is given up, when what it waits for has changed."""
        state = self._current_state()
        if state is self._state:
            # Drop by drop is no progress: a head has one deadline.
            return
        self._state = state
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if state is _State.BUSY:
            return
        seconds = self._limits.idle_seconds if state is _State.IDLE else self._limits.stalled_seconds
        if self.is_refused:
            seconds = min(seconds, _REFUSAL_SECONDS)
        self._expire_in(seconds)

    def _current_state(self) -> _State:
        if self.transport.is_closing():
            return _State.CLOSING
        if self.is_answering:
            return _State.BUSY
        if self.http.their_state is not h11.IDLE:
            return _State.LEFTOVER
        return _State.HEAD if self.http.trailing_data[0] else _State.IDLE

    def _expire_in(self, seconds: float) -> None:
        unread = self.transport.get_write_buffer_size()
        self._deadline = self.loop.call_later(seconds, self._expire, unread)

    def _expire(self, unread: int) -> None:
        if 0 < self.transport.get_write_buffer_size() < unread:
            # Slow, but it still reads the last reply.
            self._expire_in(self._limits.stalled_seconds)
        else:
            # Not closed in good order: that would wait for a client that does not read.
            self.transport.abort()

    def _check_reader_later(self) -> None:
        unread = self.transport.get_write_buffer_size()
        self._reader_check = self.loop.call_later(self._limits.stalled_seconds, self._check_reader, unread)

    def _check_reader(self, unread: int) -> None:
        if self.transport.get_write_buffer_size() < unread:
            self._check_reader_later()
        else:
            self.transport.abort()


def _refusal(max_connections: int) -> Application:
    """The application of a connection that is one too many."""
    error = EngineError(
        202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many connections: {max_connections} are open, which is the limit."
    )
    body = f"{error}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=UTF-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-clickhouse-exception-code", str(error.code).encode()),
        (b"connection", b"close"),
    ]

    async def refuse(_scope: Mapping[str, Any], _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return refuse
