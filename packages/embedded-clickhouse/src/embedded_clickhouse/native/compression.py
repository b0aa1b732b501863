"""The compressed frames of ClickHouse's native protocol.

A frame is a checksum (CityHash128, 16 bytes), a method byte, the size of method + sizes + data (UInt32), the
size once decompressed (UInt32) and the data. A block may span frames.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING

import lz4.block
import zstandard
from clickhouse_cityhash.cityhash import CityHash128

from embedded_clickhouse.wire import ByteSource

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECKSUM = struct.Struct("<QQ")
_HEADER = struct.Struct("<BII")
_HALF = (1 << 64) - 1
_MAX_FRAME_BYTES = 1 << 30
_FRAME_BYTES = 1 << 20
# A byte of LZ4 stands for so many at the most.
_LZ4_MOST_TIMES = 255


class CompressionError(ValueError):
    """A frame is damaged or compressed in a way that is not known."""


class Method(IntEnum):
    """The method byte of a frame."""

    NONE = 0x02
    LZ4 = 0x82
    ZSTD = 0x90


# Values of the setting network_compression_method. LZ4HC is LZ4 to the reader.
METHODS_BY_NAME = {"NONE": Method.NONE, "LZ4": Method.LZ4, "LZ4HC": Method.LZ4, "ZSTD": Method.ZSTD}


def _checksum(data: bytes) -> bytes:
    # CityHash128 here is an integer with the first half of the wire's form in its upper bits.
    value: int = CityHash128(data)
    return _CHECKSUM.pack(value >> 64, value & _HALF)


def _decompress(method: int, data: bytes, size: int) -> bytes:
    try:
        match method:
            case Method.NONE:
                plain = data
            case Method.LZ4:
                plain = _decompress_lz4(data, size)
            case Method.ZSTD:
                plain = _decompress_zstd(data, size)
            case _:
                raise CompressionError(f"unknown compression method {method:#04x}")
    except (lz4.block.LZ4BlockError, zstandard.ZstdError) as error:
        raise CompressionError(f"a compressed frame cannot be read: {error}") from error
    if len(plain) != size:
        raise CompressionError(f"a compressed frame holds {len(plain)} bytes and announces {size}")
    return plain


def _decompress_lz4(data: bytes, size: int) -> bytes:
    # As much memory is taken as is announced, so what cannot be true is refused first.
    if size > _LZ4_MOST_TIMES * (len(data) + 1):
        raise CompressionError(f"a compressed frame announces {size} bytes, which {len(data)} cannot hold")
    plain: bytes = lz4.block.decompress(data, uncompressed_size=size)
    return plain


def _decompress_zstd(data: bytes, size: int) -> bytes:
    # In pieces, so that memory is taken for what is there and not for what is announced.
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        parts, left = [], size + 1
        while left and (piece := reader.read(min(left, _FRAME_BYTES))):
            parts.append(piece)
            left -= len(piece)
    return b"".join(parts)


def read_frame(raw: ByteSource) -> bytes:
    """The contents of the next frame.

    :raises IncompleteInput: the input ended inside the frame.
    :raises CompressionError: the frame is damaged.
    """
    raw.mark()
    checksum = raw.take(_CHECKSUM.size)
    header = raw.take(_HEADER.size)
    method, frame_size, plain_size = _HEADER.unpack(header)
    if not _HEADER.size <= frame_size <= _MAX_FRAME_BYTES or plain_size > _MAX_FRAME_BYTES:
        raise CompressionError(f"a compressed frame announces {frame_size} bytes for {plain_size}")
    data = raw.take(frame_size - _HEADER.size)
    if _checksum(header + data) != checksum:
        raise CompressionError("the checksum of a compressed frame does not match: the data was damaged on its way")
    return _decompress(method, data, plain_size)


def compress(data: bytes, method: Method) -> Iterator[bytes]:
    """`data` as frames."""
    for start in range(0, len(data), _FRAME_BYTES):
        plain = data[start : start + _FRAME_BYTES]
        match method:
            case Method.NONE:
                packed = plain
            case Method.LZ4:
                packed = lz4.block.compress(plain, store_size=False)
            case Method.ZSTD:
                packed = zstandard.compress(plain)
        framed = _HEADER.pack(method, _HEADER.size + len(packed), len(plain)) + packed
        yield _checksum(framed) + framed


class FrameSource(ByteSource):
    """What the frames of `raw` hold, as one stream."""

    def __init__(self, raw: ByteSource) -> None:
        super().__init__(lambda: read_frame(raw))
