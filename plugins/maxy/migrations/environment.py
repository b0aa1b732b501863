"""The migrations' settings from environment variables.

CLICKHOUSE_*, POSTGRES_* and MAXY_TIMEZONE are those of the whole package. MAXY_SOURCE_TABLES, MAXY_<NAME>_TTL_DAYS and
POSTGRES_ADMIN_USER and _PASSWORD are read here alone. Empty ones count as absent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.migrations.clickhouse import NAME, ClickHouseMigrations, ClickHouseServer, SourceTables
from maxy.migrations.description import read_description
from maxy.migrations.errors import MigrateError
from maxy.migrations.files import MIGRATIONS_DIRECTORY, find_families
from maxy.migrations.postgres_database import AdminLogin
from maxy.postgres.address import address_from_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from maxy.postgres.address import PostgresAddress


def clickhouse_server(environment: Mapping[str, str]) -> ClickHouseServer:
    """Read CLICKHOUSE_*.

    :raises MigrateError: a variable has no valid value.
    """
    return ClickHouseServer(
        host=environment.get("CLICKHOUSE_HOST") or "127.0.0.1",
        native_port=_integer(environment, "CLICKHOUSE_NATIVE_PORT", 9000),
        user=environment.get("CLICKHOUSE_USER") or "maxy",
        password=environment.get("CLICKHOUSE_PASSWORD", ""),
        database=environment.get("CLICKHOUSE_DB") or "maxy",
        secure=(environment.get("CLICKHOUSE_SECURE") or "").lower() in ("1", "true", "yes", "on"),
    )


def clickhouse_migrations(
    environment: Mapping[str, str], *, family: str | None = None, directory: Path = MIGRATIONS_DIRECTORY
) -> ClickHouseMigrations:
    """Read MAXY_TIMEZONE, MAXY_SOURCE_TABLES and each family's MAXY_<NAME>_TTL_DAYS.

    :raises MigrateError: a variable has no valid value.
    """
    return ClickHouseMigrations(
        timezone=environment.get("MAXY_TIMEZONE") or "UTC",
        ttl_days={
            name: _integer(environment, variable, default)
            for variable, (name, default) in ttl_variables(directory).items()
        },
        source_tables=_source_tables(environment),
        family=family,
        directory=directory,
    )


def ttl_variables(directory: Path = MIGRATIONS_DIRECTORY) -> dict[str, tuple[str, int]]:
    """Return each variable that sets a TTL, with the TTL's name and its default in days.

    :raises MigrateError: two families have one name.
    """
    found: dict[str, tuple[str, int]] = {}
    owners: dict[str, str] = {}
    for folder in find_families(directory / NAME):
        for name, ttl in read_description(folder).ttl_days.items():
            if name in owners:
                raise MigrateError(f"the families {owners[name]} and {folder.name} both have a TTL {name}")
            owners[name] = folder.name
            found[f"MAXY_{name.upper()}_TTL_DAYS"] = (name, ttl.default)
    return found


def postgres_address(environment: Mapping[str, str]) -> PostgresAddress | None:
    """Read POSTGRES_*; without POSTGRES_HOST there is none.

    :raises MigrateError: a variable has no valid value.
    """
    try:
        return address_from_environment(environment)
    except ValueError as error:
        raise MigrateError(str(error)) from None


def postgres_admin(environment: Mapping[str, str]) -> AdminLogin | None:
    """Read POSTGRES_ADMIN_USER and POSTGRES_ADMIN_PASSWORD; without a user there is none."""
    user = environment.get("POSTGRES_ADMIN_USER")
    return AdminLogin(user, environment.get("POSTGRES_ADMIN_PASSWORD", "")) if user else None


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise MigrateError(f"{name}={text!r} is not a whole number") from None


def _source_tables(environment: Mapping[str, str]) -> SourceTables:
    text = environment.get("MAXY_SOURCE_TABLES") or SourceTables.CREATE.value
    try:
        return SourceTables(text)
    except ValueError:
        raise MigrateError(f"MAXY_SOURCE_TABLES={text!r}: expected create or existing") from None
