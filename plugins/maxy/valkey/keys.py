"""Names of keys in Valkey, made from a template and values that may hold anything."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING
from urllib.parse import unquote

from maxy.text import escaped

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence


class KeyTemplate:
    """A template such as ``daily:{stat_date}:{package_nm}`` whose parts are columns of a result.

    Different values give different keys, whatever they hold (see :func:`maxy.text.escaped`).

    :param template: literal text and column names in braces.
    :param prefix: put in front as it is; braces have no meaning in it.
    :param reserved: values of the first column that begin keys of another kind; they are percent-encoded too.
    :raises ValueError: naming the template, if it is malformed or has no column in it.
    """

    def __init__(self, template: str, *, prefix: str = "", reserved: Collection[str] = ()) -> None:
        try:
            parts = list(Formatter().parse(template))
        except ValueError as error:
            raise ValueError(f"key template {template!r}: {error}") from None
        if any(spec or conversion for _, _, spec, conversion in parts):
            raise ValueError(f"key template {template!r}: only column names may stand in braces")
        self.columns: Sequence[str] = [name for _, name, _, _ in parts if name is not None]
        if not self.columns or "" in self.columns:
            raise ValueError(f"key template {template!r}: needs a column's name in braces")
        self._template = template
        #: What is in front of every key.
        self.prefix = prefix
        self._reserved = {value: f"%{ord(value[0]):02X}{escaped(value[1:])}" for value in reserved}
        # One literal before each column, and one behind the last.
        self._literals = [prefix, *("" for _ in self.columns)]
        position = 0
        for literal, name, _, _ in parts:
            self._literals[position] += literal
            position += name is not None
        literals = list(map(re.escape, self._literals))
        self._pattern = re.compile("([^:]*)".join(literals))
        self._exact_pattern = re.compile("[^:%]*(?:%[0-9A-F]{2}[^:%]*)*".join(literals))

    def keys(self, columns: Sequence[Iterable[str]]) -> Iterator[str]:
        """Yield one key for each row.

        :param columns: the values of ``self.columns``, in that order, as text.
        """
        first, *others = self._literals
        for values in zip(*columns, strict=True):
            parts = [escaped(value) for value in values]
            parts[0] = self._reserved.get(values[0], parts[0])
            yield first + "".join(part + literal for part, literal in zip(parts, others, strict=True))

    def values(self, key: str) -> list[str] | None:
        """Return the values that a key was made from, in the order of ``columns``; None for a key of another kind."""
        match = self._pattern.fullmatch(key)
        # Only %, : and the first letter of a reserved name are ever encoded, each as one byte.
        return [unquote(part) for part in match.groups()] if match else None

    def can_make(self, key: str) -> bool:
        """Whether there are values from which this template makes the key."""
        return self._exact_pattern.fullmatch(key) is not None

    def __str__(self) -> str:
        return self._template
