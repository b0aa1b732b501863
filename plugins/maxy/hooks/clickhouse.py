"""ClickHouse over its native protocol: airflow-clickhouse-plugin's hooks, with the environment's connections on top."""

from __future__ import annotations

import re
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import clickhouse_driver  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.errors import ErrorCodes, ServerException  # type: ignore[import-untyped, unused-ignore]

from maxy.clickhouse.literals import literal
from maxy.clickhouse.parameters import fill, quote
from maxy.hooks._plugin_imports import without_moved_names
from maxy.hooks.native_columns import read_exactly
from maxy.hooks.native_connection import native_connection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.sdk import Connection

with without_moved_names():
    from airflow_clickhouse_plugin.hooks import clickhouse as _plugin  # type: ignore[import-untyped, unused-ignore]
    from airflow_clickhouse_plugin.hooks import clickhouse_dbapi as _plugin_dbapi  # type: ignore[import-untyped, unused-ignore]

_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


class SettingError(ValueError):
    """A setting that the server does not know, or a value that no setting takes."""


@dataclass(frozen=True)
class StatementResult:
    """What one statement returned and what it cost.

    :param columns: the result's columns, each a sequence of values in row order; empty for statements without a result,
        and without values where rows were not kept.
    :param names: the columns' names.
    :param read_rows: rows that ClickHouse read.
    :param read_bytes: bytes that ClickHouse read, uncompressed.
    :param written_rows: rows that ClickHouse wrote.
    :param elapsed: seconds between sending the statement and the end of its answer.
    :param types: the columns' ClickHouse types.
    """

    columns: Sequence[Sequence[Any]]
    names: Sequence[str]
    read_rows: int
    read_bytes: int
    written_rows: int
    elapsed: float
    types: Sequence[str] = ()

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
        self._admitted: set[str] = set()

    def read_exactly(self) -> None:
        """Return values with nothing lost from now on; called before the first statement.

        Instants have their zone, and all digits. A result with a column that cannot be written is refused by its
        header, with a ValueError that names column and type.
        """
        for connection in (self._client.connection, *self._client.connections):
            read_exactly(connection)

    def run(
        self,
        statement: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        query_id: str | None = None,
        settings: Mapping[str, Any] | None = None,
        keep_rows: bool = True,
    ) -> StatementResult:
        """Run one statement to its end.

        :param statement: one SQL statement; values as ``%(name)s``. A ``%`` that stands for itself is doubled, but
            only in a statement that has such values.
        :param parameters: the values; None for a statement that is sent as it is.
        :param query_id: the statement's name in ``system.query_log`` and ``system.processes``.
        :param settings: ClickHouse settings for this statement.
        :param keep_rows: whether the result has the rows; if not, they are dropped block by block as they come.
        :raises UnquotableError: for a value that cannot be written in SQL exactly; nothing is sent then.
        :raises SqlError: for a place without a value; nothing is sent then.
        :raises SettingError: for a setting that the server does not know; the statement is not sent then.
        :raises clickhouse_driver.errors.Error: on a server or network error.
        """
        if parameters is not None:
            statement = fill(statement, quote(parameters))
        sent_settings = {name: _setting_value(name, value) for name, value in (settings or {}).items()}
        try:
            self._admit({**self._client.settings, **sent_settings})
            started = time.monotonic()
            read = self._read if keep_rows else self._read_past
            columns, types = read(statement, query_id, sent_settings)
        except BaseException:
            # A task that is timed out or told to end leaves the driver in the middle of an answer. And a new connection
            # does not know what the old one was told.
            self._client.disconnect()
            self._admitted.clear()
            raise
        names = [name for name, _ in types]
        progress = self._client.last_query.progress
        return StatementResult(
            columns=columns or [()] * len(names),
            names=names,
            read_rows=progress.rows,
            read_bytes=progress.bytes,
            written_rows=progress.written_rows,
            elapsed=time.monotonic() - started,
            types=[column_type for _, column_type in types],
        )

    def _read(
        self, statement: str, query_id: str | None, settings: Mapping[str, Any]
    ) -> tuple[Sequence[Sequence[Any]], Sequence[tuple[str, str]]]:
        answer = self._client.execute(
            statement, with_column_types=True, query_id=query_id, settings=settings, columnar=True
        )
        # Statements without a result set come back as a row count or an empty list.
        return answer if isinstance(answer, tuple) else ([], [])

    def _read_past(
        self, statement: str, query_id: str | None, settings: Mapping[str, Any]
    ) -> tuple[Sequence[Sequence[Any]], Sequence[tuple[str, str]]]:
        answer = self._client.execute_iter(statement, with_column_types=True, query_id=query_id, settings=settings)
        types: Sequence[tuple[str, str]] = next(answer, ())
        deque(answer, maxlen=0)
        return [], types

    def _admit(self, settings: Mapping[str, Any]) -> None:
        """Have every setting apply or be refused: a server passes over those of a query that it does not know.

        :raises SettingError: naming the setting.
        """
        new = settings.keys() - self._admitted - set(clickhouse_driver.Client.available_client_settings)
        if not new:
            return
        names = literal(sorted(new))
        known = {name for (name,) in self._client.execute(f"SELECT name FROM system.settings WHERE name IN {names}")}
        for name in sorted(new - known):
            self._set(name, settings[name])
        self._admitted |= new

    def _set(self, name: str, value: Any) -> None:
        """Set what may be a setting of the server's own making (``custom_settings_prefixes``): it has to be told so."""
        if not _SETTING_NAME.fullmatch(name):
            raise SettingError(f"setting {name!r}: that is no setting's name")
        try:
            self._client.execute(f"SET {name} = {literal(value)}")
        except ServerException as error:
            if error.code != ErrorCodes.UNKNOWN_SETTING:
                raise
            raise SettingError(f"setting {name!r}: the server knows no setting of this name") from error


def _setting_value(name: str, value: Any) -> Any:
    """Return a setting's value as it is sent.

    :raises SettingError: if it is none.
    """
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (str, int, float)):
        return value
    raise SettingError(f"setting {name!r}: a {type(value).__name__} is no value of a setting")


class ClickHouseHook(_plugin.ClickHouseHook):  # type: ignore[misc]
    """airflow-clickhouse-plugin's hook; ``CLICKHOUSE_*`` override the connection ``clickhouse_default``.

    :param clickhouse_conn_id: an Airflow connection of the native protocol.
    :param database: used instead of the connection's schema.
    """

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return native_connection(conn_id, super().get_connection)

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


class ClickHouseDbApiHook(_plugin_dbapi.ClickHouseDbApiHook):  # type: ignore[misc]
    """airflow-clickhouse-plugin's DB-API hook; ``CLICKHOUSE_*`` override the connection ``clickhouse_default``.

    :param schema: the database, used instead of the connection's schema.
    """

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return native_connection(conn_id, super().get_connection)
