"""Clients for the triggerer. No server is asked: a client's settings are read before it connects."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.redis.hooks import redis as redis_hook
from airflow.sdk.exceptions import AirflowNotFoundException

from maxy.clickhouse.client import ClickHouseAddress
from maxy.hooks.asynchronous import clickhouse_address, connection, valkey_client
from maxy.hooks.valkey import ValkeyHook

if TYPE_CHECKING:
    from redis.asyncio import Redis

HTTP = {
    "conn_type": "http",
    "host": "stored",
    "port": 8124,
    "login": "stored-user",
    "password": "stored-password",
    "schema": "stored-db",
}


def store(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))


def address(conn_id: str = "clickhouse_http") -> ClickHouseAddress:
    return asyncio.run(clickhouse_address(conn_id))


def client(conn_id: str = "redis_default") -> Redis:
    return asyncio.run(valkey_client(conn_id))


@pytest.fixture
def _no_stored_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a deployment whose database has none; unit tests have no database at all."""

    async def unknown(cls: Any, conn_id: str) -> None:
        raise AirflowNotFoundException(f"The conn_id `{conn_id}` isn't defined")

    monkeypatch.setattr("maxy.hooks.asynchronous.BaseHook.aget_connection", classmethod(unknown))


# --- ClickHouse


def test_clickhouse_is_where_the_connection_says(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "clickhouse_http", **HTTP)
    assert address() == ClickHouseAddress(
        host="stored", port=8124, user="stored-user", database="stored-db", password="stored-password", secure=False
    )


@pytest.mark.parametrize(
    ("secure", "expected"),
    [(True, True), (False, False), ("true", True), ("False", False), ("1", True), ("off", False)],
)
def test_clickhouse_is_asked_by_tls_where_the_extra_says_secure(
    monkeypatch: pytest.MonkeyPatch, secure: bool | str, expected: bool
) -> None:
    store(monkeypatch, "clickhouse_http", conn_type="http", host="stored", extra={"secure": secure})
    assert (address().secure, address().port) == (expected, 8443 if expected else 8123)


def test_secure_that_is_neither_true_nor_false_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "clickhouse_http", conn_type="http", host="stored", extra={"secure": "maybe"})
    with pytest.raises(ValueError, match=r"clickhouse_http.*secure.*maybe"):
        address()


def test_an_empty_clickhouse_connection_has_clickhouses_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "clickhouse_http", conn_type="http")
    assert address() == ClickHouseAddress("localhost", 8123, "default", "default")


def test_the_environment_overrides_the_clickhouse_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "clickhouse_http", **HTTP)
    for name, value in {
        "CLICKHOUSE_HOST": "db",
        "CLICKHOUSE_PORT": "8443",
        "CLICKHOUSE_NATIVE_PORT": "9000",
        "CLICKHOUSE_USER": "maxy",
        "CLICKHOUSE_PASSWORD": "p:w/d@x",
        "CLICKHOUSE_DB": "statistics",
        "CLICKHOUSE_SECURE": "yes",
    }.items():
        monkeypatch.setenv(name, value)
    assert address() == ClickHouseAddress("db", 8443, "maxy", "statistics", "p:w/d@x", secure=True)


@pytest.mark.usefixtures("_no_stored_connections")
def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_HOST", "db")
    monkeypatch.setenv("VALKEY_HOST", "cache")
    assert address() == ClickHouseAddress("db", 8123, "default", "default")
    assert client().connection_pool.connection_kwargs["host"] == "cache"


@pytest.mark.usefixtures("_no_stored_connections")
@pytest.mark.parametrize("conn_id", ["clickhouse_http", "redis_default", "their_own"])
def test_a_connection_nobody_knows_is_an_error_that_names_it(conn_id: str) -> None:
    with pytest.raises(AirflowNotFoundException, match=conn_id):
        asyncio.run(connection(conn_id))


def test_connections_of_other_names_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "their_clickhouse", **HTTP)
    store(monkeypatch, "their_valkey", conn_type="redis", host="stored")
    monkeypatch.setenv("CLICKHOUSE_HOST", "db")
    monkeypatch.setenv("VALKEY_HOST", "cache")
    assert address("their_clickhouse").host == "stored"
    assert client("their_valkey").connection_pool.connection_kwargs["host"] == "stored"


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "clickhouse_http", **HTTP)
    assert "stored-password" not in repr(address())


# --- Valkey

SSL = {
    "ssl": True,
    "ssl_cert_reqs": "none",
    "ssl_ca_certs": "/etc/ca.pem",
    "ssl_keyfile": "/etc/key.pem",
    "ssl_certfile": "/etc/cert.pem",
    "ssl_check_hostname": False,
}
REDIS = {
    "plain": {"host": "stored", "port": 6380},
    "without port": {"host": "stored"},
    "account": {"host": "stored", "login": "reader", "password": "p:w/d"},
    "password alone": {"host": "stored", "password": "secret-1"},
    "empty password": {"host": "stored", "password": ""},
    "password none": {"host": "stored", "password": "None"},
    "password false": {"host": "stored", "password": "False"},
    "database": {"host": "stored", "extra": {"db": 3}},
    "database as text": {"host": "stored", "extra": {"db": "3"}},
    "database null": {"host": "stored", "extra": {"db": None}},
    "tls": {"host": "stored", "extra": {"db": 1, **SSL}},
    "tls switched off": {"host": "stored", "extra": {"ssl": False, "ssl_cert_reqs": "required"}},
    "tls with the servers own name": {"host": "stored", "extra": {"ssl": True, "ssl_check_hostname": True}},
    "other extras": {"host": "stored", "extra": {"cluster": False, "client_name": "x", "startup_nodes": None}},
}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "no variables": {},
    "variables": {
        "VALKEY_HOST": "cache",
        "VALKEY_PORT": "6390",
        "VALKEY_PASSWORD": "variable-password",
        "VALKEY_DB": "5",
        "VALKEY_SSL": "true",
    },
}


def effective(pool: Any) -> dict[str, Any]:
    """What a pool connects with, as far as a connection decides it."""
    ours = ("host", "port", "username", "password", *SSL)
    settings = {name: pool.connection_kwargs.get(name) for name in ours if name != "ssl"}
    return {
        **settings,
        # Without a number, and with 0, no database is selected; text is sent as it is.
        "db": int(pool.connection_kwargs.get("db") or 0),
        "tls": "SSL" in pool.connection_class.__name__,
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
@pytest.mark.parametrize("fields", REDIS.values(), ids=REDIS.keys())
def test_a_connection_is_read_as_the_providers_hook_reads_it(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], environment: dict[str, str]
) -> None:
    store(monkeypatch, "redis_default", conn_type="redis", **fields)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = ValkeyHook().get_conn().connection_pool
    assert issubclass(ValkeyHook, redis_hook.RedisHook)
    expected = effective(theirs)
    if expected["port"] is None:
        expected["port"] = redis_hook.DEFAULT_REDIS_PORT
    assert effective(client().connection_pool) == expected


def test_answers_are_bytes_and_a_silent_server_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "redis_default", conn_type="redis", host="stored")
    settings = client().connection_pool.connection_kwargs
    assert not settings["decode_responses"]
    assert settings["socket_timeout"] == settings["socket_connect_timeout"] == 5.0
    # A lease lasts 15 s: nothing may be tried for longer.
    assert settings["retry"].get_retries() == 1


@pytest.mark.parametrize("extra", [{"cluster": True}, {"cluster": True, "startup_nodes": "node-2:6379"}])
def test_a_cluster_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]) -> None:
    store(monkeypatch, "redis_default", conn_type="redis", host="stored", extra=extra)
    with pytest.raises(ValueError, match="redis_default: cluster mode is not supported"):
        client()


def test_a_malformed_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store(monkeypatch, "redis_default", conn_type="redis", host="stored")
    monkeypatch.setenv("VALKEY_DB", "first")
    with pytest.raises(ValueError, match=r"VALKEY_DB.*first"):
        client()
