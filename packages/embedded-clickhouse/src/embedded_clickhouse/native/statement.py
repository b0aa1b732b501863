"""One statement that came over the native protocol, from its Query packet to the end of its answer."""

from __future__ import annotations

import json
import logging
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from embedded_clickhouse.blocks import UnsupportedTypeError, blocks_of, header_block
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.native.compression import METHODS_BY_NAME, Method
from embedded_clickhouse.native.external import ExternalTables
from embedded_clickhouse.native.protocol import END_OF_STREAM, ClientPacket, ServerPacket, exception_packet
from embedded_clickhouse.native.result import ProgressReport, Result
from embedded_clickhouse.native.sample import sample_columns
from embedded_clickhouse.native.totals import TEXT_FORMAT, WRITE_SETTINGS, ResultText, TotalsWanted, blocks_from_text
from embedded_clickhouse.native.watch import Reason, Watch
from embedded_clickhouse.quoting import checked_text
from embedded_clickhouse.sql import parse_statement
from embedded_clickhouse.statements import open_insert, open_result
from embedded_clickhouse.wire import IncompleteInput, MalformedInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from embedded_clickhouse.blocks import Block
    from embedded_clickhouse.engine import Engine, EngineSession
    from embedded_clickhouse.limits import Limits, StatementGate
    from embedded_clickhouse.native.protocol import Query
    from embedded_clickhouse.native.result import Columns
    from embedded_clickhouse.native.transport import Transport
    from embedded_clickhouse.native.watch import Watcher
    from embedded_clickhouse.sql import InsertData, Statement
    from embedded_clickhouse.statements import InsertStream
    from embedded_clickhouse.ticket import Stats

logger = logging.getLogger(__name__)

_UNKNOWN_QUERY_PARAMETER = 456
_QUERY_WAS_CANCELLED = 394
_SELECT_KEYWORDS = frozenset({"SELECT", "WITH", "FROM", "("})
# What may stand behind VALUES without being data.
_NO_DATA = b" \t\r\n;"


class _Cancelled(Exception):
    """The client sent Cancel in the middle of its own data."""


class _Answered(Exception):
    """The client has its answer already."""


class StatementRunner:
    """Runs the statements of one connection, one at a time.

    :param engine: for cancelling.
    :param session: the connection's own: its settings, database and temporary tables.
    :param limits: what the client may take.
    :param gate: where statements wait for their turn. A turn is never asked for while one is held.
    """

    def __init__(
        self,
        engine: Engine,
        session: EngineSession,
        transport: Transport,
        watcher: Watcher,
        *,
        limits: Limits,
        gate: StatementGate,
    ) -> None:
        self._engine = engine
        self._session = session
        self._transport = transport
        self._watcher = watcher
        self._limits = limits
        self._gate = gate
        self._totals_wanted = TotalsWanted(session)
        self.running_id: str | None = None
        """Id of the statement that runs now."""

    def run(self, query: Query) -> None:
        """Answer one query. What the engine refuses goes to the client, and the connection stays as it was.

        :raises OSError: the connection is broken, or the client stalls.
        :raises IncompleteInput: the client went away.
        :raises ValueError: the client's data makes no sense, so that its next packet cannot be found.
        """
        query_id = self.running_id = query.query_id or str(uuid.uuid4())
        query = self._without_unknown_settings(query)
        self._transport.start_statement()
        try:
            with ExternalTables(self._session) as tables:
                self._take_tables(query, tables)
                self._run(query, query_id)
        except _Cancelled:
            self._transport.send(END_OF_STREAM)
        except _Answered:
            pass
        except EngineError as error:
            self._transport.send(exception_packet(_explained(error)))
        finally:
            self.running_id = None

    def _run(self, query: Query, query_id: str) -> None:
        for what, text in (("query_id", query_id), *query.settings.items()):
            checked_text(what, text)
        method = _compression_method(query)
        statement = parse_statement(query.sql)
        if statement.insert is None:
            self._answer(query, query_id, statement, method)
        elif statement.insert.data.strip(_NO_DATA):
            self._insert_inline(query, query_id, statement.insert)
        else:
            self._insert(query, query_id, statement.insert, method)

    def _without_unknown_settings(self, query: Query) -> Query:
        """The query without those settings that are not important to the client and unknown here, as on any server."""
        unknown = {name for name in query.unimportant if not self._engine.knows_setting(name)}
        if not unknown:
            return query
        logger.warning("Unknown settings are passed over: %s", ", ".join(sorted(map(repr, unknown))))
        known = {name: value for name, value in query.settings.items() if name not in unknown}
        return replace(query, settings=known)

    def _take_tables(self, query: Query, tables: ExternalTables) -> None:
        """Take the list of tables that comes with each query; it is nearly always empty."""
        incoming = self._incoming(query)
        try:
            for name, block in self._bounded(incoming):
                with self._turn():
                    tables.add(name, block)
        except EngineError as error:
            self._refuse(error, incoming)

    def _incoming(self, query: Query) -> Iterator[tuple[str, Block]]:
        """Data packets up to the block that ends them.

        :raises _Cancelled: the client wants no more of the statement.
        """
        limit = self._limits.max_request_bytes
        while True:
            self._transport.wait_for_packet()
            packet = self._transport.read_packet_type()
            if packet == ClientPacket.CANCEL:
                raise _Cancelled
            if packet != ClientPacket.DATA:
                raise MalformedInput(f"packet {packet} came in the middle of a statement's data")
            table, block = self._transport.read_data(compressed=query.compressed, limit=limit)
            if block.is_end:
                return
            yield table, block

    def _bounded(self, incoming: Iterator[tuple[str, Block]]) -> Iterator[tuple[str, Block]]:
        """The same packets.

        :raises EngineError: 307 when they are more than a request may have.
        """
        size = 0
        for name, block in incoming:
            size += len(block.body)
            self._check_size(size)
            yield name, block

    def _check_size(self, size: int) -> None:
        limit = self._limits.max_request_bytes
        if size > limit:
            raise EngineError(307, "TOO_MANY_BYTES", f"The data of the statement is larger than {limit} bytes.")

    def _refuse(self, error: EngineError, incoming: Iterator[tuple[str, Block]]) -> NoReturn:
        """Say what is wrong in the middle of the client's data, and pass over what it had sent before it saw that."""
        self._transport.send(exception_packet(error))
        for _ in incoming:
            pass
        raise _Answered

    @contextmanager
    def _turn(self, insert: InsertStream | None = None) -> Iterator[None]:
        """A turn for what no longer needs the client; while it waits, the client may cancel it or go away.

        :param insert: what is to be committed; may be killed meanwhile.
        """
        watch = Watch(self._transport, lambda: None)

        def is_unwanted() -> bool:
            watch.look()
            return watch.reason is not None or (insert is not None and insert.is_cancelled)

        with ExitStack() as held:
            try:
                held.enter_context(self._gate.turn(is_unwanted))
            except EngineError as error:
                if watch.reason is Reason.GONE:
                    raise _gone() from error
                if watch.reason is Reason.CANCELLED:
                    raise _Cancelled from error
                raise
            yield

    def _answer(self, query: Query, query_id: str, statement: Statement, method: Method | None) -> None:
        """Run anything but an insert with data, and send its result."""
        with self._watcher.watching(self._transport, lambda: self._engine.statements.kill(query_id)) as watch:
            try:
                with self._gate.turn(lambda: watch.reason is not None, sql=statement.sql):
                    tail = self._send_result(query, query_id, statement, method, watch)
            except EngineError as error:
                if watch.reason is None or error.code != _QUERY_WAS_CANCELLED:
                    raise
                tail = b""
        if watch.reason is Reason.GONE:
            raise _gone()
        self._transport.send(tail + END_OF_STREAM)

    def _send_result(
        self, query: Query, query_id: str, statement: Statement, method: Method | None, watch: Watch
    ) -> bytes:
        """Send header and blocks.

        :returns: the packets with the sums, which go to the client once the turn is over.
        """
        is_select = statement.keyword in _SELECT_KEYWORDS
        as_text = is_select and self._totals_wanted.by(statement.sql, query.settings)
        result = Result(self._transport, method)
        report = ProgressReport(self._transport)
        with open_result(
            self._session,
            statement.sql,
            TEXT_FORMAT if as_text else "Native",
            query_id=query_id,
            settings={**query.settings, **WRITE_SETTINGS} if as_text else query.settings,
            on_progress=report.running,
            describe=is_select,
        ) as stream:
            if stream.columns is not None:
                result.start(stream.columns)
            if as_text:
                text = b"".join(stream)
            else:
                # Only a SELECT comes block by block; other results are one chunk of blocks.
                _forward(stream if is_select else _blocks_in(stream), result, watch)
        if as_text:
            self._send_text(ResultText.parse(text, stream.stats.result_rows), stream.columns, result, watch)
        if statement.keyword == "SHOW" and not result.started and watch.reason is None:
            result.start(self._columns_of_nothing(statement.sql, query.settings))
        if statement.keyword == "SET":
            self._totals_wanted.note_set(statement.sql)
        return report.final(stream.stats) + result.profile()

    def _send_text(self, text: ResultText, columns: Columns | None, result: Result, watch: Watch) -> None:
        """Send a result that came as text, its totals and its extremes."""
        if columns is None:
            message = "The columns of this statement cannot be told ahead, so its totals or extremes cannot be sent."
            raise EngineError(48, "NOT_IMPLEMENTED", message)
        _forward(blocks_from_text(self._session, columns, text.rows), result, watch)
        for rows, packet in ((text.totals, ServerPacket.TOTALS), (text.extremes, ServerPacket.EXTREMES)):
            if rows is not None and watch.reason is None:
                for body in blocks_from_text(self._session, columns, rows):
                    result.send_beside(body, packet)

    def _columns_of_nothing(self, sql: bytes, settings: Mapping[str, str]) -> Columns:
        """Columns of a result without rows: the engine writes them in other formats only."""
        with open_result(self._session, sql, "JSONCompact", query_id=str(uuid.uuid4()), settings=settings) as stream:
            meta = json.loads(b"".join(stream))["meta"]
        return [(column["name"], column["type"]) for column in meta]

    def _insert_inline(self, query: Query, query_id: str, insert: InsertData) -> None:
        """Store the data that is part of the statement's text."""
        self._check_size(len(insert.data))
        with (
            self._turn(),
            open_insert(
                self._session, insert.sql, insert.fmt or "Values", query_id=query_id, settings=query.settings
            ) as stream,
        ):
            stream.append(insert.data)
            stats = stream.commit()
        self._transport.send(ProgressReport(self._transport).final(stats) + END_OF_STREAM)

    def _insert(self, query: Query, query_id: str, insert: InsertData, method: Method | None) -> None:
        """Take an insert's blocks and store them once the last has come."""
        with ExitStack() as stack:
            with self._turn():
                sample = sample_columns(self._session, insert)
                stream = stack.enter_context(
                    open_insert(self._session, insert.sql, "Native", query_id=query_id, settings=query.settings)
                )
            self._transport.send_block(header_block(sample), method)
            stats = self._store(stream, self._incoming(query))
        # The client has sent it; the server has read nothing.
        stored = replace(stats, read_rows=0, read_bytes=0)
        self._transport.send(ProgressReport(self._transport).final(stored) + END_OF_STREAM)

    def _store(self, stream: InsertStream, incoming: Iterator[tuple[str, Block]]) -> Stats:
        """Store blocks, all or none."""
        try:
            for _, block in self._bounded(incoming):
                if block.rows:
                    stream.append(block.body)
            with self._turn(stream):
                return stream.commit()
        except EngineError as error:
            stream.close()
            self._refuse(error, incoming)


def _gone() -> IncompleteInput:
    return IncompleteInput("the client went away during its statement")


def _explained(error: EngineError) -> EngineError:
    """The error, with what a client of this protocol should know about it."""
    if error.code != _UNKNOWN_QUERY_PARAMETER:
        return error
    hint = "Parameters are taken over HTTP only: over the native protocol let the client substitute them."
    return EngineError(error.code, error.name, f"{error.message.rstrip('.')}. {hint}")


def _blocks_in(stream: Iterator[bytes]) -> Iterator[bytes]:
    """
    :raises EngineError: a column that cannot be cut into blocks.
    """
    try:
        for chunk in stream:
            yield from blocks_of(chunk)
    except UnsupportedTypeError as error:
        raise EngineError(48, "NOT_IMPLEMENTED", f"{error}; the result cannot be sent") from error


def _forward(bodies: Iterator[bytes], result: Result, watch: Watch) -> None:
    """Send a result block by block until its end, or until nobody wants it."""
    for body in bodies:
        if watch.reason:
            return
        result.send(body)


def _compression_method(query: Query) -> Method | None:
    """How blocks travel to the client; None: plain."""
    if not query.compressed:
        return None
    name = query.settings.get("network_compression_method", "LZ4").upper()
    if name not in METHODS_BY_NAME:
        known = ", ".join(METHODS_BY_NAME)
        raise EngineError(36, "BAD_ARGUMENTS", f"network_compression_method {name} is none of {known}")
    return METHODS_BY_NAME[name]
