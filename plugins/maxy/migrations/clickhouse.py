"""Apply the families' migrations to a ClickHouse server. Applying twice is harmless.

The day zone and the TTLs are written into the tables when they are made, so a later change of the settings
cannot take effect here: another zone is refused, because the views would go on cutting the days in the old
one; another TTL is named in a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clickhouse_driver import errors as driver_errors
from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster
from clickhouse_migrations.exceptions import MigrationException
from clickhouse_migrations.migrator import STATUS_MD5_MISMATCH, STATUS_PENDING

from maxy.migrations.clickhouse_tables import find_missing, find_view_conflict, warn_about_ttls
from maxy.migrations.description import Description, read_description
from maxy.migrations.errors import MigrateError
from maxy.migrations.files import MIGRATIONS_DIRECTORY, find_families, read_files
from maxy.migrations.plan import Action, FamilyPlan, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

NAME = "clickhouse"
_CONNECT_TIMEOUT_SECONDS = 10

_Result = TypeVar("_Result")


class SourceTables(Enum):
    """Who makes the source tables.

    CREATE makes those that are missing; EXISTING takes the ones of another program as they are and records
    their migrations as applied.
    """

    CREATE = "create"
    EXISTING = "existing"


@dataclass(frozen=True, kw_only=True)
class ClickHouseServer:
    """The database to be migrated.

    :param native_port: of the native TCP protocol.
    """

    host: str
    native_port: int
    user: str
    password: str = field(repr=False)
    database: str
    secure: bool = False

    def __str__(self) -> str:
        return f"ClickHouse {self.host}:{self.native_port}, database {self.database}"


@dataclass(frozen=True, kw_only=True)
class ClickHouseMigrations:
    """The families' files and the settings they are applied with.

    :param timezone: IANA name of the zone whose midnight begins a day.
    :param ttl_days: days of each TTL that a ``migrations.toml`` names; the default there is for those left out.
    :param family: only this one.
    :param directory: has a folder ``clickhouse``, and in it one per family.
    :raises MigrateError: a setting is wrong, or a ``migrations.toml`` is.
    """

    timezone: str
    ttl_days: Mapping[str, int] = field(default_factory=dict)
    source_tables: SourceTables = SourceTables.CREATE
    family: str | None = None
    directory: Path = MIGRATIONS_DIRECTORY

    def __post_init__(self) -> None:
        # The name is written into the SQL as it is: only what the zone database knows may pass.
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise MigrateError(
                f"unknown time zone {self.timezone!r}: expected an IANA name such as Asia/Seoul"
            ) from error
        for _, description in self._families:
            description.check_ttl_days(self.ttl_days)

    def apply(self, server: ClickHouseServer) -> list[Step]:
        """Create the database if it is missing, apply what is pending, and return it.

        :raises MigrateError: the server cannot be reached or refuses, a file is broken or was changed since it was
            applied, or the database was made for another zone.
        """
        applied: list[Step] = []

        def apply_all() -> None:
            _cluster(server).create_db(server.database)
            for folder, description in self._families:
                applied.extend(self._apply(server, folder, description))

        _named(server, apply_all)
        return applied

    def plan(self, server: ClickHouseServer) -> list[FamilyPlan]:
        """Return what `apply` would do; nothing is written.

        :raises MigrateError: as `apply`, as far as that can be known before.
        """
        return _named(
            server, lambda: [self._plan(server, folder, description) for folder, description in self._families]
        )

    @cached_property
    def _families(self) -> list[tuple[Path, Description]]:
        folders = find_families(self.directory / NAME, self.family)
        return [(folder, read_description(folder)) for folder in folders]

    def _apply(self, server: ClickHouseServer, folder: Path, description: Description) -> list[Step]:
        cluster = _cluster(server, _version_table(folder, description))
        plan = self._plan(server, folder, description)
        if any(step.action is Action.RECORD for step in plan.steps):
            cluster.baseline(server.database, folder, to_version=description.sources.last_version)
        ttl_days = description.check_ttl_days(self.ttl_days)
        cluster.migrate(server.database, folder, variables=description.variables(self.timezone, ttl_days))
        foreign = description.sources.tables if self.source_tables is SourceTables.EXISTING else ()
        by_table = {
            table: ttl_days[name]
            for name, ttl in description.ttl_days.items()
            for table in ttl.tables
            if table not in foreign
        }
        warn_about_ttls(cluster, server.database, by_table)
        return [step for step in plan.steps if step.action is Action.APPLY]

    def _plan(self, server: ClickHouseServer, folder: Path, description: Description) -> FamilyPlan:
        cluster = _cluster(server, _version_table(folder, description))
        existing = self.source_tables is SourceTables.EXISTING
        conflict = find_view_conflict(
            cluster, server.database, description.views, timezone=self.timezone, others_allowed=existing
        )
        if conflict:
            raise MigrateError(conflict)
        names = {file.version: file.name for file in read_files(folder)}
        states = {row.version: row for row in cluster.status(server.database, folder)}
        changed = [names[version] for version, row in states.items() if row.state == STATUS_MD5_MISMATCH]
        if changed:
            raise MigrateError(
                f"{folder.name}: {', '.join(changed)} was changed since it was applied. Put it back as it was,"
                " and write the change into a file of its own"
            )
        last_recorded = 0
        if existing and not any(row.applied_at for row in states.values()):
            last_recorded = description.sources.last_version
            missing = find_missing(cluster, server.database, description.sources.tables)
            if missing:
                raise MigrateError(f"MAXY_SOURCE_TABLES=existing, but there is no table {', '.join(missing)}")
        steps = tuple(
            Step(NAME, folder.name, name, Action.RECORD if version <= last_recorded else Action.APPLY)
            for version, name in names.items()
            if states[version].state == STATUS_PENDING
        )
        return FamilyPlan(str(server), folder.name, steps)


def _version_table(folder: Path, description: Description) -> str:
    return description.version_table or f"schema_versions_{folder.name}"


def _cluster(server: ClickHouseServer, version_table: str | None = None) -> ClickhouseCluster:
    options = {} if version_table is None else {"migrations_table": version_table}
    return ClickhouseCluster(
        db_host=server.host,
        db_port=str(server.native_port),
        db_user=server.user,
        db_password=server.password,
        secure=server.secure,
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        **options,
    )


def _named(server: ClickHouseServer, work: Callable[[], _Result]) -> _Result:
    try:
        return work()
    except MigrateError as error:
        raise MigrateError(f"{server}: {error}") from error
    except (MigrationException, driver_errors.Error, OSError, EOFError) as error:
        raise MigrateError(f"{server}: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("Stack trace", maxsplit=1)[0].split()) or type(error).__name__
