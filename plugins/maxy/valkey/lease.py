"""The lease of a live loop: of all its copies, exactly one writes.

A trigger is at-least-once: for some seconds two triggerers may run the same one, and a stopped one may wake up later.
So every write is a Lua script that first looks whether the writer still holds the lease.

The same scripts put right what somebody else has made of the loop's keys, see :mod:`maxy.valkey.own_keys`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from maxy.text import decoded
from maxy.valkey.lease_bounds import LONGEST_LEASE_SECONDS
from maxy.valkey.own_keys import ReplacedKeys
from maxy.valkey.scripts import read_script

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

_LOST = "LEASELOST"


class LeaseLost(Exception):
    """Another copy of the loop holds the lease, or the lease is gone. Nothing was written."""


class Lease:
    """The right to write for one loop.

    :param client: connected to a server that is not a cluster. Answers may be bytes or text.
    :param key: where the lease is kept; ``<key>:fence`` keeps the last fence number.
    :param ttl: how long the lease lasts without being prolonged; each write prolongs it.
    :param token: names this copy; two copies must not share it.
    """

    def __init__(self, client: Redis, key: str, *, ttl: timedelta, token: str | None = None) -> None:
        self._client = client
        #: Where the lease is kept.
        self.key = key
        self._ttl_ms = int(ttl.total_seconds() * 1000)
        self._token = token or uuid.uuid4().hex
        self._holder: str | None = None
        self._asked = False
        #: Keys that held something else, and were replaced.
        self.replaced = ReplacedKeys()
        self._acquire = client.register_script(_wrap(read_script("acquire_lease")))
        self._release = client.register_script(read_script("release_lease"))
        self._prolong = self.script("")

    @property
    def held(self) -> bool:
        """Whether this copy held the lease when it last heard of it."""
        return self._holder is not None

    @property
    def holder(self) -> str:
        """What the lease holds for this copy, ``<fence>:<token>``; empty if it does not hold it."""
        return self._holder or ""

    @property
    def fence(self) -> int:
        """The number of this tenure, above that of every former holder; 0 without the lease."""
        return int(self.holder.partition(":")[0] or 0)

    async def acquire(self) -> bool:
        """Take the lease unless another copy holds it.

        A copy that holds it already gets a new fence number: writes that it sent before and that are still under way,
        such as those of a tick that was cut off, are refused from then on. What no copy can have written there is
        nobody's lease, and is replaced.

        :raises redis.RedisError: on a server or network error.
        """
        self._asked = True
        longest_ms = max(LONGEST_LEASE_SECONDS * 1000, self._ttl_ms)
        answer = self._unwrap(
            await self._acquire(keys=[self.key, f"{self.key}:fence"], args=[self._token, self._ttl_ms, longest_ms])
        )
        self._holder = decoded(answer) if answer else None
        return self.held

    async def prolong(self) -> None:
        """Keep the lease for another ``ttl``.

        :raises LeaseLost: it is not this copy's any more.
        :raises redis.RedisError: on a server or network error.
        """
        await self.run(self._prolong, [], [])

    async def release(self) -> None:
        """Give the lease back; harmless when it is another copy's.

        :raises redis.RedisError: on a server or network error.
        """
        asked, self._asked, self._holder = self._asked, False, None
        # Also when no answer came: the server may have granted the lease all the same.
        if asked:
            await self._release(keys=[self.key], args=[self._token])

    def forget(self) -> None:
        """Stop counting on the lease without giving it back."""
        self._holder = None

    def script(self, body: str) -> AsyncScript:
        """Return a script that runs only while this copy holds the lease.

        :param body: Lua; its own keys begin with ``KEYS[2]``, its own arguments with ``ARGV[3]``. With
            ``own('HSET', key, ...)`` for ``redis.call`` and ``set(key, ...)`` for SET, a key of another type is
            replaced instead of failing the script.
        """
        return self._client.register_script(_wrap(f"{read_script('fenced')}\n{body}"))

    async def run(self, script: AsyncScript, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script made by :meth:`script`; it prolongs the lease.

        :return: the script's answer.
        :raises LeaseLost: the lease is not this copy's; the script did nothing.
        :raises redis.RedisError: on a server or network error.
        """
        if self._holder is None:
            raise LeaseLost(f"{self.key} is not held")
        try:
            return self._unwrap(await script(keys=[self.key, *keys], args=[self._holder, self._ttl_ms, *args]))
        except ResponseError as error:
            if _LOST not in str(error):
                raise
            self._holder = None
            raise LeaseLost(f"{self.key}: {error}") from None

    def _unwrap(self, answer: Sequence[Any]) -> Any:
        """Note what a script has replaced, and return its own answer."""
        (count, *named), *own = answer
        if count:
            self.replaced.add(int(count), zip(named[::2], named[1::2], strict=True))
        return own[0] if own else None


def _wrap(body: str) -> str:
    """Return a script whose answer also says which keys it has replaced, see own_keys.lua."""
    return f"""{read_script("own_keys")}
local function run()
{body}
end
local answer = run()
if type(answer) == 'table' and answer.err then
  return answer
end
return {{replaced, answer}}
"""
