"""ClickHouse's own framing of HTTP bodies: ``decompress=1`` for requests, ``compress=1`` for replies."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.native.compression import CompressionError, Method, compress, read_frame
from embedded_clickhouse.wire import ByteSource, IncompleteInput, OversizedInput

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where a frame says how large it is, compressed (with its header) and not: behind its checksum and its method.
_SIZES = struct.Struct("<II")
_SIZES_START = 17
# A frame is held in memory as a whole. Clients make them of about a megabyte.
_MAX_FRAME_BYTES = 256 * 1024 * 1024


def unframe(pieces: Iterator[bytes], max_bytes: int) -> Iterator[bytes]:
    """What the frames in ``pieces`` (cut anywhere) hold; no piece is empty.

    :param max_bytes: what they may hold together. It is checked before a frame is decompressed.
    :raises EngineError: 33 for a frame that is cut off, 271 for a damaged one, 307 for too many bytes.
    """
    raw = ByteSource(lambda: next(pieces, b""))
    try:
        while not raw.exhausted():
            raw.mark()
            raw.require(_SIZES_START + _SIZES.size)
            frame_bytes, plain_bytes = _SIZES.unpack_from(raw.window, _SIZES_START)
            _check_sizes(frame_bytes, plain_bytes, max_bytes)
            plain = read_frame(raw)
            max_bytes -= len(plain)
            if plain:
                yield plain
    except IncompleteInput as error:
        message = f"The body ends in the middle of a compressed frame: {error}."
        raise EngineError(33, "CANNOT_READ_ALL_DATA", message) from error
    except (CompressionError, OversizedInput) as error:
        raise EngineError(271, "CANNOT_DECOMPRESS", f"The body is not in compressed frames: {error}.") from error


def _check_sizes(frame_bytes: int, plain_bytes: int, left: int) -> None:
    if max(frame_bytes, plain_bytes) > _MAX_FRAME_BYTES:
        raise CompressionError(f"a frame announces {frame_bytes} bytes for {plain_bytes}")
    if plain_bytes > left:
        raise EngineError(307, "TOO_MANY_BYTES", "The body of the request is larger than this server takes.")


class FrameEncoder:
    """Writes a reply in frames of LZ4, as a server does unless it is configured otherwise."""

    def encode(self, data: bytes) -> bytes:
        """``data`` as whole frames."""
        return b"".join(compress(data, Method.LZ4))

    def finish(self) -> bytes:
        """Nothing: the frames have no end of their own."""
        return b""
