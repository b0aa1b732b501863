"""Errors as ClickHouse reports them: a code, a name and a message."""

from __future__ import annotations

import contextlib
import errno
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_REPORTED = re.compile(
    r"Code: (?P<code>\d+)\. DB::Exception: (?P<message>.*?)"
    r"(?: \((?P<name>[A-Z][A-Z0-9_]*)\))?(?: \(version [^()]*(?:\([^()]*\))?\))?\s*",
    re.DOTALL,
)


_VERSION = re.compile(r" \(version [^()]*(?:\([^()]*\))?\)\.?")
# What the engine adds where it read an insert's data from a file: the same error once more, with the file's path.
_FROM_FILE = re.compile(
    r"(?P<message>.*?):? ?\(in file/uri [^\n]*?\)"
    r"(?P<format>(?:: While executing \w+)*?): While executing File: data for INSERT was parsed from file\..*",
    re.DOTALL,
)


_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class EngineError(Exception):
    """A statement or a request that failed.

    :param code: ClickHouse's error code.
    :param name: that code's name, such as ``UNKNOWN_TABLE``.
    :param message: what went wrong, without code and name.
    """

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message

    def __str__(self) -> str:
        """The error in the words of a server's reply."""
        return f"Code: {self.code}. DB::Exception: {self.message} ({self.name})"

    @classmethod
    def parse(cls, text: str) -> EngineError:
        """Read an error from the engine's text; text without a code becomes UNKNOWN_EXCEPTION."""
        match = _REPORTED.fullmatch(text)
        if match is None:
            return cls(1002, "UNKNOWN_EXCEPTION", text.strip() or "The engine failed without saying why.")
        code, name = int(match["code"]), match["name"] or "UNKNOWN_EXCEPTION"
        return cls(code, name, _unwrapped(code, name, match["message"]))


def _unwrapped(code: int, name: str, message: str) -> str:
    """A message without the error around it, where the engine has put the same error into itself."""
    prefix = f"Code: {code}. DB::Exception: "
    while message.startswith(prefix):
        message = message.removeprefix(prefix)
        inner, mark, rest = message.rpartition(f" ({name})")
        if mark:
            version = _VERSION.match(rest)
            message = inner + rest[version.end() if version else 0 :]
    return message


def without_file(error: EngineError, path: str) -> EngineError:
    """The error of an insert as a server has it, whose data comes from the client and not from a file.

    :param path: the file's.
    """
    message = error.message
    if match := _FROM_FILE.fullmatch(message):
        message = f"{match['message'].rstrip()}{match['format']}"
    # Where the statement selected from its data.
    file = re.escape(path)
    message = re.sub(rf":? ?\(in file/uri {file}\)", "", message)
    message = re.sub(rf"file\('{file}', '\w+', (.*?), 'none'\)", r"input(\1)", message, flags=re.DOTALL)
    return EngineError(error.code, error.name, message)


def authentication_failed(user: str) -> EngineError:
    """The error for a wrong name or password; it does not tell which of the two."""
    message = f"{user}: Authentication failed: password is incorrect, or there is no user with such name."
    return EngineError(516, "AUTHENTICATION_FAILED", message)


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Turn what a full disk raises into the error of a server: 243 (NOT_ENOUGH_SPACE)."""
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_IS_FULL:
            raise
        message = f"The data of the request cannot be kept until it is complete: {error.strerror}"
        raise EngineError(243, "NOT_ENOUGH_SPACE", message) from error


@contextlib.contextmanager
def engine_errors() -> Iterator[None]:
    """Turn what the engine raises into :class:`EngineError`."""
    try:
        yield
    except UnicodeDecodeError as error:
        # A message that quotes a statement which is not UTF-8 cannot become a Python string.
        raise EngineError.parse(error.object.decode(errors="replace")) from error
    except RuntimeError as error:
        raise EngineError.parse(str(error)) from error
