from __future__ import annotations

import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from maxy.hooks.environment import overridden


def known(conn_id: str) -> Connection:
    return Connection(
        conn_id=conn_id,
        conn_type="clickhouse",
        host="stored",
        port=1,
        login="stored-user",
        password="stored-password",
        schema="stored-db",
        extra='{"compression": "lz4", "secure": false}',
    )


def unknown(conn_id: str) -> Connection:
    raise AirflowNotFoundException(conn_id)


def test_without_variables_the_connection_is_airflows() -> None:
    connection = overridden("clickhouse_default", known, {})
    assert (connection.host, connection.port, connection.login) == ("stored", 1, "stored-user")
    assert connection.extra_dejson == {"compression": "lz4", "secure": False}


def test_each_variable_replaces_its_part_and_leaves_the_others() -> None:
    connection = overridden(
        "clickhouse_default",
        known,
        {"CLICKHOUSE_HOST": "db", "CLICKHOUSE_NATIVE_PORT": "9440", "CLICKHOUSE_SECURE": "true", "CLICKHOUSE_DB": ""},
    )
    assert (connection.host, connection.port, connection.schema) == ("db", 9440, "stored-db")
    assert (connection.login, connection.password) == ("stored-user", "stored-password")
    assert connection.extra_dejson == {"compression": "lz4", "secure": True}


def test_http_and_native_have_ports_of_their_own() -> None:
    environment = {"CLICKHOUSE_PORT": "8124", "CLICKHOUSE_NATIVE_PORT": "9001"}
    assert overridden("clickhouse_http", known, environment).port == 8124
    assert overridden("clickhouse_default", known, environment).port == 9001


def test_valkey_takes_database_and_ssl_as_extra() -> None:
    connection = overridden("redis_default", known, {"VALKEY_DB": "3", "VALKEY_SSL": "on", "VALKEY_PASSWORD": "p:w/d"})
    assert connection.extra_dejson["db"] == 3
    assert connection.extra_dejson["ssl"] is True
    assert connection.password == "p:w/d"


def test_postgres_takes_the_mode_of_tls_as_extra() -> None:
    environment = {"POSTGRES_HOST": "/run/postgres", "POSTGRES_DB": "maxy", "POSTGRES_SSLMODE": "require"}
    connection = overridden("maxy_postgres", unknown, environment)
    assert (connection.conn_type, connection.host, connection.schema) == ("postgres", "/run/postgres", "maxy")
    assert connection.extra_dejson == {"sslmode": "require"}


def test_a_connection_airflow_does_not_know_is_made_from_the_environment() -> None:
    connection = overridden("redis_default", unknown, {"VALKEY_HOST": "cache", "VALKEY_PORT": "6380"})
    assert (connection.conn_type, connection.host, connection.port) == ("redis", "cache", 6380)


def test_a_connection_nobody_knows_is_an_error() -> None:
    with pytest.raises(AirflowNotFoundException, match="redis_default"):
        overridden("redis_default", unknown, {})


def test_a_strangers_connection_is_left_alone() -> None:
    assert overridden("their_clickhouse", known, {"CLICKHOUSE_HOST": "db"}).host == "stored"


@pytest.mark.parametrize(
    ("conn_id", "variable", "value"),
    [
        ("clickhouse_default", "CLICKHOUSE_NATIVE_PORT", "nine"),
        ("clickhouse_http", "CLICKHOUSE_SECURE", "maybe"),
        ("redis_default", "VALKEY_DB", "zero"),
    ],
)
def test_a_malformed_variable_is_named(conn_id: str, variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{variable}.*{value}"):
        overridden(conn_id, known, {variable: value})
