"""Where the package's PostgreSQL database is, and who enters it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 5432
DEFAULT_NAME = "maxy"


@dataclass(frozen=True, kw_only=True)
class PostgresAddress:
    """A database and the role that owns it.

    :param host: name or address of the server; one that begins with ``/`` is the folder of its unix socket.
    :param sslmode: one of libpq's words (``disable`` to ``verify-full``); None: the driver's own default.
    """

    host: str
    port: int = DEFAULT_PORT
    user: str = DEFAULT_NAME
    password: str = field(default="", repr=False)
    database: str = DEFAULT_NAME
    sslmode: str | None = None

    def __str__(self) -> str:
        return f"PostgreSQL {self.host}:{self.port}, database {self.database}"


def address_from_environment(environment: Mapping[str, str]) -> PostgresAddress | None:
    """Read POSTGRES_HOST, _PORT, _USER, _PASSWORD, _DB and _SSLMODE; without a host there is no address.

    :param environment: the environment variables; empty ones count as absent.
    :raises ValueError: the port is none; the message names the variable.
    """
    host = environment.get("POSTGRES_HOST")
    if not host:
        return None
    return PostgresAddress(
        host=host,
        port=_port(environment.get("POSTGRES_PORT") or str(DEFAULT_PORT)),
        user=environment.get("POSTGRES_USER") or DEFAULT_NAME,
        password=environment.get("POSTGRES_PASSWORD", ""),
        database=environment.get("POSTGRES_DB") or DEFAULT_NAME,
        sslmode=environment.get("POSTGRES_SSLMODE") or None,
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
        raise ValueError(f"POSTGRES_PORT={text!r} is not a port: expected 1 to 65535")
    return int(text)
