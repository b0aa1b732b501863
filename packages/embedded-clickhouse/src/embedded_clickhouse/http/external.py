"""External tables: files in a form that are temporary tables for its one query."""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Self

from embedded_clickhouse.errors import EngineError, disk_errors
from embedded_clickhouse.http.body import MAX_STATEMENT_BYTES
from embedded_clickhouse.http.multipart import MultipartReader, boundary_of
from embedded_clickhouse.http.request import check_format
from embedded_clickhouse.quoting import quote_identifier, quote_string
from embedded_clickhouse.sql import insert_from_file
from embedded_clickhouse.statements import LITERALS_ONLY, open_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from embedded_clickhouse.engine import EngineSession
    from embedded_clickhouse.http.body import Body
    from embedded_clickhouse.http.request import Request

_DEFAULT_NAME = "_data"
_DEFAULT_FORMAT = "TabSeparated"
# A quote without its end goes on to the end of the text, and the engine says so.
_TYPE_TOKEN = re.compile(r"'(?:[^'\\]++|\\(?:.|\Z))*+(?:'|\Z)|`(?:[^`\\]++|\\(?:.|\Z))*+(?:`|\Z)|.", re.DOTALL)


@dataclass
class _Table:
    name: str
    file: IO[bytes] = field(repr=False)
    structure: str = ""
    fmt: str = _DEFAULT_FORMAT


class ExternalTables:
    """The files of one request; a context manager that deletes them.

    :param spool_dir: where they wait for the query.
    """

    def __init__(self, spool_dir: Path) -> None:
        self._spool_dir = spool_dir
        self._tables: list[_Table] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for table in self._tables:
            # What a full disk did not take is written once more here, in vain; the file goes all the same.
            with contextlib.suppress(OSError):
                table.file.close()

    def __bool__(self) -> bool:
        return bool(self._tables)

    def read(self, body: Body, request: Request) -> None:
        """Read a form: its fields become part of the request, its files are kept.

        :raises EngineError: what the form or a table's description lacks.
        """
        fields = 0
        for part in MultipartReader(body, boundary_of(request.headers.get("content-type", ""))).parts():
            if part.is_file:
                self._keep(part.name or _DEFAULT_NAME, part.pieces)
                continue
            value = bytearray()
            for piece in part.pieces:
                value += piece
                if fields + len(value) > MAX_STATEMENT_BYTES:
                    raise EngineError(223, "QUERY_IS_TOO_LARGE", f"The form has over {MAX_STATEMENT_BYTES} bytes")
            fields += len(value)
            if part.name is None:
                raise EngineError(36, "BAD_ARGUMENTS", "A field of the multipart form in the body has no name.")
            request.put(part.name, value.decode(errors="surrogateescape"))
        # Only now: they may stand behind the files.
        for table in self._tables:
            self._describe(table, request)

    @contextlib.contextmanager
    def loaded(self, session: EngineSession, query_id: str, settings: Mapping[str, str]) -> Iterator[None]:
        """Have the tables in a session until the end of the block, with nothing else running in it.

        :param query_id: the query's, so that who cancels it cancels the loading as well.
        :param settings: the query's: some are about formats.
        :raises EngineError: 57 when the session has a temporary table of that name; what the engine finds in the data.
        """
        # Reading is allowed to who may only read: these tables are the client's own.
        # Literals only: what is in the files is data, and is not looked at as a statement is.
        own = {name: value for name, value in settings.items() if name != "readonly"}
        own |= {"log_queries": "0", **LITERALS_ONLY}

        def run(sql: bytes | str) -> None:
            # Its data waits in a file of the spool.
            with open_result(session, sql, "Null", query_id=query_id, settings=own, trusted=True) as result:
                for _ in result:
                    pass

        with contextlib.ExitStack() as made:
            for table in self._tables:
                name = quote_identifier(table.name)
                # The structure stays a value: it cannot bring clauses of its own into the statement.
                source = f"SELECT * FROM null({quote_string(table.structure)})"
                run(f"CREATE TEMPORARY TABLE {name} ENGINE = Memory AS {source}")
                made.callback(run, f"DROP TEMPORARY TABLE IF EXISTS {name}")
                run(insert_from_file(f"INSERT INTO {name}".encode(), table.file.name, table.fmt))
            yield

    def _keep(self, name: str, pieces: Iterator[bytes]) -> None:
        with disk_errors():
            file = tempfile.NamedTemporaryFile(dir=self._spool_dir, prefix="external-")  # noqa: SIM115 - closed at exit
            self._tables.append(_Table(name, file))
            for piece in pieces:
                file.write(piece)
            file.flush()

    def _describe(self, table: _Table, request: Request) -> None:
        structure, types, fmt = (
            request.settings.pop(f"{table.name}_{what}", "") for what in ("structure", "types", "format")
        )
        if types and not structure:
            structure = ", ".join(f"_{number} {name}" for number, name in enumerate(_split_types(types), start=1))
        if not structure:
            raise EngineError(
                36,
                "BAD_ARGUMENTS",
                f"Neither structure nor types have been provided for external table {table.name}. "
                f"Use the parameter {table.name}_structure or {table.name}_types.",
            )
        table.structure = structure
        if fmt:
            table.fmt = check_format(fmt)


def _split_types(types: str) -> list[str]:
    """The types of a list with commas between them; commas in brackets and quotes belong to a type."""
    depth, found = 0, [""]
    for token in _TYPE_TOKEN.findall(types):
        depth += (token == "(") - (token == ")")
        if token == "," and depth == 0:
            found.append("")
        else:
            found[-1] += token
    return [name.strip() for name in found]
