"""The codings of HTTP bodies, by independent implementations."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib
from typing import TYPE_CHECKING

import brotli
import cramjam
import lz4.frame
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.compress,
    "bz2": bz2.compress,
    "deflate": zlib.compress,
    "gzip": gzip.compress,
    "lz4": lz4.frame.compress,
    "snappy": lambda data: bytes(cramjam.snappy.compress(data)),
    "xz": lzma.compress,
    "zstd": zstandard.compress,
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "br": brotli.decompress,
    "bz2": bz2.decompress,
    "deflate": zlib.decompress,
    "gzip": gzip.decompress,
    "lz4": lz4.frame.decompress,
    "snappy": lambda data: bytes(cramjam.snappy.decompress(data)),
    "xz": lzma.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
# Nothing may follow the end of a stream of brotli.
COMPRESS_IN_FRAMES = {name: compress for name, compress in COMPRESS.items() if name != "br"}
# What a server calls its methods in Content-Encoding, beside the names above.
ALIASES = {"brotli": "br", "gz": "gzip", "lzma": "xz", "zst": "zstd"}


def hadoop_snappy(data: bytes, *, block_bytes: int = 1000, pieces: int = 3) -> bytes:
    """Blocks as Hadoop writes them: the length of the data, then pieces with their compressed lengths."""
    body = b""
    for start in range(0, len(data), block_bytes):
        block = data[start : start + block_bytes]
        step = len(block) // pieces + 1
        compressed = [bytes(cramjam.snappy.compress_raw(block[at : at + step])) for at in range(0, len(block), step)]
        body += struct.pack(">I", len(block)) + b"".join(struct.pack(">I", len(piece)) + piece for piece in compressed)
    return body
