"""Names of tables: put into SQL as they are, and looked up in ClickHouse's system tables."""

from __future__ import annotations

import re

#: The database of a table, as a condition on a system table; with the parameters of :func:`table_parameters`.
IN_ITS_DATABASE = "database = if(%(database)s = '', currentDatabase(), %(database)s)"
_TABLE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*\.)?[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def checked_table_name(name: str) -> str:
    """Return the name of a table, optionally with its database, if it needs no quoting in SQL.

    :raises ValueError: naming it, if it is anything else.
    """
    if not _TABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not a table name: use letters, digits and _, optionally database.table")
    return name


def table_parameters(name: str) -> dict[str, str]:
    """Return ``database`` (empty: the connection's own) and ``table`` of a table's name."""
    database, _, table = name.rpartition(".")
    return {"database": database, "table": table}
