"""How single values are written as text, by their Python type and by their ClickHouse type."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any
from uuid import UUID

from maxy.instants import PreciseInstant, precise_utc_iso, utc_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from maxy.clickhouse.column_types import ColumnType

_FLOAT32 = struct.Struct("<f")
# Below it a Float32 has fewer digits than six.
_LEAST_NORMAL_FLOAT32 = 2.0**-126
_BYTES_SHOWN = 40


def float_text(value: float) -> str | None:
    """Write a Float64 by the fewest digits that read back as it; None for NaN and infinities."""
    return repr(value) if math.isfinite(value) else None


def float32_text(value: float) -> str | None:
    """Write a Float32 or BFloat16 by the fewest digits that read back as the same Float32; None as above.

    :param value: as Python has it, with the digits of a Float64.
    """
    if not math.isfinite(value):
        return None
    packed = _FLOAT32.pack(value)
    for digits in range(6 if abs(value) >= _LEAST_NORMAL_FLOAT32 else 1, 9):
        shorter = float(f"{value:.{digits}g}")
        if _FLOAT32.pack(shorter) == packed:
            return repr(shorter)
    return repr(float(f"{value:.9g}"))


def ipv6_text(value: IPv6Address) -> str:
    """Write an address as ClickHouse does: one of IPv4 that is mapped into IPv6 with its dots."""
    mapped = value.ipv4_mapped
    return str(value) if mapped is None else f"::ffff:{mapped}"


def fixed_string_text(value: str | bytes) -> str:
    """Write a FixedString without the NUL bytes that fill it up.

    :raises ValueError: if it is not UTF-8.
    """
    if isinstance(value, str):
        return value.rstrip("\0")
    try:
        return value.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise not_text(value) from None


def not_text(value: bytes | bytearray | memoryview) -> ValueError:
    """Return the error for bytes: a ClickHouse driver returns them for text that is not UTF-8."""
    return ValueError(
        f"{bytes(value)[:_BYTES_SHOWN]!r} is not text: write toValidUTF8(...) in the SQL, or hex(...) for bytes that"
        " are none"
    )


def other_text(value: Any) -> str | None:
    """Write a value of a type that has no writer of its own, such as a number of numpy.

    :raises ValueError: for bytes, and for what has no text by any rule.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise not_text(value)
    for kind, write in _BY_BASE:
        if isinstance(value, kind):
            return write(value)
    raise ValueError(
        f"a value of Python's type {type(value).__name__} is not written: toString(...) in the SQL makes it text"
    )


#: Writers by Python's type; None: no value.
BY_KIND: Mapping[type, Callable[[Any], str | None]] = {
    str: str,
    int: str,
    bool: lambda value: str(int(value)),
    float: float_text,
    datetime: utc_iso,
    PreciseInstant: precise_utc_iso,
    date: date.isoformat,
    # With all its digits: the str of a small one would be 1E-8.
    Decimal: "{:f}".format,
    UUID: str,
    IPv4Address: str,
    IPv6Address: ipv6_text,
    type(None): lambda _: None,
}
# Subclasses of these, in which the first that fits counts.
_BY_BASE: tuple[tuple[type, Callable[[Any], str | None]], ...] = (
    (str, lambda value: str.__str__(value)),
    (datetime, utc_iso),
    (Integral, lambda value: str(int(value))),
    (Real, lambda value: float_text(float(value))),
)


@dataclass(frozen=True)
class TypedWriter:
    """How a column's values are written because of its ClickHouse type.

    :param write: makes text of a value that is not NULL.
    :param kinds: Python's types of the values that it can write.
    """

    write: Callable[[Any], str | None]
    kinds: frozenset[type]


def by_type(column_type: ColumnType) -> TypedWriter | None:
    """Return the writer of a type whose values Python's own type does not tell enough of; None for all others."""
    name = column_type.name
    if name in {"Float32", "BFloat16"}:
        return TypedWriter(float32_text, frozenset({float}))
    if name == "FixedString":
        return TypedWriter(fixed_string_text, frozenset({str, bytes}))
    if name in {"Time", "Time64"}:
        digits = int(column_type.arguments[0]) if column_type.arguments else 0
        return TypedWriter(_time_writer(digits), frozenset({timedelta}))
    if name.startswith("Decimal"):
        # With all digits of its scale, whatever a driver has made of the zeros at its end.
        return TypedWriter(f"{{:.{column_type.arguments[-1]}f}}".format, frozenset({Decimal}))
    return None


def _time_writer(digits: int) -> Callable[[Any], str]:
    """Return what writes a time of day, or a longer one, as ClickHouse does: with so many digits of its seconds."""

    def write(value: timedelta) -> str:
        seconds, microseconds = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        fraction = f".{microseconds:06d}"[: digits + 1] if digits else ""
        return f"{'-' if value < timedelta() else ''}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction}"

    return write
