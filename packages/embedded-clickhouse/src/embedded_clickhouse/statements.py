"""Statements while they run: a result that is read in chunks, an insert that is committed or thrown away."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self, cast

from embedded_clickhouse.errors import EngineError, disk_errors, engine_errors, without_file
from embedded_clickhouse.quoting import is_parameter_name, quote_string
from embedded_clickhouse.sql import insert_from_file, selects_input, statement_keyword
from embedded_clickhouse.ticket import QUERY_WAS_CANCELLED, Progress, Stats, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from embedded_clickhouse.engine import EngineSession

# Formats whose chunks can be put one after the other; every other format repeats a header or a frame in each chunk.
STREAMABLE_FORMATS = frozenset(
    {
        "CSV",
        "JSONCompactEachRow",
        "JSONCompactStringsEachRow",
        "JSONEachRow",
        "JSONLines",
        "JSONStringsEachRow",
        "MsgPack",
        "NDJSON",
        "Native",
        "RawBLOB",
        "RowBinary",
        "TSKV",
        "TSV",
        "TSVRaw",
        "TabSeparated",
        "TabSeparatedRaw",
    }
)
# Turns the formats of one JSON object per row into one array, which cannot be cut into chunks.
_JSON_ARRAY_SETTING = "output_format_json_array_of_rows"
# Types on one line, as in a block; no record of it in the log. Without the statement's id, since whoever sees that
# running may kill it, and would miss the statement itself; so it must not take long, as a scalar subquery in it can.
_DESCRIBE_SETTINGS = (
    b" SETTINGS print_pretty_type_names = 0, log_queries = 0, log_comment = '',"
    b" max_execution_time = 5, timeout_overflow_mode = 'throw'"
)
_VALUES_SETTINGS_PREFIX = b"input_format_values_"
# The format Values without expressions.
LITERALS_ONLY = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
_STREAMABLE_KEYWORDS = frozenset({"SELECT", "WITH", "FROM", "("})


def open_result(
    session: EngineSession,
    sql: bytes | str,
    fmt: str,
    *,
    query_id: str,
    parameters: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    database: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    describe: bool = False,
    trusted: bool = False,
) -> ResultStream:
    """Run any statement except an insert whose data is still to come.

    :param session: the connection it runs on.
    :param sql: one statement. A FORMAT clause in it wins over ``fmt``, so cut it off first (see ``sql.py``).
    :param fmt: the format of the result.
    :param query_id: unique among the running statements.
    :param parameters: values for ``{name:Type}``, escaped as in TabSeparated, as they come over HTTP.
    :param settings: settings for this statement only.
    :param database: another database for this statement only.
    :param on_progress: called from a thread of the engine about ten times a second; must be quick.
    :param describe: whether to learn the columns of a SELECT ahead of its first row (``ResultStream.columns``).
    :param trusted: whether it is the server's own and may name files of the server.
    :raises EngineError: whatever the engine refuses before the first row, and paths outside the server's folders
        (``confinement.py``); later errors come from the stream.
    """
    session.engine.confinement.check("" if trusted else sql, parameters, settings)
    ticket = Ticket(query_id, sql, settings, database, on_progress)
    return ResultStream(session, ticket, sql, fmt, parameters or {}, describe=describe)


def open_insert(
    session: EngineSession,
    sql: bytes | str,
    fmt: str,
    *,
    query_id: str,
    parameters: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    database: str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> InsertStream:
    """Begin an insert whose data follows; only :meth:`InsertStream.commit` stores anything.

    :param sql: ``INSERT INTO table (columns)``, without FORMAT and data.
    :param fmt: the format of the data. The other parameters are those of :func:`open_result`.
    :raises EngineError: an unknown table or column, a bad setting, a path outside the server's folders.
    """
    session.engine.confinement.check(sql, parameters, settings, is_insert=not selects_input(_encode(sql)))
    ticket = Ticket(query_id, sql, settings, database, on_progress)
    return InsertStream(session, ticket, sql, fmt, parameters or {})


class _Statement:
    """What a result and an insert share: settings and database before, and back to what they were after."""

    def __init__(self, session: EngineSession, ticket: Ticket) -> None:
        self._session = session
        self._connection = session.connection
        self._ticket = ticket
        self._keyword = statement_keyword(ticket.sql)
        self._database_before: str | None = None
        self._finished = False
        self._progress: Progress | None = None
        self.stats = Stats()
        session.engine.statements.register(ticket)
        try:
            self._prepare()
        except BaseException:
            self._finish()
            raise

    @property
    def query_id(self) -> str:
        """The id it was started with."""
        return self._ticket.query_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the statement, stopping it when it still runs. Harmless when it has ended."""
        if self._finished:
            return
        try:
            # The engine may have ended it already; the reason has been reported then.
            with contextlib.suppress(EngineError), engine_errors():
                self._abandon()
        finally:
            self._finish()

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody stopped it."""
        return self._ticket.cancelled.is_set()

    def cancel(self) -> None:
        """Stop the statement. The only method that another thread may call meanwhile."""
        self._session.engine.statements.kill(self._ticket.query_id)

    def _abandon(self) -> None:
        raise NotImplementedError

    def _prepare(self) -> None:
        settings = self._ticket.settings
        self._check_read_only(settings.pop("readonly", "0"))
        database = self._ticket.database
        if database and database != self._session.database:
            before = self._session.database
            self._session.use(database)
            self._database_before = before
        self._session.apply_settings(settings)

    def _report_progress(self) -> None:
        """From now on, what the connection does is the statement's own."""
        self._connection.set_progress_callback(self._progressed)

    def _progressed(self, values: Mapping[str, int]) -> None:
        self._progress = Progress(
            read_rows=values["read_rows"],
            read_bytes=values["read_bytes"],
            total_rows_to_read=values["total_rows_to_read"],
            written_rows=values["written_rows"],
            written_bytes=values["written_bytes"],
            elapsed_seconds=values["elapsed_ns"] / 1e9,
        )
        if self._ticket.on_progress is not None:
            self._ticket.on_progress(self._progress)

    def _check_read_only(self, level: str) -> None:
        # The engine can enforce it too, but no connection gets out of that state again.
        if level not in {"0", "1", "2"}:
            raise EngineError(36, "BAD_ARGUMENTS", f"readonly must be 0, 1 or 2, not {level!r}")
        if level == "0" or (level == "2" and self._keyword in {"SET", "USE"}):
            return
        if self._keyword and not self._session.is_read_only(self._ticket.sql):
            raise EngineError(164, "READONLY", f"Cannot execute query in readonly mode: {self._keyword}.")

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        self._ticket.begun()
        self.stats.elapsed_seconds = time.monotonic() - self._ticket.started
        try:
            # What cannot be undone here is reported by the next query on this connection.
            with contextlib.suppress(EngineError):
                self._restore()
        finally:
            self._session.engine.statements.unregister(self._ticket)
            if self._keyword == "KILL":
                self._session.engine.statements.pass_on_kills()

    def _restore(self) -> None:
        self._connection.set_progress_callback(None)
        names = list(self._ticket.settings)
        if self._keyword == "SET":
            names = [name for name in names if name not in self._ticket.sql]
        self._session.undo_settings(names)
        if self._keyword in {"SET", "USE"}:
            self._session.forget_settings()
        elif self._database_before is not None:
            self._session.use(self._database_before)


class ResultStream(_Statement):
    """An iterator over the chunks of a result. Made by :func:`open_result`; close it or read it to its end.

    A format that can be streamed comes in chunks of one block each; any other comes as one chunk.

    :param session: the connection it runs on.
    :param ticket: its id, settings and database.
    :param sql: the statement.
    :param fmt: the format of the result.
    :param parameters: values for ``{name:Type}``.
    :param describe: whether to learn the columns of a SELECT before it runs.
    """

    def __init__(
        self,
        session: EngineSession,
        ticket: Ticket,
        sql: bytes | str,
        fmt: str,
        parameters: Mapping[str, str],
        *,
        describe: bool = False,
    ) -> None:
        super().__init__(session, ticket)
        self._handle: Any = None
        self._next: bytes = b""
        self._streaming = False
        self.columns: list[tuple[str, str]] | None = None
        """Names and types, by analysis alone; None when nobody asked, or where the engine cannot tell."""
        try:
            with engine_errors():
                if self._keyword == "KILL":
                    # Whoever has seen a statement being described means that statement.
                    session.engine.statements.wait_for_beginnings(ticket)
                if describe:
                    ticket.describing()
                    self.columns = self._described(sql, dict(parameters))
                    ticket.described()
                self._report_progress()
                self._start(sql, fmt, dict(parameters))
        except BaseException:
            self._finish()
            raise

    @property
    def is_streaming(self) -> bool:
        """Whether each chunk is one block."""
        return self._streaming

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """The next chunk.

        :raises EngineError: the statement failed after its first rows, or was cancelled.
        """
        try:
            chunk = self._next or self._fetch()
        except BaseException:
            self.close()
            raise
        self._next = b""
        if not chunk:
            self._finish()
            raise StopIteration
        return chunk

    def _described(self, sql: bytes | str, parameters: dict[str, str]) -> list[tuple[str, str]] | None:
        self._ticket.check()
        select = _encode(sql)
        described = b"DESCRIBE TABLE (\n" + select + b"\n)" + _DESCRIBE_SETTINGS
        try:
            with engine_errors():
                result = self._connection.query(described, "JSONCompactEachRow", params=parameters)
        except EngineError as error:
            if error.code == QUERY_WAS_CANCELLED:
                raise
            # The statement itself has the same error, or is none that can be described.
            return None
        rows = (json.loads(line) for line in result.bytes().splitlines())
        return [(name, type_name) for name, type_name, *_ in rows]

    def _start(self, sql: bytes | str, fmt: str, parameters: dict[str, str]) -> None:
        self._ticket.check()
        if self._can_stream(fmt):
            try:
                self._handle = self._connection.send_query(sql, fmt, params=parameters)
            except RuntimeError as error:
                # Such as WITH ... INSERT: the keyword alone does not tell.
                if "Streaming query is not supported" not in str(error):
                    raise
            else:
                self._ticket.begun()
                self._streaming = True
                self._next = self._fetch()
                return
        self._next = self._count(self._connection.query(sql, fmt, params=parameters))

    def _can_stream(self, fmt: str) -> bool:
        return (
            self._keyword in _STREAMABLE_KEYWORDS
            and fmt in STREAMABLE_FORMATS
            and _JSON_ARRAY_SETTING not in self._ticket.settings
            and _JSON_ARRAY_SETTING not in self._ticket.sql
        )

    def _fetch(self) -> bytes:
        if self._handle is None:
            return b""
        self._ticket.check()
        with engine_errors():
            chunk = self._count(self._connection.streaming_fetch_result(self._handle))
        if not chunk:
            self._handle = None
        return chunk

    def _count(self, result: Any) -> bytes:
        data = cast("bytes", result.bytes())
        stats = self.stats
        stats.read_rows += result.storage_rows_read()
        stats.read_bytes += result.storage_bytes_read()
        stats.result_rows += result.rows_read()
        stats.result_bytes += len(data)
        stats.written_rows += result.rows_written()
        stats.written_bytes += result.bytes_written()
        stats.elapsed_seconds = time.monotonic() - self._ticket.started
        return data

    def _finish(self) -> None:
        # What the threads of the engine read last is not always counted in the last chunk.
        if self._progress is not None:
            self.stats.read_rows = max(self.stats.read_rows, self._progress.read_rows)
            self.stats.read_bytes = max(self.stats.read_bytes, self._progress.read_bytes)
        super()._finish()

    def _abandon(self) -> None:
        handle, self._handle, self._next = self._handle, None, b""
        if handle is not None:
            self._connection.streaming_cancel_query(handle)


class InsertStream(_Statement):
    """An insert whose data comes in pieces. Made by :func:`open_insert`.

    Closing it without a commit stores nothing. The engine stores each block of about a million rows as soon as it is
    full, and a cancelled insert keeps those. So the data waits in a file, and goes to the engine when it is complete.

    :param session: the connection it runs on.
    :param ticket: its id, settings and database.
    :param sql: the statement without FORMAT and data.
    :param fmt: the format of the data.
    :param parameters: values for ``{name:Identifier}`` in the statement.
    """

    def __init__(
        self, session: EngineSession, ticket: Ticket, sql: bytes | str, fmt: str, parameters: Mapping[str, str]
    ) -> None:
        self._handle: Any = None
        self._sql = _encode(sql)
        self._fmt = fmt
        with disk_errors():
            self._spool = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed in _finish
                dir=str(session.engine.spool_dir), prefix="insert-"
            )
        super().__init__(session, ticket)
        try:
            with engine_errors():
                self._set_parameters(parameters)
                self._report_progress()
                if not selects_input(self._sql):
                    # Started so that an unknown table or column is reported before any data is sent.
                    self._handle = self._connection.send_insert(sql, fmt)
                    ticket.waits_for_data = True
        except BaseException:
            self._finish()
            raise

    def append(self, data: bytes) -> None:
        """Take the next piece of the data; pieces may be cut anywhere.

        :raises EngineError: 394 when the insert was cancelled; 243 when there is no room for it.
        """
        self._ticket.check()
        with disk_errors():
            self._spool.write(data)

    def commit(self) -> Stats:
        """Store everything that was appended.

        :raises EngineError: the data is malformed or the engine cannot store it.
        """
        try:
            with disk_errors():
                self._spool.flush()
            with engine_errors():
                self._ticket.check()
                # insert_done() reports success even where a constraint, a materialized view or storage refused the
                # rows; a statement that reads the data itself reports what went wrong.
                self._abandon()
                self._confine_values()
                sql = insert_from_file(self._sql, self._spool.name, self._fmt)
                result = self._connection.query(sql, "Null")
        except EngineError as error:
            self.close()
            raise without_file(error, self._spool.name) from error
        except BaseException:
            self.close()
            raise
        self.stats.read_rows = self.stats.written_rows = result.rows_written()
        self.stats.read_bytes = self.stats.written_bytes = result.bytes_written()
        self._finish()
        return self.stats

    def _confine_values(self) -> None:
        """Have the engine take literals only where expressions in the data could not be looked at."""
        if self._fmt.lower() != "values" or self._session.engine.confinement.check_values(self._spool.name):
            return
        if _VALUES_SETTINGS_PREFIX in self._sql:
            message = "Expressions in this data cannot be checked here, so the statement must not switch them on."
            raise EngineError(344, "SUPPORT_IS_DISABLED", message)
        # Undone with the settings of the statement.
        self._ticket.settings.update(LITERALS_ONLY)
        self._session.apply_settings(LITERALS_ONLY)

    def _set_parameters(self, parameters: Mapping[str, str]) -> None:
        # send_insert takes none, but a connection can hold them.
        for name, value in parameters.items():
            if not is_parameter_name(name):
                raise EngineError(36, "BAD_ARGUMENTS", f"{name!r} is no name of a query parameter")
            self._connection.query(f"SET param_{name} = {quote_string(value)}", "Null")

    def _abandon(self) -> None:
        self._ticket.waits_for_data = False
        handle, self._handle = self._handle, None
        if handle is not None:
            self._connection.insert_cancel(handle)

    def _finish(self) -> None:
        # What a full disk did not take is written once more here, in vain; the file goes all the same.
        with contextlib.suppress(OSError):
            self._spool.close()
        super()._finish()


def _encode(sql: bytes | str) -> bytes:
    return sql.encode() if isinstance(sql, str) else sql
