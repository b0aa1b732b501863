"""Connections to the package's database: one for plain code, a pool for asynchronous code.

The embedded server allows 100 connections in all and Airflow takes most of them, so a pool stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg
import psycopg

if TYPE_CHECKING:
    from maxy.postgres.address import PostgresAddress

#: Connections that a pool may hold.
LARGEST_POOL = 8
#: Seconds to connect.
CONNECT_TIMEOUT_SECONDS = 5
#: Seconds for one statement of a pool's connection.
COMMAND_TIMEOUT_SECONDS = 15.0
# What the server shows of a connection.
_APPLICATION = "maxy"


def connect(address: PostgresAddress, *, autocommit: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection; as a context it commits, or rolls back, and closes.

    :param autocommit: each statement is a transaction of its own unless ``connection.transaction()`` says otherwise.
    :raises psycopg.OperationalError: the server does not connect within 5 s, or refuses.
    """
    options: dict[str, Any] = {} if address.sslmode is None else {"sslmode": address.sslmode}
    return psycopg.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        dbname=address.database,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        application_name=_APPLICATION,
        autocommit=autocommit,
        **options,
    )


async def open_pool(address: PostgresAddress, *, size: int = LARGEST_POOL) -> asyncpg.Pool:
    """Open a pool for the running event loop. It holds no connection until one is asked for.

    :param size: connections that it may hold at a time; who asks for another one waits.
    :raises ValueError: the size is not between 1 and 8.
    """
    if not 1 <= size <= LARGEST_POOL:
        raise ValueError(f"a pool of {size} connections: expected 1 to {LARGEST_POOL}")
    return await asyncpg.create_pool(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        ssl=address.sslmode,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        server_settings={"application_name": _APPLICATION},
    )
