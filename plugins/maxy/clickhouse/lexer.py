"""Where strings, names and comments begin and end in ClickHouse's SQL.

ClickHouse's own lexer is the measure: what stands in quotes for one of the two and outside of them for the other would
be split, or filled with a value, in the wrong place. ``tests/integration/clickhouse/test_sql_lexer.py`` compares them.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Quantifiers never give back, so that time grows no faster than the text.
_TOKEN = re.compile(
    r"""
    (?P<space> [ \t\n\r\f\v\x85\xa0\u180e\u2000-\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff]++ )
  | (?P<comment> (?: -- | // | \#[ !] ) [^\n]*+ )
  | (?P<block_comment> /\* )
  | (?P<heredoc> \$ [A-Za-z0-9_]*+ \$ )
  | (?P<word> (?: [A-Za-z_] | \$[A-Za-z0-9_] ) [A-Za-z0-9_$]*+ | [0-9][A-Za-z0-9_]*+ )
  | (?P<string> ' (?: [^'\\]++ | \\. | '' )*+ ' | \u2018[^\u2019]*+\u2019 )
  | (?P<name> " (?: [^"\\]++ | \\. | "" )*+ " | ` (?: [^`\\]++ | \\. | `` )*+ ` | \u201c[^\u201d]*+\u201d )
  | (?P<unclosed> ['"`\u2018\u201c] )
  | (?P<symbol> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_DOLLAR_WORD = re.compile(r"[A-Za-z0-9_$]++")


class SqlError(ValueError):
    """SQL that cannot be read.

    :param message: what is wrong.
    :param position: where in the text, counted from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class Kind(Enum):
    """What a piece of SQL is."""

    BLANK = "white space or a comment"
    STRING = "a string, also a heredoc"
    NAME = "a quoted name"
    WORD = "a keyword, a name without quotes, or a number"
    SYMBOL = "a single character of anything else"
    DATA = "what an INSERT stores, in a format of its own"


class Token(NamedTuple):
    """A piece of SQL.

    :param start: where it begins, counted from 0.
    :param end: where the next one begins.
    """

    kind: Kind
    start: int
    end: int


_KINDS = {
    "space": Kind.BLANK,
    "comment": Kind.BLANK,
    "word": Kind.WORD,
    "string": Kind.STRING,
    "name": Kind.NAME,
    "symbol": Kind.SYMBOL,
}


def tokenize(sql: str) -> Iterator[Token]:
    """Yield the pieces of one or more statements; joined they are the text.

    What follows the format's name in ``INSERT ... FORMAT`` is no SQL and may look like anything: it is one piece, to
    the end of the text. (The data of ``Values`` is SQL.)

    :raises SqlError: at a string, a quoted name or a comment without an end.
    """
    position = 0
    clauses = _Clauses()
    while match := _TOKEN.match(sql, position):
        kind, end = _end_of(sql, match)
        yield Token(kind, position, end)
        if kind is Kind.SYMBOL and match[0] == ";":
            clauses = _Clauses()
        elif clauses.may_name_format(kind) and clauses.name_format(kind, sql[position:end]) and _has_data(sql, end):
            yield Token(Kind.DATA, end, len(sql))
            return
        position = end


def locate(sql: str, position: int) -> str:
    """Name a position for people: line and column, counted from 1."""
    before = sql[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}"


class _Clauses:
    """What was seen of one statement, as far as an ``INSERT ... FORMAT`` is concerned."""

    # With one of these, what an INSERT stores is not what follows FORMAT, unless the query reads input().
    _QUERIES = frozenset({"SELECT", "WITH", "WATCH"})
    # Behind one of these stands the name of a table, whatever it reads like.
    _BEFORE_NAMES = frozenset({"INTO", "TABLE", "."})

    def __init__(self) -> None:
        self._is_open = True
        self._takes_data = True
        self._last = ("", "")

    def may_name_format(self, kind: Kind) -> bool:
        """Whether the next piece matters at all."""
        return self._is_open and kind is not Kind.BLANK

    def name_format(self, kind: Kind, text: str) -> bool:
        """Take the next piece, and return whether it names the format of data that may follow."""
        word = text.upper() if kind in {Kind.WORD, Kind.SYMBOL} else ""
        before, last = self._last
        self._is_open = word != "VALUES" and (last != "" or before != "" or word == "INSERT")
        if word in self._QUERIES:
            self._takes_data = False
        elif word == "INPUT":
            self._takes_data = True
        # A quoted piece is no word, but not the beginning either.
        self._last = (last, word or "'")
        is_format = kind is Kind.WORD and last == "FORMAT" and before not in self._BEFORE_NAMES
        return is_format and self._is_open and self._takes_data


def _has_data(sql: str, position: int) -> bool:
    return sql[position:].lstrip()[:1] not in {"", ";"}


def _end_of(sql: str, match: re.Match[str]) -> tuple[Kind, int]:
    """Return what begins with a match, and where it ends."""
    group = str(match.lastgroup)
    if group == "unclosed":
        raise SqlError(f"the quote {match[0]} is never closed", match.start())
    if group == "block_comment":
        return Kind.BLANK, _end_of_comment(sql, match.start())
    if group == "heredoc":
        return _end_of_dollars(sql, match)
    return _KINDS[group], match.end()


def _end_of_comment(sql: str, start: int) -> int:
    """Return where a comment ends; it may hold others."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    raise SqlError("the comment /* is never closed", start)


def _end_of_dollars(sql: str, tag: re.Match[str]) -> tuple[Kind, int]:
    """Return what begins with ``$tag$``: only where the tag stands again it opens a heredoc."""
    close = sql.find(tag[0], tag.end())
    if close >= 0:
        return Kind.STRING, close + len(tag[0])
    if tag[0] == "$$":
        return Kind.SYMBOL, tag.start() + 1
    word = _DOLLAR_WORD.match(sql, tag.start())
    return Kind.WORD, word.end() if word else tag.end()
