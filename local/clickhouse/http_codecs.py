"""Compression of HTTP bodies, both ways, piece by piece."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Protocol

import lz4.frame
import zstandard

from local.clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEFLATE_WINDOW = 15
_GZIP_WINDOW = 31
_ZSTD_LEVEL = 3
_ZLIB_LEVEL = 3
# So little is decompressed at a time that even the best compressed data (zstd makes 128 KiB of 4 bytes) cannot take
# more than 8 MiB of memory at once.
_SLICE_BYTES = 256
_PIECE_BYTES = 1024 * 1024


class Encoder(Protocol):
    """Compresses a stream."""

    def encode(self, data: bytes) -> bytes:
        """What can be sent after ``data``; may be empty."""

    def finish(self) -> bytes:
        """The rest of the stream."""


class _FrameDecoder(Protocol):
    eof: bool
    unused_data: bytes

    def decompress(self, data: bytes) -> bytes: ...


class Decoder:
    """Decompresses a stream of one or more frames, cut anywhere.

    :param encoding: its name in Content-Encoding.
    :raises EngineError: 48 when the encoding is not known.
    """

    def __init__(self, encoding: str) -> None:
        if encoding not in _DECODERS:
            known = ", ".join(sorted(_DECODERS))
            raise EngineError(48, "NOT_IMPLEMENTED", f"Unknown Content-Encoding {encoding!r}; known are {known}.")
        self._encoding = encoding
        self._frame: _FrameDecoder | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next decompressed bytes in pieces of bounded size; there may be none.

        :raises EngineError: 117 (INCORRECT_DATA) when it is not what it is said to be.
        """
        parts: list[bytes] = []
        size = 0
        for start in range(0, len(data), _SLICE_BYTES):
            for part in self._decode_slice(data[start : start + _SLICE_BYTES]):
                parts.append(part)
                size += len(part)
                if size >= _PIECE_BYTES:
                    yield b"".join(parts)
                    parts, size = [], 0
        if size:
            yield b"".join(parts)

    def _decode_slice(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._frame is None:
                self._frame = _DECODERS[self._encoding]()
            try:
                decoded = self._frame.decompress(data)
            except (zlib.error, RuntimeError, zstandard.ZstdError, ValueError, EOFError) as error:
                raise EngineError(117, "INCORRECT_DATA", f"The body is not valid {self._encoding}: {error}") from error
            yield decoded
            data = b""
            if self._frame.eof:
                data, self._frame = self._frame.unused_data or b"", None

    def finish(self) -> None:
        """Check that the last frame is complete.

        :raises EngineError: 33 (CANNOT_READ_ALL_DATA).
        """
        if self._frame is not None and not self._frame.eof:
            raise EngineError(33, "CANNOT_READ_ALL_DATA", f"The {self._encoding} body ends in the middle of a frame.")


class _ZlibEncoder:
    def __init__(self, window: int) -> None:
        self._stream = zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, window)

    def encode(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Lz4Encoder:
    def __init__(self) -> None:
        self._stream = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        head = b"" if self._begun else bytes(self._stream.begin())
        self._begun = True
        return head + bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        head = b"" if self._begun else bytes(self._stream.begin())
        return head + bytes(self._stream.flush())


class _ZstdEncoder:
    def __init__(self) -> None:
        self._stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj()

    def encode(self, data: bytes) -> bytes:
        return self._stream.compress(data) + self._stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self) -> bytes:
        return self._stream.flush()


_DECODERS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(_GZIP_WINDOW),
    "deflate": lambda: zlib.decompressobj(_DEFLATE_WINDOW),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
# In the order of preference when a client accepts several.
_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "zstd": _ZstdEncoder,
    "lz4": _Lz4Encoder,
    "gzip": lambda: _ZlibEncoder(_GZIP_WINDOW),
    "deflate": lambda: _ZlibEncoder(_DEFLATE_WINDOW),
}


def choose_encoding(accept_encoding: str) -> str | None:
    """The encoding to reply in, for the value of Accept-Encoding; None when none is known or all are refused."""
    accepted = set()
    for item in accept_encoding.lower().split(","):
        name, _, weight = item.strip().partition(";")
        if weight.replace(" ", "") not in {"q=0", "q=0.0"}:
            accepted.add(name.strip())
    return next((name for name in _ENCODERS if name in accepted), None)


def encoder(encoding: str) -> Encoder:
    """A new compressed stream."""
    return _ENCODERS[encoding]()
