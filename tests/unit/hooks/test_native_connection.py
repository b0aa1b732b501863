from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection
from airflow_clickhouse_plugin.hooks.clickhouse import conn_to_kwargs
from clickhouse_driver import Client

from maxy.hooks.clickhouse import ClickHouseDbApiHook, ClickHouseHook
from maxy.hooks.native_connection import native_connection


def native_form(shared: Connection, **environment: str) -> Connection:
    return native_connection(shared.conn_id, lambda _: shared, environment)


def connection(port: int | None, **extra: Any) -> Connection:
    return Connection(
        conn_id="shared",
        conn_type="clickhouse",
        host="db",
        port=port,
        login="u",
        password="p",
        schema="shop",
        extra=json.dumps(extra),
    )


# All that the provider for HTTP knows.
PROVIDERS = {
    "secure": True,
    "verify": False,
    "connect_timeout": 3,
    "send_receive_timeout": 60,
    "compress": True,
    "client_name": "shop",
    "client_kwargs": {"http_proxy": "http://proxy"},
    "session_settings": {"max_threads": 4},
}


@pytest.mark.parametrize("settings", [{"max_threads": 4}, '{"max_threads": 4}'])
def test_a_connection_of_the_provider_for_http_serves_both_once_it_says_the_native_port(settings: Any) -> None:
    shared = connection(8443, **PROVIDERS | {"native_port": 9440, "session_settings": settings})
    kwargs = conn_to_kwargs(native_form(shared), None)
    assert kwargs == {
        "host": "db",
        "port": 9440,
        "user": "u",
        "password": "p",
        "database": "shop",
        "secure": True,
        "verify": False,
        "connect_timeout": 3,
        "send_receive_timeout": 60,
        "client_name": "shop",
        "settings": {"max_threads": 4},
    }
    # The driver takes them all; it connects with the first statement only.
    Client(**kwargs)


def test_settings_of_the_driver_win_over_those_of_the_provider() -> None:
    shared = connection(9000, session_settings={"max_threads": 4, "readonly": 1}, settings={"max_threads": 8})
    assert native_form(shared).extra_dejson == {"settings": {"max_threads": 8, "readonly": 1}}


@pytest.mark.parametrize(
    ("shared", "cause"),
    [
        (connection(8123), r"connection shared: 8123 is ClickHouse's port for HTTP.*\"native_port\": 9000"),
        (connection(8443, secure=True), "8443 is ClickHouse's port for HTTP"),
        (connection(9000, native_port=8123), "8123 is ClickHouse's port for HTTP"),
        (connection(8123, native_port="nine"), "connection shared: native_port"),
        (connection(8123, native_port=[9000]), "connection shared: native_port"),
        (connection(8123, native_port=9000, session_settings="max_threads=4"), "session_settings is not a JSON object"),
        (connection(8123, native_port=9000, session_settings=[1]), "session_settings is not a JSON object"),
    ],
)
def test_a_connection_that_cannot_serve_the_native_protocol_is_refused_by_name(shared: Connection, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        native_form(shared)


@pytest.mark.parametrize("port", [9000, 9440, 19000, None])
def test_one_for_the_native_protocol_stays_as_it_is(port: int | None) -> None:
    native = connection(port, compression="lz4")
    found = native_form(native)
    assert (found.host, found.port, found.extra_dejson) == ("db", port, {"compression": "lz4"})


@pytest.mark.parametrize("hook", [ClickHouseHook, ClickHouseDbApiHook])
def test_both_hooks_see_to_it_and_the_environment_has_the_last_word(
    monkeypatch: pytest.MonkeyPatch, hook: type[ClickHouseHook]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CLICKHOUSE_DEFAULT", '{"conn_type": "clickhouse", "host": "db", "port": 8123}')
    with pytest.raises(ValueError, match="port for HTTP"):
        hook.get_connection("clickhouse_default")
    stored = {"conn_type": "clickhouse", "host": "db", "port": 8123, "extra": {"native_port": 9000}}
    monkeypatch.setenv("AIRFLOW_CONN_CLICKHOUSE_DEFAULT", json.dumps(stored))
    assert hook.get_connection("clickhouse_default").port == 9000
    monkeypatch.setenv("CLICKHOUSE_NATIVE_PORT", "9001")
    assert hook.get_connection("clickhouse_default").port == 9001
