"""One request and its reply, for code that runs in a thread while the sockets belong to the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from embedded_clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping

    Event = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]

_T = TypeVar("_T")

# Larger pieces go out in parts of this size, so that a slow client holds little memory.
_WRITE_BYTES = 1024 * 1024
# Smaller ones wait for each other, as on a server: a short reply goes out in one piece.
_GATHERED_BYTES = 64 * 1024
# Between two attempts to end what a client that left has started.
_RETRY_SECONDS = 0.1


class ClientGone(Exception):
    """The client closed the connection before the request or the reply was complete."""


class Exchange:
    """Blocking reads and writes of one ASGI request, used by one thread.

    Whether the client still reads is watched by its connection, which breaks when it does not.

    :param receive: the request's events.
    :param send: takes the reply's events.
    :param stalled_seconds: how long the client may send nothing in the middle of its body.
    """

    def __init__(self, receive: Receive, send: Send, *, stalled_seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._stalled_seconds = stalled_seconds
        self._body_ended = False
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._gone = threading.Event()
        self._waiting: concurrent.futures.Future[Any] | None = None
        self._first: Event | TimeoutError | None = None
        self._head: Event | None = None
        self._gathered = bytearray()
        self.started = False
        self.finished = False

    @property
    def gone(self) -> bool:
        """Whether the client is known to have left."""
        return self._gone.is_set()

    async def prefetch(self) -> None:
        """Wait for the beginning of the body. Called on the event loop, before a thread is taken for the request."""
        try:
            self._first = await self._next_event()
        except TimeoutError as error:
            self._first = error

    def read(self) -> bytes:
        """The next piece of the request's body; empty at its end.

        :raises ClientGone: the body is not complete and never will be.
        :raises EngineError: 209 (SOCKET_TIMEOUT) when the client is there but sends nothing.
        """
        while not self._body_ended:
            try:
                event = self._take_event()
            except TimeoutError as error:
                message = f"The client sent nothing for {self._stalled_seconds:g} s in the middle of its request."
                raise EngineError(209, "SOCKET_TIMEOUT", message) from error
            if event["type"] == "http.disconnect":
                self._gone.set()
                raise ClientGone
            self._body_ended = not event.get("more_body", False)
            if body := event.get("body"):
                return bytes(body)
        return b""

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Begin the reply. Status and headers go out with its first piece."""
        self.started = True
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        self._head = {"type": "http.response.start", "status": status, "headers": encoded}

    def write(self, data: bytes) -> None:
        """Send a piece of the reply's body; a small one goes out with those that follow.

        :raises ClientGone: nobody is there to read it.
        """
        if len(self._gathered) + len(data) < _GATHERED_BYTES:
            self._check_gone()
            self._gathered += data
            return
        if self._gathered:
            self._emit(self._take_gathered())
        view = memoryview(data)
        for offset in range(0, len(view), _WRITE_BYTES):
            self._emit(bytes(view[offset : offset + _WRITE_BYTES]))

    def take_back(self) -> bool:
        """Forget a reply of which nothing has been sent yet; tells whether that was so."""
        if self._head is None:
            return False
        self._head = None
        self._take_gathered()
        self.started = False
        return True

    def finish(self) -> None:
        """End the reply; its last piece goes out when the thread is done (:meth:`send_rest`)."""
        self.finished = True

    async def send_rest(self) -> None:
        """Send what is left of a reply that has ended. Called on the event loop, which needs no other thread for it."""
        if self.finished:
            await self._send_all(self._events(self._take_gathered(), more=False))

    def when_gone(self, action: Callable[[], bool]) -> None:
        """Notice when the client leaves before the reply is complete, and call ``action`` then.

        Only after the body was read: until then a read tells.

        :param action: called in a thread, again and again until it says that it did something.
        """
        self._loop.call_soon_threadsafe(self._start_watch, action)

    async def aclose(self) -> None:
        """Stop watching the client, and let a thread that still waits for it go. Called on the event loop."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    def _start_watch(self, action: Callable[[], bool]) -> None:
        if self._watch is None and not self.finished:
            self._watch = self._loop.create_task(self._call_when_gone(action))

    async def _call_when_gone(self, action: Callable[[], bool]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.finished:
            return
        self._gone.set()
        await asyncio.to_thread(self._insist, action)

    def _insist(self, action: Callable[[], bool]) -> None:
        # The statement may be just about to start, and be found a moment later only.
        while not (self.finished or self._closed) and not action():
            time.sleep(_RETRY_SECONDS)

    def _take_event(self) -> Event:
        first, self._first = self._first, None
        if isinstance(first, TimeoutError):
            raise first
        return self._run(self._next_event()) if first is None else first

    async def _next_event(self) -> Event:
        async with asyncio.timeout(self._stalled_seconds):
            return await self._receive()

    def _take_gathered(self) -> bytes:
        gathered, self._gathered = bytes(self._gathered), bytearray()
        return gathered

    def _check_gone(self) -> None:
        if self._gone.is_set():
            raise ClientGone

    def _emit(self, body: bytes) -> None:
        self._check_gone()
        self._run(self._send_all(self._events(body, more=True)))

    def _events(self, body: bytes, *, more: bool) -> list[Event]:
        event = {"type": "http.response.body", "body": body, "more_body": more}
        head, self._head = self._head, None
        return [event] if head is None else [head, event]

    async def _send_all(self, events: list[Event]) -> None:
        for event in events:
            await self._send(event)

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        self._waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if self._closed:
            self._waiting.cancel()
        try:
            return cast("_T", self._waiting.result())
        except concurrent.futures.CancelledError as error:
            raise ClientGone from error
