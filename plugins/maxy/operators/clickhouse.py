"""Run a templated SQL file of several statements in ClickHouse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlparse
from airflow.sdk.exceptions import AirflowException
from airflow_clickhouse_plugin.operators.clickhouse import BaseClickHouseOperator
from clickhouse_driver.errors import Error as ClickHouseError

from maxy.hooks.clickhouse import ClickHouseHook
from maxy.hooks.environment import CLICKHOUSE_NATIVE_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from maxy.hooks.clickhouse import ClickHouseSession, StatementResult

# What the driver raises for a %(name)s without a value, or a % that stands for itself and is not doubled.
_SUBSTITUTION_ERRORS = (KeyError, TypeError, ValueError)


class ClickHouseTemplateOperator(BaseClickHouseOperator):  # type: ignore[misc]
    """Run one or more SQL statements, usually a templated ``.sql`` file, one after the other on one connection.

    On top of airflow-clickhouse-plugin's operator: a file may hold several statements; each has a query_id that names
    DAG, task, run and try (``system.query_log`` and ``system.processes`` show it); rows read and written are logged and
    returned; a statement that fails is named by its file and its place in it; killing the task kills its statement.

    Returns (XCom) a dict: ``query_ids``, ``read_rows``, ``read_bytes``, ``written_rows``, ``elapsed`` (seconds), summed
    over the statements. Result rows are not returned; use the plugin's ``ClickHouseOperator`` to fetch a few.

    A statement that was cut off may have run or not: write SQL that can run twice.

    :param sql: the statements, separated by semicolons, or the name of a ``.sql`` file. (templated)
    :param parameters: values for ``%(name)s`` in every statement, quoted by the driver. (templated)
    :param timezone: the zone in which the statements read and print times that name none (ClickHouse's
        ``session_timezone``); UTC unless given.
    :param settings: further ClickHouse settings for every statement. (templated)
    :param clickhouse_conn_id: a connection of the native protocol.
    :param database: used instead of the connection's schema. (templated)
    :raises AirflowException: when a statement fails; the message has its place, query_id and ClickHouse's error.
    """

    ui_color = "#fff4c2"

    def __init__(
        self,
        *,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        timezone: str = "UTC",
        settings: Mapping[str, Any] | None = None,
        clickhouse_conn_id: str = CLICKHOUSE_NATIVE_CONN_ID,
        database: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            sql=sql,
            parameters=dict(parameters) if parameters else None,
            settings={"session_timezone": timezone, **(settings or {})},
            clickhouse_conn_id=clickhouse_conn_id,
            database=database,
            **kwargs,
        )
        # Rendering replaces a file's name by its text; errors are to name the file.
        self._sql_name = sql if sql.endswith(".sql") else "sql"
        self._results: list[StatementResult] = []
        self._query_ids: list[str] = []
        self._running_query_id: str | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the statements.

        :return: what they cost, as described for the class.
        """
        with self.hook().session() as session:
            self.run_sql(session, context)
        return self.totals()

    def hook(self) -> ClickHouseHook:
        """Return the hook for this operator's connection."""
        return ClickHouseHook(clickhouse_conn_id=self._clickhouse_conn_id, database=self._database)

    def run_sql(self, session: ClickHouseSession, context: Context) -> StatementResult:
        """Run the operator's own SQL, statement by statement.

        :return: the last statement's result.
        """
        if self._sql.strip().endswith(".sql"):
            raise AirflowException(f"{self._sql_name}: no such file in the DAG's folder or its template_searchpath")
        statements = split_statements(self._sql)
        if not statements:
            raise AirflowException(f"{self._sql_name}: holds no statement")
        for number, statement in enumerate(statements, 1):
            place = f"{self._sql_name}, statement {number} of {len(statements)}"
            result = self.run_statement(session, context, statement, place=place, parameters=self._parameters)
        return result

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
        query_id = f"{_task_try(context)}.{len(self._query_ids) + 1}"
        self._query_ids.append(query_id)
        self._running_query_id = query_id
        self.log.info("%s: query_id %s", place, query_id)
        try:
            result = session.run(statement, parameters=parameters, query_id=query_id, settings=self._settings)
        except (ClickHouseError, OSError, *_SUBSTITUTION_ERRORS) as error:
            raise AirflowException(f"{place} failed (query_id {query_id}): {_cause(error)}") from error
        finally:
            self._running_query_id = None
        self._results.append(result)
        self.log.info(
            "%s: read %d rows (%d bytes), wrote %d rows in %.3f s",
            place,
            result.read_rows,
            result.read_bytes,
            result.written_rows,
            result.elapsed,
        )
        return result

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
        """Stop the statement that is running: ClickHouse does not notice by itself that nobody waits any more."""
        query_id = self._running_query_id
        if query_id is None:
            return
        with self.hook().session() as session:
            session.run("KILL QUERY WHERE query_id = %(query_id)s ASYNC", parameters={"query_id": query_id})
        self.log.info("Killed query %s", query_id)


def split_statements(sql: str) -> list[str]:
    """Split SQL at its semicolons, leaving out parts that hold nothing but comments and white space."""
    # Only the lexer, which knows strings, quoted names and comments: the parser's own splitting follows other
    # databases' blocks (BEGIN ... END), which ClickHouse does not have.
    statements: list[str] = []
    part, is_statement = "", False
    tokens = sqlparse.lexer.tokenize(sql)  # type: ignore[no-untyped-call]
    for kind, text in (*tokens, (sqlparse.tokens.Punctuation, ";")):
        if kind is sqlparse.tokens.Punctuation and text == ";":
            if is_statement:
                statements.append(part.strip())
            part, is_statement = "", False
            continue
        part += text
        is_statement = is_statement or not (kind in sqlparse.tokens.Whitespace or kind in sqlparse.tokens.Comment)
    return statements


def _task_try(context: Context) -> str:
    """Name DAG, task, run and try, so that a query in ClickHouse's log leads to its task's log.

    ``/`` follows the task, since ids of DAGs and tasks may hold a dot (a task in a group does) and never a slash; what
    the Health page makes of it is in ``ui/queries.sql``.
    """
    ti = context["ti"]
    # A task that is not mapped has the index -1, and None in some of Airflow's ways to make a context.
    mapped = f"/{ti.map_index}" if ti.map_index is not None and ti.map_index >= 0 else ""
    return f"{ti.dag_id}.{ti.task_id}{mapped}/{ti.run_id}/try{ti.try_number}"


def _cause(error: Exception) -> str:
    """Return an error's own words, without the server's stack trace."""
    text = str(error).split("Stack trace:")[0].strip()
    return f"{type(error).__name__}: {text}"
