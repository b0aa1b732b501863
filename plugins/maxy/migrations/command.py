"""Migrate every database that the environment names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from maxy.migrations.clickhouse import NAME as CLICKHOUSE
from maxy.migrations.environment import clickhouse_migrations, clickhouse_server, postgres_address, postgres_admin
from maxy.migrations.errors import MigrateError
from maxy.migrations.files import MIGRATIONS_DIRECTORY, find_families
from maxy.migrations.postgres import NAME as POSTGRES
from maxy.migrations.postgres import PostgresMigrations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from maxy.migrations.clickhouse import ClickHouseMigrations
    from maxy.migrations.plan import FamilyPlan, Step

logger = logging.getLogger(__name__)


class Migrations:
    """The migrations of both databases, with the settings of the environment.

    PostgreSQL is left out, with a warning, where POSTGRES_HOST is not set.

    :param variables: the environment variables.
    :param family: only this one.
    :raises MigrateError: a setting or a file is wrong, or no family has that name; nothing was asked of any server.
    """

    def __init__(
        self, variables: Mapping[str, str], *, family: str | None = None, directory: Path = MIGRATIONS_DIRECTORY
    ) -> None:
        self._check_family(family, directory)
        self._clickhouse_server = clickhouse_server(variables)
        self._clickhouse: ClickHouseMigrations = clickhouse_migrations(variables, family=family, directory=directory)
        self._postgres = PostgresMigrations(family=family, directory=directory)
        self._postgres_address = postgres_address(variables)
        self._postgres_admin = postgres_admin(variables)
        self._postgres_is_needed = bool(find_families(directory / POSTGRES, family))

    def apply(self) -> list[Step]:
        """Apply what is pending, and return it.

        :raises MigrateError: a database cannot be brought up to date; what was applied before stays.
        """
        return [*self.apply_clickhouse(), *self.apply_postgres()]

    def apply_clickhouse(self) -> list[Step]:
        """As `apply`, for ClickHouse alone."""
        return self._clickhouse.apply(self._clickhouse_server)

    def apply_postgres(self) -> list[Step]:
        """As `apply`, for PostgreSQL alone."""
        if self._postgres_address is None:
            self._say_that_postgres_is_left_out()
            return []
        return self._postgres.apply(self._postgres_address, admin=self._postgres_admin)

    def plan(self) -> list[FamilyPlan]:
        """Return what `apply` would do; nothing is written.

        :raises MigrateError: as `apply`, as far as that can be known before.
        """
        plans = self._clickhouse.plan(self._clickhouse_server)
        if self._postgres_address is None:
            self._say_that_postgres_is_left_out()
            return plans
        return plans + self._postgres.plan(self._postgres_address, admin=self._postgres_admin)

    def _say_that_postgres_is_left_out(self) -> None:
        if self._postgres_is_needed:
            logger.warning("PostgreSQL is left out: POSTGRES_HOST is not set")

    @staticmethod
    def _check_family(family: str | None, directory: Path) -> None:
        known = {folder.name for name in (CLICKHOUSE, POSTGRES) for folder in find_families(directory / name)}
        if family is not None and family not in known:
            raise MigrateError(f"no family {family!r} has migrations: expected {', '.join(sorted(known))}")
