"""Results in the Native format of a protocol revision, as ``client_protocol_version`` asks for.

The engine writes the format of files: no block info, and DateTime without its time zone.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from embedded_clickhouse.blocks import BLOCK_INFO, UnsupportedTypeError, blocks_of, retype_block
from embedded_clickhouse.errors import EngineError
from embedded_clickhouse.statements import open_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from embedded_clickhouse.engine import Engine, EngineSession
    from embedded_clickhouse.statements import ResultStream

_FIRST_REVISION_WITH_TIMEZONES = 54337


class NativeResult:
    """Rewrites the blocks of one result.

    :param engine: asked for the types of the result's columns, on a connection of its own.
    :param revision: the client's protocol revision, above 0.
    :param sql: the statement. The other parameters are those it runs with.
    """

    def __init__(
        self,
        engine: Engine,
        revision: int,
        sql: bytes,
        *,
        database: str | None,
        settings: Mapping[str, str],
        parameters: Mapping[str, str],
    ) -> None:
        self._engine = engine
        self._revision = revision
        self._sql = sql
        self._database = database
        self._settings = settings
        self._parameters = parameters
        self._types: dict[int, str] | None = None

    def look_ahead(self, session: EngineSession) -> None:
        """Find the types on the session of the statement, before it runs: only there its temporary tables exist."""
        if self._revision >= _FIRST_REVISION_WITH_TIMEZONES:
            self._types = self._described(session)

    def rewritten(self, result: ResultStream) -> Iterator[bytes]:
        """The blocks of a result in the client's revision."""
        for chunk in result:
            # A chunk that was not streamed may hold any number of blocks.
            for block in [chunk] if result.is_streaming else blocks_of(chunk):
                if self._types is None:
                    self._types = self._time_zones(block)
                yield BLOCK_INFO + (self._retype(block, self._types) if self._types else block)

    def _retype(self, block: bytes, types: Mapping[int, str]) -> bytes:
        try:
            return retype_block(block, types)
        except UnsupportedTypeError:
            # A column in front has no length that can be found; the client still reads the value in the server's zone.
            return block

    def _time_zones(self, block: bytes) -> dict[int, str]:
        """The columns whose type lost its time zone, by index, with their whole type."""
        if self._revision < _FIRST_REVISION_WITH_TIMEZONES or b"\x08DateTime" not in block:
            return {}
        try:
            with self._engine.session(database=self._database) as session:
                return self._described(session)
        except EngineError:
            # The database has gone meanwhile.
            return {}

    def _described(self, session: EngineSession) -> dict[int, str]:
        sql = b"DESCRIBE TABLE (\n" + self._sql + b"\n)"
        try:
            with open_result(
                session,
                sql,
                "JSONCompactEachRow",
                query_id=str(uuid.uuid4()),
                parameters=self._parameters,
                settings={**self._settings, "log_queries": "0"},
                database=self._database,
            ) as result:
                rows = b"".join(result).splitlines()
        except EngineError:
            # Not a SELECT: the server's own zone is right then as a rule.
            return {}
        types = [str(json.loads(row)[1]) for row in rows]
        return {index: name for index, name in enumerate(types) if name.startswith("DateTime(")}
