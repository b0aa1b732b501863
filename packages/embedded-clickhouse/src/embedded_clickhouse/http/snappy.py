"""Snappy bodies: the framing format, as servers speak it since 26.9, and Hadoop's blocks, as those before read it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import cramjam

if TYPE_CHECKING:
    from collections.abc import Callable

_IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"
_COMPRESSED, _PLAIN, _FIRST_SKIPPABLE, _IDENTIFIER_TYPE = 0x00, 0x01, 0x80, 0xFF
_HEAD_BYTES = 4
# What a chunk of the framing format may hold, and the most that so much can become when it is compressed.
_MAX_CHUNK_BYTES = 65536 + 65536 // 6 + 32 + 4
# The same of Hadoop's blocks, whose size a writer chooses: 256 KiB unless it is told otherwise.
_MAX_BLOCK_BYTES = 8 * 1024 * 1024


class SnappyDecoder:
    """A body of either kind; its first byte tells which.

    :raises ValueError: from :meth:`decompress`, for data that is damaged.
    """

    unused_data = b""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._is_framed: bool | None = None
        # What is left of a block of Hadoop's, which may hold several compressed pieces; 0 between two blocks.
        self._left_in_block = 0

    @property
    def eof(self) -> bool:
        """Whether the body may end here."""
        return self._is_framed is not None and not self._rest and not self._left_in_block

    def decompress(self, data: bytes) -> bytes:
        """What can be told after ``data``."""
        self._rest += data
        if self._is_framed is None:
            self._is_framed = self._rest[0] == _IDENTIFIER_TYPE
            if self._is_framed and bytes(self._rest[: len(_IDENTIFIER)]) != _IDENTIFIER[: len(self._rest)]:
                raise ValueError("it does not begin with the identifier of a stream")
        parts = []
        while (part := self._next_chunk() if self._is_framed else self._next_piece()) is not None:
            parts.append(part)
        return b"".join(parts)

    def _next_chunk(self) -> bytes | None:
        """The data of the next chunk of the framing format; None when it has not come yet."""
        if len(self._rest) < _HEAD_BYTES:
            return None
        kind, size = self._rest[0], int.from_bytes(self._rest[1:_HEAD_BYTES], "little")
        if kind in {_COMPRESSED, _PLAIN} and size > _MAX_CHUNK_BYTES:
            raise ValueError(f"a chunk has {size} bytes, more than it may")
        chunk = self._take(_HEAD_BYTES + size)
        if chunk is None:
            return None
        if kind in {_COMPRESSED, _PLAIN}:
            # With an identifier in front it is a stream of its own, whose checksum is looked at.
            return _plain(cramjam.snappy.decompress, _IDENTIFIER + chunk)
        if kind < _FIRST_SKIPPABLE:
            raise ValueError(f"a chunk is of the unknown type {kind}")
        if kind == _IDENTIFIER_TYPE and chunk != _IDENTIFIER:
            raise ValueError("a stream in it has a wrong identifier")
        return b""

    def _next_piece(self) -> bytes | None:
        """The data of the next piece of Hadoop's blocks; None when it has not come yet."""
        if not self._left_in_block:
            head = self._take(_HEAD_BYTES)
            if head is None:
                return None
            self._left_in_block = _checked(struct.unpack(">I", head)[0])
            return b""
        if len(self._rest) < _HEAD_BYTES:
            return None
        piece = self._take(_HEAD_BYTES + _checked(struct.unpack_from(">I", self._rest)[0]))
        if piece is None:
            return None
        compressed = piece[_HEAD_BYTES:]
        # It is the data's own word, so it is looked at before memory is taken for it.
        if _plain_size(compressed) > self._left_in_block:
            raise ValueError("a piece is larger than its block")
        data = _plain(cramjam.snappy.decompress_raw, compressed)
        self._left_in_block -= len(data)
        return data

    def _take(self, size: int) -> bytes | None:
        if len(self._rest) < size:
            return None
        taken = bytes(self._rest[:size])
        del self._rest[:size]
        return taken


class SnappyEncoder:
    """Writes the framing format."""

    def __init__(self) -> None:
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        """``data`` in chunks of their own."""
        stream = bytes(cramjam.snappy.compress(data))
        begun, self._begun = self._begun, True
        return stream.removeprefix(_IDENTIFIER) if begun else stream

    def finish(self) -> bytes:
        """The format has no end; a body without data is an identifier."""
        return b"" if self._begun else _IDENTIFIER


def _checked(size: int) -> int:
    if size > _MAX_BLOCK_BYTES:
        raise ValueError(f"a block has {size} bytes; the limit is {_MAX_BLOCK_BYTES}")
    return size


def _plain_size(compressed: bytes) -> int:
    """The size that compressed data says it has."""
    try:
        return int(cramjam.snappy.decompress_raw_len(compressed))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error


def _plain(decompress: Callable[[bytes], Any], data: bytes) -> bytes:
    try:
        return bytes(decompress(data))
    except cramjam.DecompressionError as error:
        raise ValueError(str(error)) from error
