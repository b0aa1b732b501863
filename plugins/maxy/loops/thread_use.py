"""Which loop blocks the thread that all loops share, and for how long.

Asyncio runs a task from one ``await`` that waits to the next, and nothing else meanwhile. A loop that calls
``time.sleep``, a blocking client or a long computation there makes all others late. So each of these steps is timed,
for the ticks of a loop and for the tasks that it starts in them (``asyncio.gather``): two looks at the clock per step.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from maxy.loops.blocked_thread import BlockedThread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

_Result = TypeVar("_Result")

#: A shorter step blocks nobody; Airflow's triggerer warns from here on too.
SLOW_STEP_SECONDS = 0.2
# Steps that are remembered: at least three minutes of them.
_MOST_HOLDS = 1000


@dataclass(frozen=True)
class _Hold:
    loop: str
    start: float
    end: float


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """A step that is under way.

    :param loop: whose it is.
    :param started: on the clock ``monotonic``.
    """

    loop: str
    started: float
    monotonic: Callable[[], float]

    def seconds(self) -> float:
        """Return how long it takes so far."""
        return self.monotonic() - self.started


@dataclass(frozen=True)
class HeldUp:
    """What other loops have taken of a time.

    :param loop: the one that blocked the thread longest.
    :param seconds: for which all of them together blocked it.
    """

    loop: str
    seconds: float


@dataclass(frozen=True)
class Stopwatch:
    """How steps are timed.

    :param monotonic: returns seconds that only grow.
    :param waited_for_cpu: returns for how many seconds in all the present thread could have run and the machine had no
        CPU for it, which is no fault of a loop.
    :param is_real: it is no test's: worth a thread that looks where a loop blocks.
    """

    monotonic: Callable[[], float]
    waited_for_cpu: Callable[[], float] = lambda: 0.0
    is_real: bool = False


class ThreadUse:
    """The slow steps of all loops that tick in one thread, the newest 1,000."""

    def __init__(self) -> None:
        self._holds: deque[_Hold] = deque(maxlen=_MOST_HOLDS)
        self._monotonic: Callable[[], float] | None = None
        #: The step that is under way, if it is one of a loop.
        self.step: Step | None = None
        #: Where each loop was seen to block the thread, as :class:`~maxy.loops.blocked_thread.BlockedThread` has it.
        self.places: dict[str, str] = {}
        self._is_looked_at = False

    @classmethod
    def here(cls) -> ThreadUse:
        """Return that of the running event loop."""
        running = asyncio.get_running_loop()
        use = _uses.get(running)
        if use is None:
            use = _uses[running] = cls()
        return use

    def have_looked_at(self) -> None:
        """Have another thread look where a loop blocks this one, from now on."""
        if not self._is_looked_at:
            self._is_looked_at = True
            BlockedThread(self).start()

    def add(self, loop: str, start: float, end: float, monotonic: Callable[[], float]) -> None:
        """Note a slow step.

        :param start: on the clock ``monotonic``, as is ``end``.
        """
        self._holds.append(_Hold(loop, start, end))
        self._monotonic = monotonic

    def held_up(self, loop: str, since: float, until: float) -> HeldUp | None:
        """Say how long other loops blocked the thread in a time; None if they did not.

        :param loop: the one that was held up.
        """
        seconds: Counter[str] = Counter()
        for hold in self._holds:
            overlap = min(hold.end, until) - max(hold.start, since)
            if overlap > 0 and hold.loop != loop:
                seconds[hold.loop] += overlap  # type: ignore[assignment]
        if not seconds:
            return None
        return HeldUp(max(seconds, key=lambda name: seconds[name]), float(sum(seconds.values())))

    def held_up_lately(self, loop: str, seconds: float) -> HeldUp | None:
        """Say the same of the last so many seconds."""
        if self._monotonic is None:
            return None
        now = self._monotonic()
        return self.held_up(loop, now - seconds, now)


class StepTimer:
    """Times the steps of one loop.

    :param loop: the loop's name.
    :param stopwatch: by which they are timed.
    """

    def __init__(self, loop: str, stopwatch: Stopwatch) -> None:
        self._loop = loop
        self._monotonic = stopwatch.monotonic
        self._stopwatch = stopwatch
        self._waited = 0.0
        #: Length of all slow steps so far.
        self.blocked_seconds = 0.0

    def start(self, work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
        """Start a task whose steps, and those of the tasks that it starts, are timed."""
        running = asyncio.get_running_loop()
        _time_tasks_of(running)
        # Once a tick: it takes longer than a step.
        self._waited = self._stopwatch.waited_for_cpu()
        if self._stopwatch.is_real:
            ThreadUse.here().have_looked_at()
        context = copy_context()
        context.run(_timer.set, self)
        return running.create_task(work, context=context)

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Call a function as one step."""
        use = ThreadUse.here()
        started = self._begin(use)
        try:
            return function()
        finally:
            self._end(use, started)

    def place(self) -> str:
        """Return where the loop was seen to block the thread since this was asked last; empty if it was not."""
        return ThreadUse.here().places.pop(self._loop, "")

    def _begin(self, use: ThreadUse) -> float:
        started = self._monotonic()
        use.step = Step(self._loop, started, self._monotonic)
        return started

    def _end(self, use: ThreadUse, started: float) -> None:
        use.step = None
        ended = self._monotonic()
        if ended - started >= SLOW_STEP_SECONDS:
            self._note_slow(use, started, ended)

    def _note_slow(self, use: ThreadUse, started: float, ended: float) -> None:
        waited = self._stopwatch.waited_for_cpu()
        seconds = ended - started - max(0.0, waited - self._waited)
        self._waited = waited
        if seconds >= SLOW_STEP_SECONDS:
            self.blocked_seconds += seconds
            use.add(self._loop, ended - seconds, ended, self._monotonic)

    @coroutine
    def steps(self, work: Coroutine[Any, Any, _Result]) -> Generator[Any, Any, _Result]:
        """Run a coroutine as ``await`` does, and time each of its steps."""
        answer: Any = None
        error: BaseException | None = None
        use = ThreadUse.here()
        while True:
            started = self._begin(use)
            try:
                waits_for = work.send(answer) if error is None else work.throw(error)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            finally:
                self._end(use, started)
            answer = error = None
            try:
                answer = yield waits_for
            except GeneratorExit:
                work.close()
                raise
            except BaseException as thrown:
                error = thrown


def _seconds_waited_for_cpu() -> float:
    """Return what Linux says of the present thread; 0 where it does not."""
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


#: The machine's.
SYSTEM_STOPWATCH = Stopwatch(time.monotonic, _seconds_waited_for_cpu, is_real=True)

_uses: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadUse] = WeakKeyDictionary()
#: Of the loop for which the present task works.
_timer: ContextVar[StepTimer | None] = ContextVar("maxy_step_timer", default=None)


async def _timed(work: Coroutine[Any, Any, _Result], timer: StepTimer) -> _Result:
    return await timer.steps(work)


def _is_timed(work: object) -> bool:
    return getattr(work, "cr_code", None) is _timed.__code__


def _time_tasks_of(running: asyncio.AbstractEventLoop) -> None:
    """Have the event loop time the tasks that are started for a loop; all others are made as before."""
    former: Any = running.get_task_factory()
    if isinstance(former, _TaskFactory):
        return
    running.set_task_factory(_TaskFactory(former))


class _TaskFactory:
    """Makes tasks, timed ones where they work for a loop.

    :param former: makes them otherwise; None: asyncio itself does.
    """

    def __init__(self, former: Any) -> None:
        self._make = former or _plain_task

    def __call__(self, running: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        context = options.get("context")
        timer = _timer.get() if context is None else context.get(_timer)
        if timer is None or not asyncio.iscoroutine(work) or _is_timed(work):
            return self._make(running, work, **options)
        timed = _timed(work, timer)
        # As it is named in logs and stacks.
        for name in ("__name__", "__qualname__"):
            setattr(timed, name, getattr(work, name, type(work).__name__))
        task = self._make(running, timed, **options)
        # One that is cancelled before its first step would be said never to have been awaited.
        task.add_done_callback(lambda _: work.close())
        return task


def _plain_task(running: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
    return asyncio.Task(work, loop=running, **options)
