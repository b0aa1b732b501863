"""Where figures come from: Valkey, ClickHouse and a family's settings, each asked when it is needed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from airflow.sdk._shared.secrets_masker import redact
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from clickhouse_connect.driver.exceptions import ClickHouseError
from redis import RedisError

from maxy._addresses import hide_addresses
from maxy.clickhouse.client import ClickHouseReader
from maxy.clickhouse.sql_files import read_statement
from maxy.hooks.asynchronous import clickhouse_address, valkey_client
from maxy.hooks.environment import CLICKHOUSE_HTTP_CONN_ID, VALKEY_CONN_ID
from maxy.web.cache import SharedAnswers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from redis.asyncio import Redis

    from maxy.clickhouse.client import ClickHouseAddress, Columns
    from maxy.clock import Clock

Settings = TypeVar("Settings")

_SETTINGS_SECONDS = 60.0
_MOST_STATEMENTS = 4
#: Nothing that a page asks for takes long; what does is cut off by ClickHouse itself.
_CLICKHOUSE_SETTINGS = {
    "max_execution_time": 10,
    "timeout_overflow_mode": "throw",
    "max_threads": 2,
    "max_memory_usage": 2 * 1024**3,
}
_ANSWER_SECONDS = 20.0
_LONGEST_ERROR = 500
_FAILURES = (RedisError, ClickHouseError, AirflowException, AirflowNotFoundException, OSError, TimeoutError)


class SourceUnavailable(Exception):
    """Valkey, ClickHouse or a setting could not be asked.

    :param source: which one, for people.
    :param reason: the error in its own words, with secrets masked and without addresses of servers.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source} cannot be asked: {reason}")


class Clients:
    """Clients of one server process, made when they are first needed and kept. Belongs to one event loop.

    :param clock: what time it is.
    :param connect_valkey: makes Valkey's client.
    :param find_clickhouse: says where ClickHouse is.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        connect_valkey: Callable[[], Awaitable[Redis]] = lambda: valkey_client(VALKEY_CONN_ID),
        find_clickhouse: Callable[[], Awaitable[ClickHouseAddress]] = lambda: clickhouse_address(
            CLICKHOUSE_HTTP_CONN_ID
        ),
    ) -> None:
        self.clock = clock
        self._connect_valkey = connect_valkey
        self._find_clickhouse = find_clickhouse
        self._valkey: Redis | None = None
        self._clickhouse: ClickHouseReader | None = None
        self._lock = asyncio.Lock()
        self._turns = asyncio.Semaphore(_MOST_STATEMENTS)

    @asynccontextmanager
    async def valkey(self) -> AsyncIterator[Redis]:
        """Give Valkey's client.

        :raises SourceUnavailable: there is no connection, or what is done with the client fails.
        """
        async with self._lock:
            if self._valkey is None:
                async with _reporting_failure("Valkey", (*_FAILURES, ValueError)):
                    self._valkey = await self._connect_valkey()
        async with _reporting_failure("Valkey", _FAILURES):
            yield self._valkey

    async def select(
        self, file: str, parameters: Mapping[str, Any], *, structure: Mapping[str, Any] | None = None
    ) -> Columns:
        """Ask ClickHouse; at most four statements of the pages run at a time.

        :param file: the statement, below ``include/sql``.
        :param parameters: its values.
        :param structure: which parts it has.
        :raises SourceUnavailable: there is no connection, or ClickHouse did not answer in time or with an error.
        """
        statement = read_statement(file, **(structure or {}))
        async with _reporting_failure("ClickHouse", _FAILURES):
            # As a whole: those who wait for their turn, or for the first connection, would otherwise add up.
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader = await self._reader()
                async with self._turns:
                    return await reader.select(statement, parameters, settings=_CLICKHOUSE_SETTINGS)

    async def close(self) -> None:
        """End the connections."""
        valkey, self._valkey = self._valkey, None
        clickhouse, self._clickhouse = self._clickhouse, None
        if valkey is not None:
            await valkey.aclose()
        if clickhouse is not None:
            await clickhouse.close()

    async def _reader(self) -> ClickHouseReader:
        async with self._lock:
            if self._clickhouse is None:
                async with _reporting_failure("ClickHouse", (*_FAILURES, ValueError)):
                    address = await self._find_clickhouse()
                self._clickhouse = ClickHouseReader(address, name="pages", receive_timeout=_ANSWER_SECONDS)
            return self._clickhouse


class Sources(Generic[Settings]):
    """The clients that all families share, and the settings of one. Belongs to one event loop.

    :param clients: of the server process.
    :param read_settings: reads the family's settings; may block.
    """

    def __init__(self, clients: Clients, read_settings: Callable[[], Settings]) -> None:
        self.clients = clients
        self.clock = clients.clock
        self._read_settings = read_settings
        self._settings: SharedAnswers[Settings] = SharedAnswers(_SETTINGS_SECONDS, clients.clock.monotonic)

    async def settings(self) -> Settings:
        """Return the family's settings, at most a minute old.

        :raises SourceUnavailable: one of them is wrong, or Airflow cannot be asked.
        """
        async with _reporting_failure("The package's settings", (*_FAILURES, ValueError)):
            # Airflow's variables may come from its database, which blocks.
            return await self._settings.get((), lambda: asyncio.to_thread(self._read_settings))

    def valkey(self) -> AbstractAsyncContextManager[Redis]:
        """Give Valkey's client, see :meth:`Clients.valkey`."""
        return self.clients.valkey()

    async def select(
        self, file: str, parameters: Mapping[str, Any], *, structure: Mapping[str, Any] | None = None
    ) -> Columns:
        """Ask ClickHouse, see :meth:`Clients.select`."""
        return await self.clients.select(file, parameters, structure=structure)


# A ValueError is a connection or a setting that is wrong; elsewhere it is a defect, which must not pass for an outage.
@asynccontextmanager
async def _reporting_failure(source: str, failures: tuple[type[Exception], ...]) -> AsyncIterator[None]:
    try:
        yield
    except failures as error:
        told = str(error).split("Stack trace:")[0].strip() or "no answer in time"
        reason = f"{type(error).__name__}: {told}"
        raise SourceUnavailable(source, hide_addresses(str(redact(reason)))[:_LONGEST_ERROR]) from error
