"""ClickHouse's binary primitives: varints, length-prefixed strings and a window over incoming bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT_WINDOW_LIMIT = 1 << 30

_UINT64 = struct.Struct("<Q")
_MAX_VARINT_SHIFT = 63


class IncompleteInput(EOFError):
    """The input ended in the middle of a value."""


class OversizedInput(ValueError):
    """A value announces more bytes than the window may hold."""


class MalformedInput(ValueError):
    """The bytes cannot be what they should be."""


def encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(0x80 | (value & 0x7F))
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(value: str | bytes) -> bytes:
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return encode_varint(len(data)) + data


class ByteSource:
    """Incoming bytes, pulled as they are needed and kept from the last `mark` on.

    What was pulled and lies behind the position stays in the window for the next value.

    :param pull: returns the next bytes of the input, b"" at its end. It may block and it may raise.
    """

    def __init__(self, pull: Callable[[], bytes]) -> None:
        self._pull = pull
        self._limit = DEFAULT_WINDOW_LIMIT
        self.window = bytearray()
        self.position = 0

    @property
    def pending(self) -> int:
        """Bytes already pulled and not yet consumed."""
        return len(self.window) - self.position

    def mark(self, limit: int = DEFAULT_WINDOW_LIMIT) -> None:
        """Forget what was consumed. Until the next mark at most `limit` bytes are taken in."""
        del self.window[: self.position]
        self.position = 0
        self._limit = limit

    def since_mark(self) -> bytes:
        with memoryview(self.window) as view:
            return bytes(view[: self.position])

    def require(self, count: int) -> None:
        """Have `count` bytes behind the position.

        The announced size is checked first: a wrong length costs an error and not the memory it names.
        """
        end = self.position + count
        if end > self._limit:
            raise OversizedInput(f"{end} bytes are announced, the limit is {self._limit}")
        while len(self.window) < end:
            data = self._pull()
            if not data:
                raise IncompleteInput(f"the input ended {end - len(self.window)} bytes early")
            self.window += data

    def exhausted(self) -> bool:
        """Whether the input has ended here, between two values."""
        if not self.pending:
            self.window += self._pull()
        return not self.pending

    def skip(self, count: int) -> None:
        self.require(count)
        self.position += count

    def take(self, count: int) -> bytes:
        start = self.position
        self.skip(count)
        return bytes(self.window[start : self.position])

    def byte(self) -> int:
        self.require(1)
        value = self.window[self.position]
        self.position += 1
        return value

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > _MAX_VARINT_SHIFT:
                raise MalformedInput("a variable-length integer is longer than ten bytes")

    def uint64(self) -> int:
        self.require(8)
        (value,) = _UINT64.unpack_from(self.window, self.position)
        self.position += 8
        return int(value)

    def string_bytes(self) -> bytes:
        return self.take(self.varint())

    def string(self) -> str:
        """A string as text; bytes that are not UTF-8 survive as surrogates (see `encode_string`)."""
        return self.string_bytes().decode("utf-8", "surrogateescape")

    def skip_strings(self, count: int) -> None:
        """Pass over `count` strings. The loop is the hot path of an INSERT, hence its plain form."""
        # Each string takes a byte at least: a wrong count is found before the loop.
        self.require(count)
        window, position = self.window, self.position
        for _ in range(count):
            try:
                length = window[position]
            except IndexError:
                self.require(position + 1 - self.position)
                length = window[position]
            position += 1
            if length > 0x7F:
                self.require(position - self.position)
                base, self.position = self.position, position - 1
                length = self.varint()
                position, self.position = self.position, base
            position += length
        self.skip(position - self.position)
