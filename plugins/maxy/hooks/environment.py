"""The environment variables CLICKHOUSE_*, VALKEY_* and POSTGRES_*: they override the package's connections everywhere.

The system's other programs are configured by these variables already, so one set of them serves all. A connection that
Airflow does not know is made from the variables alone. Connections of other names are left as they are.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from maxy._parsing import parse_bool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLICKHOUSE_NATIVE_CONN_ID = "clickhouse_default"
CLICKHOUSE_HTTP_CONN_ID = "clickhouse_http"
VALKEY_CONN_ID = "redis_default"
POSTGRES_CONN_ID = "maxy_postgres"


@dataclass(frozen=True)
class _Override:
    """How one connection is overridden: a Connection attribute, or a key of its extra, by each variable."""

    conn_type: str
    attributes: Mapping[str, str]
    extra: Mapping[str, tuple[str, Callable[[str], Any]]]


_OVERRIDES: Mapping[str, _Override] = {
    CLICKHOUSE_NATIVE_CONN_ID: _Override(
        "clickhouse",
        {
            "host": "CLICKHOUSE_HOST",
            "port": "CLICKHOUSE_NATIVE_PORT",
            "login": "CLICKHOUSE_USER",
            "password": "CLICKHOUSE_PASSWORD",
            "schema": "CLICKHOUSE_DB",
        },
        {"secure": ("CLICKHOUSE_SECURE", parse_bool)},
    ),
    CLICKHOUSE_HTTP_CONN_ID: _Override(
        "http",
        {
            "host": "CLICKHOUSE_HOST",
            "port": "CLICKHOUSE_PORT",
            "login": "CLICKHOUSE_USER",
            "password": "CLICKHOUSE_PASSWORD",
            "schema": "CLICKHOUSE_DB",
        },
        {"secure": ("CLICKHOUSE_SECURE", parse_bool)},
    ),
    VALKEY_CONN_ID: _Override(
        "redis",
        {"host": "VALKEY_HOST", "port": "VALKEY_PORT", "password": "VALKEY_PASSWORD"},
        {"db": ("VALKEY_DB", int), "ssl": ("VALKEY_SSL", parse_bool)},
    ),
    POSTGRES_CONN_ID: _Override(
        "postgres",
        {
            "host": "POSTGRES_HOST",
            "port": "POSTGRES_PORT",
            "login": "POSTGRES_USER",
            "password": "POSTGRES_PASSWORD",
            "schema": "POSTGRES_DB",
        },
        {"sslmode": ("POSTGRES_SSLMODE", str)},
    ),
}


def overridden(
    conn_id: str, look_up: Callable[[str], Connection], environment: Mapping[str, str] = os.environ
) -> Connection:
    """Return Airflow's connection with the environment's values on top.

    :param conn_id: the connection's id.
    :param look_up: finds a connection by its id, or raises ``AirflowNotFoundException``.
    :param environment: the environment variables; empty ones count as absent.
    :raises AirflowNotFoundException: if Airflow has no such connection and the environment says nothing of it.
    :raises ValueError: if a variable's value is malformed; the message names the variable.
    """
    override = _OVERRIDES.get(conn_id)
    if override is None:
        return look_up(conn_id)
    attributes = {
        attribute: _converted(variable, environment[variable], int if attribute == "port" else str)
        for attribute, variable in override.attributes.items()
        if environment.get(variable)
    }
    extra = {
        key: _converted(variable, environment[variable], convert)
        for key, (variable, convert) in override.extra.items()
        if environment.get(variable)
    }
    try:
        connection = look_up(conn_id)
    except AirflowNotFoundException:
        if not attributes:
            raise
        connection = Connection(conn_id=conn_id, conn_type=override.conn_type)
    if "password" in attributes:
        mask_secret(attributes["password"])
    return Connection(
        conn_id=conn_id,
        conn_type=connection.conn_type,
        description=connection.description,
        host=attributes.get("host", connection.host),
        schema=attributes.get("schema", connection.schema),
        login=attributes.get("login", connection.login),
        password=attributes.get("password", connection.password),
        port=attributes.get("port", connection.port),
        extra=json.dumps({**connection.extra_dejson, **extra}),
    )


def _converted(variable: str, text: str, convert: Callable[[str], Any]) -> Any:
    try:
        return convert(text)
    except ValueError:
        # A password is text and never gets here, so the value may be shown.
        raise ValueError(f"environment variable {variable}: {text!r} is not valid") from None
