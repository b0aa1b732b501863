"""Columns of the HTTP interface as clickhouse-connect returns them, with what it would lose.

It returns texts that are not UTF-8 as hexadecimal digits, which nobody can tell from a text, and cuts times to
microseconds. So texts are asked for as bytes, times of more digits as numbers, and both are turned into values here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from maxy.clickhouse.column_types import parse_type
from maxy.instants import MICROSECOND_DIGITS, precise_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from maxy.clickhouse.column_types import ColumnType

    Decoder = Callable[[Any], Any]

#: What is asked for in every query.
FORMATS = {"String": "bytes"}
# Types whose values have types of their own.
_MIXED = {"JSON", "Object", "Variant", "Dynamic", "Geometry"}


def precise_formats(names: Sequence[str], types: Sequence[str]) -> dict[str, Any]:
    """Return what is to be asked for column by column besides, so that no digit of a time is lost; mostly nothing."""
    return {
        name: {**FORMATS, "DateTime64": "int"}
        for name, column_type in zip(names, types, strict=True)
        if _has_precise_times(parse_type(column_type))
    }


def decode_column(column: Sequence[Any], column_type: str, session_zone: str) -> Sequence[Any]:
    """Return a column's values: text where it is UTF-8, and times with their zone and all digits.

    :param column: of an answer in the formats above.
    :param session_zone: the zone of times that name none.
    """
    decode = _decoder(parse_type(column_type), session_zone)
    if decode is None:
        return column
    if decode is _decode_text:
        try:
            return list(map(bytes.decode, column))
        except (UnicodeDecodeError, TypeError):
            # One of them is none, or NULL.
            pass
    return [None if value is None else decode(value) for value in column]


def _has_precise_times(column_type: ColumnType) -> bool:
    if column_type.name == "DateTime64":
        return int(column_type.arguments[0]) > MICROSECOND_DIGITS
    return any(map(_has_precise_times, column_type.elements))


@lru_cache(maxsize=1024)
def _decoder(column_type: ColumnType, session_zone: str) -> Decoder | None:
    """Return what makes a value, of a type that is not NULL, of what the client returns; None if that is the value."""
    value_type = column_type.value
    if value_type.name == "String":
        return _decode_text
    if value_type.name == "DateTime64":
        return _instant_decoder(value_type, session_zone)
    if value_type.name in _MIXED:
        return _decode_mixed
    decoders = [_decoder(element, session_zone) for element in value_type.elements]
    if not any(decoders):
        return None
    items: list[Decoder] = [_nullable(decode) if decode else _as_it_is for decode in decoders]
    match value_type.name:
        case "Array":
            return lambda values: list(map(items[0], values))
        case "Map":
            return lambda values: {items[0](key): items[1](value) for key, value in values.items()}
        case "Nested":
            return lambda rows: [_decode_tuple(row, items) for row in rows]
    return lambda values: _decode_tuple(values, items)


def _instant_decoder(column_type: ColumnType, session_zone: str) -> Decoder | None:
    digits, *zones = column_type.arguments
    if int(digits) <= MICROSECOND_DIGITS:
        return None
    return precise_reader(int(digits), ZoneInfo(zones[0].strip("'") if zones else session_zone))


def _decode_text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _decode_mixed(value: Any) -> Any:
    """Decode the texts in a value whose type is not known."""
    if isinstance(value, bytes):
        return _decode_text(value)
    if isinstance(value, dict):
        return {_decode_mixed(key): _decode_mixed(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(_decode_mixed, value))
    return tuple(map(_decode_mixed, value)) if isinstance(value, tuple) else value


def _decode_tuple(values: Any, items: Sequence[Decoder]) -> Any:
    """Decode a tuple's elements, which the client returns by their names if they have any."""
    if isinstance(values, dict):
        return {name: decode(value) for decode, (name, value) in zip(items, values.items(), strict=True)}
    return tuple(decode(value) for decode, value in zip(items, values, strict=True))


def _nullable(decode: Decoder) -> Decoder:
    return lambda value: None if value is None else decode(value)


def _as_it_is(value: Any) -> Any:
    return value
