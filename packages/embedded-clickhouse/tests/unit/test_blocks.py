"""Finding the end of Native blocks, against blocks written by clickhouse-driver."""

from __future__ import annotations

import datetime as dt
import io
import string
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedwriter import CompressedBufferedWriter
from clickhouse_driver.streams.native import BlockOutputStream
from hypothesis import given
from hypothesis import strategies as st

from embedded_clickhouse.blocks import (
    BLOCK_INFO,
    UnsupportedTypeError,
    check_type,
    header_block,
    read_block,
    read_block_info,
    retype_block,
    source_of,
)
from embedded_clickhouse.native.compression import CompressionError, FrameSource, Method, compress
from embedded_clickhouse.native.protocol import REVISION
from embedded_clickhouse.wire import (
    ByteSource,
    IncompleteInput,
    MalformedInput,
    OversizedInput,
    encode_string,
    encode_varint,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


_DRIVER = Client("nowhere.invalid")


def _native(columns: Sequence[tuple[str, str]], data: Sequence[Sequence[Any]]) -> bytes:
    """A block as clickhouse-driver writes it for this server, without block info."""
    context = _DRIVER.connection.context
    context.client_settings = _DRIVER.client_settings
    context.settings = {}
    context.server_info = SimpleNamespace(used_revision=REVISION, get_timezone=lambda: "UTC")
    sink = io.BytesIO()
    block = ColumnOrientedBlock(list(columns), [list(items) for items in data])
    BlockOutputStream(CompressedBufferedWriter(sink, 1 << 16), context).write(block)
    return sink.getvalue().removeprefix(BLOCK_INFO)


def _integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    lowest = -(1 << (bits - 1)) if signed else 0
    return st.integers(lowest, lowest + (1 << bits) - 1)


# Lengths on both sides of where their varint grows by a byte.
_TEXT = st.text("ab '\n\0é한😀", max_size=12) | st.integers(120, 300).map("x".__mul__)
_KEYS: dict[str, st.SearchStrategy[Any]] = {
    "String": _TEXT,
    "FixedString(5)": st.text(string.ascii_letters, max_size=5),
    "Date": st.dates(dt.date(1970, 1, 1), dt.date(2149, 6, 6)),
    "UInt16": _integers(16, signed=False),
    "Int64": _integers(64, signed=True),
}
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    **_KEYS,
    **{f"Int{bits}": _integers(bits, signed=True) for bits in (8, 16, 32, 128, 256)},
    **{f"UInt{bits}": _integers(bits, signed=False) for bits in (8, 32, 64, 128, 256)},
    "Float32": st.floats(width=32),
    "Float64": st.floats(),
    "Bool": st.booleans(),
    "Date32": st.dates(dt.date(1925, 1, 1), dt.date(2283, 11, 11)),
    "DateTime": st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
    "DateTime64(3, 'Asia/Seoul')": st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2100, 1, 1)),
    "Enum8('a' = 1, 'b' = 2)": st.sampled_from([1, 2]),
    "Enum16('x' = -300, 'y' = 300)": st.sampled_from([-300, 300]),
    "UUID": st.uuids(),
    "IPv4": st.ip_addresses(v=4),
    "IPv6": st.ip_addresses(v=6),
    **{f"Decimal({precision}, 2)": st.decimals(-9, 9, places=2) for precision in (9, 18, 38, 76)},
    "SimpleAggregateFunction(sum, UInt64)": _integers(64, signed=False),
}
_GEO: dict[str, st.SearchStrategy[Any]] = {
    "Point": st.tuples(st.floats(), st.floats()),
    "Ring": st.lists(st.tuples(st.floats(), st.floats()), max_size=3),
}


def _typed(types: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[tuple[str, st.SearchStrategy[Any]]]:
    return st.sampled_from(sorted(types.items()))


def _composed(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    arrays = inner.map(lambda item: (f"Array({item[0]})", st.lists(item[1], max_size=3)))
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: (
            f"Tuple({', '.join(type_name for type_name, _ in items)})",
            st.tuples(*(values for _, values in items)),
        )
    )
    named = inner.map(lambda item: (f"Tuple(a {item[0]}, b UInt8)", st.tuples(item[1], st.just(7))))
    return arrays | tuples | named


_NULLABLE = _typed(_PLAIN).map(lambda item: (f"Nullable({item[0]})", st.none() | item[1]))
_LOW_CARDINALITY = _typed(_KEYS).flatmap(
    lambda item: st.sampled_from(
        [
            (f"LowCardinality({item[0]})", item[1]),
            (f"LowCardinality(Nullable({item[0]}))", st.none() | item[1]),
        ]
    )
)
# clickhouse-driver cannot write an empty map of tuples, nor tuples with brackets in their names.
_MAPS = st.tuples(_typed(_KEYS), _typed(_PLAIN) | _NULLABLE).map(
    lambda pair: (
        f"Map({pair[0][0]}, {pair[1][0]})",
        st.dictionaries(pair[0][1], pair[1][1], max_size=3),
    )
)
_RECURSIVE = st.recursive(_typed(_PLAIN | _GEO) | _NULLABLE | _LOW_CARDINALITY, _composed, max_leaves=4)
# Nor both of these in one tuple: it takes the scale of the first for the second.
_TYPES = _MAPS | _RECURSIVE.filter(lambda item: not ("DateTime64" in item[0] and "Decimal" in item[0]))


@st.composite
def _blocks(draw: st.DrawFn) -> tuple[list[tuple[str, str]], int, bytes]:
    """Columns, number of rows, and the block's bytes."""
    rows = draw(st.integers(1, 8))
    types = draw(st.lists(_TYPES, min_size=1, max_size=4))
    columns = [(f"column {index}, 한", type_name) for index, (type_name, _) in enumerate(types)]
    data = [draw(st.lists(values, min_size=rows, max_size=rows)) for _, values in types]
    return columns, rows, _native(columns, data)


@given(_blocks())
def test_a_block_ends_where_its_writer_ended_it(case: tuple[list[tuple[str, str]], int, bytes]) -> None:
    columns, rows, body = case
    source = source_of(body + b"what follows")
    block = read_block(source)
    assert block.body == body
    assert block.rows == rows
    assert [(column.name, column.type_name) for column in block.columns] == columns
    assert source.take(source.pending) == b"what follows"


@given(_blocks(), st.integers(1, 7))
def test_a_block_in_pieces_is_the_same_block(case: tuple[list[tuple[str, str]], int, bytes], size: int) -> None:
    _, _, body = case
    pieces = iter([body[start : start + size] for start in range(0, len(body), size)])
    assert read_block(ByteSource(lambda: next(pieces, b""))).body == body


@given(_blocks())
def test_a_block_cut_anywhere_is_incomplete(case: tuple[list[tuple[str, str]], int, bytes]) -> None:
    _, _, body = case
    for end in range(len(body)):
        with pytest.raises(IncompleteInput):
            read_block(source_of(body[:end]))


@given(_blocks(), st.data())
def test_a_damaged_block_is_an_error_or_a_block_but_never_a_crash(
    case: tuple[list[tuple[str, str]], int, bytes], data: st.DataObject
) -> None:
    _, _, body = case
    position = data.draw(st.integers(0, len(body) - 1))
    damaged = bytearray(body)
    damaged[position] = data.draw(st.integers(0, 255))
    source = source_of(bytes(damaged))
    try:
        block = read_block(source)
    except (IncompleteInput, OversizedInput, MalformedInput, UnsupportedTypeError):
        return
    assert bytes(damaged).startswith(block.body)


@given(_blocks(), st.sampled_from(Method))
def test_frames_give_back_what_went_in(case: tuple[list[tuple[str, str]], int, bytes], method: Method) -> None:
    _, _, body = case
    framed = source_of(b"".join(compress(BLOCK_INFO + body, method)) + b"\x03")
    source = FrameSource(framed)
    read_block_info(source)
    assert read_block(source).body == body
    assert framed.take(framed.pending) == b"\x03"


def test_a_block_may_span_frames() -> None:
    body = _native([("n", "UInt64"), ("s", "String")], [range(300_000), ["abc"] * 300_000])
    frames = list(compress(body, Method.LZ4))
    assert len(frames) == len(body) // (1 << 20) + 1 > 1
    assert read_block(FrameSource(source_of(b"".join(frames)))).body == body


@pytest.mark.parametrize("position", [0, 15, 16, 17, 21, 40])
def test_a_damaged_frame_is_refused(position: int) -> None:
    (frame,) = compress(b"a" * 1000 + bytes(range(256)), Method.LZ4)
    damaged = bytearray(frame)
    damaged[position] ^= 0x01
    with pytest.raises((CompressionError, IncompleteInput)):
        FrameSource(source_of(bytes(damaged))).byte()


def test_an_unknown_compression_method_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (frame,) = compress(b"abc", Method.NONE)
    monkeypatch.setattr("embedded_clickhouse.native.compression._checksum", lambda _: frame[:16])
    with pytest.raises(CompressionError, match="unknown compression method 0x91"):
        FrameSource(source_of(frame[:16] + b"\x91" + frame[17:])).byte()


def test_a_header_block_has_names_and_types_and_no_rows() -> None:
    columns = [("a", "UInt8"), ("이름", "LowCardinality(String)")]
    block = read_block(source_of(header_block(columns)))
    assert [(column.name, column.type_name) for column in block.columns] == columns
    assert block.rows == 0
    assert not block.is_end
    assert read_block(source_of(header_block([]))).is_end


def test_retyping_changes_type_names_only() -> None:
    columns = [("a", "String"), ("t", "DateTime"), ("b", "UInt8"), ("u", "DateTime")]
    seoul = "DateTime('Asia/Seoul')"
    data = [["x", "y"], [0, 1], [1, 2], [3, 4]]
    expected = _native([("a", "String"), ("t", seoul), ("b", "UInt8"), ("u", "DateTime")], data)
    assert retype_block(_native(columns, data), {1: seoul}) == expected
    assert retype_block(_native(columns, data), {}) == _native(columns, data)


def test_retyping_does_not_need_to_know_the_types_behind() -> None:
    head = encode_varint(2) + encode_varint(1) + encode_string("t") + encode_string("DateTime") + bytes(4)
    state = encode_string("s") + encode_string("AggregateFunction(uniq, UInt8)") + b"\x00\x01\x00\x00\x00\x00"
    retyped = retype_block(head + state, {0: "DateTime('UTC')"})
    assert retyped == head.replace(b"\x08DateTime", b"\x0fDateTime('UTC')") + state


@pytest.mark.parametrize(
    "type_name",
    [
        "AggregateFunction(uniq, UInt8)",
        "Array(JSON)",
        "Map(String, Dynamic)",
        "Tuple(a Variant(String, UInt8))",
        "Object('json')",
        "Nonsense",
    ],
)
def test_types_whose_end_cannot_be_found_are_named(type_name: str) -> None:
    with pytest.raises(UnsupportedTypeError, match="is not supported in incoming Native blocks"):
        check_type(type_name)


@pytest.mark.parametrize(
    ("type_name", "width"),
    [
        ("Interval" + unit, 8)
        for unit in ("Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour", "Day", "Year")
    ]
    + [
        ("Time", 4),
        ("Time64(6)", 8),
        ("BFloat16", 2),
        ("Nothing", 1),
        ("Tuple()", 1),
        ("Decimal256(4)", 32),
        ("Nullable(Nothing)", 2),
        ("Tuple(`b (c, ` UInt8, `d``\\`` Enum16('a, \\'(`' = 1, ')''' = 2), UInt8)", 4),
        ("Array(MultiPolygon)", 8),
    ],
)
def test_types_the_driver_does_not_write_have_their_width(type_name: str, width: int) -> None:
    rows = 3
    head = encode_varint(1) + encode_varint(rows) + encode_string("c") + encode_string(type_name)
    assert read_block(source_of(head + bytes(width * rows) + b"more")).body == head + bytes(width * rows)


def test_a_low_cardinality_column_may_come_in_pages() -> None:
    head = encode_varint(1) + encode_varint(3) + encode_string("c") + encode_string("LowCardinality(String)")
    prefix = struct.pack("<Q", 1)
    first = struct.pack("<QQ", 0x601, 2) + b"\x00\x01a" + struct.pack("<QHH", 2, 0, 1)
    second = struct.pack("<QQ", 0x600, 1) + b"\x00" + struct.pack("<QB", 1, 0)
    body = head + prefix + first + second
    assert read_block(source_of(body)).body == body


@pytest.mark.parametrize(
    ("flags", "page"),
    [(0x604, 3), (0x700, 3), (0x600, 0), (0x600, 4)],
)
def test_a_low_cardinality_column_that_cannot_be_is_refused(flags: int, page: int) -> None:
    head = encode_varint(1) + encode_varint(3) + encode_string("c") + encode_string("LowCardinality(String)")
    body = head + struct.pack("<QQQ", 1, flags, 1) + b"\x00" + struct.pack("<Q", page) + bytes(100)
    with pytest.raises(MalformedInput, match="LowCardinality"):
        read_block(source_of(body))


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    head = encode_varint(1) + encode_varint(1) + encode_string("c") + encode_string("String")
    with pytest.raises(OversizedInput, match="the limit is"):
        read_block(source_of(head + encode_varint(1 << 50)))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (encode_varint(0) + encode_varint(5), "no columns"),
        (encode_varint(1 << 30) + encode_varint(5), "columns"),
        (b"\x80" * 11, "ten bytes"),
        (b"\x01\x01\x01c" + encode_string("Array(" * 200 + "UInt8" + ")" * 200), "nested too deeply"),
        (b"\x01\x01\x01c" + encode_string("FixedString(0)"), "not a positive number"),
        (b"\x01\x01\x01c" + encode_string("Decimal(77, 0)"), "precision"),
        (b"\x01\x01\x01c" + encode_string("Enum8('a)' = 1), d UInt8 DEFAULT f(1)"), "closing bracket"),
        (b"\x01\x01\x01c" + encode_string("Array(UInt8"), "closing bracket"),
    ],
)
def test_a_malformed_block_says_what_is_wrong(body: bytes, message: str) -> None:
    with pytest.raises(MalformedInput, match=message):
        read_block(source_of(body))
