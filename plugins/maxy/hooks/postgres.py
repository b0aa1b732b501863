"""PostgreSQL through apache-airflow-providers-postgres, with the environment's connection on top."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.postgres.hooks.postgres import PostgresHook

from maxy.hooks.environment import POSTGRES_CONN_ID, overridden
from maxy.postgres.address import DEFAULT_NAME, DEFAULT_PORT, PostgresAddress

if TYPE_CHECKING:
    from airflow.sdk import Connection


class MaxyPostgresHook(PostgresHook):
    """The provider's hook for the package's own database; ``POSTGRES_*`` override the connection ``maxy_postgres``.

    :param postgres_conn_id: an Airflow connection of type ``postgres``.
    """

    default_conn_name = POSTGRES_CONN_ID

    def __init__(self, *args: Any, postgres_conn_id: str = POSTGRES_CONN_ID, **kwargs: Any) -> None:
        super().__init__(*args, postgres_conn_id=postgres_conn_id, **kwargs)

    @classmethod
    def get_connection(cls, conn_id: str) -> Connection:
        """Return the connection, with the environment's values on top."""
        return overridden(conn_id, super().get_connection)


def address_of(connection: Connection) -> PostgresAddress:
    """Return where a connection of type ``postgres`` leads, for code without Airflow."""
    return PostgresAddress(
        host=connection.host or "localhost",
        port=connection.port or DEFAULT_PORT,
        user=connection.login or DEFAULT_NAME,
        password=connection.password or "",
        database=connection.schema or DEFAULT_NAME,
        sslmode=connection.extra_dejson.get("sslmode"),
    )
