"""The columns that the client of an insert is to send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from embedded_clickhouse.blocks import UnsupportedTypeError, check_type
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.native.own import own_rows

if TYPE_CHECKING:
    from embedded_clickhouse.engine import EngineSession
    from embedded_clickhouse.native.result import Columns
    from embedded_clickhouse.sql import InsertData

# Quantifiers that never give back: a list that is none is seen to be none in one pass.
_COLUMN = re.compile(rb"(?:`(?:[^`\\]++|\\.|``)*+`|\"(?:[^\"\\]++|\\.|\"\")*+\"|[\w.$\x80-\xff])++", re.DOTALL)
_COLUMN_LIST = re.compile(rb"\(\s*+(?:%b\s*+(?:,\s*+)?)++\)" % _COLUMN.pattern, re.DOTALL)
# Columns that are computed: a client sends them only when it names them.
_NOT_STORED = frozenset({"MATERIALIZED", "ALIAS", "EPHEMERAL"})


def sample_columns(session: EngineSession, insert: InsertData) -> Columns:
    """The columns a client is to send, in the order of the statement's list.

    :raises EngineError: there is no such table or column; 48 for a column that cannot be taken in as a block.
    """
    columns, target = insert.columns, insert.target
    if insert.structure is not None:
        columns, target = None, b"null(" + insert.structure + b")"
    names = None if columns is None else _column_names(columns)
    if columns is not None and names is None:
        # Such as (* EXCEPT (a)): the engine expands it.
        select = b"DESCRIBE TABLE (SELECT " + columns[1:-1] + b" FROM " + target + b")"
        sample = [(name, type_name) for name, type_name, *_ in own_rows(session, select)]
    else:
        sample = _pick(own_rows(session, b"DESCRIBE TABLE " + target), names)
    for name, type_name in sample:
        _check_column(name, type_name)
    return sample


def _column_names(listed: bytes) -> list[str] | None:
    """The names in an insert's list of columns; None when there is more than names in it."""
    if not _COLUMN_LIST.fullmatch(listed):
        return None
    return [_unquoted(match[0].decode(errors="surrogateescape")) for match in _COLUMN.finditer(listed)]


def _unquoted(name: str) -> str:
    if name[0] not in '`"':
        return name
    return re.sub(r"\\(.)|``|\"\"", lambda match: match[1] or match[0][0], name[1:-1])


def _pick(described: list[list[str]], names: list[str] | None) -> Columns:
    """The named columns, or all that a table stores."""
    if names is None:
        return [(name, type_name) for name, type_name, kind, *_ in described if kind not in _NOT_STORED]
    types = {name: type_name for name, type_name, *_ in described}
    for name in names:
        if name not in types:
            raise EngineError(16, "NO_SUCH_COLUMN_IN_TABLE", f"No such column {name} in the table")
    return [(name, types[name]) for name in names]


def _check_column(name: str, type_name: str) -> None:
    try:
        check_type(type_name)
    except UnsupportedTypeError as error:
        message = f"Column {name}: {error}. Leave it out of the column list, or insert over HTTP."
        raise EngineError(48, "NOT_IMPLEMENTED", message) from error
