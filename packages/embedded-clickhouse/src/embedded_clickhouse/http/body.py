"""The body of a request: decompressed, counted, in pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.http.codecs import Decoder, request_method
from embedded_clickhouse.http.frames import unframe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# All that is not data: a statement, or the fields of a form.
MAX_STATEMENT_BYTES = 64 * 1024 * 1024


class Body:
    """An iterator over the pieces of a decompressed body. None is empty, all are of bounded size.

    :param read: returns the next piece as it came, b"" at the end.
    :param encoding: the value of Content-Encoding, when there is one.
    :param is_framed: whether it is in ClickHouse's own frames, inside that encoding.
    :param max_bytes: what it may have, decompressed.
    :raises EngineError: 48 for an unknown encoding; while it is read 33, 117 and 271 for damaged data and 307 for too
        much of it.
    """

    def __init__(
        self, read: Callable[[], bytes], *, encoding: str | None = None, is_framed: bool = False, max_bytes: int
    ) -> None:
        pieces = iter(read, b"")
        if method := request_method(encoding or ""):
            pieces = _decoded(pieces, Decoder(method))
        if is_framed:
            pieces = unframe(pieces, max_bytes)
        self._pieces = pieces
        self._max_bytes = max_bytes
        self._count = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        piece = next(self._pieces)
        self._count += len(piece)
        if self._count > self._max_bytes:
            message = f"The body of the request has over {self._max_bytes} bytes, which is the limit."
            raise EngineError(307, "TOO_MANY_BYTES", message)
        return piece

    def read_beginning(self, size: int) -> bytes:
        """At least ``size`` bytes, or all there are."""
        head = b""
        while len(head) < size and (piece := next(self, b"")):
            head += piece
        return head

    def read_statement(self, head: bytes = b"") -> bytes:
        """``head`` and all the rest, which must be small enough for a statement.

        :raises EngineError: 223 (QUERY_IS_TOO_LARGE).
        """
        parts, size = [head], len(head)
        for piece in self:
            size += len(piece)
            if size > MAX_STATEMENT_BYTES:
                raise EngineError(223, "QUERY_IS_TOO_LARGE", f"The statement has over {MAX_STATEMENT_BYTES} bytes")
            parts.append(piece)
        return b"".join(parts)


def _decoded(pieces: Iterator[bytes], decoder: Decoder) -> Iterator[bytes]:
    for piece in pieces:
        yield from decoder.decode(piece)
    decoder.finish()
