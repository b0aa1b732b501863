"""The record of who changed what, in the table ``web_audit``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from airflow.sdk._shared.secrets_masker import redact

if TYPE_CHECKING:
    import asyncpg

_INSERT = """
INSERT INTO web_audit (who, role, method, route, target, request_id, result, status, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb)
"""


class Result(StrEnum):
    """How a request ended."""

    DONE = "done"
    #: It was answered with an error of the caller's (4xx), and nothing was changed.
    REFUSED = "refused"
    #: It ended by a defect or an outage, and nothing was changed.
    FAILED = "failed"


@dataclass
class AuditRecord:
    """One request.

    :param who: the user's id.
    :param role: the user's roles, or the one that the permission asks for where users have none.
    :param route: the route's path with its parameters' names.
    :param target: what is changed; the path, until the route says it better.
    :param request_id: from ``X-Request-ID``, else made up.
    :param details: what the route says of the change.
    """

    who: str
    role: str
    method: str
    route: str
    target: str
    request_id: str
    details: dict[str, Any] = field(default_factory=dict)

    async def write(self, connection: asyncpg.Connection, result: Result, status: int) -> None:
        """Write it, with secrets masked as Airflow masks them in its logs."""
        details = json.dumps(_storable(redact(self.details)), default=str)
        await connection.execute(
            _INSERT, self.who, self.role, self.method, self.route, _storable(self.target), self.request_id,
            result.value, status, details,
        )  # fmt: skip


def _storable(value: Any) -> Any:
    """Return a value as PostgreSQL takes it: callers send NUL, half a surrogate pair, or a number that is none."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {_storable(str(name)): _storable(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_storable(one) for one in value]
    return value
