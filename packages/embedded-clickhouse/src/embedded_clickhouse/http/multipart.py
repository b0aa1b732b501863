"""Forms in a body (multipart/form-data), read part by part in bounded memory."""

from __future__ import annotations

import contextlib
import email.message
import email.parser
import email.utils
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_HEAD_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Part:
    """One part of a form.

    :param name: the field's name; None when it has none.
    :param is_file: whether it is a file rather than a plain field.
    :param pieces: its contents, to be read before the next part.
    """

    name: str | None
    is_file: bool
    pieces: Iterator[bytes]


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts.

    :raises EngineError: 36 when the Content-Type does not say.
    """
    message, boundary = email.message.Message(), None
    message["content-type"] = content_type
    # A name of an encoding that is no name, or a header with a line break in it.
    with contextlib.suppress(ValueError):
        boundary = message.get_boundary()
    if not boundary:
        raise EngineError(36, "BAD_ARGUMENTS", "The multipart form in the body cannot be read: it names no boundary.")
    return boundary.encode("latin-1", "replace")


class MultipartReader:
    """Splits a form into its parts.

    :param pieces: the body, cut anywhere.
    :param boundary: what stands between the parts.
    """

    def __init__(self, pieces: Iterator[bytes], boundary: bytes) -> None:
        self._pieces = pieces
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter need not have a line in front of it.
        self._buffer = bytearray(b"\r\n")

    def parts(self) -> Iterator[Part]:
        """The parts in their order.

        :raises EngineError: 33 when the form is cut off, 36 for the head of a part that has no end.
        """
        self._skip()
        while not self._at_end():
            name, is_file = self._head()
            yield Part(name, is_file, self._contents())
            # Nothing, if they have been read.
            self._skip()
        # What stands behind the last part means nothing, and is read so that the connection can be used again.
        for _ in self._pieces:
            pass

    def _skip(self) -> None:
        if not self._buffer.startswith(self._delimiter):
            for _ in self._contents():
                pass
        del self._buffer[: len(self._delimiter)]

    def _contents(self) -> Iterator[bytes]:
        """What stands before the next delimiter, which stays in the buffer."""
        while (end := self._buffer.find(self._delimiter)) < 0:
            # The end of the buffer may be the beginning of a delimiter.
            sure = max(len(self._buffer) - len(self._delimiter) + 1, 0)
            if sure:
                yield self._take(sure)
            self._fill()
        if end:
            yield self._take(end)

    def _at_end(self) -> bool:
        while len(self._buffer) < 2:
            self._fill()
        return self._buffer.startswith(b"--")

    def _head(self) -> tuple[str | None, bool]:
        while (end := self._buffer.find(_HEAD_END)) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise EngineError(36, "BAD_ARGUMENTS", "The head of a part of the multipart form has no end.")
            self._fill()
        text = self._take(end + len(_HEAD_END)).partition(b"\r\n")[2].decode(errors="surrogateescape")
        # The newer policies take each header apart into its grammar, which takes milliseconds.
        message = email.parser.HeaderParser().parsestr(text)
        name = message.get_param("name", header="content-disposition")
        is_file = message.get_param("filename", header="content-disposition") is not None
        try:
            return None if name is None else email.utils.collapse_rfc2231_value(name), is_file
        except ValueError as error:
            message_text = "The name of a part of the multipart form has an encoding that is none."
            raise EngineError(36, "BAD_ARGUMENTS", message_text) from error

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        piece = next(self._pieces, b"")
        if not piece:
            raise EngineError(33, "CANNOT_READ_ALL_DATA", "The multipart form in the body ends before its last part.")
        self._buffer += piece
