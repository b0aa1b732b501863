"""Texts of keys, of answers and of logs."""

from __future__ import annotations

from typing import Any

_LONGEST_VALUE = 200


def escaped(value: str) -> str:
    """Percent-encode ``%`` and ``:``, so that a value cannot be taken for two parts of a key.

    Names without these two characters stay as they are.
    """
    return value.replace("%", "%25").replace(":", "%3A")


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


def shown_value(value: object) -> str:
    """Write a value that somebody has set, as an error shows it: as Python does, and no longer than 200 characters."""
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_VALUE else f"{shown[:_LONGEST_VALUE]}…"
