"""A loop that blocks the thread of all is named, and the others are not blamed for it."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import itertools
import logging
import string
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from maxy.clock import SystemClock
from maxy.loops.blocked_thread import BlockedThread, place_of
from maxy.loops.health import HealthLimits, LoopState
from maxy.loops.loop import Loop, TickResult
from maxy.loops.loop_log import LoopLog
from maxy.loops.runner import LoopRunner
from maxy.loops.status import LoopStatus
from maxy.loops.thread_use import SLOW_STEP_SECONDS, SYSTEM_STOPWATCH, StepTimer, Stopwatch, ThreadUse
from tests.loop_scene import FakeLease
from tests.realtime_support import FakeClock, fast_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from maxy.loops.loop import Tick

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LIMITS = HealthLimits(stale_periods=4, stale_seconds=30, failures=3, lag_periods=2)


class SharedClock(FakeClock):
    """A clock of several loops: it moves on to the next one that wakes up when all of them sleep."""

    def __init__(self) -> None:
        super().__init__(START)
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = itertools.count()

    async def sleep(self, seconds: float) -> None:
        wakes = asyncio.Event()
        heapq.heappush(self._sleepers, (self.monotonic() + seconds, next(self._numbers), wakes))
        await wakes.wait()

    async def drive(self) -> None:
        while True:
            # Far more than the steps of a tick with fakes.
            for _ in range(100):
                await asyncio.sleep(0)
            if self._sleepers:
                moment, _, wakes = heapq.heappop(self._sleepers)
                self.advance(max(0.0, moment - self.monotonic()))
                wakes.set()


class NamedLease(FakeLease):
    async def run(self, script: str, keys: list[str], args: list[Any]) -> None:
        self.statuses.append(dict(zip(args[1::2], args[2::2], strict=True)))


class Working(Loop):
    """Does at each tick what the test says."""

    period_seconds = 2.0

    def __init__(self, environment: Any, name: str, work: Callable[[], Awaitable[None]]) -> None:
        super().__init__(environment)
        self.name = name  # type: ignore[misc]
        self._work = work

    async def tick(self, tick: Tick) -> TickResult:
        await self._work()
        return TickResult()


async def nothing() -> None:
    await asyncio.sleep(0)


class Copies:
    """Loops that tick in one thread.

    :param works: what each does at a tick, by its name.
    """

    def __init__(self, clock: Any = None, **works: Callable[[], Awaitable[None]]) -> None:
        self.clock = clock or SharedClock()
        self.works = works
        self.leases = {name: NamedLease() for name in works}

    def run(self, seconds: float = 20, **options: Any) -> None:
        asyncio.run(asyncio.wait_for(self._run(seconds, **options), 30))

    async def _run(self, seconds: float, **options: Any) -> None:
        driving = asyncio.ensure_future(self.clock.drive()) if isinstance(self.clock, SharedClock) else None
        await asyncio.gather(*(self._runner(name, seconds, **options).run() for name in self.works))
        if driving is not None:
            driving.cancel()

    def _runner(self, name: str, seconds: float, **options: Any) -> LoopRunner:
        settings = fast_settings(**{"period_seconds": 2.0, **options})
        environment = SimpleNamespace(
            lease=self.leases[name], prefix="p", settings=settings, log=LoopLog(self.clock.monotonic)
        )
        loop = Working(environment, name, self.works[name])
        return LoopRunner(loop, clock=self.clock, deadline=self.clock.now() + timedelta(seconds=seconds))

    def statuses(self, name: str) -> list[LoopStatus]:
        read = [LoopStatus.from_texts(texts) for texts in self.leases[name].statuses]
        return [status for status in read if status is not None]

    def worst(self, name: str) -> LoopStatus:
        return max(self.statuses(name), key=lambda status: max(status.blocked_seconds, status.held_up_seconds))


# --- Ways of blocking


def blocking(clock: FakeClock, seconds: float) -> None:
    clock.advance(seconds)


async def at_once(clock: FakeClock) -> None:
    blocking(clock, 5)


async def after_waiting(clock: FakeClock) -> None:
    await asyncio.sleep(0)
    blocking(clock, 5)
    await asyncio.sleep(0)


async def in_two_steps(clock: FakeClock) -> None:
    blocking(clock, 2)
    await asyncio.sleep(0)
    blocking(clock, 3)


async def in_a_task_of_its_own(clock: FakeClock) -> None:
    await asyncio.gather(nothing(), after_waiting(clock))


async def in_a_task_of_a_task(clock: FakeClock) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(in_a_task_of_its_own(clock))


async def in_wait_for(clock: FakeClock) -> None:
    await asyncio.wait_for(after_waiting(clock), 10)


async def in_a_generator(clock: FakeClock) -> None:
    async def rows() -> Any:
        for number in range(2):
            blocking(clock, 2.5)
            yield number

    async for _ in rows():
        await asyncio.sleep(0)


async def then_failing(clock: FakeClock) -> None:
    blocking(clock, 5)
    raise ValueError("no figures")


WAYS = [
    at_once, after_waiting, in_two_steps, in_a_task_of_its_own, in_a_task_of_a_task, in_wait_for, in_a_generator,
    then_failing,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_loop_that_blocks_is_named_and_those_it_makes_late_are_not(
    way: Callable[[FakeClock], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = SharedClock()
    copies = Copies(clock, sales=lambda: way(clock), orders=nothing, visits=nothing)
    copies.run()
    culprit = copies.worst("sales")
    assert culprit.blocked_seconds == pytest.approx(5)
    health = LIMITS.judge(culprit, culprit.last_tick_at or START)
    if way is then_failing:
        failed = copies.statuses("sales")[-1]
        problem = LIMITS.judge(failed, failed.last_tick_at or START).problem or ""
        assert "ValueError: no figures" in problem
        assert problem.endswith("; it blocked the thread of all loops for 5.0 s in one tick")
    else:
        assert health.state is LoopState.BLOCKING
        assert health.problem == "it blocked the thread of all loops for 5.0 s in one tick"
    assert culprit.held_up_by == ""
    assert "sales: a tick blocked the thread of all loops for 5.0 s" in caplog.text
    for name in ("orders", "visits"):
        held_up = copies.worst(name)
        assert (held_up.blocked_seconds, held_up.held_up_by) == (0, "sales")
        assert 0 < held_up.held_up_seconds <= held_up.lag_seconds
        for status in copies.statuses(name):
            assert LIMITS.judge(status, status.last_tick_at or START).state is LoopState.OK
        assert f"{name}: the thread was blocked by sales for" in caplog.text
        assert f"{name}: a tick blocked" not in caplog.text


def test_short_steps_block_nobody(caplog: pytest.LogCaptureFixture) -> None:
    clock = SharedClock()

    async def many_short_steps() -> None:
        for _ in range(20):
            blocking(clock, SLOW_STEP_SECONDS * 0.9)
            await asyncio.sleep(0)

    copies = Copies(clock, sales=many_short_steps, orders=nothing)
    copies.run()
    for name in ("sales", "orders"):
        assert copies.worst(name).blocked_seconds == copies.worst(name).held_up_seconds == 0
    assert "blocked" not in caplog.text


def test_waiting_is_not_blocking() -> None:
    clock = SharedClock()
    copies = Copies(clock, sales=lambda: clock.sleep(1.5), orders=nothing)
    copies.run()
    assert copies.worst("sales").blocked_seconds == copies.worst("orders").held_up_seconds == 0


def test_a_block_is_told_for_a_minute_and_then_forgotten() -> None:
    clock = SharedClock()
    ticks = itertools.count()

    async def once() -> None:
        if next(ticks) == 1:
            blocking(clock, 1.5)

    copies = Copies(clock, sales=once)
    copies.run(seconds=80)
    told = []
    for status in copies.statuses("sales"):
        if status.blocked_seconds:
            assert status.last_tick_at is not None
            told.append((status.last_tick_at - START).total_seconds())
    # It ended at 3.5 s.
    assert told[0] == 2
    assert 60 <= told[-1] < 64


def test_a_loop_that_is_slow_by_itself_is_late_all_the_same() -> None:
    clock = SharedClock()
    copies = Copies(clock, slow=lambda: clock.sleep(7), sales=lambda: after_waiting(clock))
    copies.run(seconds=60)
    status = copies.statuses("slow")[-1]
    assert status.held_up_by == "sales"
    own = status.lag_seconds - status.held_up_seconds
    assert (LIMITS.judge(status, status.last_tick_at or START).state is LoopState.LATE) == (own > 4)


def test_the_time_that_others_blocked_counts_for_no_limit_and_is_named_in_errors() -> None:
    clock = SharedClock()
    started = asyncio.Event()

    async def block_while_the_other_ticks() -> None:
        await started.wait()
        blocking(clock, 4)

    async def fail_meanwhile() -> None:
        started.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise TimeoutError("no answer")

    copies = Copies(clock, sales=block_while_the_other_ticks, orders=fail_meanwhile)
    copies.run(seconds=4)
    assert copies.statuses("orders")[0].last_error == (
        "TimeoutError: no answer (meanwhile the thread was blocked by sales for 4.0 s)"
    )


def test_a_tick_that_others_hold_up_is_not_cut_off_for_it() -> None:
    # The limit is asyncio's time, so the thread is really blocked.
    async def block() -> None:
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - what it is about

    async def short() -> None:
        for _ in range(5):
            await asyncio.sleep(0.02)

    copies = Copies(SystemClock(), sales=block, orders=short)
    copies.run(seconds=0.5, period_seconds=10.0, tick_limit_seconds=0.25)
    (orders,) = copies.statuses("orders")
    assert (orders.ticks, orders.failures) == (1, 0)
    assert copies.statuses("sales")[0].blocked_seconds >= 0.3


def test_what_blocks_while_the_loop_is_made_is_in_its_first_status() -> None:
    clock, lease = SharedClock(), NamedLease()
    environment: Any = SimpleNamespace(
        lease=lease, prefix="p", settings=fast_settings(2.0), log=LoopLog(clock.monotonic)
    )

    class Reading(Working):
        def __init__(self, given: Any) -> None:
            super().__init__(given, "sales", nothing)
            blocking(clock, 4)

    async def scenario() -> None:
        steps = StepTimer("sales", Stopwatch(clock.monotonic))
        loop = steps.call(lambda: Reading(environment))
        driving = asyncio.ensure_future(clock.drive())
        await LoopRunner(loop, clock=clock, deadline=clock.now() + timedelta(seconds=3), steps=steps).run()
        driving.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert lease.statuses[0]["blocked_seconds"] == "4.000"


def test_what_blocks_while_it_forgets_is_counted_too() -> None:
    clock = SharedClock()

    class Forgetful(Working):
        def reset(self) -> None:
            blocking(clock, 3)

    lease = NamedLease()
    environment: Any = SimpleNamespace(
        lease=lease, prefix="p", settings=fast_settings(2.0), log=LoopLog(clock.monotonic)
    )
    loop = Forgetful(environment, "sales", nothing)

    async def scenario() -> None:
        driving = asyncio.ensure_future(clock.drive())
        await LoopRunner(loop, clock=clock, deadline=clock.now() + timedelta(seconds=4)).run()
        driving.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert lease.statuses[0]["blocked_seconds"] == "3.000"


def test_a_machine_without_a_cpu_to_spare_is_no_fault_of_a_loop() -> None:
    clock = SharedClock()
    waited = 0.0

    async def scenario() -> None:
        nonlocal waited
        timer = StepTimer("sales", Stopwatch(clock.monotonic, lambda: waited))

        async def tick(blocked: float, without_cpu: float) -> None:
            nonlocal waited
            waited += without_cpu
            blocking(clock, blocked + without_cpu)

        await timer.start(tick(0.1, 5))
        assert timer.blocked_seconds == 0
        await timer.start(tick(2, 1))
        assert timer.blocked_seconds == pytest.approx(2)
        held_up = ThreadUse.here().held_up("orders", 0, clock.monotonic())
        assert held_up is not None
        assert held_up.seconds == pytest.approx(2)

    asyncio.run(scenario())


def test_the_machines_stopwatch_never_goes_back() -> None:
    for clock in (SYSTEM_STOPWATCH.monotonic, SYSTEM_STOPWATCH.waited_for_cpu):
        assert 0 <= clock() <= clock()


# --- Where it blocks


class Stuck:
    """A step that lasts as long as the test says, looked at after each part of it."""

    def __init__(self) -> None:
        self.clock = FakeClock(START)

    def figures(self, seconds: list[float], look: Callable[[], None]) -> int:
        for more in seconds:
            self.clock.advance(more)
            # As from another thread: the frame that it sees is this one.
            look()
        return sys._getframe().f_lineno


def look_at(seconds: list[float]) -> tuple[str, int]:
    """Have a loop block for so long; return where it was seen, and the line after it."""
    stuck = Stuck()

    async def scenario() -> tuple[str, int]:
        timer = StepTimer("sales", Stopwatch(stuck.clock.monotonic))
        blocked = BlockedThread(ThreadUse.here())

        def look() -> None:
            with ThreadPoolExecutor() as other:
                other.submit(blocked.look).result()

        async def tick() -> int:
            return stuck.figures(seconds, look)

        last = await timer.start(tick())
        # Between the steps there is nothing to see.
        look()
        return timer.place(), last

    return asyncio.run(scenario())


def test_where_a_loop_blocks_is_seen_and_told_once_while_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    place, _ = look_at([0.6, 8, 2, 30])
    assert place.startswith(f"look in {__file__}, line ")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"sales has blocked the thread of all loops for 11 s, and still does: {place}"


def test_short_steps_have_no_place(caplog: pytest.LogCaptureFixture) -> None:
    assert look_at([0.2, 0.2])[0] == ""
    assert caplog.records == []


def test_a_place_is_the_loops_own_line_and_not_a_librarys() -> None:
    frames: list[Any] = []

    class Source(dict[str, int]):
        def __missing__(self, key: str) -> int:
            # This frame, and below it the library's and the loop's.
            frames.append(sys._getframe())
            return 1

    def render() -> str:
        return string.Template("$orders").substitute(Source())

    render()
    innermost = frames[0].f_back
    assert "string.py" in innermost.f_code.co_filename
    assert place_of(innermost) == f"render in {__file__}, line {render.__code__.co_firstlineno + 1}"


def test_another_thread_looks_while_the_real_clock_runs(caplog: pytest.LogCaptureFixture) -> None:
    async def block() -> None:
        # Until it was seen, and has had the CPU for long enough, which does not come at once on a busy machine.
        use, began, ends = ThreadUse.here(), time.thread_time(), time.monotonic() + 60
        while ("sales" not in use.places or time.thread_time() - began < 0.3) and time.monotonic() < ends:
            pass

    lease = NamedLease()
    environment: Any = SimpleNamespace(lease=lease, prefix="p", settings=fast_settings(10.0), log=LoopLog())
    loop = Working(environment, "sales", block)
    clock = SystemClock()
    deadline = clock.now() + timedelta(seconds=0.1)
    steps = StepTimer("sales", SYSTEM_STOPWATCH)
    asyncio.run(LoopRunner(loop, clock=clock, deadline=deadline, steps=steps).run())
    assert f" (block in {__file__}, line " in caplog.text
    assert 0.2 < float(lease.statuses[0]["blocked_seconds"]) < 60


# --- The event loop stays as it was


def test_tasks_of_nobody_are_made_as_before_and_a_factory_that_was_there_is_kept() -> None:
    made: list[str] = []

    def factory(running: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        made.append(work.__name__)
        return asyncio.Task(work, loop=running, **options)

    async def scenario() -> None:
        running = asyncio.get_running_loop()
        running.set_task_factory(factory)
        timer = StepTimer("sales", Stopwatch(time.monotonic))
        assert await timer.start(answer(3)) == 3
        foreign = running.create_task(answer(4), name="foreign")
        coroutine = foreign.get_coro()
        assert inspect.iscoroutine(coroutine)
        assert coroutine.__name__ == "answer"
        assert (await foreign, foreign.get_name()) == (4, "foreign")
        installed = running.get_task_factory()
        assert await timer.start(answer(5)) == 5
        # Once per event loop.
        assert running.get_task_factory() is installed
        assert made == ["answer"] * 3

    asyncio.run(scenario())


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_errors_and_cancellations_pass_as_they_are(recwarn: pytest.WarningsRecorder) -> None:
    async def scenario() -> None:
        timer = StepTimer("sales", Stopwatch(time.monotonic))

        async def fail() -> None:
            await asyncio.sleep(0)
            raise LookupError("x")

        with pytest.raises(LookupError, match="x"):
            await timer.start(fail())
        heard = []

        async def hang() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                heard.append(error)
                raise

        task = timer.start(hang())
        await asyncio.sleep(0)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert heard[0].args == ("enough",)
        # Before its first step.
        task = timer.start(hang())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]
