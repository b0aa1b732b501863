"""Table names that are put into SQL as they are."""

from __future__ import annotations

import re

_TABLE = re.compile(r"(?:[A-Za-z_][A-Za-z0-9_]*\.)?[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def checked_table_name(name: str) -> str:
    """Return the name of a table, optionally with its database, if it needs no quoting in SQL.

    :raises ValueError: naming it, if it is anything else.
    """
    if not _TABLE.fullmatch(name):
        raise ValueError(f"{name!r} is not a table name: use letters, digits and _, optionally database.table")
    return name
