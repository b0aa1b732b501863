"""One client's connection over the native protocol: greeting, packets one after the other, the end."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from embedded_clickhouse.blocks import UnsupportedTypeError
from embedded_clickhouse.config import DEFAULT_USER
from embedded_clickhouse.errors import EngineError, authentication_failed
from embedded_clickhouse.native.compression import CompressionError
from embedded_clickhouse.native.protocol import (
    PONG,
    ClientHello,
    ClientPacket,
    exception_packet,
    read_hello,
    read_query,
    server_hello,
    speaks_http,
    wrong_port_reply,
)
from embedded_clickhouse.native.statement import StatementRunner
from embedded_clickhouse.native.transport import StalledInput, Transport
from embedded_clickhouse.quoting import checked_text
from embedded_clickhouse.wire import IncompleteInput, MalformedInput, OversizedInput

if TYPE_CHECKING:
    import socket

    from embedded_clickhouse.config import Credentials
    from embedded_clickhouse.engine import Engine, EngineSession
    from embedded_clickhouse.limits import Limits, StatementGate
    from embedded_clickhouse.native.watch import Watcher

logger = logging.getLogger(__name__)


class Connection:
    """One connection, served by the thread that calls `serve`.

    :param sock: the accepted socket.
    :param limits: what the client may take.
    :param gate: where its statements wait for their turn.
    :param http_port: where a client is sent who speaks HTTP.
    :param timezone: zone of the server, an IANA name.
    :param display_name: what clients show as the server's name.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        engine: Engine,
        credentials: Credentials,
        watcher: Watcher,
        limits: Limits,
        gate: StatementGate,
        http_port: int,
        timezone: str,
        display_name: str,
    ) -> None:
        self._transport = Transport(sock, stalled_seconds=limits.stalled_seconds)
        self._engine = engine
        self._credentials = credentials
        self._watcher = watcher
        self._limits = limits
        self._gate = gate
        self._ports = (sock.getsockname()[1], http_port)
        self._timezone = timezone
        self._display_name = display_name
        self._state = threading.Lock()
        self._busy = True
        self._finishing = False
        self._runner: StatementRunner | None = None

    def serve(self) -> None:
        """Serve the client until either side ends the connection."""
        try:
            hello = self._greeted()
            if hello is not None:
                with self._engine.session(database=hello.database or None, keep=True) as session:
                    self._serve(session, hello)
        except EngineError as error:
            self._say_goodbye(error)
        except (MalformedInput, OversizedInput, UnsupportedTypeError, CompressionError) as error:
            self._say_goodbye(_protocol_error(error))
        except StalledInput as error:
            self._say_goodbye(EngineError(209, "SOCKET_TIMEOUT", f"Timeout exceeded: {error}."))
        except (IncompleteInput, OSError) as error:
            logger.debug("A native connection ended: %s", error)
        finally:
            self._transport.close()

    def finish(self) -> None:
        """End the connection as soon as no statement runs on it. From any thread."""
        with self._state:
            self._finishing = True
            if not self._busy:
                self._transport.shut_down()

    def abort(self) -> None:
        """End the connection and the statement that runs on it. From any thread."""
        query_id = self._runner.running_id if self._runner else None
        if query_id is not None:
            self._engine.statements.kill(query_id)
        self._transport.shut_down()

    def _greeted(self) -> ClientHello | None:
        """The client's Hello once its account is known to be right; None when it has come to the wrong door."""
        with self._transport.hurried():
            first = self._transport.first_byte()
            if first is None:
                return None
            if speaks_http(first):
                # Whatever else it sends; that may come in pieces, or not at all.
                self._last_words(wrong_port_reply(*self._ports))
                return None
            hello = read_hello(self._transport.source)
        user = hello.user or DEFAULT_USER
        if not self._credentials.check(user, hello.password):
            raise authentication_failed(user)
        checked_text("database", hello.database)
        return hello

    def _serve(self, session: EngineSession, hello: ClientHello) -> None:
        self._runner = runner = StatementRunner(
            self._engine, session, self._transport, self._watcher, limits=self._limits, gate=self._gate
        )
        self._transport.send(server_hello(self._timezone, self._display_name))
        while self._next_packet_has_come():
            match packet := self._transport.read_packet_type():
                case ClientPacket.PING:
                    self._transport.send(PONG)
                case ClientPacket.QUERY:
                    runner.run(read_query(self._transport.source, hello.revision))
                case ClientPacket.CANCEL:
                    # It came too late: its statement has ended.
                    pass
                case _:
                    raise MalformedInput(f"unexpected packet {packet} from the client")

    def _next_packet_has_come(self) -> bool:
        with self._state:
            self._busy = False
            if self._finishing:
                return False
        has_come = self._transport.wait(self._limits.idle_seconds)
        with self._state:
            self._busy = True
            if self._finishing or not has_come:
                return False
        return not self._transport.source.exhausted()

    def _say_goodbye(self, error: EngineError) -> None:
        logger.info("A native connection is closed: %s", error)
        self._last_words(exception_packet(error))

    def _last_words(self, data: bytes) -> None:
        try:
            self._transport.send(data)
            self._transport.linger()
        except OSError as broken:
            logger.debug("A native connection broke before its last packet: %s", broken)


def _protocol_error(error: ValueError) -> EngineError:
    """An error after which the client's next packet cannot be found."""
    match error:
        case UnsupportedTypeError():
            return EngineError(48, "NOT_IMPLEMENTED", str(error))
        case CompressionError():
            return EngineError(271, "CANNOT_DECOMPRESS", str(error))
        case OversizedInput():
            return EngineError(307, "TOO_MANY_BYTES", str(error))
        case _:
            return EngineError(99, "UNKNOWN_PACKET_FROM_CLIENT", str(error))
