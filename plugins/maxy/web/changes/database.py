"""The package's database and its settings of permissions, as the API's routes reach them; one per server process."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import asyncpg
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from fastapi import HTTPException

from maxy.hooks.asynchronous import postgres_address
from maxy.hooks.environment import POSTGRES_CONN_ID
from maxy.postgres.connect import open_pool
from maxy.web.cache import SharedAnswers
from maxy.web.changes.permissions import VARIABLE, Permissions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maxy.postgres.address import PostgresAddress

logger = logging.getLogger(__name__)

#: Seconds to wait for one of the pool's connections.
_ACQUIRE_SECONDS = 5.0
_SETTINGS_SECONDS = 60.0
#: What asyncpg and Airflow raise where a database or a connection is not there.
FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, AirflowException, AirflowNotFoundException, OSError)
#: What asyncpg raises where the server has gone while a connection was in use.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)


class ChangeDatabase:
    """A pool that is opened when it is first needed, and the permissions, at most a minute old.

    :param find_address: says where the database is.
    :param read_permissions: reads the variable; may block.
    """

    def __init__(
        self,
        *,
        find_address: Callable[[], Awaitable[PostgresAddress]] = lambda: postgres_address(POSTGRES_CONN_ID),
        read_permissions: Callable[[], Permissions] | None = None,
    ) -> None:
        self._find_address = find_address
        self._read_permissions = read_permissions or _read_permissions
        self._permissions: SharedAnswers[Permissions] = SharedAnswers(_SETTINGS_SECONDS, time.monotonic)
        self._pool: asyncpg.Pool | None = None
        self._lock = asyncio.Lock()

    async def permissions(self) -> Permissions:
        """Return which role has which permission.

        :raises HTTPException: 503, the variable is wrong or cannot be read. Nobody may change anything then.
        """
        try:
            return await self._permissions.get((), lambda: asyncio.to_thread(self._read_permissions))
        except (*FAILURES, ValueError) as error:
            logger.warning("permissions cannot be read: %s", error)
            raise HTTPException(503, f"the variable {VARIABLE} cannot be read, so nothing can be changed") from error

    async def acquire(self) -> asyncpg.Connection:
        """Return a connection, which goes back by `release`.

        :raises HTTPException: 503, there is none.
        """
        try:
            async with self._lock:
                if self._pool is None:
                    self._pool = await open_pool(await self._find_address())
            return await self._pool.acquire(timeout=_ACQUIRE_SECONDS)
        except (*FAILURES, TimeoutError, ValueError) as error:
            raise unavailable(error) from error

    async def release(self, connection: asyncpg.Connection) -> None:
        """Give a connection back; what it has not committed is undone."""
        if self._pool is not None:
            await self._pool.release(connection)

    async def close(self) -> None:
        """End the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()


def unavailable(error: Exception) -> HTTPException:
    """Return the answer for a database that cannot be asked; only the log says which and why."""
    logger.warning("the database of the API's changes cannot be asked: %s: %s", type(error).__name__, error)
    return HTTPException(503, "PostgreSQL cannot be asked, so nothing was changed", headers={"Retry-After": "5"})


def _read_permissions() -> Permissions:
    return Permissions.parse(str(Variable.get(VARIABLE, default="{}")))
