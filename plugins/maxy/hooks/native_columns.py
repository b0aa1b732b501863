"""Columns of the native protocol, read so that nothing of their values is lost.

clickhouse-driver reads DateTime64 by way of a float, returns times without their zone, does not know all types, and
takes nested types apart at their commas, whatever stands in quotes. Here the columns are put together from its building
blocks by what :func:`maxy.clickhouse.column_types.parse_type` says, with readers of our own for times, enums and
tuples.
Instants come with their zone, which is UTC: the protocol sends instants, in whatever zone ClickHouse prints them.
"""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from clickhouse_driver import defines  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.arraycolumn import ArrayColumn  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.base import Column, FormatColumn, SparseSerialization  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.intcolumn import Int64Column  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.lowcardinalitycolumn import LowCardinalityColumn  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.mapcolumn import MapColumn  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.columns.service import get_column_by_spec  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.reader import read_binary_str, read_binary_uint8  # type: ignore[import-untyped, unused-ignore]
from clickhouse_driver.varint import read_varint  # type: ignore[import-untyped, unused-ignore]

from maxy.clickhouse.column_types import enum_names, parse_type
from maxy.clickhouse.values import require_written
from maxy.instants import EPOCH, MICROSECOND_DIGITS, precise_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from maxy.clickhouse.column_types import ColumnType

    Conversion = Callable[[int], Any]


def read_exactly(connection: Any) -> None:
    """Have a connection of clickhouse-driver read results by this module.

    A result with a column that cannot be written (:func:`maxy.clickhouse.values.require_written`) is refused by its
    header, before its data is fetched.

    :param connection: not connected yet.
    """
    open_stream = connection.get_block_in_stream
    connection.get_block_in_stream = lambda: _BlockReader(open_stream())


class _BlockReader:
    """Reads blocks in the place of one of the driver's streams.

    :param stream: the driver's, which knows whether the connection is compressed.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, use_numpy: bool | None = None) -> ColumnOrientedBlock:
        """Read one block. The signature is the driver's."""
        source, context = self._stream.fin, self._stream.context
        revision = context.server_info.used_revision
        info = BlockInfo()
        if revision >= defines.DBMS_MIN_REVISION_WITH_BLOCK_INFO:
            info.read(source)
        column_count, row_count = read_varint(source), read_varint(source)
        columns, data = [], []
        for _ in range(column_count):
            name, column_type = read_binary_str(source), read_binary_str(source)
            require_written([(name, column_type)])
            columns.append((name, column_type))
            has_kinds = revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION and read_binary_uint8(source)
            if row_count:
                column = _column(parse_type(column_type), {"context": context})
                if has_kinds:
                    _read_kinds(column, source)
                column.read_state_prefix(source)
                data.append(column.read_data(row_count, source))
        return ColumnOrientedBlock(columns_with_types=columns, data=data, info=info)


class _ConvertedColumn(FormatColumn):  # type: ignore[misc]
    """Numbers of one format, each turned into a value.

    :param number_format: as :mod:`struct` has it.
    :param convert: makes a value of a number.
    :param options: of every column of the driver.
    """

    def __init__(self, number_format: str, convert: Callable[[int], Any], **options: Any) -> None:
        super().__init__(**options)
        self.format = number_format
        self._convert = convert

    def after_read_items(self, items: Sequence[int], nulls_map: Sequence[int] | None = None) -> tuple[Any, ...]:
        """Return the values. The signature is the driver's."""
        if nulls_map is None:
            return tuple(map(self._convert, items))
        return tuple(None if is_null else self._convert(item) for item, is_null in zip(items, nulls_map, strict=True))


class _TupleColumn(Column):  # type: ignore[misc]
    """Tuples, which may be NULL or have no element.

    :param elements: their columns.
    :param options: of every column of the driver.
    """

    def __init__(self, elements: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        self.elements = elements

    def read_state_prefix(self, buf: Any) -> None:
        """Read what comes before the data. The signature is the driver's."""
        super().read_state_prefix(buf)
        for element in self.elements:
            element.read_state_prefix(buf)

    def read_items(self, n_items: int, buf: Any) -> list[tuple[Any, ...]]:
        """Read the tuples. The signature is the driver's."""
        if not self.elements:
            # A byte stands for each of them.
            buf.read(n_items)
            return [()] * n_items
        return list(zip(*(element.read_data(n_items, buf) for element in self.elements), strict=True))


def _read_kinds(column: Any, source: Any) -> None:
    """Read of a column, and of a tuple's elements, whether only what differs from the default is sent."""
    if read_varint(source):
        column.serialization = SparseSerialization(column)
    for element in column.elements if isinstance(column, _TupleColumn) else ():
        _read_kinds(element, source)


def _column(column_type: ColumnType, options: Mapping[str, Any]) -> Any:
    """Return what reads values of a type."""
    elements = [_column(element, options) for element in column_type.elements]
    match column_type.name:
        case "SimpleAggregateFunction":
            return elements[0]
        case "Nullable":
            elements[0].nullable = True
            return elements[0]
        case "LowCardinality":
            return LowCardinalityColumn(elements[0], **options)
        case "Array":
            return ArrayColumn(elements[0], **options)
        case "Tuple":
            return _TupleColumn(elements, **options)
        case "Nested":
            return ArrayColumn(_TupleColumn(elements, **options), **options)
        case "Map":
            return MapColumn(*elements, **options)
    return _scalar_column(column_type, options)


def _scalar_column(column_type: ColumnType, options: Mapping[str, Any]) -> Any:
    name = column_type.name
    if name in _CONVERSIONS:
        number_format, conversion = _CONVERSIONS[name]
        return _ConvertedColumn(number_format, conversion(column_type), **options)
    if name.startswith("Interval"):
        return Int64Column(**options)
    return get_column_by_spec(column_type.text, dict(options))


def _instant_reader(column_type: ColumnType) -> Conversion:
    digits = int(column_type.arguments[0])
    if digits > MICROSECOND_DIGITS:
        return precise_reader(digits)
    factor = 10 ** (MICROSECOND_DIGITS - digits)
    return lambda ticks: EPOCH + timedelta(microseconds=ticks * factor)


def _duration_reader(column_type: ColumnType) -> Conversion:
    factor = 10 ** (MICROSECOND_DIGITS - int(column_type.arguments[0]))
    return lambda ticks: timedelta(microseconds=ticks * factor)


def _bfloat16(bits: int) -> float:
    """Return the number whose upper half, as a Float32, these bits are."""
    (value,) = struct.unpack("<f", struct.pack("<I", bits << 16))
    return float(value)


# Types that are sent as numbers: their format, and what makes a value of a number.
_CONVERSIONS: Mapping[str, tuple[str, Callable[[ColumnType], Conversion]]] = {
    "DateTime": ("I", lambda _: partial(datetime.fromtimestamp, tz=UTC)),
    "DateTime64": ("q", _instant_reader),
    "Time": ("i", lambda _: lambda seconds: timedelta(seconds=seconds)),
    "Time64": ("q", _duration_reader),
    "Enum8": ("b", lambda column_type: enum_names(column_type).get),
    "Enum16": ("h", lambda column_type: enum_names(column_type).get),
    "BFloat16": ("H", lambda _: _bfloat16),
}
