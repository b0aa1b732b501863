"""Splits the text of a statement into tokens where ClickHouse's own lexer does.

A difference of one byte would be a hole: what stands in quotes here and outside of them for the engine passes every
check that ``sql.py`` makes. ``tests/integration/clickhouse/test_lexer.py`` compares the two, for the engine can be
asked for its tokens.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# What has no end goes on to the end of the text, and the engine says so. Quantifiers never give back: neither time nor
# memory grows faster than the text.
_TOKEN = re.compile(
    rb"""
    (?P<space> (?: [ \t\n\r\f\v] | \xc2[\x85\xa0] | \xe1\xa0\x8e | \xe3\x80\x80 | \xef\xbb\xbf
                 | \xe2 (?: \x80[\x80-\x8d\xa8\xa9\xaf] | \x81[\x9f\xa0] ) )++
             | (?: -- | // | \#[ !] ) [^\n]*+ )
  | (?P<comment> /\* )
  | (?P<literal> (?: [Xx]'(?=.)[0-9A-Fa-f]*+ | [Bb]'(?=.)[01]*+ ) (?:'|.*) )
  | (?P<heredoc> \$(?P<tag>[A-Za-z0-9_]*+)\$ )
  | (?P<word> (?: [A-Za-z_] | \$[A-Za-z0-9_] ) [A-Za-z0-9_$]*+ )
  | (?P<number> [0-9] | \.[0-9] )
  | (?P<string> '(?:[^'\\]++|\\(?:.|\Z)|'')*+(?:'|\Z) | \xe2\x80\x98(?=.{3}).*?(?:\xe2\x80\x99|\Z) )
  | (?P<name> `(?:[^`\\]++|\\(?:.|\Z)|``)*+(?:`|\Z) | "(?:[^"\\]++|\\(?:.|\Z)|"")*+(?:"|\Z)
            | \xe2\x80\x9c(?=.{3}).*?(?:\xe2\x80\x9d|\Z) )
  | (?P<symbol> \\G | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_TAG = re.compile(rb"\$(?=(?P<tag>[A-Za-z0-9_]*+)\$)")
_DIGITS, _HEX_DIGITS = rb"(?:[0-9](?:_(?=[0-9]))?)*+", rb"(?:[0-9A-Fa-f](?:_(?=[0-9A-Fa-f]))?)*+"
# At the very end of the text a letter is no exponent yet.
_EXPONENT = rb"(?=.)(?:[+-](?=.))?+" + _DIGITS
_NUMBER = re.compile(
    rb"0[xX](?=[0-9A-Fa-f])%b(?:\.%b)?+(?:[pP]%b)?+" % (_HEX_DIGITS, _HEX_DIGITS, _EXPONENT)
    + rb"|0[bB](?=[01])%b(?:\.%b)?+(?:[eE]%b)?+" % (_DIGITS, _DIGITS, _EXPONENT)
    + rb"|%b(?:\.%b)?+(?:[eE]%b)?+" % (_DIGITS, _DIGITS, _EXPONENT),
    re.DOTALL,
)
# Of a tuple's element (t.1.2), a number is its digits.
_ELEMENT = re.compile(_DIGITS)
_WORD_CHARACTERS = re.compile(rb"[A-Za-z0-9_]*+")
_BARE_WORD = re.compile(rb"[A-Za-z0-9_]++")
_DOLLAR_WORD = re.compile(rb"[A-Za-z0-9_$]++")
# Behind these a dot is one, and not the beginning of a number.
_OWNERS = frozenset({"word", "name", "number"})


class Token(NamedTuple):
    """A piece of a statement that is no space and no comment.

    :param kind: ``word`` (also what begins with digits or ``$``), ``name`` (quoted), ``string`` (also a heredoc),
        ``number`` or ``symbol`` (anything else, by bytes).
    :param start: where it begins.
    :param end: where the next may begin.
    :param text: words in upper case, symbols as they are, anything else empty.
    """

    kind: str
    start: int
    end: int
    text: str


def tokenize(sql: bytes) -> Iterator[Token]:
    """The tokens of a statement one by one, as they are asked for: data that is no SQL may stand behind it."""
    tags: _Tags | None = None
    before: Token | None = None
    position = 0
    while match := _TOKEN.match(sql, position):
        kind, start, position = str(match.lastgroup), match.start(), match.end()
        if kind == "space":
            continue
        if kind == "comment":
            position = _end_of_comment(sql, position)
            continue
        if kind == "literal":
            kind = "string"
        elif kind == "heredoc":
            tags = tags or _Tags(sql, start)
            kind, position = tags.end_of(match)
        elif kind == "number":
            kind, position = _end_of_number(sql, match, before)
        text = sql[start:position].decode("latin-1").upper() if kind in {"word", "symbol"} else ""
        before = Token(kind, start, position, text)
        yield before


def _end_of_comment(sql: bytes, position: int) -> int:
    """Where a comment ends whose opening is in front of ``position``; such comments may hold others."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge[0] == b"/*" else -1
        if not depth:
            return edge.end()
    return len(sql)


def _end_of_number(sql: bytes, match: re.Match[bytes], before: Token | None) -> tuple[str, int]:
    """Kind and end of what begins with a digit, or with a dot and a digit."""
    start = match.start()
    if match[0][:1] == b"." and before is not None and (before.kind in _OWNERS or before.text in {")", "]"}):
        return "symbol", start + 1
    is_element = before is not None and before.text == "."
    number = (_ELEMENT if is_element and match[0][:1] != b"." else _NUMBER).match(sql, start)
    end = number.end() if number else match.end()
    if match[0][:1] == b".":
        return "number", end
    word = _WORD_CHARACTERS.match(sql, end)
    if word is None or word.end() == end:
        return "number", end
    return ("word" if _BARE_WORD.fullmatch(sql, start, word.end()) else "number"), word.end()


class _Tags:
    """Where the tags of heredocs stand: one opens a heredoc only where it stands again further on.

    Found in one pass over the text, however many of them open nothing.

    :param sql: the statement.
    :param position: where the first of them may stand.
    """

    def __init__(self, sql: bytes, position: int) -> None:
        self._sql = sql
        self._last = {match["tag"]: match.start() for match in _TAG.finditer(sql, position)}

    def end_of(self, match: re.Match[bytes]) -> tuple[str, int]:
        """Kind and end of what begins with ``$tag$``: a heredoc, a word with dollar signs in it, or one of these."""
        if self._last[match["tag"]] >= match.end():
            return "string", self._sql.index(match[0], match.end()) + len(match[0])
        if not match["tag"]:
            return "symbol", match.start() + 1
        word = _DOLLAR_WORD.match(self._sql, match.start())
        return "word", word.end() if word else match.end()
