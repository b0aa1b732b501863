"""Answers one HTTP request for a query, in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from local.clickhouse import http_reply
from local.clickhouse.errors import EngineError, authentication_failed
from local.clickhouse.http_codecs import Decoder, Encoder, choose_encoding, encoder
from local.clickhouse.http_exchange import ClientGone, Exchange
from local.clickhouse.http_native import NativeResult
from local.clickhouse.sql import InsertData, Statement, parse_statement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.clickhouse.config import Credentials
    from local.clickhouse.engine import Engine, EngineSession
    from local.clickhouse.http_request import Request
    from local.clickhouse.http_sessions import SessionStore
    from local.clickhouse.statements import ResultStream, Stats

_log = logging.getLogger(__name__)

# The beginning of a body in which the head of an insert must end.
_HEAD_BYTES = 256 * 1024
_MAX_STATEMENT_BYTES = 64 * 1024 * 1024
_SPOOL_MEMORY_BYTES = 8 * 1024 * 1024
_DEFAULT_FORMAT = "TabSeparated"
_DEFAULT_INSERT_FORMAT = "Values"
# Statements without a result; any other may have one, even if it is empty.
_NO_RESULT = frozenset(
    {
        *("ALTER", "ATTACH", "CREATE", "DELETE", "DETACH", "DROP", "EXCHANGE", "GRANT", "INSERT", "MOVE", "OPTIMIZE"),
        *("RENAME", "REPLACE", "REVOKE", "SET", "SYSTEM", "TRUNCATE", "UNDROP", "UPDATE", "USE"),
    }
)


@dataclass(frozen=True)
class Service:
    """What every request needs.

    :param engine: the engine.
    :param sessions: the sessions of this server.
    :param credentials: its one account.
    :param display_name: its name in replies.
    """

    engine: Engine
    sessions: SessionStore
    credentials: Credentials
    display_name: str


class QueryHandler:
    """One request for a query, from its headers to the end of its reply.

    :param service: what all requests share.
    :param exchange: the request's body and the reply.
    :param request: the request's headers and URL.
    """

    def __init__(self, service: Service, exchange: Exchange, request: Request) -> None:
        self._service = service
        self._exchange = exchange
        self._request = request
        self._body = self._pieces(None)
        self._encoder: Encoder | None = None
        self._tag = http_reply.new_exception_tag()
        self._session: EngineSession | None = None
        self._session_id: str | None = None

    def run(self) -> None:
        """Answer. Errors become replies; a client that left gets none."""
        try:
            try:
                self._answer()
            except EngineError as error:
                self._fail(error)
        except ClientGone:
            _log.info("Client left before the end of query %s", self._request.options.get("query_id"))
        finally:
            self._release_session()

    def _answer(self) -> None:
        self._authenticate()
        request = self._request
        for option in ("compress", "decompress"):
            if request.flag(option):
                raise EngineError(48, "NOT_IMPLEMENTED", f"{option}=1 is not supported: use HTTP compression instead.")
        if "role" in request.options:
            raise EngineError(48, "NOT_IMPLEMENTED", "This server has no roles.")
        if coding := request.headers.get("content-encoding"):
            self._body = self._pieces(Decoder(coding.strip().lower()))
        statement = self._read_statement()
        if request.method != "POST":
            request.settings.setdefault("readonly", "2")
        query_id = request.query_id
        session = self._take_session()
        if statement.insert is not None:
            self._insert(session, query_id, statement.insert)
        else:
            self._exchange.when_gone(lambda: self._service.engine.kill(query_id))
            self._stream(session, query_id, statement)

    def _authenticate(self) -> None:
        account = self._request.account
        if account is None:
            raise EngineError(194, "REQUIRED_PASSWORD", "Authentication failed: a name and a password are required.")
        if not self._service.credentials.check(*account):
            raise authentication_failed(account[0])

    # The statement.

    def _read_statement(self) -> Statement:
        """The statement. When it is an insert, the rest of its data has not been read."""
        request = self._request
        if request.is_form:
            request.put_form(self._read_to_limit(b""))
        if request.query:
            with contextlib.suppress(EngineError):
                statement = parse_statement(request.query)
                if statement.insert is not None:
                    return statement
            body = self._read_to_limit(b"")
            return parse_statement(request.query + (b"\n" + body if body.strip() else b""))
        head = b""
        while len(head) < _HEAD_BYTES and (piece := next(self._body, b"")):
            head += piece
        with contextlib.suppress(EngineError):
            statement = parse_statement(head)
            if statement.insert is not None:
                return statement
        return parse_statement(self._read_to_limit(head))

    def _pieces(self, decoder: Decoder | None) -> Iterator[bytes]:
        """The body, decompressed, in pieces of bounded size."""
        while piece := self._exchange.read():
            if decoder is None:
                yield piece
            else:
                yield from decoder.decode(piece)
        if decoder is not None:
            decoder.finish()

    def _read_to_limit(self, head: bytes) -> bytes:
        parts, size = [head], len(head)
        for piece in self._body:
            size += len(piece)
            if size > _MAX_STATEMENT_BYTES:
                raise EngineError(223, "QUERY_IS_TOO_LARGE", f"The statement has over {_MAX_STATEMENT_BYTES} bytes")
            parts.append(piece)
        return b"".join(parts)

    # Sessions.

    def _take_session(self) -> EngineSession:
        request, sessions = self._request, self._service.sessions
        session_id = request.options.get("session_id")
        if not session_id:
            self._session = self._service.engine.session(database=request.database)
        else:
            must_exist = request.flag("session_check")
            self._session = sessions.acquire(session_id, timeout=request.session_timeout, must_exist=must_exist)
            self._session_id = session_id
        return self._session

    def _release_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if self._session_id is None:
            session.close()
        else:
            self._service.sessions.release(self._session_id, close=self._request.flag("close_session"))

    # An insert.

    def _insert(self, session: EngineSession, query_id: str, insert: InsertData) -> None:
        request = self._request
        fmt = insert.fmt or request.default_format or _DEFAULT_INSERT_FORMAT
        if fmt == "Native" and request.protocol_version:
            raise EngineError(48, "NOT_IMPLEMENTED", "client_protocol_version is not supported for inserted data.")
        with session.insert(
            insert.sql,
            fmt,
            query_id=query_id,
            parameters=request.parameters,
            settings=request.settings,
            database=request.database,
        ) as stream:
            stream.append(insert.data)
            for piece in self._body:
                stream.append(piece)
            stats = stream.commit()
        self._release_session()
        self._start(200, stats, None)
        self._exchange.finish()

    # Any other statement.

    def _stream(self, session: EngineSession, query_id: str, statement: Statement) -> None:
        request = self._request
        fmt = statement.fmt or request.default_format or _DEFAULT_FORMAT
        with session.stream(
            statement.sql,
            fmt,
            query_id=query_id,
            parameters=request.parameters,
            settings=request.settings,
            database=request.database,
        ) as result:
            chunks = self._chunks(result, statement, fmt)
            if request.flag("wait_end_of_query"):
                chunks = _spooled(chunks)
            self._send(chunks, result, None if statement.keyword in _NO_RESULT else fmt)

    def _chunks(self, result: ResultStream, statement: Statement, fmt: str) -> Iterator[bytes]:
        request = self._request
        if fmt != "Native" or not request.protocol_version:
            yield from result
            return
        native = NativeResult(
            self._service.engine,
            request.protocol_version,
            statement.sql,
            database=request.database,
            settings=request.settings,
            parameters=request.parameters,
        )
        for chunk in result:
            yield from native.rewrite(chunk, is_block=result.is_streaming)

    def _send(self, chunks: Iterator[bytes], result: ResultStream, fmt: str | None) -> None:
        first = next(chunks, b"")
        if first and self._request.flag("enable_http_compression"):
            coding = choose_encoding(self._request.headers.get("accept-encoding", ""))
            self._encoder = encoder(coding) if coding else None
        else:
            coding = None
        self._start(200, result.stats, fmt, coding)
        self._write(first)
        for chunk in chunks:
            self._write(chunk)
        result.close()
        # Before the client can know that this reply is complete: its next request may use the session.
        self._release_session()
        self._finish()

    def _write(self, data: bytes) -> None:
        self._exchange.write(data if self._encoder is None else self._encoder.encode(data))

    def _finish(self) -> None:
        if self._encoder is not None:
            self._exchange.write(self._encoder.finish())
        self._exchange.finish()

    # The reply.

    def _start(self, status: int, stats: Stats, fmt: str | None, coding: str | None = None) -> None:
        headers = [
            ("Content-Type", http_reply.content_type(fmt or _DEFAULT_FORMAT)),
            ("X-ClickHouse-Summary", http_reply.summary(stats)),
            ("X-ClickHouse-Exception-Tag", self._tag),
            *self._common_headers(),
        ]
        if fmt is not None:
            headers.append(("X-ClickHouse-Format", fmt))
        if coding is not None:
            headers.append(("Content-Encoding", coding))
        self._exchange.start(status, headers)

    def _common_headers(self) -> list[tuple[str, str]]:
        headers = [
            ("X-ClickHouse-Server-Display-Name", self._service.display_name),
            ("X-ClickHouse-Timezone", self._service.engine.timezone),
        ]
        if query_id := self._request.options.get("query_id"):
            headers.append(("X-ClickHouse-Query-Id", query_id))
        return headers

    def _fail(self, error: EngineError) -> None:
        self._release_session()
        version = self._service.engine.version
        if self._exchange.started:
            self._write(http_reply.tagged_error(error, version, self._tag))
            self._finish()
            return
        headers = [
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("X-ClickHouse-Exception-Code", str(error.code)),
            *self._common_headers(),
        ]
        if error.code == 194:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        self._exchange.start(http_reply.status_of(error), headers)
        self._exchange.write(http_reply.error_text(error, version))
        self._exchange.finish()


def _spooled(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes after the last of them exists, so that an error comes before the reply's status."""
    spool: IO[bytes]
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES) as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        while piece := spool.read(_SPOOL_MEMORY_BYTES):
            yield piece
