"""Writes Python's values into ClickHouse's SQL, exactly or not at all."""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from numbers import Integral
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ESCAPES = str.maketrans(
    {
        "\\": r"\\",
        "'": r"\'",
        "\b": r"\b",
        "\f": r"\f",
        "\r": r"\r",
        "\n": r"\n",
        "\t": r"\t",
        "\0": r"\0",
        "\a": r"\a",
        "\v": r"\v",
    }
)
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
# What Date32 and DateTime64 hold; beyond it ClickHouse takes the nearest it has.
_YEARS = range(1900, 2300)
# What DateTime holds, in seconds since 1970.
_DATETIME_SECONDS = range(2**32)
# The most digits that a Decimal has in ClickHouse, as 128 and as 256 bits.
_DECIMAL_DIGITS = (38, 76)
_PLAIN_INTEGERS = range(-(2**63), 2**64)
_WIDE_INTEGERS = {
    "toInt128": range(-(2**127), 2**127),
    "toInt256": range(-(2**255), 2**255),
    "toUInt256": range(2**256),
}
# Elements of a list get one type: 2 beside true becomes true, a Decimal beside a float becomes a float.
_NUMBERS: dict[type, str] = {bool: "bool", Integral: "int", float: "float", Decimal: "Decimal"}
_NOT_TOGETHER = ({"bool", "int"}, {"bool", "float"}, {"bool", "Decimal"}, {"float", "Decimal"})
_ADVICE = {
    dict: "pass its keys and values as two lists, or as text of JSON",
    set: "pass a list",
    frozenset: "pass a list",
    bytes: "pass its hex() and write unhex(...)",
    bytearray: "pass its hex() and write unhex(...)",
    timedelta: "pass a number and write INTERVAL ... SECOND",
}


class UnquotableError(ValueError):
    """A value that cannot be written in SQL exactly; the message names its type."""


def literal(value: Any) -> str:
    """Return a value as ClickHouse reads it in SQL.

    Dates, UUIDs and IP addresses are text, which ClickHouse compares with columns of these types. Times are typed: with
    a zone they are an instant, without one they are in the session's zone.

    :raises UnquotableError: for anything that would not be the same there.
    """
    if isinstance(value, Enum):
        return literal(value.value)
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    advice = next((f": {advice}" for kind, advice in _ADVICE.items() if isinstance(value, kind)), "")
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    raise UnquotableError(f"a {name} cannot be written in SQL{advice}")


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnquotableError(f"the str has {value[error.start]!a}, which is no character of UTF-8") from error
    return f"'{value.translate(_ESCAPES)}'"


def _integer(value: Any) -> str:
    number = int(value)
    if number in _PLAIN_INTEGERS:
        return _signed(str(number))
    for function, numbers in _WIDE_INTEGERS.items():
        if number in numbers:
            return f"{function}('{number}')"
    raise UnquotableError("the int has more than 256 bits")


def _float(value: float) -> str:
    # A subclass may print itself otherwise.
    return _signed(float.__repr__(value)) if math.isfinite(value) else _signed(str(float(value)))


def _decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise UnquotableError(f"the Decimal is {value}, which ClickHouse's Decimal has no value for")
    text = format(value, "f")
    whole, _, fraction = text.lstrip("-").partition(".")
    scale = len(fraction)
    digits = len(whole.lstrip("0")) + scale
    precision = next((most for most in _DECIMAL_DIGITS if digits <= most), None)
    if precision is None:
        raise UnquotableError(f"the Decimal has {digits} digits, ClickHouse's has at most {_DECIMAL_DIGITS[-1]}")
    return f"CAST('{text}', 'Decimal({precision}, {scale})')"


def _datetime(value: datetime) -> str:
    _require_year(value)
    # pandas' Timestamp is a datetime with more digits.
    if getattr(value, "nanosecond", 0):
        raise UnquotableError(f"the {type(value).__name__} has nanoseconds, times are written to the microsecond")
    # Subclasses, such as pendulum's, print and subtract in ways of their own.
    local = datetime(*value.timetuple()[:6], value.microsecond)
    offset = value.utcoffset()
    if offset is None:
        if local.microsecond or not 1970 < local.year < 2106:
            return f"toDateTime64('{local:%Y-%m-%d %H:%M:%S.%f}', 6)"
        return f"toDateTime('{local:%Y-%m-%d %H:%M:%S}')"
    moment = local - offset
    _require_year(moment)
    microseconds = (moment - _EPOCH) // _MICROSECOND
    seconds, fraction = divmod(microseconds, 1_000_000)
    if fraction or seconds not in _DATETIME_SECONDS:
        return f"fromUnixTimestamp64Micro({microseconds})"
    return f"toDateTime({seconds})"


def _date(value: date) -> str:
    _require_year(value)
    return f"'{date(value.year, value.month, value.day):%Y-%m-%d}'"


def _time(value: time) -> str:
    if value.tzinfo is not None:
        raise UnquotableError("the time has a zone, which a time of day has not in ClickHouse")
    return f"'{value.isoformat()}'"


def _ip_address(value: IPv4Address | IPv6Address) -> str:
    if getattr(value, "scope_id", None) is not None:
        raise UnquotableError("the IPv6Address has a scope, which ClickHouse's has not")
    return f"'{value}'"


def _list(value: list[Any]) -> str:
    _refuse_mixed_elements(value)
    return f"[{', '.join(_elements(value))}]"


def _tuple(value: tuple[Any, ...]) -> str:
    listed = ", ".join(_elements(value))
    # Parentheses around one element are only parentheses.
    return f"({listed})" if len(value) > 1 else f"tuple({listed})"


_WRITERS: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "NULL",
    # Before int, which it is too.
    bool: lambda value: "true" if value else "false",
    str: _text,
    Integral: _integer,
    float: _float,
    Decimal: _decimal,
    # Before date, which it is too.
    datetime: _datetime,
    date: _date,
    time: _time,
    UUID: lambda value: f"'{value}'",
    IPv4Address: _ip_address,
    IPv6Address: _ip_address,
    list: _list,
    tuple: _tuple,
}


def _signed(number: str) -> str:
    # Behind a minus of the statement's own, another one would begin a comment.
    return f" {number}" if number.startswith("-") else number


def _require_year(value: date) -> None:
    if value.year not in _YEARS:
        raise UnquotableError(
            f"the {type(value).__name__} lies outside ClickHouse's years, {_YEARS.start} to {_YEARS.stop - 1}"
        )


def _elements(values: list[Any] | tuple[Any, ...]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        try:
            yield literal(value)
        except UnquotableError as error:
            raise UnquotableError(f"element {number}: {error}") from None


def _refuse_mixed_elements(values: list[Any]) -> None:
    """Refuse a list whose common type in ClickHouse would change elements.

    :raises UnquotableError: naming the types.
    """
    kinds: dict[tuple[object, ...], set[str]] = {}
    for place, value in _leaves(values, ()):
        number = next((name for kind, name in _NUMBERS.items() if isinstance(value, kind)), None)
        if number is not None:
            kinds.setdefault(place, set()).add(number)
    for found in kinds.values():
        for pair in _NOT_TOGETHER:
            if pair <= found:
                raise UnquotableError(f"a list of both {' and '.join(sorted(pair))} has no exact type in ClickHouse")


def _leaves(value: Any, place: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], Any]]:
    """Yield what is in lists and tuples, each with its place; all elements of a list have the same."""
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element, (*place, "element"))
    elif isinstance(value, tuple):
        for number, element in enumerate(value):
            yield from _leaves(element, (*place, number))
    else:
        yield place, value.value if isinstance(value, Enum) else value
