"""ClickHouse's HTTP interface: an ASGI application, and the server that runs it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.connection import BoundedProtocol
from embedded_clickhouse.http.exchange import Exchange
from embedded_clickhouse.http.protocol import Connections
from embedded_clickhouse.http.query import QueryHandler, Service
from embedded_clickhouse.http.reply import error_text, status_of
from embedded_clickhouse.http.request import Request
from embedded_clickhouse.http.sessions import SessionStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from embedded_clickhouse.config import Credentials
    from embedded_clickhouse.engine import Engine
    from embedded_clickhouse.http.exchange import Receive, Send
    from embedded_clickhouse.limits import Limits, StatementGate

_SWEEP_SECONDS = 5.0
# What a cancelled request is given to end with its error.
_GIVE_UP_SECONDS = 2
# Connections that may wait until they are accepted.
_BACKLOG = 1024
# What the event loop is given to begin.
_START_SECONDS = 10.0
_ALLOW = (b"allow", b"GET, HEAD, POST, OPTIONS")
_OK_PATHS = frozenset({"/ping", "/replicas_status"})


class Application:
    """The ASGI application.

    :param service: the engine, the account and the sessions behind it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        # One for each client, and for each statement that goes on a little when its client has left: however many
        # clients stall, nobody waits for a thread. They are started when they are needed.
        count = service.limits.max_connections + service.limits.max_concurrent_statements
        self._threads = ThreadPoolExecutor(max_workers=count, thread_name_prefix="http")

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        method, path = scope["method"], scope["path"]
        is_query = method == "POST" or b"query=" in scope["query_string"]
        if method == "OPTIONS":
            # Without Access-Control-Allow-Origin: pages of other sites have no business here.
            await _reply(send, 204, b"", headers=[_ALLOW])
        elif method not in {"GET", "POST", "HEAD"}:
            await _reply(send, 405, f"Method {method} is not supported.\n".encode(), headers=[_ALLOW])
        elif path in _OK_PATHS or (path == "/" and not is_query):
            await _reply(send, 200, b"Ok.\n")
        elif path not in {"/", "/query"}:
            await _reply(send, 404, f"There is no handler for {path}\n".encode())
        else:
            await self._query(scope, receive, send)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Close expired sessions from time to time; without it, nothing is answered any more."""

        async def sweep() -> None:
            while True:
                await asyncio.sleep(_SWEEP_SECONDS)
                await asyncio.to_thread(self._service.sessions.close_expired)

        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            # Not waited for: the engine cancels what still runs, and ends after the last of it.
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _query(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        try:
            request = Request.parse(scope)
        except EngineError as error:
            code = (b"x-clickhouse-exception-code", str(error.code).encode())
            text = error_text(error, self._service.engine.version)
            await _reply(send, status_of(error), text, headers=[code])
            return
        exchange = Exchange(receive, send, stalled_seconds=self._service.limits.stalled_seconds)
        await exchange.prefetch()
        handler = QueryHandler(self._service, exchange, request)
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, handler.run)
            await exchange.send_rest()
        finally:
            await exchange.aclose()


async def _reply(send: Send, status: int, body: bytes, *, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    own = [(b"content-type", b"text/html; charset=UTF-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *(own if body else [])]})
    await send({"type": "http.response.body", "body": body})


class HttpServer:
    """The HTTP listener, in a thread of its own.

    :param engine: the engine behind it.
    :param credentials: the account that clients must use.
    :param limits: what clients may take.
    :param gate: where statements wait for their turn.
    :param host: the address to listen on.
    :param port: the port; 0 for any free one.
    :param display_name: the server's name in replies.
    """

    def __init__(
        self,
        engine: Engine,
        credentials: Credentials,
        limits: Limits,
        gate: StatementGate,
        *,
        host: str,
        port: int,
        display_name: str,
    ) -> None:
        self._engine = engine
        self._host = host
        self._port = port
        self._sessions = SessionStore(engine)
        self._limits = limits
        self._service = Service(engine, self._sessions, credentials, limits, gate, display_name)
        self._listener: socket.socket
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._patience_seconds = 0.0

    def bind(self) -> int:
        """Take the port and return it; nobody is answered yet.

        :raises OSError: it is taken.
        """
        # Named as TCP, or the event loop does not send small pieces at once (TCP_NODELAY).
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as error:
            listener.close()
            raise OSError(error.errno, f"HTTP port {self._port} on {self._host}: {error.strerror}") from error
        self._listener = listener
        return int(listener.getsockname()[1])

    def start(self) -> None:
        """Answer, on the port of :meth:`bind`.

        :raises OSError: the event loop did not begin in time.
        """
        listener = self._listener
        self._thread = threading.Thread(target=self._run, args=(listener,), name="http-server", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_SECONDS):
            raise OSError(f"The HTTP listener on port {listener.getsockname()[1]} did not start")

    def close(self) -> None:
        """Give the port back; for a server that was not started."""
        self._listener.close()

    def stop(self, timeout: float) -> None:
        """Stop accepting, let requests end for at most ``timeout`` seconds, cancel the rest and close the sessions."""
        if self._loop is None or self._thread is None:
            return
        self._patience_seconds = timeout + _GIVE_UP_SECONDS
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout)
        self._service.stopping.set()
        if self._thread.is_alive():
            for statement in self._engine.statements.running():
                self._engine.statements.kill(statement.query_id)
            # By now only clients that neither send nor read can be left; those are given up.
            self._thread.join(_GIVE_UP_SECONDS + 1)
        self._sessions.close_all()

    def _run(self, listener: socket.socket) -> None:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            runner.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        """Answer clients until :meth:`stop`."""
        loop = self._loop = asyncio.get_running_loop()
        connections = Connections()
        application = Application(self._service)

        def connect() -> BoundedProtocol:
            return BoundedProtocol(application, self._limits, connections, loop)

        async with application.running():
            server = await loop.create_server(connect, sock=listener, backlog=_BACKLOG)
            self._ready.set()
            await self._stopping.wait()
            server.close()
            await connections.close(self._patience_seconds)


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes uvloop's event loop where that is installed: it takes in large bodies faster."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
