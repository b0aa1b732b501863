"""Connections and pools on a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from maxy.postgres.address import PostgresAddress, address_from_environment
from maxy.postgres.connect import LARGEST_POOL, connect, open_pool

if TYPE_CHECKING:
    from tests.postgres_support import PostgresServer


@pytest.fixture(scope="module")
def address(postgres_server: PostgresServer) -> PostgresAddress:
    return postgres_server.new_database()


def test_what_a_connection_writes_is_committed_unless_it_fails(address: PostgresAddress) -> None:
    with connect(address) as connection:
        connection.execute("CREATE TABLE notes (note text)")
        connection.execute("INSERT INTO notes VALUES (%s)", ["kept"])
    with pytest.raises(psycopg.errors.DivisionByZero), connect(address) as connection:
        connection.execute("INSERT INTO notes VALUES ('undone'); SELECT 1 / 0")
    with connect(address) as connection:
        assert connection.execute("SELECT note FROM notes").fetchall() == [("kept",)]
        assert connection.execute("SELECT current_setting('application_name')").fetchone() == ("maxy",)


def test_a_pool_opens_no_connection_before_it_is_asked_and_no_more_than_it_may(address: PostgresAddress) -> None:
    async def ask() -> tuple[int, int]:
        async with await open_pool(address, size=2) as pool:
            before = pool.get_size()
            await asyncio.gather(*(pool.fetchval("SELECT pg_sleep(0.01)") for _ in range(6)))
            return before, pool.get_size()

    assert asyncio.run(ask()) == (0, 2)


@pytest.mark.parametrize("size", [0, LARGEST_POOL + 1])
def test_a_pool_of_a_wrong_size_is_refused(address: PostgresAddress, size: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 8"):
        asyncio.run(open_pool(address, size=size))


def test_the_mode_of_tls_is_passed_on(address: PostgresAddress) -> None:
    # The embedded server has no TLS.
    unencrypted = replace(address, host="127.0.0.1", port=1, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        connect(unencrypted)

    async def ask() -> None:
        async with await open_pool(unencrypted) as pool:
            await pool.fetchval("SELECT 1")

    with pytest.raises((OSError, asyncpg.PostgresError)):
        asyncio.run(ask())
    with pytest.raises(psycopg.OperationalError, match="sslmode"):
        connect(replace(address, sslmode="perhaps"))


def test_the_address_is_read_from_the_environment() -> None:
    assert address_from_environment({"POSTGRES_HOST": ""}) is None
    assert address_from_environment({"POSTGRES_HOST": "db"}) == PostgresAddress(
        host="db", port=5432, user="maxy", password="", database="maxy", sslmode=None
    )
    given = {
        "POSTGRES_HOST": "/run/postgres",
        "POSTGRES_PORT": "6432",
        "POSTGRES_USER": "owner",
        "POSTGRES_PASSWORD": "p:w/d",
        "POSTGRES_DB": "figures",
        "POSTGRES_SSLMODE": "verify-full",
    }
    assert address_from_environment(given) == PostgresAddress(
        host="/run/postgres", port=6432, user="owner", password="p:w/d", database="figures", sslmode="verify-full"
    )
    for port in ("0", "65536", "x", "²"):
        with pytest.raises(ValueError, match="POSTGRES_PORT"):
            address_from_environment({"POSTGRES_HOST": "db", "POSTGRES_PORT": port})
