"""The rows that are inserted and selected: the same ones in every format, as bytes, lists, arrays and Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

DATABASE = "bench"
COLUMNS = ("id", "at", "user", "country", "price", "note")
LISTED = ", ".join(COLUMNS)
INSERT = f"INSERT INTO target ({LISTED})"
SELECT = f"SELECT {LISTED} FROM source"
COUNT = "SELECT count() FROM target"
EMPTY = "TRUNCATE TABLE target"
_TABLE = (
    "(id UInt64, at DateTime, user UInt32, country LowCardinality(String), price Float64, note String)"
    " ENGINE = MergeTree ORDER BY id"
)
#: An engine's tables; what is inserted is not merged meanwhile, and what is selected is in one part.
PREPARE = (
    f"CREATE TABLE target {_TABLE}",
    "SYSTEM STOP MERGES target",
    f"CREATE TABLE source {_TABLE}",
)
_COUNTRIES = ("KR", "US", "JP", "DE", "FR")
_SECONDS_0, _SECONDS_PERIOD, _USERS, _NOTES = 1_700_000_000, 86_400, 100_000, 1000


def fill(rows: int) -> str:
    """Return the statement that fills what is selected."""
    countries = ", ".join(f"'{country}'" for country in _COUNTRIES)
    return (
        "INSERT INTO source SELECT"
        f" number, {_SECONDS_0} + number % {_SECONDS_PERIOD}, number * 7919 % {_USERS},"
        f" [{countries}][number % {len(_COUNTRIES)} + 1], number / 8, concat('note ', toString(number % {_NOTES}))"
        f" FROM numbers({rows})"
    )


@dataclass(frozen=True)
class Rows:
    """The rows in this process.

    :param arrays: a numpy array for each column.
    """

    arrays: Sequence[Any]

    @classmethod
    def make(cls, rows: int) -> Rows:
        """Make as many of them as `fill` does."""
        number = np.arange(rows, dtype=np.uint64)
        names = np.array(_COUNTRIES, dtype=object)
        notes = np.array([f"note {index}" for index in range(_NOTES)], dtype=object)
        return cls(
            (
                number,
                (number % _SECONDS_PERIOD + _SECONDS_0).astype("datetime64[s]"),
                (number * 7919 % _USERS).astype(np.uint32),
                names[number % len(names)],
                number / 8,
                notes[number % _NOTES],
            )
        )

    def tuples(self) -> list[tuple[Any, ...]]:
        """Return them as Python's own values."""
        number, at, *others = (array.tolist() for array in self.arrays)
        return list(zip(number, [moment.replace(tzinfo=UTC) for moment in at], *others, strict=True))

    def frame(self) -> pd.DataFrame:
        """Return them as a data frame on the same arrays."""
        return pd.DataFrame(dict(zip(COLUMNS, self.arrays, strict=True)))

    def arrow(self) -> pa.Table:
        """Return them as a table of Arrow."""
        columns = dict(zip(COLUMNS, self.arrays, strict=True))
        columns["at"] = self.arrays[1].astype(np.uint32)
        return pa.table(columns)
