"""Input for parsers and servers: valid messages of both protocols, and what accidents make of them."""

from __future__ import annotations

import os
import struct

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from embedded_clickhouse.native.compression import _checksum
from embedded_clickhouse.native.protocol import REVISION
from embedded_clickhouse.wire import encode_string, encode_varint


def effort(count: int) -> int:
    """How many examples to try: so many, times TEST_EFFORT of the environment (default 1)."""
    return count * int(os.environ.get("TEST_EFFORT", "1"))


def fuzz_settings(count: int) -> settings:
    """How a test tries so many examples: always the same ones, unless more effort is asked for."""
    return settings(
        max_examples=effort(count),
        deadline=None,
        derandomize=effort(1) == 1,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


# Numbers as they stand in messages: lengths and counts on their borders, and beyond any.
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 1 << 30, (1 << 31) - 1, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]),
    st.integers(0, 300),
)
_PATCHES = st.one_of(
    st.binary(max_size=8),
    NUMBERS.map(encode_varint),
    NUMBERS.map(lambda number: struct.pack("<Q", number)),
    st.sampled_from([b"\x80" * 11, b"\r\n", b"\0", b"'", b"`", b"(", b")", b"\xff\xfe", b"{", b"*/", b";", b"%"]),
)


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """One of `messages` after one to four accidents: cut, overwritten, put in, left out, repeated."""
    message = draw(messages)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(message)))
        end = min(len(message), start + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["cut", "overwrite", "put in", "leave out", "repeat"])):
            case "cut":
                message = message[:start]
            case "overwrite":
                patch = draw(_PATCHES)
                message = message[:start] + patch + message[start + len(patch) :]
            case "put in":
                message = message[:start] + draw(_PATCHES) + message[start:]
            case "leave out":
                message = message[:start] + message[end:]
            case "repeat":
                message = message[:end] + message[start:]
    return message


def any_of(messages: list[bytes]) -> st.SearchStrategy[bytes]:
    """A message as it is, one that was damaged, or something else altogether."""
    valid = st.sampled_from(messages)
    return st.one_of(damaged(valid), damaged(valid), valid, st.binary(max_size=200))


# Valid messages.

HELLO = b"".join(
    (
        b"\x00",
        encode_string("ClickHouse client"),
        *(encode_varint(number) for number in (21, 12, REVISION)),
        *(encode_string(text) for text in ("stats", "tester", "word")),
    )
)


def query_message(sql: str, *, compressed: bool = False, query_id: str = "id-1", setting: str = "1000") -> bytes:
    """A Query behind its packet type, as a client of this revision sends it."""
    info = b"".join(
        (
            b"\x01",  # the first query, not one that another server sends on
            *(encode_string(text) for text in ("", "", "0.0.0.0:0")),
            bytes(8),  # when it began
            b"\x01",  # over TCP
            *(encode_string(text) for text in ("user", "host", "client")),
            *(encode_varint(number) for number in (21, 12, REVISION)),
            encode_string(""),
            *(encode_varint(number) for number in (0, 3)),
            b"\x01" + bytes(24) + encode_string("state") + b"\x00",  # a trace
            bytes(3),
        )
    )
    chosen = encode_string("max_block_size") + b"\x01" + encode_string(setting) + encode_string("")
    tail = encode_string("") + encode_varint(2) + encode_varint(compressed) + encode_string(sql)
    return encode_string(query_id) + info + chosen + tail


def block_message(columns: list[tuple[str, str, bytes]], rows: int) -> bytes:
    """A block of columns with their name, type and values, without block info."""
    parts = [encode_varint(len(columns)), encode_varint(rows)]
    for name, type_name, values in columns:
        parts += (encode_string(name), encode_string(type_name), values)
    return b"".join(parts)


_LOW_CARDINALITY = struct.pack("<QQQ", 1, 0x600, 2) + b"\x00\x01a" + struct.pack("<Q", 2) + b"\x00\x01"
COLUMNS = [
    ("n", "UInt32", bytes(8)),
    ("s", "String", b"\x03abc\x00"),
    ("f", "FixedString(3)", b"abcdef"),
    ("d", "Decimal(18, 3)", bytes(16)),
    ("o", "Nullable(String)", b"\x00\x01\x01x\x00"),
    ("a", "Array(UInt16)", struct.pack("<QQHHH", 1, 3, 1, 2, 3)),
    ("c", "LowCardinality(String)", _LOW_CARDINALITY),
    ("t", "Tuple(a UInt8, `b c` Array(String))", b"\x01\x02" + struct.pack("<QQ", 0, 1) + b"\x01x"),
    ("m", "Map(String, UInt8)", struct.pack("<QQ", 1, 1) + b"\x01k\x07"),
    ("e", "Enum8('a, (' = 1, 'b\\'' = 2)", b"\x01\x02"),
    ("g", "Polygon", struct.pack("<QQQ", 0, 1, 1) + bytes(16)),
    ("w", "SimpleAggregateFunction(sum, UInt64)", bytes(16)),
]
BLOCKS = [block_message([column], 2) for column in COLUMNS] + [block_message(COLUMNS, 2), b"\x00\x00"]
FORM_TYPE = b"multipart/form-data; boundary=limit"
FORM = (
    b'--limit\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {a:UInt8}\r\n'
    b'--limit\r\nContent-Disposition: form-data; name="param_a"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n1\r\n'
    b"--limit--\r\n"
)


def sealed(data: bytes) -> bytes:
    """A frame whose checksum is right, whatever else is in it."""
    return _checksum(data) + data
