"""How arrays, tuples and maps are written: as JSON, with the rules of single values inside.

Nothing stands between the parts but ``,`` and ``:``, and text is escaped no more than JSON demands, so that equal
values have equal texts.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring
from numbers import Number
from typing import TYPE_CHECKING, Any

from maxy.clickhouse.scalars import BY_KIND, by_type, other_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maxy.clickhouse.column_types import ColumnType

    Fragment = Callable[[Any], str]

_NUMBERS = ("Float", "BFloat", "Decimal")
_NESTED = {"Array", "Tuple", "Map", "Nested"}


def is_nested(column_type: ColumnType) -> bool:
    """Return whether a type's values are written as JSON."""
    return column_type.value.name in _NESTED


@lru_cache(maxsize=256)
def json_writer(column_type: ColumnType) -> Fragment:
    """Return what writes values of a type, NULL included, as JSON."""
    value_type = column_type.value
    match value_type.name:
        case "Array":
            write = _array_writer(json_writer(value_type.elements[0]))
        case "Nested":
            write = _array_writer(_tuple_writer(value_type))
        case "Tuple":
            write = _tuple_writer(value_type)
        case "Map":
            write = _map_writer(*map(json_writer, value_type.elements))
        case _:
            write = _scalar_writer(value_type)
    return lambda value: "null" if value is None else write(value)


def json_text(value: Any) -> str:
    """Write a value as JSON by what it is in Python.

    :raises ValueError: for what is not written.
    """
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(json_text, value))}]"
    if isinstance(value, dict):
        return _object((json_text(key), json_text(item)) for key, item in value.items())
    text = BY_KIND.get(type(value), other_text)(value)
    if text is None:
        return "null"
    return text if isinstance(value, Number) else encode_basestring(text)


def _scalar_writer(column_type: ColumnType) -> Fragment:
    typed = by_type(column_type)
    if typed is None:
        return json_text
    write = typed.write
    if column_type.name.startswith(_NUMBERS):
        return lambda value: write(value) or "null"
    return lambda value: encode_basestring(write(value) or "")


def _array_writer(item: Fragment) -> Fragment:
    return lambda values: f"[{','.join(map(item, values))}]"


def _tuple_writer(column_type: ColumnType) -> Fragment:
    """Return what writes tuples, and Nested's rows: as objects, if their elements have names."""
    items = list(map(json_writer, column_type.elements))
    names = column_type.names
    if not names:
        return lambda values: f"[{','.join(item(value) for item, value in zip(items, values, strict=True))}]"
    keys = list(map(encode_basestring, names))

    def write(values: Any) -> str:
        # One of the drivers returns the elements by their names.
        row = [values[name] for name in names] if isinstance(values, dict) else values
        return _object(zip(keys, (item(value) for item, value in zip(items, row, strict=True)), strict=True))

    return write


def _map_writer(key: Fragment, item: Fragment) -> Fragment:
    return lambda values: _object((key(name), item(value)) for name, value in values.items())


def _object(members: Iterable[tuple[str, str]]) -> str:
    """Write an object. A key that is no string in JSON, such as a number, is put into quotes."""
    return f"{{{','.join(f'{_key(name)}:{value}' for name, value in members)}}}"


def _key(fragment: str) -> str:
    return fragment if fragment.startswith('"') else encode_basestring(fragment)
