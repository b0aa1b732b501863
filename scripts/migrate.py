"""Apply include/sql/migrations to a ClickHouse server.

`python -m scripts.migrate` reads everything from the environment, as docker compose's init container does;
`python -m local up` calls `migrate` with its own settings. Applying twice is harmless.

The day zone and the TTLs are written into the tables when they are made, so a later change of the settings
cannot take effect here: another zone is refused, because the views would go on cutting the days in the old
one; another TTL is named in a warning.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from dataclasses import asdict, dataclass, fields
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clickhouse_driver import errors as driver_errors
from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster
from clickhouse_migrations.exceptions import MigrationException
from clickhouse_migrations.migration import MigrationStorage
from clickhouse_migrations.util import quote_string

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

MIGRATIONS_DIRECTORY = Path(__file__).resolve().parents[1] / "include" / "sql" / "migrations"

# The migrations up to this one make the source tables, which belong to the collectors where there are any.
_LAST_SOURCE_VERSION = 4
_SOURCE_TABLES = (
    "maxy_app_total_log",
    "maxy_device_page_flow",
    "maxy_device_access_history",
    "maxy_device_access_bitmap",
)
_STATISTIC_TABLE = "max_device_statistic"
# Target of each materialized view of ours.
_OWN_VIEWS = {
    "maxy_device_access_history_mv": "maxy_device_access_history",
    "maxy_device_access_bitmap_mv": "maxy_device_access_bitmap",
}

# DateTime ends in 2106: a TTL beyond it wraps around and would delete the rows at once.
_MAXIMUM_TTL_DAYS = 18_250

_CONNECT_TIMEOUT_SECONDS = 10


class MigrateError(Exception):
    """The migrations could not be applied; the message names the cause and the place."""


class SourceTables(Enum):
    """Who makes the source tables.

    CREATE makes those that are missing; EXISTING takes the ones of another program as they are and records
    their migrations as applied.
    """

    CREATE = "create"
    EXISTING = "existing"


@dataclass(frozen=True, kw_only=True)
class TtlDays:
    """How many days each table keeps its rows, counted from the row's own day.

    :param total_log: of maxy_app_total_log.
    :param page_flow: of maxy_device_page_flow.
    :param access_history: of maxy_device_access_history and maxy_device_access_bitmap; mau needs 30.
    :param device_statistic: of max_device_statistic.
    :raises MigrateError: a value is not between 1 and 18250.
    """

    total_log: int = 4
    page_flow: int = 93
    access_history: int = 365
    device_statistic: int = 1095

    def __post_init__(self) -> None:
        for name, days in asdict(self).items():
            if not 1 <= days <= _MAXIMUM_TTL_DAYS:
                raise MigrateError(f"TTL {name} is {days}: expected 1 to {_MAXIMUM_TTL_DAYS} days")

    def by_table(self) -> dict[str, int]:
        return {
            "maxy_app_total_log": self.total_log,
            "maxy_device_page_flow": self.page_flow,
            "maxy_device_access_history": self.access_history,
            "maxy_device_access_bitmap": self.access_history,
            "max_device_statistic": self.device_statistic,
        }


def migrate(
    *,
    host: str,
    native_port: int,
    user: str,
    password: str,
    database: str,
    timezone: str,
    ttl_days: TtlDays | None = None,
    source_tables: SourceTables = SourceTables.CREATE,
    secure: bool = False,
    directory: Path = MIGRATIONS_DIRECTORY,
) -> list[str]:
    """Create the database if it is missing, apply what is pending, and return the applied files' names.

    :param native_port: of the native TCP protocol.
    :param timezone: IANA name of the zone whose midnight begins a day.
    :param ttl_days: default: TtlDays().
    :raises MigrateError: the server cannot be reached or refuses, a file is broken or was changed since it was
        applied, or the database was made for another zone.
    """
    _check_timezone(timezone)
    ttl_days = ttl_days or TtlDays()
    cluster = ClickhouseCluster(
        db_host=host,
        db_port=str(native_port),
        db_user=user,
        db_password=password,
        secure=secure,
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
    )
    place = f"ClickHouse {host}:{native_port}, database {database}"
    try:
        cluster.create_db(database)
        _check_views(cluster, database, timezone, source_tables)
        if source_tables is SourceTables.EXISTING:
            _adopt_sources(cluster, database, directory)
        applied = cluster.migrate(database, directory, variables=_variables(timezone, ttl_days))
        _warn_about_ttls(cluster, database, ttl_days, source_tables)
    except MigrateError as error:
        raise MigrateError(f"{place}: {error}") from error
    except (MigrationException, driver_errors.Error, OSError, EOFError) as error:
        raise MigrateError(f"{place}: {_one_line(error)}") from error
    names = MigrationStorage(directory).migration_filenames()
    return [names[migration.version] for migration in applied]


def _check_timezone(timezone: str) -> None:
    # The name is written into the SQL as it is: only what the zone database knows may pass.
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise MigrateError(f"unknown time zone {timezone!r}: expected an IANA name such as Asia/Seoul") from error


def _variables(timezone: str, ttl_days: TtlDays) -> dict[str, str]:
    days = {f"{name.upper()}_TTL_DAYS": str(value) for name, value in asdict(ttl_days).items()}
    return {"STATISTICS_TIMEZONE": timezone, **days}


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split("Stack trace", maxsplit=1)[0].split()) or type(error).__name__


def _query(cluster: ClickhouseCluster, statement: str) -> list[dict[str, Any]]:
    # Asked without a default database: the one to be migrated may not exist yet.
    with cluster.connection("") as connection:
        rows: list[dict[str, Any]] = connection.query(statement)
    return rows


def _check_views(cluster: ClickhouseCluster, database: str, timezone: str, source_tables: SourceTables) -> None:
    """Refuse a second writer of the access tables, and days cut in another zone than the one asked for."""
    views = _query(
        cluster,
        "SELECT name, create_table_query AS definition FROM system.tables "
        f"WHERE database = {quote_string(database)} AND engine = 'MaterializedView' ORDER BY name",
    )
    for view in views:
        name, definition = view["name"], view["definition"]
        target = _target_of(definition)
        if target not in _OWN_VIEWS.values():
            continue
        if name not in _OWN_VIEWS and source_tables is SourceTables.CREATE:
            raise MigrateError(
                f"the view {name} already fills {target}, a second one would count every row twice: set "
                "MAXY_SOURCE_TABLES=existing, so that the other program's tables are used as they are"
            )
        zone = re.search(r"toDate\([^()]*,\s*'([^']+)'\)", definition)
        if zone and zone[1] != timezone:
            raise MigrateError(
                f"the view {name} begins its days in {zone[1]}, but the time zone asked for is {timezone}: "
                f"the days already in {target} cannot be cut anew. Set MAXY_TIMEZONE={zone[1]}, or use "
                f"another, empty database for {timezone}"
            )


def _target_of(view_definition: str) -> str | None:
    """The bare name of the table a materialized view writes to."""
    found = re.search(r"\sTO\s+(?:`[^`]+`|[^\s.`]+)\.`?([^\s`(]+)`?", view_definition)
    return found[1] if found else None


def _adopt_sources(cluster: ClickhouseCluster, database: str, directory: Path) -> None:
    """Record the source tables' migrations without executing them, once."""
    if any(row.applied_at for row in cluster.status(database, directory)):
        return
    listed = ", ".join(quote_string(name) for name in _SOURCE_TABLES)
    found = _query(
        cluster,
        f"SELECT name FROM system.tables WHERE database = {quote_string(database)} AND name IN ({listed})",
    )
    missing = sorted(set(_SOURCE_TABLES) - {row["name"] for row in found})
    if missing:
        raise MigrateError(f"MAXY_SOURCE_TABLES=existing, but there is no table {', '.join(missing)}")
    cluster.baseline(database, directory, to_version=_LAST_SOURCE_VERSION)


def _warn_about_ttls(cluster: ClickhouseCluster, database: str, ttl_days: TtlDays, source_tables: SourceTables) -> None:
    wanted = ttl_days.by_table()
    if source_tables is SourceTables.EXISTING:
        wanted = {_STATISTIC_TABLE: wanted[_STATISTIC_TABLE]}
    rows = _query(
        cluster,
        "SELECT name, engine_full AS engine FROM system.tables "
        f"WHERE database = {quote_string(database)} ORDER BY name",
    )
    for row in rows:
        found = re.search(r"\sTTL (\S+) \+ toIntervalDay\((\d+)\)", row["engine"])
        if found and int(found[2]) != wanted.get(row["name"], int(found[2])):
            days = wanted[row["name"]]
            logger.warning(
                "%s keeps %s days since it was made, the settings say %s. To change it: "
                "ALTER TABLE %s.%s MODIFY TTL %s + INTERVAL %s DAY",
                row["name"], found[2], days, database, row["name"], found[1], days,
            )  # fmt: skip


def _integer(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise MigrateError(f"{name}={text!r} is not a whole number") from None


def ttl_days_from_environment(environment: Mapping[str, str]) -> TtlDays:
    """Read MAXY_TOTAL_LOG_TTL_DAYS, MAXY_PAGE_FLOW_TTL_DAYS and so on; what is not set has its default.

    :raises MigrateError: a value is not a whole number between 1 and 18250.
    """
    days = {
        field.name: _integer(environment, f"MAXY_{field.name.upper()}_TTL_DAYS", getattr(TtlDays, field.name))
        for field in fields(TtlDays)
    }
    return TtlDays(**days)


def _source_tables(environment: Mapping[str, str]) -> SourceTables:
    text = environment.get("MAXY_SOURCE_TABLES") or SourceTables.CREATE.value
    try:
        return SourceTables(text)
    except ValueError:
        raise MigrateError(f"MAXY_SOURCE_TABLES={text!r}: expected create or existing") from None


def migrate_from_environment(environment: Mapping[str, str]) -> list[str]:
    """Do as `migrate` does; settings: CLICKHOUSE_*, MAXY_TIMEZONE, MAXY_*_TTL_DAYS, MAXY_SOURCE_TABLES.

    :raises MigrateError: as `migrate`, or a variable has no valid value.
    """
    return migrate(
        host=environment.get("CLICKHOUSE_HOST") or "127.0.0.1",
        native_port=_integer(environment, "CLICKHOUSE_NATIVE_PORT", 9000),
        user=environment.get("CLICKHOUSE_USER") or "maxy",
        password=environment.get("CLICKHOUSE_PASSWORD", ""),
        database=environment.get("CLICKHOUSE_DB") or "maxy",
        timezone=environment.get("MAXY_TIMEZONE") or "UTC",
        ttl_days=ttl_days_from_environment(environment),
        source_tables=_source_tables(environment),
        secure=(environment.get("CLICKHOUSE_SECURE") or "").lower() in ("1", "true", "yes", "on"),
    )


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    # It logs a traceback for a refused connection, which the error's one sentence already tells.
    logging.getLogger("clickhouse_driver").setLevel(logging.ERROR)
    try:
        applied = migrate_from_environment(os.environ)
    except MigrateError as error:
        print(f"migrations not applied: {error}", file=sys.stderr)
        return 1
    for name in applied:
        print(f"applied {name}")
    if not applied:
        print("nothing to apply: the database is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
