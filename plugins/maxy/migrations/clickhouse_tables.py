"""What a ClickHouse database has already: tables, views that fill them, and times to live."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from clickhouse_migrations.util import quote_string

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clickhouse_migrations.clickhouse_cluster import ClickhouseCluster

logger = logging.getLogger(__name__)


def find_missing(cluster: ClickhouseCluster, database: str, tables: Collection[str]) -> list[str]:
    """Return those of the tables that the database lacks."""
    if not tables:
        return []
    listed = ", ".join(quote_string(name) for name in tables)
    found = _query(
        cluster, f"SELECT name FROM system.tables WHERE database = {quote_string(database)} AND name IN ({listed})"
    )
    return sorted(set(tables) - {row["name"] for row in found})


def find_view_conflict(
    cluster: ClickhouseCluster,
    database: str,
    own_views: Mapping[str, str],
    *,
    timezone: str,
    others_allowed: bool,
) -> str | None:
    """Say why the family's views must not be made: another one fills their table, or cuts days in another zone.

    :param own_views: the family's views, each with its target.
    :param others_allowed: the tables are another program's, which fills them itself.
    """
    views = _query(
        cluster,
        "SELECT name, create_table_query AS definition FROM system.tables "
        f"WHERE database = {quote_string(database)} AND engine = 'MaterializedView' ORDER BY name",
    )
    for view in views:
        name, definition = view["name"], view["definition"]
        target = _target_of(definition)
        if target not in own_views.values():
            continue
        if name not in own_views and not others_allowed:
            return (
                f"the view {name} already fills {target}, a second one would count every row twice: set "
                "MAXY_SOURCE_TABLES=existing, so that the other program's tables are used as they are"
            )
        zone = re.search(r"toDate\([^()]*,\s*'([^']+)'\)", definition)
        if zone and zone[1] != timezone:
            return (
                f"the view {name} begins its days in {zone[1]}, but the time zone asked for is {timezone}: "
                f"the days already in {target} cannot be cut anew. Set MAXY_TIMEZONE={zone[1]}, or use "
                f"another, empty database for {timezone}"
            )
    return None


def warn_about_ttls(cluster: ClickhouseCluster, database: str, wanted: Mapping[str, int]) -> None:
    """Log a warning for each table that keeps its rows for another time than the settings say.

    :param wanted: days, by table.
    """
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


def _target_of(view_definition: str) -> str | None:
    """The bare name of the table a materialized view writes to."""
    found = re.search(r"\sTO\s+(?:`[^`]+`|[^\s.`]+)\.`?([^\s`(]+)`?", view_definition)
    return found[1] if found else None


def _query(cluster: ClickhouseCluster, statement: str) -> list[dict[str, Any]]:
    # Asked without a default database: the one to be migrated may not exist yet.
    with cluster.connection("") as connection:
        rows: list[dict[str, Any]] = connection.query(statement)
    return rows
