from __future__ import annotations

import lz4.block
import pytest
import zstandard

from embedded_clickhouse.blocks import source_of
from embedded_clickhouse.native.compression import _HEADER, CompressionError, Method, _checksum, compress, read_frame


def frame(method: int, packed: bytes, size: int) -> bytes:
    framed = _HEADER.pack(method, _HEADER.size + len(packed), size) + packed
    return _checksum(framed) + framed


@pytest.mark.parametrize("method", list(Method))
def test_data_come_back_from_their_frames(method: Method) -> None:
    data = bytes(range(256)) * 10_000
    source = source_of(b"".join(compress(data, method)))

    frames = []
    while not source.exhausted():
        frames.append(read_frame(source))

    assert len(frames) > 1
    assert b"".join(frames) == data


@pytest.mark.parametrize(
    ("method", "packed", "size"),
    [
        (Method.NONE, bytes(10), 11),
        (Method.LZ4, lz4.block.compress(bytes(1000), store_size=False), 10),
        (Method.ZSTD, zstandard.compress(bytes(1000)), 10),
        (Method.ZSTD, zstandard.compress(bytes(10)), 1000),
        (Method.ZSTD, zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)), 10),
        (Method.ZSTD, b"no frame", 10),
        (0x99, bytes(10), 10),
    ],
)
def test_a_frame_that_is_not_what_it_announces_is_refused(method: int, packed: bytes, size: int) -> None:
    with pytest.raises(CompressionError):
        read_frame(source_of(frame(method, packed, size)))
