"""Compression of HTTP bodies, both ways, piece by piece."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import brotli
import lz4.frame
import zstandard

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.snappy import SnappyDecoder, SnappyEncoder

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
# A stream of xz says how much memory its dictionary takes; that of `xz -9` takes 65 MiB.
_XZ_MEMORY_BYTES = 256 * 1024 * 1024
_BROTLI_QUALITY = 4
_BZIP2_LEVEL = 1
_XZ_PRESET = 1
# Such a body is one stream: what stands behind its end belongs to it or is wrong.
_ONE_STREAM = frozenset({"br", "snappy"})
_DATA_ERRORS = (
    *(zlib.error, lzma.LZMAError, zstandard.ZstdError, brotli.error),
    *(RuntimeError, ValueError, EOFError, OSError),
)


class Encoder(Protocol):
    """Compresses a stream."""

    def encode(self, data: bytes) -> bytes:
        """What can be sent after ``data``; may be empty."""

    def finish(self) -> bytes:
        """The rest of the stream."""


class _FrameDecoder(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes) -> bytes: ...


def request_method(encoding: str) -> str | None:
    """The compression method that a request's Content-Encoding names; None when its body is plain.

    The names are those of the server's own methods, suffixes of files among them, and not HTTP's.

    :raises EngineError: 48 when there is no such method.
    """
    encoding = encoding.strip()
    # A server knows these two in lower case only.
    if encoding in {"", "auto", "none"}:
        return None
    method = _METHODS.get(encoding.lower())
    if method is None:
        known = ", ".join(sorted({*_METHODS, "auto", "none"}))
        raise EngineError(48, "NOT_IMPLEMENTED", f"Unknown Content-Encoding {encoding!r}; known are {known}.")
    return method


class Decoder:
    """Decompresses a stream of one or more frames, cut anywhere.

    :param method: from :func:`request_method`.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._frame: _FrameDecoder | None = None
        self._has_ended_frame = False

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
        while data := self._without_padding(data):
            frame = self._frame = self._frame or _DECODERS[self._method]()
            yield self._decompress(frame, data)
            while getattr(frame, "has_more", False):
                yield self._decompress(frame, b"")
            data = b""
            if frame.eof and self._method not in _ONE_STREAM:
                data, self._frame = frame.unused_data or b"", None
                self._has_ended_frame = True

    def _without_padding(self, data: bytes) -> bytes:
        """Streams of xz may have zeros between and behind them."""
        is_between = self._method == "xz" and self._frame is None and self._has_ended_frame
        return data.lstrip(b"\x00") if is_between else data

    def _decompress(self, frame: _FrameDecoder, data: bytes) -> bytes:
        try:
            return frame.decompress(data)
        except _DATA_ERRORS as error:
            raise EngineError(117, "INCORRECT_DATA", f"The body is not valid {self._method}: {error}") from error

    def finish(self) -> None:
        """Check that the last frame is complete.

        :raises EngineError: 33 (CANNOT_READ_ALL_DATA).
        """
        if self._frame is not None and not self._frame.eof:
            raise EngineError(33, "CANNOT_READ_ALL_DATA", f"The {self._method} body ends in the middle of a frame.")


class _LibraryDecoder:
    """A decoder of the standard library that gives a bounded piece at a time: 40 bytes of bzip2 make 46 MB.

    :param stream: the decoder.
    """

    def __init__(self, stream: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._stream = stream

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def has_more(self) -> bool:
        return not (self._stream.eof or self._stream.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes) -> bytes:
        return self._stream.decompress(data, _PIECE_BYTES)


class _BrotliDecoder:
    unused_data = b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self.has_more = False

    @property
    def eof(self) -> bool:
        return bool(self._stream.is_finished())

    def decompress(self, data: bytes) -> bytes:
        if data and self.eof:
            raise ValueError("there is data behind its end")
        decoded = bytes(self._stream.process(data, output_buffer_limit=_PIECE_BYTES))
        # It may say that it takes more while it still has something to give.
        self.has_more = not self.eof and (bool(decoded) or not self._stream.can_accept_more_data())
        return decoded


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


class _BrotliEncoder:
    def __init__(self) -> None:
        self._stream = brotli.Compressor(quality=_BROTLI_QUALITY)

    def encode(self, data: bytes) -> bytes:
        return bytes(self._stream.process(data) + self._stream.flush())

    def finish(self) -> bytes:
        return bytes(self._stream.finish())


class _LibraryEncoder:
    """What of the standard library cannot be flushed: a block goes out when it is full."""

    def __init__(self, stream: bz2.BZ2Compressor | lzma.LZMACompressor) -> None:
        self._stream = stream

    def encode(self, data: bytes) -> bytes:
        return self._stream.compress(data)

    def finish(self) -> bytes:
        return self._stream.flush()


_DECODERS: dict[str, Callable[[], Any]] = {
    "br": _BrotliDecoder,
    "bz2": lambda: _LibraryDecoder(bz2.BZ2Decompressor()),
    "deflate": lambda: zlib.decompressobj(_DEFLATE_WINDOW),
    "gzip": lambda: zlib.decompressobj(_GZIP_WINDOW),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "snappy": SnappyDecoder,
    "xz": lambda: _LibraryDecoder(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
_ALIASES = {"brotli": "br", "gz": "gzip", "lzma": "xz", "zst": "zstd"}
_METHODS = {**{method: method for method in _DECODERS}, **_ALIASES}
# In a server's order of preference when a client accepts several.
_ENCODERS: dict[str, Callable[[], Encoder]] = {
    "zstd": _ZstdEncoder,
    "br": _BrotliEncoder,
    "lz4": _Lz4Encoder,
    "snappy": SnappyEncoder,
    "gzip": lambda: _ZlibEncoder(_GZIP_WINDOW),
    "deflate": lambda: _ZlibEncoder(_DEFLATE_WINDOW),
    "xz": lambda: _LibraryEncoder(lzma.LZMACompressor(lzma.FORMAT_XZ, preset=_XZ_PRESET)),
    "bz2": lambda: _LibraryEncoder(bz2.BZ2Compressor(_BZIP2_LEVEL)),
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
