"""Which statements the template operator kills, by what became of them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout
from clickhouse_driver.errors import NetworkError, ServerException

from maxy.hooks.clickhouse import StatementResult
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from tests.support import task_context

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server:
    """Stands for the hook: each of its sessions fails the task's own statements with the same error."""

    def __init__(self, failure: BaseException | None) -> None:
        self.failure = failure
        self.killed: list[str] = []

    @contextmanager
    def session(self) -> Iterator[Server]:
        yield self

    def run(self, statement: str, *, parameters: Any = None, **_: Any) -> StatementResult:
        if statement.startswith("KILL QUERY"):
            self.killed.append(parameters["query_id"])
        elif self.failure is not None:
            raise self.failure
        return StatementResult([], [], 0, 0, 0, 0.0)


def run(failure: BaseException | None, expected: type[BaseException]) -> tuple[Server, str]:
    server = Server(failure)
    operator: Any = ClickHouseTemplateOperator(task_id="sql", sql=["SELECT 1", "SELECT 2"])
    operator.hook = lambda: server
    with pytest.raises(expected) as failed:
        operator.execute(task_context(operator))
    return server, str(failed.value)


@pytest.mark.parametrize("failure", [EOFError("gone"), ConnectionResetError("reset"), TimeoutError("silent")])
def test_a_statement_whose_connection_breaks_is_killed_and_named(failure: Exception) -> None:
    server, message = run(failure, AirflowException)
    assert server.killed == ["adhoc_airflow.sql/run/try1.1"]
    assert message.startswith("sql[0], statement 1 of 1 failed (query_id adhoc_airflow.sql/run/try1.1): ")
    assert str(failure) in message


@pytest.mark.parametrize("failure", [ServerException("Stack trace:", 241), NetworkError("no route")])
def test_a_statement_that_has_ended_or_never_began_is_not_killed(failure: Exception) -> None:
    server, _ = run(failure, AirflowException)
    assert server.killed == []


@pytest.mark.parametrize("failure", [AirflowTaskTimeout(), KeyboardInterrupt(), SystemExit(), RuntimeError()])
def test_a_statement_that_is_cut_off_is_killed(failure: BaseException) -> None:
    server, _ = run(failure, type(failure))
    assert server.killed == ["adhoc_airflow.sql/run/try1.1"]


def test_each_statement_that_may_still_run_is_killed_and_no_other() -> None:
    server = Server(None)
    operator: Any = ClickHouseTemplateOperator(task_id="sql", sql="SELECT 1; SELECT 2")
    operator.hook = lambda: server
    context = task_context(operator)
    operator.execute(context)
    server.failure = AirflowTaskTimeout()
    with pytest.raises(AirflowTaskTimeout):
        operator.run_statement(server, context, "SELECT 3", place="one more")
    server.failure = None
    # On the way out, as a stage table is dropped.
    operator.run_statement(server, context, "DROP TABLE t", place="drop t")
    server.killed.clear()
    operator.on_kill()
    assert server.killed == ["adhoc_airflow.sql/run/try1.3"]
