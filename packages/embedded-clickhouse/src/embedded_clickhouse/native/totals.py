"""Totals and extremes of a result, which the engine's Native format leaves out.

Its text formats write them behind the rows. So a statement that asks for them runs once, whole, as text, and the engine
turns each part of that into blocks again. Everything in between is exact: floats in as many digits as they need, times
in UTC.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import disk_errors
from embedded_clickhouse.native.own import own_rows, own_stream
from embedded_clickhouse.quoting import quote_identifier, quote_string

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from embedded_clickhouse.engine import EngineSession
    from embedded_clickhouse.native.result import Columns

TEXT_FORMAT = "TabSeparated"
# What the text is written with, whatever the client's own settings say.
WRITE_SETTINGS = {
    "date_time_output_format": "iso",
    "bool_true_representation": "true",
    "bool_false_representation": "false",
    "format_tsv_null_representation": "\\N",
    "output_format_tsv_crlf_end_of_line": "0",
    "output_format_decimal_trailing_zeros": "0",
}
_READ_SETTINGS = {
    "date_time_input_format": "best_effort",
    "bool_true_representation": "true",
    "bool_false_representation": "false",
    "format_tsv_null_representation": "\\N",
    "precise_float_parsing": "1",
    "input_format_tsv_empty_as_default": "0",
    "input_format_tsv_enum_as_number": "0",
    # So that the rows stay in order.
    "max_threads": "1",
    "input_format_parallel_parsing": "0",
}
_WITH_TOTALS = re.compile(rb"\bWITH\s+TOTALS\b", re.IGNORECASE)
_EXTREMES = re.compile(rb"\bextremes\b", re.IGNORECASE)


class TotalsWanted:
    """Knows which statements of a session ask for more than rows.

    :param session: the connection's own.
    """

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self._extremes = False

    def by(self, sql: bytes, settings: Mapping[str, str]) -> bool:
        """Whether this SELECT does. True costs time and memory, nothing else: its text alone may mislead."""
        extremes = settings["extremes"] not in {"", "0", "false"} if "extremes" in settings else self._extremes
        return extremes or bool(_WITH_TOTALS.search(sql) or _EXTREMES.search(sql))

    def note_set(self, sql: bytes) -> None:
        """Learn from a SET that has run."""
        if _EXTREMES.search(sql):
            self._extremes = own_rows(self._session, b"SELECT toString(getSetting('extremes'))") != [["false"]]


@dataclass(frozen=True)
class ResultText:
    """The parts of a result as text.

    :param rows: its rows, each with its line's end.
    :param totals: the row of its totals; None when it has none.
    :param extremes: the rows with the least and the largest values; None when it has none.
    """

    rows: bytes
    totals: bytes | None
    extremes: bytes | None

    @classmethod
    def parse(cls, text: bytes, rows: int) -> ResultText:
        """
        :param text: as the engine wrote it.
        :param rows: how many rows it has; an empty line may be one of them.
        """
        cut = 0
        for _ in range(rows):
            cut = text.index(b"\n", cut) + 1
        # Each part comes behind an empty line.
        rest = text[cut:].split(b"\n")[:-1]
        return cls(text[:cut], *_parts_behind(rest))


def _parts_behind(lines: list[bytes]) -> tuple[bytes | None, bytes | None]:
    """Totals are one line behind an empty one, extremes two."""
    totals = lines[1] + b"\n" if len(lines) in {2, 5} else None
    extremes = b"".join(line + b"\n" for line in lines[-2:]) if len(lines) in {3, 5} else None
    return totals, extremes


def blocks_from_text(session: EngineSession, columns: Columns, text: bytes) -> Iterator[bytes]:
    """The same rows as blocks.

    :raises EngineError: a type that the engine writes as text and cannot read back.
    """
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        # SELECT a, a: clients take the names from the header, and these are the engine's alone.
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    declared = zip(names, columns, strict=True)
    structure = ", ".join(f"{quote_identifier(name)} {type_name}" for name, (_, type_name) in declared)
    with tempfile.NamedTemporaryFile(dir=str(session.engine.spool_dir), prefix="result-") as spool:
        with disk_errors():
            spool.write(text)
            spool.flush()
        source = ", ".join((quote_string(spool.name), quote_string(TEXT_FORMAT), quote_string(structure)))
        sql = b"SELECT * FROM file(" + source.encode("utf-8", "surrogateescape") + b")"
        with own_stream(session, sql, "Native", _READ_SETTINGS, trusted=True) as stream:
            yield from stream
