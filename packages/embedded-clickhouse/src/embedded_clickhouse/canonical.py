"""Tokens and calls of a statement in the spelling in which the engine itself writes it.

The engine's own parser has dealt with comments, heredocs, escapes in names and typographic quotes by then: a string
is one in single quotes, a quoted name one in backticks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TOKEN = re.compile(
    r"(?P<string>'(?:[^'\\]++|\\.)*+')|(?P<name>`(?:[^`\\]++|\\.)*+`|\"(?:[^\"\\]++|\\.)*+\")"
    r"|(?P<word>[^\W\d]\w*+)|(?P<number>\d[\w.]*+)|(?P<symbol>\|\||\S)",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL)
_ESCAPED = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "0": "\0",
    "N": "",
}
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")


class Kind(Enum):
    """What a token is."""

    STRING = "string"
    NAME = "name"
    WORD = "word"
    NUMBER = "number"
    SYMBOL = "symbol"


class Token(NamedTuple):
    """A token.

    :param kind: what it is. A name is one in quotes.
    :param text: its value, without quotes and escapes.
    """

    kind: Kind
    text: str

    @property
    def is_identifier(self) -> bool:
        """Whether it can be a name, with or without quotes."""
        return self.kind in {Kind.NAME, Kind.WORD}

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords, given in upper case."""
        return self.kind is Kind.WORD and self.text.upper() in words


@dataclass(frozen=True)
class Call:
    """A name with brackets behind it: a function, a table function, an engine, a dictionary's source.

    :param name: in lower case.
    :param before: the token in front of it; None at the beginning.
    :param tokens: all that stands between the brackets.
    :param parents: the names of the calls around it, the innermost last.
    """

    name: str
    before: Token | None
    tokens: Sequence[Token] = field(repr=False)
    parents: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[list[Token]]:
        """The tokens between its commas."""
        parts: list[list[Token]] = [[]]
        depth = 0
        for token in self.tokens:
            if token == (Kind.SYMBOL, ",") and depth == 0:
                parts.append([])
                continue
            depth += _depth_change(token)
            parts[-1].append(token)
        return parts if self.tokens else []


def tokenize(canonical: str) -> list[Token]:
    """All tokens of a canonical statement."""
    tokens = []
    for match in _TOKEN.finditer(canonical):
        kind = Kind(match.lastgroup)
        is_quoted = kind in {Kind.STRING, Kind.NAME}
        tokens.append(Token(kind, unescape(match[0][1:-1]) if is_quoted else match[0]))
    return tokens


def calls(tokens: Sequence[Token], parents: tuple[str, ...] = ()) -> Iterator[Call]:
    """All calls, an outer one in front of those within it."""
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.is_identifier and tokens[index + 1 : index + 2] == [(Kind.SYMBOL, "(")]:
            end = _closing(tokens, index + 1)
            inner = tokens[index + 2 : end]
            call = Call(token.text.lower(), tokens[index - 1] if index else None, inner, parents)
            yield call
            yield from calls(inner, (*parents, call.name))
            index = end
        index += 1


def constant(argument: Sequence[Token], parameters: Mapping[str, str], *, may_be_name: bool = False) -> str | None:
    """The text that an argument is, a literal or a query parameter; None for anything else.

    :param parameters: values of ``{name:Type}``, escaped as they come over HTTP.
    :param may_be_name: whether a bare name stands for itself, and not for a column or an alias.
    """
    if len(argument) >= 3 and argument[0].is_identifier and argument[1] == (Kind.SYMBOL, "="):
        argument = argument[2:]
    if len(argument) == 1 and (argument[0].kind is Kind.STRING or (may_be_name and argument[0].is_identifier)):
        return argument[0].text
    name = parameter_of(argument)
    return unescape(parameters[name]) if name is not None and name in parameters else None


def parameter_of(argument: Sequence[Token]) -> str | None:
    """The name of the query parameter that an argument is."""
    texts = [token.text for token in argument]
    is_parameter = len(texts) >= 5 and (texts[0], texts[2], texts[-1]) == ("{", ":", "}")
    return texts[1] if is_parameter else None


def unescape(text: str) -> str:
    """The text that stands in quotes."""

    def value(match: re.Match[str]) -> str:
        code = match[1]
        return chr(int(code[1:], 16)) if len(code) == 3 else _ESCAPED.get(code, code)

    return _ESCAPE.sub(value, text)


def _depth_change(token: Token) -> int:
    if token.kind is not Kind.SYMBOL:
        return 0
    return (token.text in _OPENING) - (token.text in _CLOSING)


def _closing(tokens: Sequence[Token], opening: int) -> int:
    depth = 0
    for index in range(opening, len(tokens)):
        depth += _depth_change(tokens[index])
        if depth == 0:
            return index
    return len(tokens)
