"""How the columns of a ClickHouse result are written in Valkey, where everything is text: one rule for all that writes.

A value is written by the type of its column. Values without one, such as those that a loop has computed in Python, are
written by what they are there. The rule for readers is the table in docs/how-to-operators.md.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from maxy.clickhouse.column_types import parse_type
from maxy.clickhouse.nested_values import is_nested, json_text, json_writer
from maxy.clickhouse.scalars import BY_KIND, TypedWriter, by_type, other_text
from maxy.instants import MICROSECOND_DIGITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from maxy.clickhouse.column_types import ColumnType

# Types of whose values the drivers do not tell everything, and the function that has ClickHouse write them.
_REFUSED: Mapping[str, str] = {
    "JSON": "toJSONString",
    "Object": "toJSONString",
    "Variant": "toJSONString",
    "Dynamic": "toJSONString",
    "Geometry": "toJSONString",
    "AggregateFunction": "finalizeAggregation",
}
_WRITTEN = re.compile(
    r"U?Int(8|16|32|64|128|256)|Bool|B?Float(16|32|64)|Decimal(32|64|128|256)?|(Fixed)?String|UUID|IPv[46]|Enum(8|16)?"
    r"|Date(32|Time|Time64)?|Time(64)?|Interval[A-Z][a-z]+|Nothing|Array|Tuple|Map|Nested"
)
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def texts(column: Sequence[Any], name: str, column_type: str = "") -> list[str | None]:
    """Write a column's values as text; None stands for no value (NULL, NaN and infinities).

    :param column: the values of one column.
    :param name: the column's name, for errors.
    :param column_type: its ClickHouse type; unless given, the values are written by what they are in Python.
    :raises ValueError: naming the column, for a type that is not written, a time without zone, and text that is not
        UTF-8.
    """
    # Column by column, because one look at its types then serves all values.
    kinds = set(map(type, column))
    has_nulls = type(None) in kinds
    kinds.discard(type(None))
    try:
        typed = _typed_writer(column_type) if column_type else None
        # What a loop has made of a column since is written by what it is.
        if typed and kinds <= typed.kinds:
            write = typed.write
        elif len(kinds) == 1:
            write = BY_KIND.get(kinds.pop(), _untyped_text)
        else:
            return [BY_KIND.get(type(value), _untyped_text)(value) for value in column]
        return [None if value is None else write(value) for value in column] if has_nulls else list(map(write, column))
    except ValueError as error:
        raise ValueError(f"column {name}: {error}") from None


def require_written(columns: Iterable[tuple[str, str]]) -> None:
    """Check columns before their data is fetched.

    :param columns: name and type of each; the type is empty where it is not known.
    :raises ValueError: naming the first column whose type is not written, its type, and what to do.
    """
    for name, column_type in columns:
        if column_type and (refused := _refused(parse_type(column_type))):
            function = "toJSONString" if is_nested(parse_type(column_type)) else _REFUSED.get(refused.name, "toString")
            quoted = name if _PLAIN_NAME.fullmatch(name) else f"`{name}`"
            what = "which" if refused.text == column_type else f"and {refused.text}"
            raise ValueError(
                f"column {name} has the type {column_type}, {what} is not written: select {function}({quoted}) in its"
                " place"
            )


def _untyped_text(value: Any) -> str | None:
    return json_text(value) if isinstance(value, (list, tuple, dict)) else other_text(value)


@lru_cache(maxsize=1024)
def _typed_writer(column_type: str) -> TypedWriter | None:
    """Return what writes the values of a type; None if Python's types of them tell enough."""
    value_type = parse_type(column_type).value
    if is_nested(value_type):
        return TypedWriter(json_writer(value_type), frozenset({list, tuple, dict}))
    return by_type(value_type)


def _refused(column_type: ColumnType) -> ColumnType | None:
    """Return the type, or one in it, that is not written."""
    value_type = column_type.value
    if not _WRITTEN.fullmatch(value_type.name) or _is_too_precise(value_type):
        return value_type
    if not is_nested(value_type):
        return None
    return next(filter(None, map(_refused, value_type.elements)), None)


def _is_too_precise(column_type: ColumnType) -> bool:
    """Return whether the type has times of day with more digits than Python's."""
    return column_type.name == "Time64" and int(column_type.arguments[0]) > MICROSECOND_DIGITS
