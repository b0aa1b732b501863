"""One Airflow connection for both of ClickHouse's protocols: what the native one needs of it.

apache-airflow-providers-clickhousedb has the same type and default id of connections for HTTP. A connection of its form
serves the native protocol as well once it says the port: ``{"native_port": 9000}`` in the extra, or, for
``clickhouse_default``, the environment variable ``CLICKHOUSE_NATIVE_PORT``.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection

from maxy._parsing import as_positive_int
from maxy.hooks.environment import overridden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HTTP_PORTS = frozenset({8123, 8443})
_PORT = "native_port"
_SESSION_SETTINGS = "session_settings"
# Extras of the provider for HTTP that the native driver has no word for.
_HTTP_ONLY = frozenset({"compress", "client_kwargs"})


def native_connection(
    conn_id: str, look_up: Callable[[str], Connection], environment: Mapping[str, str] = os.environ
) -> Connection:
    """Return a connection as the native driver takes it, with the environment's values on top.

    :param look_up: finds a connection by its id, or raises ``AirflowNotFoundException``.
    :param environment: the environment variables.
    :raises ValueError: naming the connection, if it has the port of HTTP alone, or a malformed extra; or the variable.
    """
    connection = overridden(conn_id, lambda known: _native_form(look_up(known)), environment)
    if connection.port in _HTTP_PORTS:
        raise ValueError(
            f"connection {conn_id}: {connection.port} is ClickHouse's port for HTTP, and these tasks speak its native"
            f' protocol (9000, with TLS 9440). Give that port beside it: {{"{_PORT}": 9000}} in the extra'
        )
    return connection


def _native_form(connection: Connection) -> Connection:
    extra = connection.extra_dejson
    place = f"connection {connection.conn_id}"
    port = as_positive_int(str(extra[_PORT]), f"{place}: {_PORT}") if extra.get(_PORT) else connection.port
    if not extra.keys() & {_PORT, _SESSION_SETTINGS, *_HTTP_ONLY}:
        return connection
    native = {key: value for key, value in extra.items() if key not in {_PORT, _SESSION_SETTINGS, *_HTTP_ONLY}}
    if settings := _session_settings(extra, place):
        native["settings"] = {**settings, **native.get("settings", {})}
    return Connection(
        conn_id=connection.conn_id,
        conn_type=connection.conn_type,
        description=connection.description,
        host=connection.host,
        schema=connection.schema,
        login=connection.login,
        password=connection.password,
        port=port,
        extra=json.dumps(native),
    )


def _session_settings(extra: Mapping[str, Any], place: str) -> dict[str, Any]:
    settings = extra.get(_SESSION_SETTINGS) or {}
    if isinstance(settings, str):
        try:
            settings = json.loads(settings)
        except ValueError:
            settings = None
    if not isinstance(settings, dict):
        raise ValueError(f"{place}: {_SESSION_SETTINGS} is not a JSON object")
    return settings
