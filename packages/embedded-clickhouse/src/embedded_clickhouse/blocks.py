"""Blocks in ClickHouse's Native format: where a block ends, its column headers, headers without rows.

A block on a TCP connection carries no length. The only way to its end is through its columns, so every type
has a layout that passes over its values by their sizes. Nothing is decoded: the bytes go to the engine as they
came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from embedded_clickhouse.wire import DEFAULT_WINDOW_LIMIT, ByteSource, MalformedInput, encode_string, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Field 1: no overflow row; field 2: bucket -1; 0 ends the list.
BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"

_MAX_TYPE_DEPTH = 64
_MAX_COLUMNS = 100_000


class UnsupportedTypeError(ValueError):
    """The end of a value of this type cannot be found without decoding it.

    :param type_name: the type, or the part of it that is not supported.
    """

    def __init__(self, type_name: str) -> None:
        super().__init__(f"Type {type_name} is not supported in incoming Native blocks")
        self.type_name = type_name


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a block.

    :param name: the column's name; bytes that are not UTF-8 are surrogates.
    :param type_name: its type as written in the block.
    :param type_span: where the type's length-prefixed string starts and ends in the block.
    """

    name: str
    type_name: str
    type_span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Block:
    """One block in the Native format.

    :param columns: its columns.
    :param rows: number of rows.
    :param body: the block's bytes without block info.
    """

    columns: tuple[Column, ...]
    rows: int
    body: bytes

    @property
    def is_end(self) -> bool:
        """A block without columns ends a sequence of blocks."""
        return not self.columns


class _Layout(Protocol):
    def skip_prefix(self, source: ByteSource) -> None:
        """Pass over what is written once per block, ahead of the rows."""

    def skip_rows(self, source: ByteSource, rows: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Fixed:
    width: int

    def skip_prefix(self, source: ByteSource) -> None:
        pass

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        source.skip(rows * self.width)


class _String:
    def skip_prefix(self, source: ByteSource) -> None:
        pass

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        source.skip_strings(rows)


@dataclass(frozen=True, slots=True)
class _Nullable:
    inner: _Layout

    def skip_prefix(self, source: ByteSource) -> None:
        self.inner.skip_prefix(source)

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        source.skip(rows)
        self.inner.skip_rows(source, rows)


@dataclass(frozen=True, slots=True)
class _Array:
    inner: _Layout

    def skip_prefix(self, source: ByteSource) -> None:
        self.inner.skip_prefix(source)

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        if not rows:
            return
        source.skip((rows - 1) * 8)
        # Offsets are running totals: the last one is the number of elements.
        elements = source.uint64()
        self.inner.skip_rows(source, elements)


@dataclass(frozen=True, slots=True)
class _Tuple:
    elements: tuple[_Layout, ...]

    def skip_prefix(self, source: ByteSource) -> None:
        for element in self.elements:
            element.skip_prefix(source)

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        for element in self.elements:
            element.skip_rows(source, rows)


@dataclass(frozen=True, slots=True)
class _LowCardinality:
    """A dictionary and the rows' positions in it, in one or more pages."""

    dictionary: _Layout

    _GLOBAL_DICTIONARY = 1 << 8
    _ADDITIONAL_KEYS = 1 << 9
    _VERSION = 1

    def skip_prefix(self, source: ByteSource) -> None:
        if source.uint64() != self._VERSION:
            raise MalformedInput("a LowCardinality column has an unknown serialization version")

    def skip_rows(self, source: ByteSource, rows: int) -> None:
        while rows:
            flags = source.uint64()
            width_code = flags & 0xFF
            if width_code > 3 or flags & self._GLOBAL_DICTIONARY:
                raise MalformedInput(f"a LowCardinality column has unknown flags {flags:#x}")
            if flags & self._ADDITIONAL_KEYS:
                self.dictionary.skip_rows(source, source.uint64())
            page = source.uint64()
            if not 0 < page <= rows:
                raise MalformedInput(f"a LowCardinality page holds {page} of {rows} rows")
            source.skip(page << width_code)
            rows -= page


_FIXED_WIDTHS = {
    **dict.fromkeys(("Int8", "UInt8", "Bool", "Enum8", "Nothing"), 1),
    **dict.fromkeys(("Int16", "UInt16", "Date", "Enum16", "BFloat16"), 2),
    **dict.fromkeys(("Int32", "UInt32", "Float32", "Date32", "DateTime", "Time", "IPv4", "Decimal32"), 4),
    **dict.fromkeys(("Int64", "UInt64", "Float64", "DateTime64", "Time64", "Decimal64"), 8),
    **dict.fromkeys(("Int128", "UInt128", "UUID", "IPv6", "Decimal128"), 16),
    **dict.fromkeys(("Int256", "UInt256", "Decimal256"), 32),
}
_INTERVAL = re.compile(r"Interval(?:(?:Nano|Micro|Milli)second|Second|Minute|Hour|Day|Week|Month|Quarter|Year)")
_ALIASES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
# Widths of Decimal(P, S) by the largest precision they hold.
_DECIMAL_WIDTHS = ((9, 4), (18, 8), (38, 16), (76, 32))
# Quantifiers that never give back, so that neither time nor memory grows faster than the text.
_QUOTED = re.compile(
    r"""'(?:[^'\\]++|\\.|'')*+(?:'|(?P<open>))|`(?:[^`\\]++|\\.|``)*+(?:`|(?P<open_name>))"""
    r"""|"(?:[^"\\]++|\\.|"")*+(?:"|(?P<open_quotes>))""",
    re.DOTALL,
)
_NAMED_ELEMENT = re.compile(r"""(?:`(?:[^`\\]++|\\.|``)*+`|"(?:[^"\\]++|\\.|"")*+"|[^\s(`"]++)\s++(?=\S)""", re.DOTALL)
_NUMBER = re.compile(r"\s*([0-9]{1,10})\s*")


def _split_arguments(text: str) -> list[str]:
    """Split at the commas that are outside brackets and quotes."""
    arguments: list[str] = []
    depth = start = position = 0
    while position < len(text):
        character = text[position]
        if quoted := _QUOTED.match(text, position):
            _check_end(quoted)
            position = quoted.end()
            continue
        if character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and not depth:
            arguments.append(text[start:position].strip())
            start = position + 1
        position += 1
    arguments.append(text[start:].strip())
    return [argument for argument in arguments if argument]


def _split_type(type_name: str) -> tuple[str, str]:
    """The name of a type and what stands between its brackets."""
    family, bracket, rest = type_name.strip().partition("(")
    if not bracket:
        return family, ""
    arguments = rest[:-1]
    if not rest.endswith(")") or not _is_closed(arguments):
        raise MalformedInput(f"type {type_name!r} does not end with its closing bracket")
    return family.strip(), arguments


def _check_end(quoted: re.Match[str]) -> str:
    """Return nothing, in the place of a quoted text that ends with its quote."""
    if quoted.lastgroup is not None:
        raise MalformedInput(f"a type has a quote without its end: {quoted[0][:100]!r}")
    return ""


def _is_closed(text: str) -> bool:
    """Whether each bracket outside quotes has its other half, in this order."""
    depth = 0
    for character in _QUOTED.sub(_check_end, text):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return not depth


def _decimal_width(arguments: str) -> int:
    precision = _positive_integer(arguments.partition(",")[0])
    for largest, width in _DECIMAL_WIDTHS:
        if precision <= largest:
            return width
    raise MalformedInput(f"a Decimal has a precision of {precision}")


def _positive_integer(text: str) -> int:
    number = _NUMBER.fullmatch(text)
    if number is None or not int(number[1]):
        raise MalformedInput(f"{text[:100]!r} is not a positive number of at most ten digits")
    return int(number[1])


def _elements(arguments: str, depth: int) -> tuple[_Layout, ...]:
    """The layouts of a Tuple's or Nested's elements, which may have names."""
    types = (
        _NAMED_ELEMENT.sub("", element, count=1) if _NAMED_ELEMENT.match(element) else element
        for element in _split_arguments(arguments)
    )
    return tuple(_layout(type_name, depth) for type_name in types)


def _fixed_layout(family: str, arguments: str) -> _Layout | None:
    if family in _FIXED_WIDTHS:
        return _Fixed(_FIXED_WIDTHS[family])
    if family == "FixedString":
        return _Fixed(_positive_integer(arguments))
    if family == "Decimal":
        return _Fixed(_decimal_width(arguments))
    return _Fixed(8) if _INTERVAL.fullmatch(family) else None


def _nested_layout(family: str, arguments: str, depth: int) -> _Layout:
    match family:
        case "Array":
            return _Array(_layout(arguments, depth))
        case "Nullable":
            return _Nullable(_layout(arguments, depth))
        case "LowCardinality":
            inner, inner_arguments = _split_type(arguments)
            # The dictionary keeps NULL as its first value, without a null map.
            return _LowCardinality(_layout(inner_arguments if inner == "Nullable" else arguments, depth))
        case "Tuple":
            elements = _elements(arguments, depth)
            return _Tuple(elements) if elements else _Fixed(1)
        case "Map" | "Nested":
            return _Array(_Tuple(_elements(arguments, depth)))
        case "SimpleAggregateFunction":
            if not (parts := _split_arguments(arguments)):
                raise MalformedInput("a SimpleAggregateFunction has no type")
            return _layout(parts[-1], depth)
    raise UnsupportedTypeError(family)


def _layout(type_name: str, depth: int = 0) -> _Layout:
    if depth > _MAX_TYPE_DEPTH:
        raise MalformedInput("a type is nested too deeply")
    family, arguments = _split_type(type_name)
    if family == "String":
        return _String()
    if family in _ALIASES:
        return _layout(_ALIASES[family], depth + 1)
    return _fixed_layout(family, arguments) or _nested_layout(family, arguments, depth + 1)


@lru_cache(maxsize=1024)
def _layout_of(type_name: str) -> _Layout:
    return _layout(type_name)


def check_type(type_name: str) -> None:
    """Raise `UnsupportedTypeError` unless blocks with such a column can be taken in."""
    _layout_of(type_name)


def read_block_info(source: ByteSource) -> None:
    while field := source.varint():
        if field == 1:
            source.skip(1)
        elif field == 2:
            source.skip(4)
        else:
            raise MalformedInput(f"unknown field {field} in a block info")


def _walk(source: ByteSource, columns: int, rows: int) -> Iterator[Column]:
    """Each column once its header has been passed; going on passes its values too."""
    for _ in range(columns):
        name = source.string()
        start = source.position
        type_name = source.string()
        yield Column(name, type_name, (start, source.position))
        if rows:
            layout = _layout_of(type_name)
            layout.skip_prefix(source)
            layout.skip_rows(source, rows)


def _counts(source: ByteSource) -> tuple[int, int]:
    columns, rows = source.varint(), source.varint()
    if columns > _MAX_COLUMNS:
        raise MalformedInput(f"a block has {columns} columns")
    if rows and not columns:
        raise MalformedInput(f"a block has {rows} rows and no columns")
    return columns, rows


def read_block(source: ByteSource, limit: int = DEFAULT_WINDOW_LIMIT) -> Block:
    """Read one block up to its end, and not a byte more than belongs to it.

    :param limit: bytes it may have.
    :raises IncompleteInput: the input ended inside the block.
    :raises OversizedInput: it has more bytes than that.
    :raises UnsupportedTypeError: the end cannot be found, the rest of the input is of no use.
    """
    source.mark(min(limit, DEFAULT_WINDOW_LIMIT))
    column_count, rows = _counts(source)
    columns = tuple(_walk(source, column_count, rows))
    return Block(columns=columns, rows=rows, body=source.since_mark())


def blocks_of(bodies: bytes) -> Iterator[bytes]:
    """Blocks that stand one behind the other, one by one."""
    source = source_of(bodies)
    while not source.exhausted():
        yield read_block(source).body


def header_block(columns: Sequence[tuple[str, str]]) -> bytes:
    """A block that says names and types and has no rows."""
    parts = [encode_varint(len(columns)), encode_varint(0)]
    for name, type_name in columns:
        parts += (encode_string(name), encode_string(type_name))
    return b"".join(parts)


def source_of(body: bytes) -> ByteSource:
    """A source that holds `body` and nothing else."""
    rest = iter((body,))
    return ByteSource(lambda: next(rest, b""))


def retype_block(body: bytes, type_names: Mapping[int, str]) -> bytes:
    """The block with other type names on some of its columns; the values stay as they are.

    :param type_names: new types by column index, of the same form in Native as those they replace.
    """
    source = source_of(body)
    column_count, rows = _counts(source)
    parts: list[bytes] = []
    copied = 0
    # Columns behind the last one to change are not walked: their types may be ones that cannot be.
    wanted = min(column_count, max(type_names, default=-1) + 1)
    for index, column in enumerate(islice(_walk(source, column_count, rows), wanted)):
        if index in type_names:
            parts += (body[copied : column.type_span[0]], encode_string(type_names[index]))
            copied = column.type_span[1]
    return b"".join((*parts, body[copied:]))
