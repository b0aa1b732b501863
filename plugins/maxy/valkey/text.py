"""How values of a ClickHouse result are written in Valkey, where everything is text."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def utc_iso(moment: datetime) -> str:
    """Write an instant as readers expect it: UTC, microseconds, ``Z``; e.g. 2026-11-21T07:36:14.102570Z.

    :raises ValueError: if it carries no zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} carries no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def decoded(answer: Any) -> str:
    """Read a text from an answer of Valkey, whether or not the client decodes.

    :param answer: bytes or text; the client's own types say far more than a server sends.
    """
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def one_line(text: str) -> str:
    """Write a text so that it is one line of a log, whatever it holds: line breaks and all that cannot be seen escaped.

    ``한국`` and ``a b`` stay as they are, a line break becomes ``\\n``.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _number(value: float) -> str | None:
    return repr(value) if math.isfinite(value) else None


def _other(value: Any) -> str:
    """Write a value of any other type, such as Decimal, UUID, or an array of values."""
    _require_no_bytes(value)
    return str(value)


def _require_no_bytes(value: Any) -> None:
    """:raises ValueError: for bytes anywhere in an array, tuple or map: Python's own spelling of them is no value."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise ValueError(
            f"{bytes(value)[:40]!r} is not text: write toValidUTF8(...) in the SQL, or hex(...) for bytes that are none"
        )
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _require_no_bytes(item)


_WRITERS: Mapping[type, Callable[[Any], str | None]] = {
    str: str,
    int: str,
    bool: lambda value: str(int(value)),
    float: _number,
    datetime: utc_iso,
    date: date.isoformat,
    type(None): lambda _: None,
}


def texts(column: Sequence[Any], name: str) -> list[str | None]:
    """Write a column's values as text; None stands for no value (NULL, NaN and infinities).

    Whole numbers and floats are written so that they read back exactly; dates and times in ISO 8601.

    :param column: the values of one column.
    :param name: the column's name, for errors.
    :raises ValueError: naming the column, for a time without zone, and for bytes: a ClickHouse driver returns them for
        text that is not UTF-8.
    """
    # Column by column, because one look at its types then serves all values.
    kinds = set(map(type, column))
    try:
        if len(kinds) == 1:
            return list(map(_WRITERS.get(kinds.pop(), _other), column))
        return [_WRITERS.get(type(value), _other)(value) for value in column]
    except ValueError as error:
        raise ValueError(f"column {name}: {error}") from None
