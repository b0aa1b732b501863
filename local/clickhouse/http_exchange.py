"""One request and its reply, for code that runs in a thread while the sockets belong to the event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_T = TypeVar("_T")

# Larger pieces go out in parts of this size, so that a slow client holds little memory.
_WRITE_BYTES = 1024 * 1024


class ClientGone(Exception):
    """The client closed the connection before the request or the reply was complete."""


class Exchange:
    """Blocking reads and writes of one ASGI request, used by one thread.

    :param receive: the request's events.
    :param send: takes the reply's events.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._body_ended = False
        self._watch: asyncio.Task[None] | None = None
        self._closed = False
        self._waiting: concurrent.futures.Future[Any] | None = None
        self.started = False
        self.finished = False

    def read(self) -> bytes:
        """The next piece of the request's body; empty at its end.

        :raises ClientGone: the body is not complete and never will be.
        """
        while not self._body_ended:
            event = self._run(self._receive())
            if event["type"] == "http.disconnect":
                raise ClientGone
            self._body_ended = not event.get("more_body", False)
            if body := event.get("body"):
                return bytes(body)
        return b""

    def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the status and the headers."""
        self.started = True
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
        self._run(self._send({"type": "http.response.start", "status": status, "headers": encoded}))

    def write(self, data: bytes) -> None:
        """Send a piece of the reply's body."""
        view = memoryview(data)
        for offset in range(0, len(view), _WRITE_BYTES):
            piece = bytes(view[offset : offset + _WRITE_BYTES])
            self._run(self._send({"type": "http.response.body", "body": piece, "more_body": True}))

    def finish(self) -> None:
        """End the reply."""
        self.finished = True
        self._run(self._send({"type": "http.response.body", "body": b"", "more_body": False}))

    def when_gone(self, action: Callable[[], object]) -> None:
        """Call ``action`` in a thread when the client leaves before the reply is complete.

        Only after the body was read: until then a read tells.
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

    def _start_watch(self, action: Callable[[], object]) -> None:
        if self._watch is None and not self.finished:
            self._watch = self._loop.create_task(self._call_when_gone(action))

    async def _call_when_gone(self, action: Callable[[], object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            await asyncio.to_thread(action)

    def _run(self, awaitable: Awaitable[_T]) -> _T:
        async def wait() -> _T:
            return await awaitable

        coroutine: Coroutine[Any, Any, _T] = wait()
        self._waiting = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        if self._closed:
            self._waiting.cancel()
        try:
            return cast("_T", self._waiting.result())
        except concurrent.futures.CancelledError as error:
            raise ClientGone from error
