"""The package's role and database on a PostgreSQL server: an administrator makes them where they are missing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from maxy.migrations.errors import MigrateError
from maxy.postgres.connect import connect

if TYPE_CHECKING:
    from maxy.postgres.address import PostgresAddress

# Every server has it, and an administrator may enter it.
_MAINTENANCE_DATABASE = "postgres"
# Of two commands at once one makes them. "maxy" in ASCII, and the number of the lock.
_LOCK = (0x6D617879, 2)


@dataclass(frozen=True)
class AdminLogin:
    """Who may make roles and databases on the server."""

    user: str
    password: str = field(repr=False)


def ensure_database(address: PostgresAddress, admin: AdminLogin | None) -> None:
    """Make the role and the database unless the role can enter it. A role that exists gets the address's password.

    :raises MigrateError: the server cannot be reached, or they are missing and there is no administrator's login.
    """
    refusal = _refusal(address)
    if refusal is None:
        return
    if admin is None:
        raise MigrateError(f"{address}: {refusal}. {_what_to_run(address)}")
    try:
        with _as_admin(address, admin) as connection:
            connection.execute("SELECT pg_advisory_lock(%s, %s)", _LOCK)
            _make_role(connection, address)
            if not _exists(connection, "SELECT 1 FROM pg_database WHERE datname = %s", address.database):
                connection.execute(
                    sql.SQL("CREATE DATABASE {} OWNER {}").format(
                        sql.Identifier(address.database), sql.Identifier(address.user)
                    )
                )
    except psycopg.Error as error:
        raise MigrateError(f"{address}: as {admin.user}: {_one_line(error)}") from error
    if (refusal := _refusal(address)) is not None:
        raise MigrateError(f"{address}: {refusal}")


def database_is_missing(address: PostgresAddress, admin: AdminLogin | None) -> bool:
    """Whether `ensure_database` would have something to make.

    :raises MigrateError: the role cannot enter, and there is no administrator's login to look why.
    """
    refusal = _refusal(address)
    if refusal is None:
        return False
    if admin is None:
        raise MigrateError(f"{address}: {refusal}. {_what_to_run(address)}")
    try:
        with _as_admin(address, admin):
            return True
    except psycopg.Error as error:
        raise MigrateError(f"{address}: as {admin.user}: {_one_line(error)}") from error


def _refusal(address: PostgresAddress) -> str | None:
    """Why the role cannot enter the database; None when it can."""
    try:
        with connect(address):
            return None
    except psycopg.OperationalError as error:
        return _one_line(error)


def _as_admin(address: PostgresAddress, admin: AdminLogin) -> psycopg.Connection[tuple[Any, ...]]:
    login = replace(address, user=admin.user, password=admin.password, database=_MAINTENANCE_DATABASE)
    return connect(login, autocommit=True)


def _make_role(connection: psycopg.Connection[tuple[Any, ...]], address: PostgresAddress) -> None:
    exists = _exists(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", address.user)
    words = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}")
    # What the server logs and keeps is the hash, made here: no statement has the password in it.
    secret = connection.pgconn.encrypt_password(address.password.encode(), address.user.encode(), b"scram-sha-256")
    connection.execute(words.format(sql.Identifier(address.user), sql.Literal(secret.decode())))


def _exists(connection: psycopg.Connection[tuple[Any, ...]], query: str, name: str) -> bool:
    return connection.execute(query.encode(), [name]).fetchone() is not None


def _what_to_run(address: PostgresAddress) -> str:
    role = sql.Identifier(address.user).as_string()
    database = sql.Identifier(address.database).as_string()
    return (
        "Where role or database are missing, set POSTGRES_ADMIN_USER and POSTGRES_ADMIN_PASSWORD for this command,"
        f" or have an administrator run: CREATE ROLE {role} LOGIN PASSWORD '<POSTGRES_PASSWORD>';"
        f" CREATE DATABASE {database} OWNER {role};"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
