"""Run a templated SQL file of several statements in ClickHouse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from clickhouse_driver.errors import Error as ClickHouseError  # type: ignore[import-untyped, unused-ignore]

from maxy.hooks._plugin_imports import without_moved_names
from maxy.hooks.clickhouse import ClickHouseHook, SettingError
from maxy.hooks.environment import CLICKHOUSE_NATIVE_CONN_ID
from maxy.operators._sql_parts import advice, file_name, part_names, read_parts, read_statement

if TYPE_CHECKING:
    from typing import Unpack

    from airflow.sdk import Context

    from maxy.hooks.clickhouse import ClickHouseSession, StatementResult
    from maxy.operators._arguments import OperatorArguments
    from maxy.operators._sql_parts import FilledStatement

with without_moved_names():
    from airflow_clickhouse_plugin.operators import clickhouse as _plugin  # type: ignore[import-untyped, unused-ignore]

_FILES = (".sql", ".SQL")
# What the driver raises for ClickHouse, and for the network; an EOFError if ClickHouse is gone in the middle.
_CLICKHOUSE_ERRORS = (ClickHouseError, OSError, EOFError)


class ClickHouseTemplateOperator(_plugin.BaseClickHouseOperator):  # type: ignore[misc]
    """Run one or more SQL statements, usually a templated ``.sql`` file, one after the other on one connection.

    On top of airflow-clickhouse-plugin's operator: a file may hold several statements; each has a query_id that names
    DAG, task, run and try; rows read and written are logged and returned; a statement that fails is named by its file
    and its place in it; when the task is killed or exceeds its ``execution_timeout``, its statement is killed too.

    All statements are split and filled with their values before the first is sent. What cannot be read or written
    exactly fails the task then, naming file, line and parameter, and is not tried again.

    Returns (XCom) a dict: ``query_ids``, ``read_rows``, ``read_bytes``, ``written_rows``, ``elapsed`` (seconds), summed
    over the statements. Result rows are dropped as they come; use the plugin's ``ClickHouseOperator`` to fetch a few.

    A statement that was cut off may have run or not: write SQL that can run twice.

    :param sql: the statements, separated by semicolons, or the name of a ``.sql`` file, or a list of these. (templated)
    :param parameters: values for ``%(name)s`` in every statement: None, bool, int, float, Decimal, str, datetime, date,
        time, UUID, Enum, IP addresses, and lists and tuples of these. (templated)
    :param timezone: the zone in which the statements read and print times that name none (ClickHouse's
        ``session_timezone``), also of parameters; UTC unless given.
    :param settings: further ClickHouse settings for every statement; one that the server does not know fails the task.
        (templated)
    :param clickhouse_conn_id: a connection of the native protocol.
    :param database: used instead of the connection's schema. (templated)
    :raises AirflowException: when a statement fails; the message has its place, query_id and ClickHouse's error.
    :raises AirflowFailException: for SQL, parameters and settings that cannot be right at another try either.
    """

    template_ext = _FILES
    ui_color = "#fff4c2"

    def __init__(
        self,
        *,
        sql: str | Sequence[str],
        parameters: Mapping[str, Any] | None = None,
        timezone: str = "UTC",
        settings: Mapping[str, Any] | None = None,
        clickhouse_conn_id: str = CLICKHOUSE_NATIVE_CONN_ID,
        database: str | None = None,
        **kwargs: Unpack[OperatorArguments],
    ) -> None:
        super().__init__(
            # A list of our own: reading the files puts their text into it.
            sql=list(sql) if isinstance(sql, (list, tuple)) else sql,
            parameters=dict(parameters) if isinstance(parameters, Mapping) else parameters,
            settings={"session_timezone": timezone, **(settings or {})},
            clickhouse_conn_id=clickhouse_conn_id,
            database=database,
            **kwargs,
        )
        # Rendering replaces a file's name by its text; errors are to name the file.
        self._sql_name = file_name(sql) or "sql"
        self._part_names = part_names(sql)
        self._results: list[StatementResult] = []
        self._query_ids: list[str] = []
        self._unfinished: list[str] = []

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the statements.

        :return: what they cost, as described for the class.
        """
        with self.hook().session() as session:
            self.run_sql(session, context, keep_rows=False)
        return self.totals()

    def hook(self) -> ClickHouseHook:
        """Return the hook for this operator's connection."""
        return ClickHouseHook(clickhouse_conn_id=self._clickhouse_conn_id, database=self._database)

    def run_sql(self, session: ClickHouseSession, context: Context, *, keep_rows: bool = True) -> StatementResult:
        """Run the operator's own SQL, statement by statement.

        :param keep_rows: whether the last statement's rows are wanted; those of the others never are.
        :return: the last statement's result.
        """
        *others, last = self._prepare()
        for statement in others:
            self._send(session, context, statement, keep_rows=False)
        return self._send(session, context, last, keep_rows=keep_rows)

    def run_statement(
        self,
        session: ClickHouseSession,
        context: Context,
        statement: str,
        *,
        place: str,
        parameters: Mapping[str, Any] | None = None,
    ) -> StatementResult:
        """Run one statement under a query_id of its own and count what it cost.

        :param place: what the statement is, for logs and errors.
        :raises AirflowException: when it fails.
        """
        if not self._query_ids:
            # Whatever a subclass begins with, the operator's own SQL is looked at first.
            self._prepare()
        filled = read_statement(statement, place, parameters or {})
        return self._send(session, context, filled, keep_rows=True)

    def totals(self) -> dict[str, Any]:
        """Return what all statements of this try cost together."""
        return {
            "query_ids": list(self._query_ids),
            "read_rows": sum(result.read_rows for result in self._results),
            "read_bytes": sum(result.read_bytes for result in self._results),
            "written_rows": sum(result.written_rows for result in self._results),
            "elapsed": round(sum(result.elapsed for result in self._results), 3),
        }

    def on_kill(self) -> None:
        """Stop what is running: ClickHouse does not notice by itself that nobody waits any more."""
        for query_id in list(self._unfinished):
            try:
                # The task's own connection is in the middle of an answer.
                with self.hook().session() as session:
                    session.run("KILL QUERY WHERE query_id = %(query_id)s ASYNC", parameters={"query_id": query_id})
            except _CLICKHOUSE_ERRORS as error:
                self.log.warning("Query %s could not be killed: %s", query_id, _cause(error))
            else:
                self.log.info("Killed query %s", query_id)

    def _prepare(self) -> list[FilledStatement]:
        """Return the operator's own statements, filled with their values.

        :raises AirflowFailException: for what no other try would find better.
        """
        return read_parts(self._parts(), self._parameters or {})

    def _parts(self) -> list[tuple[str, Any]]:
        """Return names and texts of what ``sql`` was given as."""
        if isinstance(self._sql, str) or not isinstance(self._sql, Sequence):
            return [(self._sql_name, self._sql)]
        # A list may also be another task's result, of which nothing was known before.
        names = self._part_names if len(self._part_names) == len(self._sql) else part_names(self._sql)
        if not names:
            raise AirflowFailException("sql: the list is empty")
        return list(zip(names, self._sql, strict=True))

    def _send(
        self, session: ClickHouseSession, context: Context, statement: FilledStatement, *, keep_rows: bool
    ) -> StatementResult:
        query_id = f"{_task_try(context)}.{len(self._query_ids) + 1}"
        self._query_ids.append(query_id)
        self.log.info("%s: query_id %s", statement.place, query_id)
        result = self._wait(session, statement, query_id, keep_rows=keep_rows)
        self._results.append(result)
        self.log.info(
            "%s: read %d rows (%d bytes), wrote %d rows in %.3f s",
            statement.place,
            result.read_rows,
            result.read_bytes,
            result.written_rows,
            result.elapsed,
        )
        return result

    def _wait(
        self, session: ClickHouseSession, statement: FilledStatement, query_id: str, *, keep_rows: bool
    ) -> StatementResult:
        """Run a statement to its end, and see that it ends if the task does."""
        self._unfinished.append(query_id)
        try:
            result = session.run(statement.text, query_id=query_id, settings=self._settings, keep_rows=keep_rows)
        except SettingError as error:
            self._unfinished.remove(query_id)
            raise AirflowFailException(f"{statement.place}: {error}") from error
        except _CLICKHOUSE_ERRORS as error:
            if isinstance(error, ClickHouseError):
                # ClickHouse has ended it, or has never seen it.
                self._unfinished.remove(query_id)
            else:
                # The connection broke in the middle.
                self.on_kill()
            raise AirflowException(
                f"{statement.place} failed (query_id {query_id}): {_cause(error)}{advice(error, statement)}"
            ) from error
        except BaseException:
            # A time-out, or the end of the process, in the middle of the driver's work. What a subclass does on its way
            # out, such as dropping a table, must not wait for the statement.
            self.on_kill()
            raise
        self._unfinished.remove(query_id)
        return result


def _task_try(context: Context) -> str:
    """Name DAG, task, run and try, so that a query in ClickHouse's log leads to its task's log.

    ``/`` follows the task, since ids of DAGs and tasks may hold a dot (a task in a group does) and never a slash; what
    the Health page makes of it is in ``web/queries.sql``.
    """
    ti = context["ti"]
    # A task that is not mapped has the index -1, and None in some of Airflow's ways to make a context.
    mapped = f"/{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"{ti.dag_id}.{ti.task_id}{mapped}/{ti.run_id}/try{ti.try_number}"


def _cause(error: Exception) -> str:
    """Return an error's own words, without the server's stack trace."""
    text = str(error).split("Stack trace:")[0].strip()
    return f"{type(error).__name__}: {text}"
