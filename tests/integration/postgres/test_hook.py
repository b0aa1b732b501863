"""The package's PostgreSQL connection as tasks and asynchronous code find it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from maxy.hooks.asynchronous import postgres_address
from maxy.hooks.postgres import MaxyPostgresHook

if TYPE_CHECKING:
    from maxy.postgres.address import PostgresAddress
    from tests.postgres_support import PostgresServer


@pytest.fixture
def address(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> PostgresAddress:
    address = postgres_server.new_database()
    stored = '{"conn_type": "postgres", "host": "nowhere", "port": 1, "login": "nobody", "schema": "none"}'
    monkeypatch.setenv("AIRFLOW_CONN_MAXY_POSTGRES", stored)
    for name, value in {
        "POSTGRES_HOST": address.host,
        "POSTGRES_PORT": str(address.port),
        "POSTGRES_USER": address.user,
        "POSTGRES_PASSWORD": address.password,
        "POSTGRES_DB": address.database,
    }.items():
        monkeypatch.setenv(name, value)
    return address


def test_tasks_reach_the_database_by_psycopg_3(address: PostgresAddress) -> None:
    hook = MaxyPostgresHook()
    assert hook.get_first("SELECT current_database(), current_user") == (address.database, address.user)
    with hook.get_conn() as connection:
        assert type(connection).__module__.split(".")[0] == "psycopg"
        connection.execute(
            "INSERT INTO web_audit (who, role, method, route, target, request_id, result, status)"
            " VALUES ('a', 'op', 'POST', '/', 'x', '1', 'done', 200)"
        )
    assert hook.get_first("SELECT who FROM web_audit WHERE details = '{}'") == ("a",)


def test_asynchronous_code_gets_the_same_address(address: PostgresAddress) -> None:
    assert asyncio.run(postgres_address("maxy_postgres")) == address


def test_another_connection_is_left_as_it_is(address: PostgresAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_THEIRS", "postgres://them:secret@their-host:6543/theirs?sslmode=require")
    found = asyncio.run(postgres_address("theirs"))
    assert (found.host, found.port, found.user, found.database) == ("their-host", 6543, "them", "theirs")
    assert (found.password, found.sslmode) == ("secret", "require")
