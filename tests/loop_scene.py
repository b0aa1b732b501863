"""A loop's runner with a clock, a lease and work that do what a test says."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from maxy.loops.loop import Loop, LoopEnvironment, Tick, TickResult
from maxy.loops.loop_log import LoopLog
from maxy.loops.runner import LoopRunner
from maxy.loops.schedule import Schedule
from maxy.loops.status import LoopStatus
from maxy.loops.tenure import Tenure
from maxy.valkey.lease import LeaseLost
from maxy.valkey.own_keys import ReplacedKeys
from tests.realtime_support import FakeClock, fast_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class FakeLease:
    """A lease without a server. ``before`` is called before each command is done, with the command's name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.replaced = ReplacedKeys()
        self.statuses: list[dict[str, str]] = []
        self.others = False
        self.key = "stats:realtime:loop:fake:lease"
        self.fence = 0
        self._holder = ""
        self.before: Callable[[str], Awaitable[None] | None] = lambda _: None

    async def _do(self, name: str) -> None:
        self.calls.append(name)
        waited_for = self.before(name)
        if waited_for is not None:
            await waited_for

    @property
    def holder(self) -> str:
        return self._holder

    async def acquire(self) -> bool:
        await self._do("acquire")
        if not self.others:
            self.fence += 1
        self._holder = "" if self.others else f"{self.fence}:me"
        return not self.others

    async def prolong(self) -> None:
        await self._do("prolong")
        self._check()

    async def release(self) -> None:
        await self._do("release")
        self._holder = ""

    def script(self, body: str) -> str:
        return body

    async def run(self, script: str, keys: list[str], args: list[Any]) -> None:
        await self._do("status")
        self._check()
        assert keys == ["stats:realtime:loop:fake"]
        self.statuses.append(dict(zip(args[1::2], args[2::2], strict=True)))

    def _check(self) -> None:
        if self.others or not self._holder:
            self._holder = ""
            raise LeaseLost("another copy's")


class FakeLoop(Loop):
    """Does at each tick what the test says.

    :param work: called with the number of the tick, from 0; returns or awaits the result.
    """

    name = "fake"
    period_seconds = 5.0

    def __init__(self, environment: LoopEnvironment, work: Callable[[int], Any]) -> None:
        super().__init__(environment)
        self._work = work
        self.ticks: list[datetime] = []
        self.resets = 0
        self.fences: list[str] = []

    async def tick(self, tick: Tick) -> TickResult:
        self.ticks.append(tick.now)
        self.fences.append(self.environment.lease.holder)
        result = self._work(len(self.ticks) - 1)
        if asyncio.iscoroutine(result):
            result = await result
        return TickResult() if result is None else result

    def reset(self) -> None:
        self.resets += 1


class Scene:
    """A runner and all that it uses.

    :param work: of the loop.
    :param seconds: until the deadline.
    :param patience: of the tenure: how long it waits for what never comes.
    :param options: settings of the loop.
    """

    def __init__(
        self,
        work: Callable[[int], Any] = lambda _: None,
        *,
        seconds: float = 60,
        observer: Any = None,
        patience: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock(START)
        self.lease = FakeLease()
        settings = fast_settings(**{"period_seconds": 5.0, **options})
        environment: Any = SimpleNamespace(
            lease=self.lease, prefix="stats:realtime", settings=settings, log=LoopLog(self.clock.monotonic)
        )
        self.loop = FakeLoop(environment, work)
        deadline = START + timedelta(seconds=seconds)
        schedule = Schedule(self.clock, period_seconds=settings.period_seconds, deadline=deadline)
        lease: Any = self.lease
        tenure = Tenure(lease, lease_seconds=settings["lease_seconds"], sleep=schedule.sleep, **(patience or {}))
        self.runner = LoopRunner(
            self.loop,
            clock=self.clock,
            deadline=deadline,
            host="here",
            observer=observer,
            tenure=tenure if patience else None,
        )

    def run(self) -> tuple[int, int]:
        summary = asyncio.run(asyncio.wait_for(self.runner.run(), 20))
        return summary.ticks, summary.failures

    @property
    def seconds(self) -> list[float]:
        """When the ticks were, in seconds from the start."""
        return [(moment - START).total_seconds() for moment in self.loop.ticks]

    @property
    def last_status(self) -> LoopStatus:
        status = LoopStatus.from_texts(self.lease.statuses[-1])
        assert status is not None
        return status


def fail(error: BaseException) -> None:
    raise error


async def forever() -> None:
    await asyncio.Event().wait()
