"""Fills the values of ``%(name)s`` into a statement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from maxy.clickhouse.lexer import Kind, SqlError, tokenize
from maxy.clickhouse.literals import UnquotableError, literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A % and what it belongs to. Of Python's conversions there is one; the others are recognised to say so.
_PERCENT = re.compile(r"%(?: (?P<escaped>%) | \((?P<name>[^()]+)\)(?P<conversion>[a-zA-Z]) )?", re.VERBOSE)
_QUOTED = frozenset({Kind.STRING, Kind.NAME})
_ESCAPE = "a % of its own is written %% in a statement with values"


def quote(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as they are written in SQL.

    :raises UnquotableError: naming a parameter that cannot be written exactly, and its type.
    """
    quoted = {}
    for name, value in parameters.items():
        try:
            quoted[name] = literal(value)
        except UnquotableError as error:
            raise UnquotableError(f"parameter {name}: {error}") from None
    return quoted


def fill(statement: str, quoted: Mapping[str, str]) -> str:
    """Put values in the place of ``%(name)s``.

    A statement with such places writes a % of its own ``%%``; any other statement comes back as it is. In comments, and
    in the data of an ``INSERT ... FORMAT``, a % means nothing.

    :param quoted: the values, as they are written in SQL.
    :raises SqlError: for a place without a value or inside of quotes, and for a % that stands alone.
    """
    if "%" not in statement:
        return statement
    percents = list(_percents(statement))
    if not any(_is_notation(kind, percent, quoted) for kind, percent in percents):
        return statement
    filled, position = [], 0
    for kind, percent in percents:
        filled.append(statement[position : percent.start()])
        filled.append(_value(kind, percent, quoted))
        position = percent.end()
    return "".join((*filled, statement[position:]))


def placeholders(statement: str) -> set[str]:
    """Return the names of the values in a statement that :func:`fill` can fill."""
    if "%(" not in statement:
        return set()
    return {
        percent["name"]
        for kind, percent in _percents(statement)
        if kind not in _QUOTED and percent["conversion"] == "s"
    }


def _percents(statement: str) -> Iterator[tuple[Kind, re.Match[str]]]:
    """Yield each % that means something, with what it belongs to, and the kind of text it stands in."""
    position = 0
    for kind, start, end in tokenize(statement):
        if kind in _QUOTED:
            yield from ((kind, percent) for percent in _PERCENT.finditer(statement, start, end))
        elif kind is Kind.SYMBOL and start >= position and (percent := _PERCENT.match(statement, start)):
            # A place goes over several pieces of SQL.
            position = percent.end()
            yield kind, percent


def _is_notation(kind: Kind, percent: re.Match[str], quoted: Mapping[str, str]) -> bool:
    """Whether a % says that its statement has values: elsewhere it is the operator, or a character of a text."""
    name = percent["name"] or _escaped_name(percent)
    if name is None:
        return False
    is_place = percent["conversion"] == "s" or percent["escaped"] is not None
    return name in quoted or (is_place and kind not in _QUOTED)


def _escaped_name(percent: re.Match[str]) -> str | None:
    """Return the name of ``%%(name)s``, which stands for ``%(name)s``."""
    place = _PERCENT.match(percent.string, percent.start() + 1) if percent["escaped"] else None
    return place["name"] if place and place["conversion"] == "s" else None


def _value(kind: Kind, percent: re.Match[str], quoted: Mapping[str, str]) -> str:
    """Return what takes the place of a %."""
    if percent["escaped"]:
        return "%"
    name, position = percent["name"], percent.start()
    if name is None:
        raise SqlError(_ESCAPE, position)
    if name not in quoted:
        raise SqlError(f"{percent[0]} has no value; {_ESCAPE}", position)
    if percent["conversion"] != "s":
        raise SqlError(f"{percent[0]}: a value is written %({name})s, whatever its type", position)
    if kind in _QUOTED:
        raise SqlError(
            f"%({name})s stands in quotes, where it would be text: join it, as in concat('...', %({name})s); {_ESCAPE}",
            position,
        )
    return quoted[name]
