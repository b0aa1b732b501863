"""Apply the families' migrations to the package's PostgreSQL database. Applying twice, or twice at once, is harmless.

Each file is carried out and recorded in one transaction: it is applied as a whole or not at all. A session that applies
holds the database's migration lock (an advisory one), so that of two commands the second finds nothing left to do.
What was applied is recorded with its hash in a table per family, ``schema_versions_<family>``: a file is never changed
afterwards (docs/adr/0013).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from maxy.migrations.errors import MigrateError
from maxy.migrations.files import MIGRATIONS_DIRECTORY, MigrationFile, find_families, read_files
from maxy.migrations.plan import FamilyPlan, Step
from maxy.migrations.postgres_database import AdminLogin, database_is_missing, ensure_database
from maxy.postgres.connect import connect

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from maxy.postgres.address import PostgresAddress

    _Connection = psycopg.Connection[tuple[Any, ...]]

NAME = "postgres"
# "maxy" in ASCII, and the number of the lock; one for all families of a database.
_LOCK = (0x6D617879, 1)
# Seconds to wait for another command, and for a table that somebody else has locked.
_LOCK_TIMEOUT_SECONDS = 60
_OWN_TRANSACTION = re.compile(r"^\s*(COMMIT|ROLLBACK|END|START\s+TRANSACTION|BEGIN)\s*;", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True)
class _Applied:
    """A row of a version table."""

    name: str
    sha256: str
    applied_at: datetime


@dataclass(frozen=True, kw_only=True)
class PostgresMigrations:
    """The families' files.

    :param family: only this one.
    :param directory: has a folder ``postgres``, and in it one per family.
    :raises MigrateError: a file's name is wrong, or it would end its transaction itself.
    """

    family: str | None = None
    directory: Path = MIGRATIONS_DIRECTORY

    def __post_init__(self) -> None:
        for folder in self._families:
            for file in read_files(folder):
                if found := _OWN_TRANSACTION.search(file.sql):
                    raise MigrateError(
                        f"{folder.name}/{file.name}: {found[1].upper()} has no place here, a file is one transaction"
                    )

    def apply(self, address: PostgresAddress, *, admin: AdminLogin | None = None) -> list[Step]:
        """Create role and database if they are missing, apply what is pending, and return it.

        :param admin: who may create them; nobody else is asked for it.
        :raises MigrateError: the server cannot be reached or refuses, a file is broken or was changed since it was
            applied, or it is Airflow's metadata database.
        """
        if not self._families:
            return []
        ensure_database(address, admin)
        applied = []
        with _named(address), connect(address, autocommit=True) as connection:
            _refuse_airflows_metadata(connection)
            connection.execute(
                sql.SQL("SET lock_timeout = {}").format(sql.Literal(f"{_LOCK_TIMEOUT_SECONDS}s")),
            )
            # Given back when the connection closes.
            connection.execute("SELECT pg_advisory_lock(%s, %s)", _LOCK)
            for folder in self._families:
                for file in _pending(folder, _read_applied(connection, folder.name)):
                    _apply_file(connection, folder.name, file)
                    applied.append(Step(NAME, folder.name, file.name))
        return applied

    def plan(self, address: PostgresAddress, *, admin: AdminLogin | None = None) -> list[FamilyPlan]:
        """Return what `apply` would do; nothing is written.

        :param admin: who may see whether the database is missing.
        :raises MigrateError: as `apply`, as far as that can be known before.
        """
        if not self._families:
            return []
        place, applied = str(address), dict[str, dict[int, _Applied]]()
        if database_is_missing(address, admin):
            place += " (to be made)"
        else:
            with _named(address), connect(address, autocommit=True) as connection:
                _refuse_airflows_metadata(connection)
                applied = {folder.name: _read_applied(connection, folder.name) for folder in self._families}
        with _named(address):
            return [
                FamilyPlan(place, folder.name, _steps(folder.name, _pending(folder, applied.get(folder.name, {}))))
                for folder in self._families
            ]

    @property
    def _families(self) -> list[Path]:
        return find_families(self.directory / NAME, self.family)


def _steps(family: str, files: Iterable[MigrationFile]) -> tuple[Step, ...]:
    return tuple(Step(NAME, family, file.name) for file in files)


def _pending(folder: Path, applied: dict[int, _Applied]) -> list[MigrationFile]:
    """Return the files that are not applied yet.

    :raises MigrateError: files and record contradict each other.
    """
    files = {file.version: file for file in read_files(folder)}
    for version, row in applied.items():
        if version not in files:
            raise MigrateError(
                f"{folder.name}: {row.name} was applied on {row.applied_at:%Y-%m-%d}, but there is no such file:"
                " the database is newer than this checkout"
            )
        if files[version].sha256 != row.sha256:
            raise MigrateError(
                f"{folder.name}: {files[version].name} was changed since it was applied on {row.applied_at:%Y-%m-%d}."
                " Put it back as it was, and write the change into a file of its own"
            )
    last = max(applied, default=0)
    pending = [file for version, file in files.items() if version not in applied]
    if pending and pending[0].version < last:
        raise MigrateError(
            f"{folder.name}: {pending[0].name} comes before {applied[last].name}, which is applied. Give it a number"
            f" above {last}"
        )
    return pending


def _version_table(family: str) -> sql.Identifier:
    return sql.Identifier(f"schema_versions_{family}")


def _read_applied(connection: _Connection, family: str) -> dict[int, _Applied]:
    table = _version_table(family)
    known = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [table.as_string(connection)]).fetchone()
    if known != (True,):
        return {}
    rows = connection.execute(
        sql.SQL("SELECT version, name, sha256, applied_at FROM {} ORDER BY version").format(table)
    )
    return {version: _Applied(name, sha256, applied_at) for version, name, sha256, applied_at in rows}


def _apply_file(connection: _Connection, family: str, file: MigrationFile) -> None:
    table = _version_table(family)
    try:
        with connection.transaction():
            # Without parameters the server takes several statements at once, and `%` is a character like any other.
            connection.execute(file.sql.encode())
            connection.execute(
                sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {} (version integer PRIMARY KEY, name text NOT NULL,"
                    " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
                ).format(table)
            )
            connection.execute(
                sql.SQL("INSERT INTO {} (version, name, sha256) VALUES (%s, %s, %s)").format(table),
                [file.version, file.name, file.sha256],
            )
    except psycopg.Error as error:
        raise MigrateError(f"{family}/{file.name}{_line_of(error, file)}: {_one_line(error)}") from error


def _line_of(error: psycopg.Error, file: MigrationFile) -> str:
    position = error.diag.statement_position
    return f", line {file.sql.count(chr(10), 0, int(position)) + 1}" if position else ""


def _refuse_airflows_metadata(connection: _Connection) -> None:
    found = connection.execute("SELECT to_regclass('dag_run') IS NOT NULL AND to_regclass('task_instance') IS NOT NULL")
    if found.fetchone() == (True,):
        raise MigrateError(
            "this is Airflow's metadata database, in which no other tables belong: set POSTGRES_DB to another one"
        )


@contextmanager
def _named(address: PostgresAddress) -> Iterator[None]:
    """Have errors say which database they are about."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise MigrateError(
            f"{address}: another command has been migrating it for {_LOCK_TIMEOUT_SECONDS} s; try again"
        ) from error
    except psycopg.Error as error:
        raise MigrateError(f"{address}: {_one_line(error)}") from error
    except MigrateError as error:
        raise MigrateError(f"{address}: {error}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
