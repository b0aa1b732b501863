"""Repeats of a request: who sends an ``Idempotency-Key`` twice changes something once.

A key belongs to a user and a route, and is remembered for a day together with a fingerprint of the request and its
answer. The answer is stored in the change's own transaction, so there is one exactly if the change has been made. While
the transaction is open it holds an advisory lock for the key: a repeat that comes meanwhile is told so at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import HTTPException
from fastapi.responses import Response

if TYPE_CHECKING:
    import asyncpg
    from fastapi import Request

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
#: Hours that an answer is kept.
KEPT_HOURS = 24
_LONGEST_KEY = 200
# Expired rows that a change with a key removes in passing: more than it adds, so that the table cannot grow.
_REMOVED_AT_ONCE = 20

_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
_FIND = """
SELECT fingerprint, status, media_type, body FROM web_idempotency
WHERE who = $1 AND route = $2 AND key = $3 AND expires_at > now()
"""
_STORE = """
INSERT INTO web_idempotency (who, route, key, fingerprint, status, media_type, body, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(hours => $8))
ON CONFLICT (who, route, key) DO UPDATE
SET fingerprint = excluded.fingerprint, status = excluded.status, media_type = excluded.media_type,
    body = excluded.body, created_at = now(), expires_at = excluded.expires_at
"""
_REMOVE_EXPIRED = """
DELETE FROM web_idempotency WHERE (who, route, key) IN (
    SELECT who, route, key FROM web_idempotency WHERE expires_at <= now()
    ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
"""


class Replay(Exception):
    """The request was answered before.

    :param response: that answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response


@dataclass(frozen=True)
class IdempotencyKey:
    """A request that may be a repeat.

    :param who: the user's id.
    :param route: method and path of the route, with its parameters' names.
    :param key: as the caller sent it.
    :param fingerprint: tells one request from another.
    """

    who: str
    route: str
    key: str
    fingerprint: str

    async def claim(self, connection: asyncpg.Connection) -> None:
        """Hold the key until the transaction ends.

        :raises Replay: it was answered.
        :raises HTTPException: 409, another request with it is under way; 422, it came with another request.
        """
        if not await connection.fetchval(_LOCK, "\x1f".join((self.who, self.route, self.key))):
            raise HTTPException(
                409, f"a request with this {HEADER} is under way: ask again later", headers={"Retry-After": "1"}
            )
        found = await connection.fetchrow(_FIND, self.who, self.route, self.key)
        if found is None:
            return
        if found["fingerprint"] != self.fingerprint:
            raise HTTPException(422, f"this {HEADER} came with another request: a new request needs a new one")
        headers = {REPLAYED: "true"}
        raise Replay(Response(found["body"], found["status"], headers, found["media_type"] or None))

    async def store(self, connection: asyncpg.Connection, response: Response) -> None:
        """Keep the answer, for the transaction's end."""
        media_type = response.headers.get("content-type", "")
        await connection.execute(
            _STORE, self.who, self.route, self.key, self.fingerprint, response.status_code, media_type,
            bytes(response.body), KEPT_HOURS,
        )  # fmt: skip
        await connection.execute(_REMOVE_EXPIRED, _REMOVED_AT_ONCE)


async def key_of(request: Request, *, who: str, route: str) -> IdempotencyKey | None:
    """Return the request's key; None if it has none.

    :raises HTTPException: 400, it is no key.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not (key.isascii() and key.isprintable() and 1 <= len(key) <= _LONGEST_KEY):
        raise HTTPException(400, f"{HEADER}: expected 1 to {_LONGEST_KEY} printable ASCII characters")
    content = hashlib.sha256()
    for part in (request.url.path, request.url.query, request.headers.get("content-type", "")):
        content.update(part.encode() + b"\0")
    content.update(await request.body())
    return IdempotencyKey(who, route, key, content.hexdigest())
