"""Clients for asynchronous code in the triggerer, from Airflow's connections with the environment's values on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException
from redis.asyncio import Redis
from redis.asyncio.retry import Retry

from maxy._parsing import as_bool
from maxy.clickhouse.client import ClickHouseAddress
from maxy.hooks.environment import overridden
from maxy.hooks.postgres import address_of
from maxy.hooks.valkey_limits import connection_limits

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from maxy.postgres.address import PostgresAddress

_SSL_EXTRAS = ("ssl", "ssl_cert_reqs", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "ssl_check_hostname")
_DEFAULT_HTTP_PORTS = {False: 8123, True: 8443}


async def connection(conn_id: str) -> Connection:
    """Return a connection, with the environment's values on top.

    :raises AirflowNotFoundException: if neither Airflow nor the environment knows it.
    """
    try:
        found = await BaseHook.aget_connection(conn_id)
    except AirflowNotFoundException as error:
        missing = error

        def look_up(conn_id: str) -> Connection:
            raise missing
    else:

        def look_up(conn_id: str) -> Connection:
            return found

    return overridden(conn_id, look_up)


async def clickhouse_address(conn_id: str) -> ClickHouseAddress:
    """Return where ClickHouse's HTTP interface is: a connection of type ``http``, with ``secure`` in its extra.

    :raises ValueError: if ``secure`` is neither true nor false.
    """
    found = await connection(conn_id)
    secure = as_bool(found.extra_dejson.get("secure", False), f"connection {conn_id}: secure")
    return ClickHouseAddress(
        host=found.host or "localhost",
        port=found.port or _DEFAULT_HTTP_PORTS[secure],
        user=found.login or "default",
        database=found.schema or "default",
        password=found.password or "",
        secure=secure,
    )


async def postgres_address(conn_id: str) -> PostgresAddress:
    """Return where a PostgreSQL database is: a connection of type ``postgres``, with ``sslmode`` in its extra."""
    return address_of(await connection(conn_id))


async def valkey_client(conn_id: str) -> Redis:
    """Return a client for Valkey: a connection of type ``redis``, read as the Redis provider's hook reads it.

    Its answers are bytes. A server that does not answer within 5 s is asked once more, on a new connection; then it is
    an error (:mod:`maxy.hooks.valkey_limits`).

    :raises ValueError: for a connection in cluster mode: one script writes keys that may lie on several nodes.
    """
    found = await connection(conn_id)
    extra = found.extra_dejson
    if extra.get("cluster"):
        raise ValueError(f"connection {conn_id}: cluster mode is not supported")
    return Redis(
        host=found.host or "localhost",
        port=found.port or 6379,
        username=found.login,
        # The hook takes these words for "no password" too.
        password=None if str(found.password).lower() in ("none", "false", "") else found.password,
        db=int(extra.get("db") or 0),
        **connection_limits(Retry),
        **{name: extra[name] for name in _SSL_EXTRAS if name in extra},
    )
