"""HTTP/1.1 on one connection, by h11, in front of an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import h11

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from embedded_clickhouse.http.exchange import Event, Receive, Send

    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

_log = logging.getLogger(__name__)

# The largest head of a request, which holds the URL and so parameters and settings.
_MAX_HEAD_BYTES = 1024 * 1024
# More of a body than that waits in the socket until somebody reads.
_BODY_BYTES = 64 * 1024
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_CLOSE = (b"connection", b"close")


class Connections:
    """The open connections of a listener, and the calls that are being answered. Used on its event loop alone."""

    def __init__(self) -> None:
        self.open: set[HttpProtocol] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    def add(self, connection: HttpProtocol) -> None:
        """Note a connection that was made."""
        self.open.add(connection)

    def remove(self, connection: HttpProtocol) -> None:
        """Note one that is closed."""
        self.open.discard(connection)
        self._changed.set()

    def begin(self, task: asyncio.Task[None]) -> None:
        """Note the task of a call until it ends."""
        self.tasks.add(task)
        task.add_done_callback(self._end)

    async def close(self, seconds: float) -> None:
        """Let the calls end for at most so many seconds, then cancel them and cut their connections."""
        for connection in list(self.open):
            connection.close_after_reply()
        try:
            async with asyncio.timeout(seconds):
                while self.open or self.tasks:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.warning("%d requests are given up", len(self.tasks))
            tasks = list(self.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for connection in list(self.open):
                connection.transport.abort()

    def _end(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._changed.set()


class Call:
    """A request and its reply, as the events of ASGI.

    :param connection: where it came from.
    :param scope: its head.
    """

    def __init__(self, connection: HttpProtocol, scope: dict[str, Any]) -> None:
        self._connection = connection
        self._scope = scope
        self._body = bytearray()
        self._body_ended = False
        self._changed = asyncio.Event()
        self._head: h11.Response | None = None
        self._head_is_sent = False
        self._disconnected = False
        self.is_complete = False
        """Whether its reply has been given."""

    async def run(self, application: Application) -> None:
        """Have the application answer it."""
        try:
            await application(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            # The server ends, and this client neither sends nor reads.
            self._connection.transport.abort()
            raise
        except Exception:
            _log.exception("A request failed")
        await self._end()

    def feed(self, data: bytes) -> bool:
        """Take a piece of the body; tells whether that is enough for now."""
        self._body += data
        self._changed.set()
        return len(self._body) > _BODY_BYTES

    def end_body(self) -> None:
        """Note that the body is complete."""
        self._body_ended = True
        self._changed.set()

    def disconnect(self) -> None:
        """Note that the client is gone, or that the rest of what it sends is no HTTP."""
        if not self.is_complete:
            self._disconnected = True
            self._changed.set()

    async def receive(self) -> Event:
        """The next piece of the body; after its end, that the client has left or the reply is complete."""
        self._connection.ask_for_body()
        if not (self._disconnected or self.is_complete):
            await self._changed.wait()
            self._changed.clear()
        if self._disconnected or self.is_complete:
            return {"type": "http.disconnect"}
        body, self._body = bytes(self._body), bytearray()
        return {"type": "http.request", "body": body, "more_body": not self._body_ended}

    async def send(self, event: Event) -> None:
        """Take the head of the reply, or send the next piece of it once the client has read enough of what is before.

        The head goes out with the first piece.
        """
        await self._connection.writable.wait()
        if self._disconnected:
            return
        if self._head is None:
            status, headers = event["status"], list(event.get("headers", []))
            self._head = h11.Response(status_code=status, headers=headers, reason=_PHRASES.get(status, b""))
            return
        body = b"" if self._scope["method"] == "HEAD" else event.get("body", b"")
        more = event.get("more_body", False)
        head = [] if self._head_is_sent else [self._head]
        self._connection.send(*head, h11.Data(data=body), *([] if more else [h11.EndOfMessage()]))
        self._head_is_sent = True
        if not more:
            self.is_complete = True
            self._changed.set()
            self._connection.end_reply()

    async def _end(self) -> None:
        """See to it that the client is not left without a reply, nor with half of one that looks whole."""
        if self.is_complete or self._disconnected:
            return
        if self._head is not None:
            self._connection.transport.close()
        else:
            head = {"status": 500, "headers": [(b"content-type", b"text/plain; charset=UTF-8"), _CLOSE]}
            await self.send(head)
            await self.send({"body": b"The server failed.\n"})


class HttpProtocol(asyncio.Protocol):
    """One connection. A request that comes before the reply to another one is complete waits for its turn.

    :param application: answers the requests.
    :param connections: those of the listener; this one enters itself.
    :param loop: the event loop.
    """

    def __init__(self, application: Application, connections: Connections, loop: asyncio.AbstractEventLoop) -> None:
        self.application = application
        self.connections = connections
        self.loop = loop
        self.transport: asyncio.Transport
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
        self.call: Call | None = None
        self.writable = asyncio.Event()
        self.writable.set()
        self._ends = False

    @property
    def is_answering(self) -> bool:
        """Whether there is a request whose reply is not complete."""
        return self.call is not None and not self.call.is_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Also uvloop's, which derives from no class of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.remove(self)
        if self.call is not None:
            self.call.disconnect()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.http.receive_data(data)
        self._read_events()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def send(self, *events: h11.Event) -> None:
        """Write parts of a reply, in one piece."""
        data = b"".join(self.http.send(event) or b"" for event in events)
        if data:
            self.transport.write(data)

    def ask_for_body(self) -> None:
        """Read on, and tell a client that waits for that word to send its body."""
        if self.transport.is_closing():
            return
        if self.http.they_are_waiting_for_100_continue and self.http.our_state is h11.SEND_RESPONSE:
            self.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
        self.transport.resume_reading()

    def end_reply(self) -> None:
        """Go on to the next request, or close the connection, after a reply."""
        if self._ends or self.http.our_state is h11.MUST_CLOSE:
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.resume_reading()
            if self.http.our_state is h11.DONE and self.http.their_state is h11.DONE:
                self.http.start_next_cycle()
                self._read_events()

    def close_after_reply(self) -> None:
        """Close the connection, after the reply that is being made if there is one."""
        self._ends = True
        if not self.is_answering:
            self.transport.close()

    def refuse(self) -> None:
        """Say that what came is no HTTP, where that is still possible, and end the connection."""
        if self.http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            headers = [(b"content-type", b"text/plain; charset=UTF-8"), _CLOSE]
            head = h11.Response(status_code=400, headers=headers, reason=_PHRASES[400])
            self.send(head, h11.Data(data=b"This is no valid HTTP request.\n"), h11.EndOfMessage())
            self.transport.close()
        else:
            self.transport.abort()
        if self.call is not None:
            # Otherwise the thread that reads the body would answer as well.
            self.call.disconnect()

    def _read_events(self) -> None:
        # What follows a request that closes the connection is nobody's.
        while self.http.their_state is not h11.MUST_CLOSE:
            try:
                event = self.http.next_event()
            except h11.RemoteProtocolError as error:
                _log.warning("A client sent no valid HTTP: %s", error)
                self.refuse()
                return
            if event is h11.NEED_DATA:
                return
            if event is h11.PAUSED:
                self.transport.pause_reading()
                return
            self._take(event)

    def _take(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            self._begin(event)
        elif self.call is None:
            raise RuntimeError(f"{event!r} came before a request")
        elif isinstance(event, h11.Data):
            # A body that is still to come when the reply is complete is read and thrown away.
            if not self.call.is_complete and self.call.feed(bytes(event.data)):
                self.transport.pause_reading()
        elif isinstance(event, h11.EndOfMessage):
            if self.call.is_complete:
                self.transport.resume_reading()
                self.http.start_next_cycle()
            else:
                self.call.end_body()

    def _begin(self, request: h11.Request) -> None:
        path, _, query = request.target.partition(b"?")
        scope = {
            "type": "http",
            "method": request.method.decode("ascii"),
            "path": unquote(path.decode("ascii")),
            "query_string": query,
            "headers": list(request.headers),
        }
        self.call = Call(self, scope)
        self.connections.begin(self.loop.create_task(self.call.run(self.application)))
