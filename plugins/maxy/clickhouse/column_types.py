"""Names of ClickHouse types, such as ``Array(Tuple(a Int64, b String))``, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

# Types that say something of how a column is kept, and nothing of its values but that they may be NULL.
_WRAPPERS = {"Nullable", "LowCardinality", "SimpleAggregateFunction"}
_CONTAINERS = {*_WRAPPERS, "Array", "Map", "Tuple", "Nested"}
_GEOMETRIES = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "MultiPoint": "Array(Point)",
    "Polygon": "Array(Ring)",
    "MultiLineString": "Array(LineString)",
    "MultiPolygon": "Array(Polygon)",
}
# A name of a Tuple's element, before its type: as it is, or in back-quotes, with what is special in it escaped.
_ELEMENT = re.compile(r"(?:(?P<plain>\w+)|`(?P<quoted>(?:[^`\\]|\\.|``)*)`)\s+(?=[A-Za-z])", re.DOTALL)
# What stands between two commas or brackets: quoted text as a whole, whatever it holds.
_PART = re.compile(r"""'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|[(),]|[^'`"(),]+""", re.DOTALL)
_ENUM_VALUE = re.compile(r"'((?:[^'\\]|\\.|'')*)'\s*=\s*(-?\d+)", re.DOTALL)
# A character behind a backslash, or a quote written twice.
_ESCAPED = re.compile(r"\\(.)|([`'])\2", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}


@dataclass(frozen=True)
class ColumnType:
    """A type and what it is made of.

    :param text: as ClickHouse writes it.
    :param name: without arguments. Geometric types have the name of what they are made of, ``Array`` or ``Tuple``.
    :param arguments: what stands in the brackets, part by part, as it is written.
    :param elements: the types in it; for ``SimpleAggregateFunction`` the value's alone.
    :param names: of a Tuple's or Nested's elements; empty if they have none.
    """

    text: str
    name: str
    arguments: tuple[str, ...] = ()
    elements: tuple[ColumnType, ...] = ()
    names: tuple[str, ...] = field(default=())

    @property
    def value(self) -> ColumnType:
        """The type of the values that are not NULL, without what only says how they are kept."""
        return self.elements[0].value if self.name in _WRAPPERS else self


@lru_cache(maxsize=1024)
def parse_type(text: str) -> ColumnType:
    """Take a type's name apart.

    :raises ValueError: if its brackets do not match.
    """
    name, bracket, rest = text.strip().partition("(")
    name = name.strip()
    if geometry := _GEOMETRIES.get(name):
        parsed = parse_type(geometry)
        return ColumnType(text, parsed.name, parsed.arguments, parsed.elements)
    if not bracket:
        return ColumnType(text, name)
    if not rest.endswith(")"):
        raise ValueError(f"{text!r} is no type")
    arguments = _split(rest[:-1])
    if name not in _CONTAINERS:
        return ColumnType(text, name, arguments)
    if name == "SimpleAggregateFunction":
        return ColumnType(text, name, arguments, (parse_type(arguments[-1]),))
    named = [_ELEMENT.match(argument) for argument in arguments] if name in {"Tuple", "Nested"} else []
    if not named or not all(named):
        return ColumnType(text, name, arguments, tuple(map(parse_type, arguments)))
    matches = [match for match in named if match]
    return ColumnType(
        text,
        name,
        arguments,
        tuple(parse_type(match.string[match.end() :]) for match in matches),
        tuple(map(_element_name, matches)),
    )


def _split(text: str) -> tuple[str, ...]:
    """Split at the commas that are in no brackets and no quotes."""
    parts, depth = [""], 0
    for match in _PART.finditer(text):
        part = match.group()
        depth += (part == "(") - (part == ")")
        if part == "," and not depth:
            parts.append("")
        else:
            parts[-1] += part
    return tuple(part.strip() for part in parts) if text.strip() else ()


def enum_names(column_type: ColumnType) -> dict[int, str]:
    """Return the names of an Enum's values."""
    matches = [match for argument in column_type.arguments if (match := _ENUM_VALUE.fullmatch(argument))]
    return {int(match[2]): _unescape(match[1]) for match in matches}


def _element_name(match: re.Match[str]) -> str:
    return match["plain"] if match["plain"] is not None else _unescape(match["quoted"])


def _unescape(quoted: str) -> str:
    """Return what stands between quotes as it is meant."""
    return _ESCAPED.sub(lambda match: match[2] or _ESCAPES.get(match[1], match[1]), quoted)
