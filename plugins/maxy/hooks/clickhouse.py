"""ClickHouse over its native protocol: airflow-clickhouse-plugin's hooks, with the environment's connections on top."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_clickhouse_plugin.hooks.clickhouse import ClickHouseHook as _PluginHook
from airflow_clickhouse_plugin.hooks.clickhouse_dbapi import ClickHouseDbApiHook as _PluginDbApiHook

from maxy.hooks.environment import overridden

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import clickhouse_driver
    from airflow.sdk import Connection


@dataclass(frozen=True)
class StatementResult:
    """What one statement returned and what it cost.

    :param columns: the result's columns, each a sequence of values in row order; empty for statements without a result.
    :param names: the columns' names.
    :param read_rows: rows that ClickHouse read.
    :param read_bytes: bytes that ClickHouse read, uncompressed.
    :param written_rows: rows that ClickHouse wrote.
    :param elapsed: seconds between sending the statement and the end of its answer.
    """

    columns: Sequence[Sequence[Any]]
    names: Sequence[str]
    read_rows: int
    read_bytes: int
    written_rows: int
    elapsed: float

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        """The result as rows."""
        return list(zip(*self.columns, strict=True))

    @property
    def scalar(self) -> Any:
        """The only value of a result of one row and one column."""
        ((value,),) = self.columns
        return value


class ClickHouseSession:
    """One native connection, on which statements run one after the other.

    :param client: the driver's client, already configured.
    """

    def __init__(self, client: clickhouse_driver.Client) -> None:
        self._client = client

    def run(
        self,
        statement: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        query_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> StatementResult:
        """Run one statement to its end.

        :param statement: one SQL statement; values as ``%(name)s``. A ``%`` that stands for itself is doubled, but
            only in a statement that has such values.
        :param parameters: the values, quoted by the driver.
        :param query_id: the statement's name in ``system.query_log`` and ``system.processes``.
        :param settings: ClickHouse settings for this statement.
        :raises clickhouse_driver.errors.Error: as the server or the network had it.
        """
        # The driver reads every % of a statement that comes with parameters as the start of one.
        substituted = bool(parameters) and "%(" in statement
        answer = self._client.execute(
            statement,
            params=dict(parameters or {}) if substituted else None,
            with_column_types=True,
            query_id=query_id,
            settings=dict(settings) if settings else None,
            columnar=True,
        )
        # Statements without a result set come back as a row count or an empty list.
        columns, types = answer if isinstance(answer, tuple) else ([], [])
        names = [name for name, _ in types]
        progress = self._client.last_query.progress
        return StatementResult(
            columns=columns or [()] * len(names),
            names=names,
            read_rows=progress.rows,
            read_bytes=progress.bytes,
            written_rows=progress.written_rows,
            elapsed=self._client.last_query.elapsed or 0.0,
        )


class ClickHouseHook(_PluginHook):  # type: ignore[misc]
    """airflow-clickhouse-plugin's hook; ``CLICKHOUSE_*`` override the connection ``clickhouse_default``.

    :param clickhouse_conn_id: an Airflow connection of the native protocol.
    :param database: used instead of the connection's schema.
    """

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return overridden(conn_id, super().get_connection)

    @contextmanager
    def session(self) -> Iterator[ClickHouseSession]:
        """Open a connection that closes with the block.

        Statements of one session see its temporary tables and ``SET``.
        """
        client = self.get_conn()
        try:
            yield ClickHouseSession(client)
        finally:
            client.disconnect()


class ClickHouseDbApiHook(_PluginDbApiHook):  # type: ignore[misc]
    """airflow-clickhouse-plugin's DB-API hook; ``CLICKHOUSE_*`` override the connection ``clickhouse_default``.

    :param schema: the database, used instead of the connection's schema.
    """

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return overridden(conn_id, super().get_connection)
