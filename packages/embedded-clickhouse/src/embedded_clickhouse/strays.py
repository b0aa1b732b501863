"""What an earlier version let into a data folder: objects that read files outside the server's folders."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.quoting import quote_identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.engine import Engine

_log = logging.getLogger(__name__)

_OBJECTS = (
    "SELECT 'DATABASE', '', name, 'CREATE DATABASE x ENGINE = ' || engine_full FROM system.databases"
    " WHERE engine IN ('Filesystem', 'SQLite', 'URL', 'DataLakeCatalog', 'Backup')",
    "SELECT 'TABLE', database, name, create_table_query FROM system.tables"
    " WHERE lower(database) NOT IN ('system', 'information_schema') AND NOT endsWith(engine, 'MergeTree')",
)
_FUNCTIONS = "SELECT 'FUNCTION', '', name, create_query FROM system.functions WHERE origin = 'SQLUserDefined'"


def put_strays_aside(engine: Engine, *, is_walled: bool) -> list[str]:
    """Name, in the log, the objects that could not be made today, and detach them where nothing else stops them.

    :param is_walled: whether the process itself cannot leave its folders.
    :returns: their names as they stand in SQL, with their kinds.
    """
    found = list(_strays(engine))
    for kind, name in found:
        _log.warning(
            "%s %s reads or writes files outside the server's folders, and cannot be used: drop it.", kind, name
        )
        if not is_walled:
            # What is detached comes back with the next start, to be put aside again; a function can only be dropped.
            engine.execute(f"DROP FUNCTION {name}" if kind == "FUNCTION" else f"DETACH {kind} {name}")
    return [f"{kind} {name}" for kind, name in found]


def _strays(engine: Engine) -> Iterator[tuple[str, str]]:
    # That table is filled with every function and its documentation first: 35 MB, which stay.
    has_functions = engine.folders.user_defined.is_dir() and any(engine.folders.user_defined.iterdir())
    for sql in (*_OBJECTS, *([_FUNCTIONS] if has_functions else [])):
        for line in engine.execute(f"{sql} FORMAT JSONCompactEachRow").splitlines():
            kind, database, name, definition = json.loads(line)
            try:
                engine.confinement.check_canonical(definition)
            except EngineError:
                parts = [quote_identifier(part) for part in (database, name) if part]
                yield kind, ".".join(parts)
