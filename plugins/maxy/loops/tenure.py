"""The time for which one copy of long-lived work is the one that writes: its lease, and its fence number.

For loops that tick and for what works without pause, such as an ingester::

    try:
        while not done:
            if await tenure.take():
                await tenure.hold_while(asyncio.create_task(work()))
            await tenure.sleep(tenure.heartbeat_seconds)
    finally:
        await tenure.give_back()
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, TypeVar

from redis.exceptions import RedisError

from maxy.valkey.lease import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maxy.valkey.lease import Lease

_Result = TypeVar("_Result")


class LimitReached(Exception):
    """Work was cut off at its limit."""


class Tenure:
    """Takes a lease, keeps it while something is waited for, and gives it back.

    - No answer of Valkey is waited for longer than a heartbeat, that is, a third of the lease.
    - A server that does not answer ends no tenure: no other copy can take the lease there either, and the next write
      under the lease notices.
    - Each time the lease is taken, or the fence renewed, the fence number grows. What was sent under a former one and
      is still under way is refused from then on.
    - A cancellation that Valkey's client has swallowed is heeded at the next wait.

    :param lease: of this copy.
    :param lease_seconds: for how long the lease lasts without being prolonged.
    :param sleep: waits so many seconds, such as a clock's or, so that no deadline is slept through, a schedule's.
    :param release_seconds: how long giving the lease back may take; after that, it expires by itself.
    :param cancel_again_seconds: how soon work that swallows its cancellation is cancelled again.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        lease_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
        release_seconds: float = 2.0,
        cancel_again_seconds: float = 1.0,
    ) -> None:
        self._lease = lease
        self._sleep = sleep
        self._release_seconds = release_seconds
        self._cancel_again_seconds = cancel_again_seconds
        #: How often the lease is prolonged, and how long an answer may take.
        self.heartbeat_seconds = lease_seconds / 3

    @property
    def holder(self) -> str:
        """What the lease holds for this copy, ``<fence>:<token>``; empty without the lease."""
        return self._lease.holder

    async def take(self) -> bool:
        """Take the lease unless another copy holds it.

        :return: whether this copy holds it now.
        :raises redis.RedisError: on a server error.
        :raises OSError: on a network error, or if no answer came in time.
        """
        async with asyncio.timeout(self.heartbeat_seconds):
            return await self._lease.acquire()

    async def renew(self) -> None:
        """Go on under a new fence number, so that no write that was sent before arrives after this.

        :raises LeaseLost: it is another copy's now.
        :raises redis.RedisError: on a server or network error.
        """
        if not await self._lease.acquire():
            raise LeaseLost(f"{self._lease.key} has been taken by another copy")

    async def prolong(self) -> None:
        """Keep the lease for its whole time again.

        :raises LeaseLost: it is another copy's now.
        """
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(self.heartbeat_seconds):
                await self._lease.prolong()

    async def hold(self, seconds: float) -> None:
        """Wait, but no longer than a heartbeat; where more is left to wait for, prolong the lease then.

        :raises LeaseLost: it is another copy's now.
        """
        await self.sleep(min(seconds, self.heartbeat_seconds))
        if seconds > self.heartbeat_seconds:
            await self.prolong()

    async def hold_while(
        self,
        work: asyncio.Future[_Result],
        *,
        seconds_left: Callable[[], float] = lambda: math.inf,
        name: str = "the work",
    ) -> _Result:
        """Wait for work, prolonging the lease meanwhile. However this ends, the work has ended before.

        :param work: is cancelled when the lease is lost, at its limit, and when this is cancelled.
        :param seconds_left: returns how long the work may go on; asked at each heartbeat.
        :param name: of the work, for errors.
        :raises LeaseLost: the lease is another copy's now.
        :raises LimitReached: the work has reached its limit.
        :raises RuntimeError: the work has cancelled itself.
        """
        work.add_done_callback(_retrieve_exception)
        try:
            while True:
                heed_cancellation()
                patience = max(0.0, min(self.heartbeat_seconds, seconds_left()))
                done, _ = await asyncio.wait({work}, timeout=patience)
                if done:
                    return _result_of(work, name)
                if seconds_left() <= 0:
                    raise LimitReached(f"{name} was cut off at its limit")
                await self.prolong()
        finally:
            while work.cancel():
                # Not `await work`: its end could not be told from a cancellation of this copy itself. And more than
                # once, since a library may swallow it.
                await asyncio.wait({work}, timeout=self._cancel_again_seconds)

    async def sleep(self, seconds: float) -> None:
        """Wait without prolonging the lease, such as for another copy to end."""
        heed_cancellation()
        await self._sleep(seconds)

    async def give_back(self) -> None:
        """Let a successor start at once. If that does not work, the lease expires by itself."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(self._release_seconds):
                await self._lease.release()


def heed_cancellation() -> None:
    """End if this copy was cancelled while it waited for Valkey.

    redis-py 8 swallows a cancellation that comes between a command and its answer if it has a socket timeout; the work
    would go on for ever, lease in hand.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _result_of(work: asyncio.Future[_Result], name: str) -> _Result:
    if work.cancelled():
        # Nobody has cancelled this copy, so it must not end as if somebody had.
        raise RuntimeError(f"{name} was cancelled from within")
    return work.result()


def _retrieve_exception(work: asyncio.Future[_Result]) -> None:
    """Keep asyncio from complaining about a failure of work that was cut off."""
    if not work.cancelled():
        work.exception()
