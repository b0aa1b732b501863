"""Answers one HTTP request for a query, in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING

from embedded_clickhouse.config import DEFAULT_USER
from embedded_clickhouse.errors import EngineError, authentication_failed, disk_errors
from embedded_clickhouse.http import reply
from embedded_clickhouse.http.body import Body
from embedded_clickhouse.http.codecs import Encoder, choose_encoding, encoder
from embedded_clickhouse.http.exchange import ClientGone, Exchange
from embedded_clickhouse.http.external import ExternalTables
from embedded_clickhouse.http.frames import FrameEncoder
from embedded_clickhouse.http.native import NativeResult
from embedded_clickhouse.http.progress import ProgressHeaders
from embedded_clickhouse.sql import InsertData, Statement, creates_temporary, parse_statement, statement_keyword
from embedded_clickhouse.statements import open_insert, open_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from embedded_clickhouse.config import Credentials
    from embedded_clickhouse.engine import Engine, EngineSession
    from embedded_clickhouse.http.request import Request
    from embedded_clickhouse.http.sessions import SessionStore
    from embedded_clickhouse.limits import Limits, StatementGate
    from embedded_clickhouse.ticket import Stats

_log = logging.getLogger(__name__)

# The beginning of a body in which the head of an insert must end, unless max_query_size is larger.
_HEAD_BYTES = 256 * 1024
_MAX_HEAD_BYTES = 4 * 1024 * 1024
# What stands in the body and begins with one of these is the rest of an insert that the URL begins, and no data.
_GOES_ON = frozenset({"FORMAT", "FROM", "SELECT", "SETTINGS", "VALUES", "WITH"})
_SPOOL_MEMORY_BYTES = 8 * 1024 * 1024
_SOCKET_TIMEOUT = 209
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
    :param limits: what clients may take.
    :param gate: where statements wait for their turn.
    :param display_name: its name in replies.
    :param stopping: set when what still waits for its turn shall not get it.
    """

    engine: Engine
    sessions: SessionStore
    credentials: Credentials
    limits: Limits
    gate: StatementGate
    display_name: str
    stopping: threading.Event = field(default_factory=threading.Event)


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
        # In the order in which they are applied.
        self._encoders: list[Encoder] = []
        self._progress: ProgressHeaders | None = None
        self._tag = reply.new_exception_tag()
        self._session: EngineSession | None = None
        self._session_id: str | None = None

    def run(self) -> None:
        """Answer. Errors become replies; a client that left gets none."""
        try:
            try:
                self._answer()
            except EngineError as error:
                self._fail(error)
            except OSError as error:
                _log.exception("Query %s failed", self._request.options.get("query_id"))
                self._fail(EngineError(1001, "STD_EXCEPTION", f"The server could not go on: {error}"))
        except ClientGone:
            _log.info("Client left before the end of query %s", self._request.options.get("query_id"))
        finally:
            self._release_session()

    def _answer(self) -> None:
        self._authenticate()
        request = self._request
        if request.flag("compress"):
            self._encoders.append(FrameEncoder())
        if (interval := request.progress_interval) is not None:
            self._progress = ProgressHeaders(interval)
        if "role" in request.options:
            raise EngineError(48, "NOT_IMPLEMENTED", "This server has no roles.")
        if request.method == "POST" and not request.has_length:
            message = "The request has neither Content-Length nor Transfer-Encoding: chunked, which a POST must have."
            raise EngineError(381, "HTTP_LENGTH_REQUIRED", message)
        body = Body(
            self._exchange.read,
            encoding=request.headers.get("content-encoding"),
            is_framed=request.flag("decompress"),
            max_bytes=self._service.limits.max_request_bytes,
        )
        with ExternalTables(self._service.engine.spool_dir) as tables:
            statement = self._read_statement(body, tables)
            if request.method != "POST":
                request.settings.setdefault("readonly", "2")
            query_id = request.query_id
            if statement.insert is not None:
                self._insert(self._take_session(), query_id, statement.insert, body)
            else:
                self._exchange.when_gone(lambda: self._service.engine.statements.kill(query_id))
                self._stream(self._take_session(), query_id, statement, tables)

    def _authenticate(self) -> None:
        credentials, account = self._service.credentials, self._request.account
        if not credentials.needs_password and self._request.is_of_other_site:
            # A browser lets any page send requests to this machine; nothing but a password tells them apart.
            message = "Pages of other sites are refused, since the account has no password."
            raise EngineError(516, "AUTHENTICATION_FAILED", message)
        if credentials.check(*(account or (DEFAULT_USER, ""))):
            return
        if account is None:
            raise EngineError(194, "REQUIRED_PASSWORD", "Authentication failed: a name and a password are required.")
        raise authentication_failed(account[0])

    # The statement.

    def _read_statement(self, body: Body, tables: ExternalTables) -> Statement:
        """The statement. When it is an insert, the rest of its data has not been read."""
        request = self._request
        if request.is_form:
            tables.read(body, request)
        query = request.query
        named = _insert_of(query)
        if named is not None and named.fmt is not None:
            if named.data and (more := body.read_beginning(1)):
                # The two are lines of one text.
                named = replace(named, data=named.data + b"\n" + more)
            return Statement(named.sql, "INSERT", named.fmt, named)
        head = body.read_beginning(_head_bytes(request.settings))
        if named is not None and statement_keyword(head) not in _GOES_ON:
            # In the format that the request names elsewhere.
            named = replace(named, data=head)
            return Statement(named.sql, "INSERT", None, named)
        if query:
            head = query + (b"\n" + head if head.strip() else b"")
        if (insert := _insert_of(head)) is not None:
            return Statement(insert.sql, "INSERT", insert.fmt, insert)
        return parse_statement(body.read_statement(head))

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

    # Its turn.

    def _turn(self, sql: bytes = b"") -> AbstractContextManager[None]:
        """Wait until the engine may run it. Never taken twice at once: two requests would wait for each other."""
        return self._service.gate.turn(lambda: self._exchange.gone or self._service.stopping.is_set(), sql=sql)

    # An insert.

    def _insert(self, session: EngineSession, query_id: str, insert: InsertData, body: Body) -> None:
        request = self._request
        fmt = insert.fmt or request.default_format or _DEFAULT_INSERT_FORMAT
        if fmt == "Native" and request.protocol_version:
            raise EngineError(48, "NOT_IMPLEMENTED", "client_protocol_version is not supported for inserted data.")
        # While the client sends, nobody waits for it: it has its turn before its data and after.
        with self._turn():
            stream = open_insert(
                session,
                insert.sql,
                fmt,
                query_id=query_id,
                parameters=request.parameters,
                settings=request.settings,
                database=request.database,
                on_progress=self._progress.add if self._progress else None,
            )
        with stream:
            if insert.data:
                stream.append(insert.data)
            for piece in body:
                stream.append(piece)
            # To leave the queue. Once it stores the data, nothing is gained by stopping half-way.
            self._exchange.when_gone(lambda: True)
            with self._turn():
                stats = stream.commit()
        self._release_session()
        self._start(stats, None)
        self._finish()

    # Any other statement.

    def _stream(self, session: EngineSession, query_id: str, statement: Statement, tables: ExternalTables) -> None:
        request = self._request
        fmt = statement.fmt or request.default_format or _DEFAULT_FORMAT
        with contextlib.ExitStack() as running:
            running.enter_context(self._turn(statement.sql))
            if tables:
                running.enter_context(tables.loaded(session, query_id, request.settings))
            native = self._native(session, statement, fmt, tables)
            if creates_temporary(statement.sql):
                self._note_temporary_tables(session, statement)
            result = running.enter_context(
                open_result(
                    session,
                    statement.sql,
                    fmt,
                    query_id=query_id,
                    parameters=request.parameters,
                    settings=request.settings,
                    database=request.database,
                    on_progress=self._progress.add if self._progress else None,
                )
            )
            chunks = iter(result) if native is None else native.rewritten(result)
            if request.flag("wait_end_of_query"):
                chunks = self._spooled(chunks)
                running.close()
            elif not result.is_streaming:
                # The engine has made it as a whole. However slowly the client reads it, others may have their turn.
                chunks = iter(list(chunks))
                running.close()
            self._send(chunks, running, result.stats, None if statement.keyword in _NO_RESULT else fmt)

    def _native(
        self, session: EngineSession, statement: Statement, fmt: str, tables: ExternalTables
    ) -> NativeResult | None:
        """What rewrites the result for the client's revision, when it asked for one."""
        request = self._request
        if fmt != "Native" or not request.protocol_version:
            return None
        native = NativeResult(
            self._service.engine,
            request.protocol_version,
            statement.sql,
            database=request.database or session.database,
            settings=request.settings,
            parameters=request.parameters,
        )
        if statement.keyword not in _NO_RESULT and (tables or self._has_temporary_tables()):
            native.look_ahead(session)
        return native

    def _has_temporary_tables(self) -> bool:
        return self._session_id is not None and self._service.sessions.has_tables(self._session_id)

    def _note_temporary_tables(self, session: EngineSession, statement: Statement) -> None:
        if self._session_id is not None:
            self._service.sessions.note_tables(self._session_id)
        elif session.can_parse(statement.sql):
            # It would be gone before the client could use it.
            raise EngineError(113, "THERE_IS_NO_SESSION", "There is no session or session context has expired.")

    def _spooled(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The same bytes after the last of them exists, so that an error comes before the reply's status."""
        spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed below
            max_size=_SPOOL_MEMORY_BYTES, dir=str(self._service.engine.spool_dir)
        )
        try:
            with disk_errors():
                spool.writelines(chunks)
                spool.seek(0)
        except BaseException:
            with contextlib.suppress(OSError):
                spool.close()
            raise
        return _pieces_of(spool)

    def _send(self, chunks: Iterator[bytes], running: contextlib.ExitStack, stats: Stats, fmt: str | None) -> None:
        first = next(chunks, b"")
        self._start(stats, fmt, self._add_coding() if first else None)
        self._write(first)
        for chunk in chunks:
            self._write(chunk)
        running.close()
        # Before the client can know that this reply is complete: its next request may use the session.
        self._release_session()
        self._finish()

    def _add_coding(self) -> str | None:
        """Compress the body of the reply, where the client asks for that; tells how."""
        if not self._request.flag("enable_http_compression"):
            return None
        coding = choose_encoding(self._request.headers.get("accept-encoding", ""))
        if coding is not None:
            self._encoders.append(encoder(coding))
        return coding

    def _write(self, data: bytes) -> None:
        if data:
            for coder in self._encoders:
                data = coder.encode(data)
            self._exchange.write(data)

    def _finish(self) -> None:
        data = b""
        for coder in self._encoders:
            data = (coder.encode(data) if data else b"") + coder.finish()
        self._exchange.write(data)
        self._exchange.finish()

    # The reply.

    def _start(self, stats: Stats, fmt: str | None, coding: str | None = None) -> None:
        headers = [
            ("Content-Type", reply.content_type(fmt or _DEFAULT_FORMAT)),
            ("X-ClickHouse-Summary", reply.summary(stats)),
            ("X-ClickHouse-Exception-Tag", self._tag),
            # The engine has taken it, so it is a zone.
            *self._common_headers(self._request.settings.get("session_timezone")),
        ]
        if self._progress is not None:
            headers += self._progress.headers(stats)
        if fmt is not None:
            headers.append(("X-ClickHouse-Format", fmt))
        if coding is not None:
            headers.append(("Content-Encoding", coding))
        self._exchange.start(200, headers)

    def _common_headers(self, timezone: str | None = None) -> list[tuple[str, str]]:
        headers = [
            ("X-ClickHouse-Server-Display-Name", self._service.display_name),
            ("X-ClickHouse-Timezone", timezone or self._service.engine.timezone),
        ]
        if query_id := self._request.options.get("query_id"):
            headers.append(("X-ClickHouse-Query-Id", query_id))
        return headers

    def _fail(self, error: EngineError) -> None:
        self._release_session()
        version = self._service.engine.version
        if self._exchange.take_back():
            # What the result was compressed with has seen some of it already; frames keep no state.
            self._encoders = [coder for coder in self._encoders if isinstance(coder, FrameEncoder)]
        if self._exchange.started:
            self._write(reply.tagged_error(error, version, self._tag))
            self._finish()
            return
        headers = [
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("X-ClickHouse-Exception-Code", str(error.code)),
            *self._common_headers(),
        ]
        if error.code == 194:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        if error.code == _SOCKET_TIMEOUT:
            # Nothing more is expected of this client.
            headers.append(("Connection", "close"))
        if (coding := self._add_coding()) is not None:
            headers.append(("Content-Encoding", coding))
        self._exchange.start(reply.status_of(error), headers)
        # Framed like a result when the client asked for that: it cannot tell the two apart before it has read them.
        self._write(reply.error_text(error, version))
        self._finish()


def _insert_of(sql: bytes) -> InsertData | None:
    """The insert with data that a statement, or the beginning of one, is; None for anything else."""
    with contextlib.suppress(EngineError):
        return parse_statement(sql).insert
    return None


def _head_bytes(settings: Mapping[str, str]) -> int:
    """How much of a body is looked at for the head of an insert: as on a server, what a statement may have."""
    text = settings.get("max_query_size", "")
    wanted = (int(text) or _MAX_HEAD_BYTES) if text.isdecimal() else _HEAD_BYTES
    return max(_HEAD_BYTES, min(wanted, _MAX_HEAD_BYTES))


def _pieces_of(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_SPOOL_MEMORY_BYTES):
            yield piece
