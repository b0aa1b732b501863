"""ClickHouse's native TCP protocol in front of the engine: the listening socket and its connections."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.native.connection import Connection
from embedded_clickhouse.native.protocol import exception_packet
from embedded_clickhouse.native.watch import Watcher

if TYPE_CHECKING:
    from embedded_clickhouse.config import Credentials
    from embedded_clickhouse.engine import Engine
    from embedded_clickhouse.limits import Limits, StatementGate

logger = logging.getLogger(__name__)

_BACKLOG = 128
# Once statements have been cancelled, their threads end promptly; a thread that does not is left to the process.
_ABORT_SECONDS = 5.0
_ACCEPT_PAUSE_SECONDS = 0.1


class NativeServer:
    """A thread that accepts connections, and a thread for each of them.

    :param engine: runs the statements.
    :param credentials: the one account.
    :param limits: what clients may take.
    :param gate: where statements wait for their turn.
    :param host: address to listen on.
    :param port: TCP port; 0 takes a free one.
    :param http_port: where clients are sent who speak HTTP to this one.
    :param timezone: the server's zone as clients see it, an IANA name.
    :param display_name: the server's name as clients see it.
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
        http_port: int,
        timezone: str,
        display_name: str,
    ) -> None:
        self._engine = engine
        self._credentials = credentials
        self._address = (host, port)
        self._http_port = http_port
        self._timezone = timezone
        self._display_name = display_name
        self._limits = limits
        self._gate = gate
        self._watcher = Watcher()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, Connection] = {}
        self._stopping = False
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread(target=self._accept, name="clickhouse-native-accept", daemon=True)

    def start(self) -> int:
        """Listen.

        :returns: the port.
        :raises OSError: the address cannot be had; the message names it.
        """
        host, port = self._address
        try:
            self._listener = socket.create_server(self._address, backlog=_BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"Cannot listen on {host}:{port} (native): {error.strerror}") from error
        self._watcher.start()
        self._acceptor.start()
        return int(self._listener.getsockname()[1])

    def stop(self, timeout: float) -> None:
        """Accept no more clients, let running statements end, cancel those that do not.

        :param timeout: seconds for running statements.
        """
        if self._listener is None:
            return
        with self._lock:
            self._stopping = True
        # Closing alone does not wake a thread that waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self._listener = None
        for connection in self._serving().values():
            connection.finish()
        self._join(timeout)
        for connection in self._serving().values():
            connection.abort()
        self._join(_ABORT_SECONDS)
        self._watcher.stop()

    def _serving(self) -> dict[threading.Thread, Connection]:
        with self._lock:
            return dict(self._connections)

    def _join(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for thread in self._serving():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        listener = self._listener
        while listener is not None:
            try:
                sock, _ = listener.accept()
            except OSError as error:
                with self._lock:
                    if self._stopping:
                        return
                # Such as no more file descriptors: clients that leave give some back.
                logger.warning("A native connection could not be accepted: %s", error)
                time.sleep(_ACCEPT_PAUSE_SECONDS)
                continue
            try:
                self._welcome(sock)
            except (OSError, RuntimeError) as error:
                # The client has gone again, or there is no thread to be had: the next one may fare better.
                logger.warning("A native connection could not be served: %s", error)
                sock.close()

    def _welcome(self, sock: socket.socket) -> None:
        with self._lock:
            if len(self._connections) < self._limits.max_connections:
                connection = Connection(
                    sock,
                    engine=self._engine,
                    credentials=self._credentials,
                    watcher=self._watcher,
                    limits=self._limits,
                    gate=self._gate,
                    http_port=self._http_port,
                    timezone=self._timezone,
                    display_name=self._display_name,
                )
                thread = threading.Thread(target=self._serve, args=(connection,), name="clickhouse-native", daemon=True)
                thread.start()
                # Its end waits for the lock, and so finds itself here.
                self._connections[thread] = connection
                return
        with sock:
            message = f"Too many connections: at most {self._limits.max_connections} are served at a time."
            sock.send(exception_packet(EngineError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", message)))

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        except Exception:
            logger.exception("A native connection failed")
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
