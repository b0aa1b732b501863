"""Statements of the server's own on a client's session: not logged, under ids of their own."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from embedded_clickhouse.statements import open_result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from embedded_clickhouse.engine import EngineSession
    from embedded_clickhouse.statements import ResultStream

# Types on one line, as in a block; no records of the statement in the log.
OWN_SETTINGS = {"print_pretty_type_names": "0", "log_queries": "0"}


def own_stream(
    session: EngineSession,
    sql: bytes,
    fmt: str,
    settings: Mapping[str, str] | None = None,
    *,
    trusted: bool = False,
) -> ResultStream:
    """The result of a statement.

    :param settings: beside those of every own statement, which win.
    :param trusted: whether it names files of the server; then nothing of a client may be more than a value in it.
    """
    own = {**(settings or {}), **OWN_SETTINGS}
    return open_result(session, sql, fmt, query_id=str(uuid.uuid4()), settings=own, trusted=trusted)


def own_rows(session: EngineSession, sql: bytes, settings: Mapping[str, str] | None = None) -> list[list[str]]:
    """The rows of a small result."""
    with own_stream(session, sql, "JSONCompactEachRow", settings) as stream:
        return [json.loads(row) for row in b"".join(stream).splitlines()]
