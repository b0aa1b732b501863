"""Columns that order the results which are published for a group of keys."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from maxy.clickhouse.column_types import parse_type
from maxy.instants import to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

_ORDERING = re.compile(r"U?Int\d+|Date(32|Time|Time64)?")


def newest_value(column: Sequence[Any], name: str, column_type: str) -> datetime | date | int | None:
    """Return the highest value of a column that orders results, with all its digits; None for a result without rows.

    :param column: its values; times with their zone.
    :param name: its name, for errors.
    :param column_type: its ClickHouse type, which is checked also where there is no value.
    :raises ValueError: naming the column, for a type that orders nothing, and for NULL.
    """
    if not _ORDERING.fullmatch(parse_type(column_type).value.name):
        raise ValueError(
            f"version_field: column {name} has the type {column_type}, but a version is a time, a date or a whole"
            " number"
        )
    missing = sum(value is None for value in column)
    if missing:
        raise ValueError(
            f"version_field: column {name} is NULL in {missing} of {len(column)} rows, so which result is newer cannot"
            " be told"
        )
    return max(column, key=_order, default=None)


def _order(value: Any) -> int:
    """Return what orders values of one type; two times of the same microsecond by their nanoseconds."""
    if isinstance(value, datetime):
        return to_nanoseconds(value)
    return value.toordinal() if isinstance(value, date) else value
