"""Tables that a client sends along with a statement: temporary tables of its session until the statement's end."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Self

from embedded_clickhouse.blocks import check_type
from embedded_clickhouse.native.own import OWN_SETTINGS, own_stream
from embedded_clickhouse.quoting import quote_identifier
from embedded_clickhouse.statements import open_insert
from embedded_clickhouse.wire import MalformedInput

if TYPE_CHECKING:
    from embedded_clickhouse.blocks import Block, Column
    from embedded_clickhouse.engine import EngineSession

# Types that CREATE TABLE warns of are no business of a table that lives for one statement.
_SETTINGS = {
    "allow_suspicious_low_cardinality_types": "1",
    "allow_suspicious_fixed_string_types": "1",
}


class ExternalTables:
    """The tables of one statement; a context manager that drops them.

    :param session: the connection's own. Its tables win over those of the database that have the same name.
    """

    def __init__(self, session: EngineSession) -> None:
        self._session = session
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._names:
            self._run(b"DROP TEMPORARY TABLE IF EXISTS " + _identifier(name))
        self._names.clear()

    def add(self, name: str, block: Block) -> None:
        """Make the table when it is new, and store the block in it.

        :raises EngineError: 57 when the session has a temporary table of that name already.
        :raises MalformedInput: the table has no name, or a column's type is none.
        """
        if not name:
            raise MalformedInput("data without the name of a table came along with a statement")
        if name not in self._names:
            columns = b", ".join(_declared(column) for column in block.columns)
            self._run(b"CREATE TEMPORARY TABLE " + _identifier(name) + b" (" + columns + b") ENGINE = Memory")
            self._names.append(name)
        if not block.rows:
            return
        target = b"INSERT INTO " + _identifier(name)
        with open_insert(self._session, target, "Native", query_id=str(uuid.uuid4()), settings=OWN_SETTINGS) as stream:
            stream.append(block.body)
            stream.commit()

    def _run(self, sql: bytes) -> None:
        with own_stream(self._session, sql, "Null", _SETTINGS):
            pass


def _declared(column: Column) -> bytes:
    # The type becomes part of a statement, so it must be a type and nothing behind it.
    check_type(column.type_name)
    return _identifier(column.name) + b" " + column.type_name.encode("utf-8", "surrogateescape")


def _identifier(name: str) -> bytes:
    return quote_identifier(name).encode("utf-8", "surrogateescape")
