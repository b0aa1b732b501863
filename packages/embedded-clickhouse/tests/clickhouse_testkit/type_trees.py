"""ClickHouse types with values at their edges, and the one right form of each value in RowBinary.

RowBinary is written here by a few lines of Python, from the same values that the clients send. So what a server stored
is compared with something that no client and no server has made.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from ipaddress import IPv4Address, IPv6Address
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from zoneinfo import ZoneInfo

_EPOCH_DAY = date(1970, 1, 1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICKS_OF_A_DATETIME = 1_000_000
# Beyond it Python's clients, which calculate with floats, lose microseconds.
_LAST_FINE_SECOND = 2**32 - 1
_FIRST_WIDE_SECOND = int((datetime(1900, 1, 2, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST_WIDE_SECOND = int((datetime(2299, 12, 30, tzinfo=UTC) - _EPOCH).total_seconds())
_LAST_NANO_SECOND = int((datetime(2262, 4, 1, tzinfo=UTC) - _EPOCH).total_seconds())
# Half a second is exact in every float.
_HALVES = 2
_LONG = b"0123456789abcdef" * 4500


@dataclass(frozen=True)
class Type:
    """A type of ClickHouse.

    :param name: as a server spells it.
    :param values: its values as both Python clients take them. Date-times are ticks, strings are bytes.
    :param edges: the values that every test of the type has among its rows.
    :param pack: a value in RowBinary, whether it is one of ``values`` or what a client has read. Its second argument is
        the server's zone, for date-times of clients that do not say theirs.
    :param some: a value in which nothing is empty, at any depth.
    :param is_key: whether it can be the key of a Map, for the server and for Python.
    :param is_low: whether LowCardinality may stand around it without losing anything in a client's dictionary.
    :param is_nullable: whether Nullable may stand around it.
    """

    name: str
    values: st.SearchStrategy[Any]
    edges: tuple[Any, ...]
    pack: Callable[[Any, ZoneInfo], bytes]
    some: Any = None
    is_key: bool = False
    is_low: bool = False
    is_nullable: bool = True

    def __post_init__(self) -> None:
        if self.some is None:
            object.__setattr__(self, "some", self.edges[-1])

    def __repr__(self) -> str:
        return self.name


def varint(number: int) -> bytes:
    """A length in RowBinary."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))


# Types without others inside.


def _integer(bits: int, signed: bool) -> Type:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Type(
        f"{'' if signed else 'U'}Int{bits}",
        st.integers(low, high),
        (low, low + 1, 0, 1, high - 1, high),
        lambda value, _: int(value).to_bytes(bits // 8, "little", signed=signed),
        is_key=True,
        is_low=True,
    )


def _float(bits: int) -> Type:
    code = {32: "<f", 64: "<d"}[bits]
    largest = {32: 3.4028234663852886e38, 64: 1.7976931348623157e308}[bits]
    smallest = {32: 1.401298464324817e-45, 64: 5e-324}[bits]
    edges = (
        0.0,
        -0.0,
        float("inf"),
        -float("inf"),
        float("nan"),
        largest,
        -largest,
        smallest,
        0.1 if bits == 64 else 0.5,
    )
    return Type(
        f"Float{bits}",
        st.floats(width=bits, allow_nan=False) | st.just(float("nan")),
        edges,
        lambda value, _: struct.pack(code, value),
    )


def _text(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def _string() -> Type:
    edges = (
        b"",
        b"a",
        b"\x00",
        b"\xff\xfe not UTF-8",
        "한글 'quoted' \\ \t\r\n`\"".encode(),
        b"\\N",
        b"NULL",
        b"x" * 128,
        _LONG,
    )
    return Type(
        "String",
        st.binary(max_size=40) | st.text(max_size=20).map(str.encode) | st.sampled_from(edges[:-1]),
        edges,
        lambda value, _: varint(len(_text(value))) + _text(value),
        is_key=True,
        is_low=True,
    )


def _fixed_string(length: int) -> Type:
    return Type(
        f"FixedString({length})",
        st.binary(min_size=length, max_size=length),
        (bytes(length), b"\xff" * length, b"ab".ljust(length, b"\x00")[:length], bytes(range(length))),
        lambda value, _: _text(value),
        is_key=True,
        is_low=True,
    )


def _days(name: str, width: int, first: date, last: date) -> Type:
    return Type(
        name,
        st.dates(first, last),
        (first, first + timedelta(1), _EPOCH_DAY, date(2000, 2, 29), last - timedelta(1), last),
        lambda value, _: (value - _EPOCH_DAY).days.to_bytes(width, "little", signed=width == 4),
        is_key=True,
        is_low=True,
    )


def _ticks(value: datetime | int, scale: int, zone: ZoneInfo) -> int:
    if not isinstance(value, datetime):
        return value
    known = value if value.tzinfo is not None else value.replace(tzinfo=zone)
    microseconds = (known - _EPOCH) // timedelta(microseconds=1)
    return microseconds * 10**scale // _TICKS_OF_A_DATETIME


def _has_one_meaning(second: float, zone: ZoneInfo) -> bool:
    """Whether a client that drops the zone does not lose which of two equal times of day it was."""
    naive = datetime.fromtimestamp(second, zone).replace(tzinfo=None)
    return naive.replace(tzinfo=zone).timestamp() == second


def _date_time(zone: str | None) -> Type:
    last = 2**32 - 1
    seconds = st.integers(0, last)
    # A day without a change of the clock, whatever the server's zone.
    edges: tuple[int, ...] = (0, 1, 1_768_000_000, 1_784_000_000, last)
    if zone is not None:
        # Around the end and the start of summer time.
        edges = (
            *edges,
            *(start + step for start in (1_793_512_800, 1_772_953_200) for step in (-3600, -1, 0, 1800, 3600)),
        )
    else:
        seconds = st.sampled_from(edges)
    return Type(
        f"DateTime('{zone}')" if zone else "DateTime",
        seconds,
        edges,
        lambda value, server: _ticks(value, 0, server).to_bytes(4, "little"),
        is_low=True,
    )


def _date_time_64(scale: int, zone: str | None) -> Type:
    last = _LAST_NANO_SECOND if scale == 9 else _LAST_WIDE_SECOND
    unit = 10**scale
    # A finer part than microseconds is not in a Python datetime.
    finest = min(unit, _TICKS_OF_A_DATETIME)
    fine = st.integers(0, _LAST_FINE_SECOND * finest).map(lambda ticks: ticks * (unit // finest))
    step = unit // _HALVES if scale else 1
    wide = st.integers(_FIRST_WIDE_SECOND * unit // step, last * unit // step).map(lambda halves: halves * step)
    edges: tuple[int, ...] = (0, unit // finest, 1_768_000_000 * unit + step, _LAST_FINE_SECOND * unit)
    if zone is not None:
        edges = (*edges, -step, _FIRST_WIDE_SECOND * unit, last * unit + step * (scale > 0))
    return Type(
        f"DateTime64({scale}, '{zone}')" if zone else f"DateTime64({scale})",
        (fine | wide) if zone else st.sampled_from(edges),
        edges,
        lambda value, server: _ticks(value, scale, server).to_bytes(8, "little", signed=True),
    )


def _decimal(precision: int, scale: int) -> Type:
    width = next(width for digits, width in ((9, 4), (18, 8), (38, 16), (76, 32)) if precision <= digits)
    largest = 10**precision - 1

    def of_unscaled(number: int) -> Decimal:
        return (
            Decimal(number).scaleb(-scale) if precision <= 28 else Decimal((int(number < 0), _digits(number), -scale))
        )

    def pack(value: Decimal, _: ZoneInfo) -> bytes:
        with localcontext() as context:
            context.prec = 80
            return int(value.scaleb(scale)).to_bytes(width, "little", signed=True)

    return Type(
        f"Decimal({precision}, {scale})",
        st.integers(-largest, largest).map(of_unscaled),
        tuple(of_unscaled(number) for number in (0, 1, -1, 10**scale, largest, -largest)),
        pack,
    )


def _digits(number: int) -> tuple[int, ...]:
    return tuple(int(digit) for digit in str(abs(number)))


def _uuid() -> Type:
    def pack(value: UUID, _: ZoneInfo) -> bytes:
        # Two 64-bit halves, each with its least byte first.
        return value.bytes[7::-1] + value.bytes[:7:-1]

    edges = (UUID(int=0), UUID(int=2**128 - 1), UUID("00112233-4455-6677-8899-aabbccddeeff"))
    return Type("UUID", st.uuids(), edges, pack, is_key=True, is_low=True)


def _ipv4() -> Type:
    edges = (IPv4Address("0.0.0.0"), IPv4Address("255.255.255.255"), IPv4Address("127.0.0.1"))
    return Type("IPv4", st.ip_addresses(v=4), edges, lambda value, _: value.packed[::-1], is_key=True)


def _ipv6() -> Type:
    edges = (IPv6Address("::"), IPv6Address(2**128 - 1), IPv6Address("2001:db8::1"))

    def pack(value: IPv4Address | IPv6Address, _: ZoneInfo) -> bytes:
        return value.packed if value.version == 6 else b"\x00" * 10 + b"\xff\xff" + value.packed

    # ::ffff:0:0/96 is IPv4, which one of the clients returns as such; the address is the same.
    return Type("IPv6", st.ip_addresses(v=6), edges, pack, is_key=True)


def _enum(bits: int) -> Type:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    members = {"least": low, "with space": -1, "": 0, "it\\'s, (1)": 1, "한글": 2, "most": high}
    by_name = {name.replace("\\'", "'"): number for name, number in members.items()}
    name = ", ".join(f"'{member}' = {number}" for member, number in members.items())
    return Type(
        f"Enum{bits}({name})",
        st.sampled_from(tuple(by_name)),
        tuple(by_name),
        lambda value, _: by_name[value].to_bytes(bits // 8, "little", signed=True),
        is_key=True,
    )


def _bool() -> Type:
    return Type("Bool", st.booleans(), (False, True), lambda value, _: bytes((value,)))


def _simple_aggregate() -> Type:
    inner = _integer(64, signed=False)
    return Type("SimpleAggregateFunction(max, UInt64)", inner.values, inner.edges, inner.pack, is_nullable=False)


# Types around others.


def nullable(inner: Type) -> Type:
    """The type with NULL."""

    def pack(value: Any, zone: ZoneInfo) -> bytes:
        return b"\x01" if value is None else b"\x00" + inner.pack(value, zone)

    return Type(
        f"Nullable({inner.name})",
        st.none() | inner.values,
        (None, *inner.edges, None),
        pack,
        inner.some,
        is_low=inner.is_low,
        is_nullable=False,
    )


def low_cardinality(inner: Type) -> Type:
    """The type with a dictionary, which is not seen in RowBinary."""
    return Type(
        f"LowCardinality({inner.name})",
        inner.values,
        (*inner.edges, *inner.edges),
        inner.pack,
        inner.some,
        is_key=inner.is_key,
        is_nullable=False,
    )


def array(inner: Type) -> Type:
    """An array of any length."""

    def pack(values: Any, zone: ZoneInfo) -> bytes:
        return varint(len(values)) + b"".join(inner.pack(value, zone) for value in values)

    edges = ([], [inner.edges[0]], list(inner.edges), [])
    return Type(
        f"Array({inner.name})", st.lists(inner.values, max_size=4), edges, pack, [inner.some], is_nullable=False
    )


def tuple_of(*inner: Type, names: tuple[str, ...] = ()) -> Type:
    """A tuple, with the elements' names or without."""

    def pack(values: Any, zone: ZoneInfo) -> bytes:
        elements = values.values() if isinstance(values, dict) else values
        return b"".join(part.pack(value, zone) for part, value in zip(inner, elements, strict=True))

    length = max(len(part.edges) for part in inner)
    edges = tuple(zip(*(islice(cycle(part.edges), length) for part in inner), strict=True))
    listed = ", ".join(
        f"{name} {part.name}".lstrip() for name, part in zip(names or ("",) * len(inner), inner, strict=True)
    )
    some = tuple(part.some for part in inner)
    return Type(f"Tuple({listed})", st.tuples(*(part.values for part in inner)), edges, pack, some, is_nullable=False)


def map_of(key: Type, value: Type) -> Type:
    """A map; its keys are unique because those of Python's are."""

    def pack(pairs: Any, zone: ZoneInfo) -> bytes:
        packed = (key.pack(name, zone) + value.pack(item, zone) for name, item in pairs.items())
        return varint(len(pairs)) + b"".join(packed)

    full = dict(zip(key.edges, cycle(value.edges), strict=False))
    singles = ({name: item} for name, item in zip(cycle(key.edges), value.edges, strict=False))
    strategy = st.dictionaries(key.values, value.values, max_size=3)
    some = {key.some: value.some}
    return Type(f"Map({key.name}, {value.name})", strategy, ({}, full, *singles, {}), pack, some, is_nullable=False)


def _all_scalars() -> Iterator[Type]:
    for bits in (8, 16, 32, 64, 128, 256):
        yield _integer(bits, signed=True)
        yield _integer(bits, signed=False)
    yield from (_float(32), _float(64), _bool(), _string(), _fixed_string(1), _fixed_string(16))
    yield _days("Date", 2, _EPOCH_DAY, date(2149, 6, 6))
    yield _days("Date32", 4, date(1900, 1, 1), date(2299, 12, 31))
    for zone in (None, "UTC", "America/New_York"):
        yield _date_time(zone)
    for scale, zone in ((0, "UTC"), (3, None), (3, "America/New_York"), (6, "Asia/Kolkata"), (9, "UTC")):
        yield _date_time_64(scale, zone)
    for precision, scale in ((9, 0), (9, 4), (18, 18), (38, 10), (76, 38), (76, 0)):
        yield _decimal(precision, scale)
    yield from (_uuid(), _ipv4(), _ipv6(), _enum(8), _enum(16), _simple_aggregate())


SCALARS = {scalar.name: scalar for scalar in _all_scalars()}
STRING = SCALARS["String"]
_LEAVES = tuple(SCALARS.values())
_KEYS = tuple(scalar for scalar in _LEAVES if scalar.is_key)


def wrapped(scalar: Type) -> list[Type]:
    """The type by itself and inside each of the others, once or twice."""
    types = [scalar, array(scalar), array(array(scalar)), tuple_of(scalar, STRING), map_of(STRING, scalar)]
    types.append(tuple_of(scalar, array(scalar), names=("a", "b")))
    if scalar.is_nullable:
        null = nullable(scalar)
        types += [null, array(null), tuple_of(null, scalar, names=("x", "y")), map_of(SCALARS["UInt8"], null)]
    if scalar.is_low:
        low, low_null = low_cardinality(scalar), low_cardinality(nullable(scalar))
        types += [low, low_null, array(low), array(low_null), map_of(low_cardinality(STRING), low)]
    if scalar.is_key:
        types.append(map_of(scalar, array(scalar)))
    return types


@st.composite
def type_trees(draw: st.DrawFn, depth: int = 3) -> Type:
    """A type with up to ``depth`` others around it."""
    if depth == 0:
        return draw(st.sampled_from(_LEAVES))
    kind = draw(st.sampled_from(("scalar", "nullable", "low", "array", "tuple", "map")))
    match kind:
        case "nullable":
            return nullable(draw(st.sampled_from(tuple(leaf for leaf in _LEAVES if leaf.is_nullable))))
        case "low":
            inner = draw(st.sampled_from(tuple(leaf for leaf in _LEAVES if leaf.is_low)))
            return low_cardinality(draw(st.sampled_from((inner, nullable(inner)))))
        case "array":
            return array(draw(type_trees(depth - 1)))
        case "tuple":
            parts = draw(st.lists(type_trees(depth - 1), min_size=1, max_size=3))
            names = draw(st.sampled_from(((), tuple(f"e{index}" for index in range(len(parts))))))
            return tuple_of(*parts, names=names)
        case "map":
            return map_of(draw(st.sampled_from(_KEYS)), draw(type_trees(depth - 1)))
    return draw(st.sampled_from(_LEAVES))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Type], list[tuple[Any, ...]]]:
    """Columns of a table, and rows for it."""
    columns = draw(st.lists(type_trees(), min_size=1, max_size=5))
    row = st.tuples(*(column.values | st.sampled_from(column.edges) for column in columns))
    # clickhouse_driver writes too little or too much for tuples and dictionaries that have no value in a whole block.
    return columns, [*draw(st.lists(row, max_size=6)), tuple(column.some for column in columns)]


def edge_rows(columns: list[Type]) -> list[tuple[Any, ...]]:
    """Rows in which each column has all of its edges."""
    length = max(len(column.edges) for column in columns)
    return list(zip(*(islice(cycle(column.edges), length) for column in columns), strict=True))
