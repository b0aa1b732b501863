"""One statement that came over the native protocol, from its Query packet to the end of its answer."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING

from local.clickhouse.blocks import (
    UnsupportedTypeError,
    blocks_of,
    check_type,
    header_block,
    read_block,
    retype_block,
    source_of,
)
from local.clickhouse.errors import EngineError
from local.clickhouse.native_compression import METHODS_BY_NAME, Method
from local.clickhouse.native_protocol import (
    END_OF_STREAM,
    ClientPacket,
    Progress,
    exception_packet,
    profile_info_packet,
    progress_packet,
)
from local.clickhouse.native_watch import Reason
from local.clickhouse.sql import parse_statement
from local.clickhouse.wire import IncompleteInput, MalformedInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.clickhouse import statements
    from local.clickhouse.blocks import Block
    from local.clickhouse.engine import Engine, EngineSession
    from local.clickhouse.native_protocol import Query
    from local.clickhouse.native_transport import Transport
    from local.clickhouse.native_watch import Watch, Watcher
    from local.clickhouse.sql import InsertData, Statement

# As receive_timeout of a server: how long a client may take between two blocks of an insert.
_INSERT_IDLE_SECONDS = 300.0
_QUERY_WAS_CANCELLED = 394
_SELECT_KEYWORDS = frozenset({"SELECT", "WITH", "FROM", "("})
# What may stand behind VALUES without being data.
_NO_DATA = b" \t\r\n;"
_COLUMN = re.compile(rb"(?:`(?:[^`\\]|\\.|``)*`|\"(?:[^\"\\]|\\.|\"\")*\"|[\w.\x80-\xff])+", re.DOTALL)
_COLUMN_LIST = re.compile(rb"\(\s*(?:%b\s*(?:,\s*)?)+\)" % _COLUMN.pattern, re.DOTALL)
# For statements of the server's own: types on one line, as in a block; no records of them in the log.
_OWN_SETTINGS = {"print_pretty_type_names": "0", "log_queries": "0"}
# Columns that are computed: a client sends them only when it names them.
_NOT_STORED = frozenset({"MATERIALIZED", "ALIAS", "EPHEMERAL"})

Columns = list[tuple[str, str]]


class _Cancelled(Exception):
    """The client sent Cancel in the middle of its own data."""


class _ProgressReport:
    """Turns running totals into the differences a client adds up.

    :param transport: where they go. While a packet is under way or the client is slow none is sent: the next one
        has the rest.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = Progress()

    def running(self, totals: statements.Progress) -> None:
        """From a thread of the engine, about ten times a second."""
        now = Progress(
            totals.read_rows,
            totals.read_bytes,
            totals.total_rows_to_read,
            totals.written_rows,
            totals.written_bytes,
        )
        if self._transport.try_send(progress_packet(now.since(self._sent))):
            self._sent = now

    def final(self, stats: statements.Stats) -> bytes:
        """The packet with what is not told yet."""
        now = Progress(
            stats.read_rows,
            stats.read_bytes,
            self._sent.total_rows,
            stats.written_rows,
            stats.written_bytes,
        )
        return progress_packet(now.since(self._sent))


class _Result:
    """The blocks of a result on their way to the client.

    :param columns: names and types, when they are known ahead.
    """

    def __init__(self, transport: Transport, method: Method | None, columns: Columns | None) -> None:
        self._transport = transport
        self._method = method
        self._columns = columns
        self._retyped: dict[int, str] = {}
        self.rows = self.blocks = self.bytes = 0
        if columns is not None:
            self.start(columns)

    @property
    def started(self) -> bool:
        return self._columns is not None

    def start(self, columns: Columns) -> None:
        self._columns = columns
        # The engine writes DateTime without its zone on the outermost level; clients of this revision expect it.
        self._retyped = {
            index: type_name for index, (_, type_name) in enumerate(columns) if type_name.startswith("DateTime(")
        }
        self._transport.send_block(header_block(columns), self._method)

    def send(self, body: bytes) -> None:
        if self._columns is None:
            block = read_block(source_of(body))
            self.start([(column.name, column.type_name) for column in block.columns])
        if self._retyped:
            body = retype_block(body, self._retyped)
        counts = source_of(body[:20])
        counts.varint()
        self.rows += counts.varint()
        self.blocks += 1
        self.bytes += len(body)
        self._transport.send_block(body, self._method)

    def profile(self) -> bytes:
        return profile_info_packet(self.rows, self.blocks, self.bytes)


class StatementRunner:
    """Runs the statements of one connection, one at a time.

    :param engine: for cancelling.
    :param session: the connection's own: its settings, database and temporary tables.
    """

    def __init__(self, engine: Engine, session: EngineSession, transport: Transport, watcher: Watcher) -> None:
        self._engine = engine
        self._session = session
        self._transport = transport
        self._watcher = watcher
        self.running_id: str | None = None
        """Id of the statement that runs now."""

    def run(self, query: Query) -> None:
        """Answer one query. What the engine refuses goes to the client, and the connection stays as it was.

        :raises OSError: the connection is broken, or the client stalls.
        :raises IncompleteInput: the client went away.
        :raises ValueError: the client's data makes no sense, so that its next packet cannot be found.
        """
        query_id = self.running_id = query.query_id or str(uuid.uuid4())
        self._transport.start_statement()
        try:
            self._refuse_external_tables(query)
            method = _compression_method(query)
            statement = parse_statement(query.sql)
            if statement.insert is None:
                self._answer(query, query_id, statement, method)
            elif statement.insert.data.strip(_NO_DATA):
                self._insert_inline(query, query_id, statement.insert)
            else:
                self._insert(query, query_id, statement.insert, method)
        except _Cancelled:
            self._transport.send(END_OF_STREAM)
        except EngineError as error:
            self._transport.send(exception_packet(error))
        finally:
            self.running_id = None

    def _refuse_external_tables(self, query: Query) -> None:
        """Take the list of tables that comes with each query; it is nearly always empty."""
        refused = [table for table, _ in self._incoming(query)]
        if refused:
            names = ", ".join(refused)
            raise EngineError(48, "NOT_IMPLEMENTED", f"External tables ({names}) are not supported here.")

    def _incoming(self, query: Query) -> Iterator[tuple[str, Block]]:
        """Data packets up to the block that ends them.

        :raises _Cancelled: the client wants no more of the statement.
        """
        while True:
            if not self._transport.wait(_INSERT_IDLE_SECONDS):
                raise TimeoutError(f"no data came for {_INSERT_IDLE_SECONDS:.0f} s in the middle of a statement")
            packet = self._transport.read_packet_type()
            if packet == ClientPacket.CANCEL:
                raise _Cancelled
            if packet != ClientPacket.DATA:
                raise MalformedInput(f"packet {packet} came in the middle of a statement's data")
            table, block = self._transport.read_data(compressed=query.compressed)
            if block.is_end:
                return
            yield table, block

    def _answer(self, query: Query, query_id: str, statement: Statement, method: Method | None) -> None:
        """Run anything but an insert with data, and send its result."""
        is_select = statement.keyword in _SELECT_KEYWORDS
        columns = self._described(statement.sql, query.settings) if is_select else None
        result = _Result(self._transport, method, columns)
        report = _ProgressReport(self._transport)
        with self._watcher.watching(self._transport, lambda: self._engine.kill(query_id)) as watch:
            try:
                with self._session.stream(
                    statement.sql,
                    "Native",
                    query_id=query_id,
                    settings=query.settings,
                    on_progress=report.running,
                ) as stream:
                    # Only a SELECT comes block by block; other results are one chunk of blocks.
                    _forward(stream if is_select else _blocks_in(stream), result, watch)
                tail = report.final(stream.stats)
            except EngineError as error:
                if watch.reason is None or error.code != _QUERY_WAS_CANCELLED:
                    raise
                tail = b""
        if watch.reason is Reason.GONE:
            raise IncompleteInput("the client went away during its statement")
        if not result.started and watch.reason is None and statement.keyword == "SHOW":
            result.start(self._columns_of_nothing(statement.sql, query.settings))
        self._transport.send(tail + result.profile() + END_OF_STREAM)

    def _described(self, select: bytes, settings: Mapping[str, str]) -> Columns | None:
        """Names and types of a SELECT's result, by analysis alone.

        None where the engine cannot tell: then the first block does, or the statement's own error.
        """
        try:
            rows = self._rows(b"DESCRIBE TABLE (\n" + select + b"\n)", settings)
        except EngineError:
            return None
        return [(name, type_name) for name, type_name, *_ in rows]

    def _columns_of_nothing(self, sql: bytes, settings: Mapping[str, str]) -> Columns:
        """Columns of a result without rows: the engine writes them in other formats only."""
        with self._session.stream(sql, "JSONCompact", query_id=str(uuid.uuid4()), settings=settings) as stream:
            meta = json.loads(b"".join(stream))["meta"]
        return [(column["name"], column["type"]) for column in meta]

    def _rows(self, sql: bytes, settings: Mapping[str, str] | None = None) -> list[list[str]]:
        """The result of a statement of the server's own."""
        with self._session.stream(
            sql,
            "JSONCompactEachRow",
            query_id=str(uuid.uuid4()),
            settings={**(settings or {}), **_OWN_SETTINGS},
        ) as stream:
            return [json.loads(row) for row in b"".join(stream).splitlines()]

    def _insert_inline(self, query: Query, query_id: str, insert: InsertData) -> None:
        """Store the data that is part of the statement's text."""
        with self._session.insert(
            insert.sql, insert.fmt or "Values", query_id=query_id, settings=query.settings
        ) as stream:
            stream.append(insert.data)
            stats = stream.commit()
        self._transport.send(_ProgressReport(self._transport).final(stats) + END_OF_STREAM)

    def _insert(self, query: Query, query_id: str, insert: InsertData, method: Method | None) -> None:
        """Take an insert's blocks and store them once the last has come."""
        sample = self._sample(insert)
        with self._session.insert(insert.sql, "Native", query_id=query_id, settings=query.settings) as stream:
            self._transport.send_block(header_block(sample), method)
            incoming = self._incoming(query)
            try:
                for _, block in incoming:
                    if block.rows:
                        stream.append(block.body)
                stats = stream.commit()
            except EngineError as error:
                self._transport.send(exception_packet(error))
                # What the client had sent before it saw the error must not be taken for its next packets.
                for _ in incoming:
                    pass
                return
        self._transport.send(_ProgressReport(self._transport).final(stats) + END_OF_STREAM)

    def _sample(self, insert: InsertData) -> Columns:
        """The columns a client is to send, in the order of the statement's list."""
        names = None if insert.columns is None else _column_names(insert.columns)
        if insert.columns is not None and names is None:
            # Such as (* EXCEPT (a)): the engine expands it.
            select = b"DESCRIBE TABLE (SELECT " + insert.columns[1:-1] + b" FROM " + insert.target + b")"
            sample = [(name, type_name) for name, type_name, *_ in self._rows(select)]
        else:
            sample = _pick(self._rows(b"DESCRIBE TABLE " + insert.target), names)
        for name, type_name in sample:
            _check_column(name, type_name)
        return sample


def _column_names(listed: bytes) -> list[str] | None:
    """The names in an insert's list of columns; None when there is more than names in it."""
    if not _COLUMN_LIST.fullmatch(listed):
        return None
    return [_unquoted(match[0].decode(errors="surrogateescape")) for match in _COLUMN.finditer(listed)]


def _unquoted(name: str) -> str:
    if name[0] not in '`"':
        return name
    return re.sub(r"\\(.)|``|\"\"", lambda match: match[1] or match[0][0], name[1:-1])


def _pick(described: list[list[str]], names: list[str] | None) -> Columns:
    """The named columns, or all that a table stores."""
    if names is None:
        return [(name, type_name) for name, type_name, kind, *_ in described if kind not in _NOT_STORED]
    types = {name: type_name for name, type_name, *_ in described}
    for name in names:
        if name not in types:
            raise EngineError(16, "NO_SUCH_COLUMN_IN_TABLE", f"No such column {name} in the table")
    return [(name, types[name]) for name in names]


def _check_column(name: str, type_name: str) -> None:
    try:
        check_type(type_name)
    except UnsupportedTypeError as error:
        message = f"Column {name}: {error}. Leave it out of the column list, or insert over HTTP."
        raise EngineError(48, "NOT_IMPLEMENTED", message) from error


def _blocks_in(stream: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in stream:
        yield from blocks_of(chunk)


def _forward(bodies: Iterator[bytes], result: _Result, watch: Watch) -> None:
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
