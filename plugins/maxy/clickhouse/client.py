"""ClickHouse over HTTP for the live loops: one client for all ticks, results as columns."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect

# With the first statement it would be imported in a tick: nearly a second, in which no loop of the thread ticks.
import clickhouse_connect.driver.asyncclient
from clickhouse_connect.driver.exceptions import InternalError, NotSupportedError

from maxy.clickhouse.http_columns import FORMATS, decode_column, precise_formats
from maxy.clickhouse.values import require_written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.asyncclient import AsyncClient
    from clickhouse_connect.driver.query import QueryResult

_SESSION_TIMEZONE = "session_timezone"


@dataclass(frozen=True)
class ClickHouseAddress:
    """Where ClickHouse's HTTP interface is, and who asks."""

    host: str
    port: int
    user: str
    database: str
    password: str = field(repr=False, default="")
    secure: bool = False


@dataclass(frozen=True)
class Columns:
    """A result, column by column.

    :param names: the columns' names; none at all for a result without rows, since the format then names none.
    :param columns: the values of each, in row order.
    :param types: the columns' ClickHouse types, by which they are written; of columns that a loop has computed itself,
        an empty text each, or none at all.
    """

    names: Sequence[str]
    columns: Sequence[Sequence[Any]]
    types: Sequence[str] = ()

    def __getitem__(self, name: str) -> Sequence[Any]:
        """Return a column's values.

        :raises ValueError: if the result has rows, but no such column.
        """
        if not self.names:
            return ()
        if name not in self.names:
            raise ValueError(f"the result has no column {name}; it has {', '.join(self.names)}")
        return self.columns[self.names.index(name)]

    def type_of(self, name: str) -> str:
        """Return a column's ClickHouse type; empty if it is not known."""
        return dict(zip(self.names, self.types, strict=False)).get(name, "")

    def __len__(self) -> int:
        return len(self.columns[0]) if self.columns else 0


def _types(answer: QueryResult) -> list[str]:
    return [column_type.name for column_type in answer.column_types]


class ClickHouseReader:
    """Runs the loops' statements.

    The client is made with the first statement, so that a loop can start before ClickHouse does; it asks for the
    server's version and settings once. Statements of one loop run one after the other.

    :param address: the server.
    :param name: the loop's, for the query ids ``maxy_realtime_<name>_…`` in ``system.query_log``.
    :param settings: ClickHouse settings of every statement. Times that name no zone are read and printed in UTC,
        whatever zone the server is in, unless ``session_timezone`` is among them.
    :param connect_timeout: seconds.
    :param receive_timeout: seconds without a byte from the server.
    """

    def __init__(
        self,
        address: ClickHouseAddress,
        *,
        name: str,
        settings: Mapping[str, Any] | None = None,
        connect_timeout: float = 5.0,
        receive_timeout: float = 60.0,
    ) -> None:
        self._address = address
        self._name = name
        self._settings = {_SESSION_TIMEZONE: "UTC", **(settings or {})}
        # Formats by column of statements whose times have more digits than the client's.
        self._precise_formats: dict[str, dict[str, Any]] = {}
        self._connect_timeout = connect_timeout
        self._receive_timeout = receive_timeout
        self._client: AsyncClient | None = None
        self._lock = asyncio.Lock()
        #: Statements sent so far, without the client's own at its start.
        self.statements = 0

    async def select(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        string_as_bytes: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> Columns:
        """Run a query and return its whole result.

        :param statement: one statement, values as ``{name:Type}``.
        :param parameters: the values.
        :param string_as_bytes: return String columns as bytes, as the server has them.
        :param settings: ClickHouse settings for this statement.
        :raises ValueError: for a column that the client cannot read, with its name, its type and what to select.
        :raises clickhouse_connect.driver.exceptions.ClickHouseError: on a server or network error.
        """
        if string_as_bytes:
            answer = await self._query(statement, parameters, settings)
            return Columns(answer.column_names, answer.result_columns, _types(answer))
        formats = self._precise_formats.get(statement, {})
        answer = await self._query(statement, parameters, settings, formats)
        needed = precise_formats(answer.column_names, _types(answer))
        if answer.column_names and needed != formats:
            # What is to be asked for is only seen in the answer. The next time it is known.
            self._precise_formats[statement] = needed
            answer = await self._query(statement, parameters, settings, needed)
        zone = str({**self._settings, **(settings or {})}[_SESSION_TIMEZONE])
        columns = zip(answer.result_columns, _types(answer), strict=True)
        return Columns(
            answer.column_names, [decode_column(column, kind, zone) for column, kind in columns], _types(answer)
        )

    async def execute(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
    ) -> Mapping[str, str]:
        """Run a statement without a result, such as ``INSERT … SELECT``.

        :return: the server's summary, e.g. ``written_rows``.
        :raises clickhouse_connect.driver.exceptions.ClickHouseError: on a server or network error.
        """
        client = await self._connected()
        self.statements += 1
        summary = await client.command(
            statement, parameters=dict(parameters or {}), settings=self._statement_settings(settings)
        )
        return dict(getattr(summary, "summary", {}))

    async def close(self) -> None:
        """End the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _query(
        self,
        statement: str,
        parameters: Mapping[str, Any] | None,
        settings: Mapping[str, Any] | None,
        formats: Mapping[str, Any] | None = None,
    ) -> QueryResult:
        client = await self._connected()

        async def query(text: str) -> QueryResult:
            self.statements += 1
            return await client.query(
                text,
                parameters=dict(parameters or {}),
                settings=self._statement_settings(settings),
                query_formats=FORMATS,
                column_formats=dict(formats or {}),
                column_oriented=True,
            )

        try:
            return await query(statement)
        except (NotSupportedError, InternalError):
            # The client names neither the column nor what could be done.
            described = await query(f"DESCRIBE TABLE (\n{statement}\n)")
            names, types, *_ = described.result_columns
            require_written(zip(map(bytes.decode, names), map(bytes.decode, types), strict=True))
            raise

    def _statement_settings(self, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        return {
            **self._settings,
            **(settings or {}),
            "query_id": f"maxy_realtime_{self._name}_{uuid.uuid4().hex[:16]}",
        }

    async def _connected(self) -> AsyncClient:
        async with self._lock:
            if self._client is None:
                self._client = await clickhouse_connect.get_async_client(
                    host=self._address.host,
                    port=self._address.port,
                    username=self._address.user,
                    password=self._address.password,
                    database=self._address.database,
                    secure=self._address.secure,
                    # A session would lock out a statement that follows one that was cancelled.
                    autogenerate_session_id=False,
                    connect_timeout=self._connect_timeout,
                    send_receive_timeout=self._receive_timeout,
                    query_retries=0,
                    # Times come as numbers of milliseconds, so no zone is needed but UTC.
                    tz_mode="aware",
                    # Parameters that grow with the number of keys do not fit into an address.
                    form_encode_query_params=True,
                    compress=False,
                )
                # The client writes times that are parameters in the zone that it takes for the server's.
                self._client.server_tz = ZoneInfo(self._settings[_SESSION_TIMEZONE])
            return self._client
