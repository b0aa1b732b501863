"""The rows that are written as hashes, and their way into arguments of scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What one script takes at the most: some milliseconds' work, whatever the batch size and the values are.
_MOST_VALUES = 4000
_MOST_CHARACTERS = 500_000


class HashRows:
    """Keys with the values of their fields; rows without any value are left out, since Valkey has no empty hash.

    :param keys: the keys, each once.
    :param fields: the names of the fields.
    :param columns: the values field by field, each in the order of the keys; None leaves the field out.
    :raises ValueError: if a key is there twice, or the numbers of keys, fields and values do not fit.
    """

    def __init__(self, keys: Sequence[str], fields: Sequence[str], columns: Sequence[Sequence[str | None]]) -> None:
        if not fields or len(fields) != len(columns):
            raise ValueError(f"{len(fields)} fields, but values for {len(columns)}")
        if len(set(fields)) < len(fields):
            raise ValueError(f"a field is there twice: {', '.join(fields)}")
        for column in columns:
            if len(column) != len(keys):
                raise ValueError(f"{len(keys)} keys, but values for {len(column)}")
        _require_unique(keys)
        #: Keys that were left out.
        self.left_out: Sequence[str] = []
        if all(None in column for column in columns):
            kept = [any(value is not None for value in row) for row in zip(*columns, strict=True)]
            self.left_out = [key for key, keep in zip(keys, kept, strict=True) if not keep]
            if self.left_out:
                keys = [key for key, keep in zip(keys, kept, strict=True) if keep]
                columns = [[value for value, keep in zip(column, kept, strict=True) if keep] for column in columns]
        self.keys = keys
        self.fields = fields
        self._columns = columns

    def __len__(self) -> int:
        return len(self.keys)

    def slices(self, most: int) -> Iterator[range]:
        """Yield the rows' positions in slices that one script takes: so many rows at the most, or fewer large ones."""
        start = 0
        most = max(1, min(most, _MOST_VALUES // len(self.fields)))
        while start < len(self):
            part = range(start, min(start + most, len(self)))
            while len(part) > 1 and self._characters(part) > _MOST_CHARACTERS:
                part = part[: len(part) // 2]
            yield part
            start = part.stop

    def values(self, part: range, absent: str) -> Iterator[tuple[str, ...]]:
        """Return the values of a slice, row by row.

        :param absent: stands for None.
        """
        columns = (column[part.start : part.stop] for column in self._columns)
        return zip(
            *([absent if value is None else value for value in column] for column in columns),
            strict=True,
        )

    def _characters(self, part: range) -> int:
        return sum(len(value) for column in self._columns for value in column[part.start : part.stop] if value)


def _require_unique(keys: Sequence[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"key {key!r} comes from more than one row: its template needs more columns")
        seen.add(key)
