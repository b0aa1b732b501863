"""Ticks of one loop at a fixed rate, under its lease, until a deadline: written once for all loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from maxy.loops import contract
from maxy.loops.loop import Tick, TickResult, loop_key
from maxy.loops.status import LoopStatus, StatusWriter
from maxy.loops.thread_use import StepTimer, Stopwatch, ThreadUse
from maxy.valkey.lease import LeaseLost

if TYPE_CHECKING:
    from datetime import datetime

    from maxy.clock import Clock
    from maxy.loops.loop import Loop
    from maxy.loops.observer import Observer
    from maxy.loops.thread_use import HeldUp
    from maxy.valkey.lease import Lease

_LONGEST_BACKOFF_SECONDS = 60.0
_SUMMARY_SECONDS = 60.0
_STACK_SECONDS = 600.0
_RELEASE_SECONDS = 2.0
_CANCEL_AGAIN_SECONDS = 1.0
# The status says how long the worst tick of this time blocked the thread: as long as the watch looks away.
_BLOCKED_SECONDS = 60.0


class TickTookTooLong(Exception):
    """A tick was cut off at its limit."""


@dataclass(frozen=True)
class RunSummary:
    """What a run has done.

    :param ticks: good ticks.
    :param failures: failed ticks.
    """

    ticks: int
    failures: int


class LoopRunner:
    """Runs one loop.

    - Ticks are due at multiples of the period after the lease was taken. A tick that is late because the one before
      took too long is skipped, not queued.
    - A tick that fails, or takes longer than its limit, is an error in the log and in the status; the next ones come
      after growing pauses, up to a minute, and catch up.
    - The log has one line a minute, and what changes, at a bounded rate, see :class:`~maxy.loops.loop_log.LoopLog`.
    - How long each tick blocks the thread in which all loops tick is measured, see :mod:`maxy.loops.thread_use`.
      What other loops have blocked of a tick's time does not count towards its limit, and is named where it made it
      late.
    - The tick after a failed one gets a new fence number first: the failed one may have sent a write that is still
      under way, and it must not arrive after the state has been read anew.
    - Without the lease the loop is quiet and asks for it again and again, so that it steps in when the other copy ends.
    - No answer of Valkey is waited for longer than a third of the lease, outside the ticks; those have their own limit.

    :param loop: what is done at each tick.
    :param clock: tells the time, and waits.
    :param deadline: when to stop, with its zone; absolute, so that a restart in between does not move it.
    :param host: where this runs, for the status.
    :param observer: told about every tick.
    :param logger: where the loop's log goes.
    :param steps: times for how long the loop blocks the thread; by the clock unless given.
    """

    def __init__(
        self,
        loop: Loop,
        *,
        clock: Clock,
        deadline: datetime,
        host: str = "",
        observer: Observer | None = None,
        logger: logging.Logger | None = None,
        steps: StepTimer | None = None,
    ) -> None:
        environment = loop.environment
        self._loop = loop
        self._lease: Lease = environment.lease
        self._clock = clock
        self._deadline = deadline
        self._observer = observer
        self._logger = logger or logging.getLogger(__name__)
        self._lines = environment.log
        self._period = environment.settings.period_seconds
        self._tick_limit = environment.settings.tick_limit_seconds
        self._heartbeat = float(environment.settings["lease_seconds"]) / 3
        self._writer = StatusWriter(self._lease, loop_key(environment.prefix, loop.name))
        self._steps = steps or StepTimer(loop.name, Stopwatch(clock.monotonic))
        # When each tick that blocked the thread ended, and for how long it did.
        self._blocked: deque[tuple[float, float]] = deque()
        self._blocked_before = 0.0
        self._status = LoopStatus(self._period, host=host)
        self._is_reset = True
        self._standby_said = False
        self._observer_failed = False
        self._next_stack = -math.inf
        self._next_failure = -math.inf
        self._rows_since_summary = 0
        self._next_summary = clock.monotonic() + _SUMMARY_SECONDS

    async def run(self) -> RunSummary:
        """Tick until the deadline; outages of ClickHouse and Valkey are waited through.

        :return: what this copy has done.
        """
        try:
            while self._clock.now() < self._deadline:
                if await self._take_lease():
                    await self._tick_while_held()
                    # Lost: not asked for again at once, or a lease that is lost again and again would make ticks race.
                    await self._sleep(min(self._heartbeat, self._period))
                else:
                    await self._sleep(self._heartbeat)
        finally:
            await self._give_back()
        return RunSummary(self._status.ticks, self._status.failures)

    async def _take_lease(self) -> bool:
        try:
            async with asyncio.timeout(self._heartbeat):
                taken = await self._lease.acquire()
        except (RedisError, OSError) as error:
            self._warn_of_valkey(error)
            return False
        if not taken:
            self._say_standby()
            return False
        self._log(logging.INFO, "%s: lease taken (%s)", self._loop.name, self._lease.holder)
        self._standby_said = False
        self._status.holder = self._lease.holder
        self._status.consecutive_failures = 0
        self._reset()
        return True

    def _warn_of_valkey(self, error: Exception) -> None:
        """Tell that the lease cannot be had."""
        now = self._clock.monotonic()
        self._log(logging.WARNING, "%s: Valkey cannot be asked for the lease: %s", self._loop.name, _told(error))
        # Without the lease there are no ticks that could fail, but those who watch must hear of it: as of ticks.
        if now >= self._next_failure:
            self._next_failure = now + self._period
            self._status.last_tick_at = self._clock.now()
            self._status.consecutive_failures += 1
            self._status.last_error = _told(error)
            self._tell_observer(self._status)

    def _say_standby(self) -> None:
        if not self._standby_said:
            self._log(logging.INFO, "%s: another copy holds the lease; waiting quietly to step in", self._loop.name)
            self._standby_said = True

    async def _tick_while_held(self) -> None:
        """Tick at the fixed rate until the lease is lost or the deadline has come."""
        start = self._clock.monotonic()
        number = 0
        try:
            while self._clock.now() < self._deadline:
                due = start + number * self._period
                await self._tick_once(due)
                self._summarise()
                number = self._next_number(start, number)
                await self._wait_until(start + number * self._period)
        except LeaseLost:
            self._log(logging.INFO, "%s: the lease is another copy's now, or is gone", self._loop.name)
            self._reset()

    def _next_number(self, start: float, number: int) -> int:
        """Return the number of the next tick: the first one that is not due yet, later after failures."""
        # A tick that ends exactly when the next one is due is in time.
        first = max(number + 1, math.ceil(round((self._clock.monotonic() - start) / self._period, 6)))
        self._status.skipped += first - number - 1
        failures = self._status.consecutive_failures
        if failures:
            pause = min(self._period * 2.0 ** min(failures - 1, 10), max(_LONGEST_BACKOFF_SECONDS, self._period))
            first = max(first, number + math.ceil(pause / self._period))
        return first

    async def _tick_once(self, due: float) -> None:
        _heed_cancellation()
        status = self._status
        began = self._clock.monotonic()
        status.last_tick_at = self._clock.now()
        try:
            result = await self._limited(Tick(now=status.last_tick_at), began)
        except LeaseLost:
            raise
        except Exception as error:
            self._reset()
            self._failed(error, self._held_up_since(began))
        else:
            self._succeeded(result)
            status.lag_seconds = self._clock.monotonic() - due
            self._note_held_up(self._held_up_since(due))
        status.duration_seconds = self._clock.monotonic() - began
        self._note_blocked()
        status.holder = self._lease.holder
        status.replaced_keys = self._lease.replaced.count
        self._tell_observer(status)
        try:
            async with asyncio.timeout(self._heartbeat):
                await self._writer.write(status)
        except (RedisError, OSError) as error:
            # The data is written; the next tick tells how it went.
            self._log(logging.WARNING, "%s: its status cannot be written: %s", self._loop.name, _told(error))

    def _tell_observer(self, status: LoopStatus) -> None:
        if self._observer is None:
            return
        try:
            self._observer.ticked(status)
        except Exception:
            # Figures matter more than who watches them; said once, or the log would grow with every tick.
            if not self._observer_failed:
                self._logger.exception("%s: the observer failed; its further failures are not logged", self._loop.name)
            self._observer_failed = True

    def _reset(self) -> None:
        """Have the loop forget what it remembers. Where that fails, the next tick tries it again, and fails by it."""
        try:
            self._try_reset()
        except Exception:
            self._is_reset = False

    def _try_reset(self) -> None:
        contract.check_reset(self._loop, self._steps.call(self._loop.reset))
        self._is_reset = True

    def _seconds_held_up_since(self, moment: float) -> float:
        held_up = self._held_up_since(moment)
        return held_up.seconds if held_up else 0.0

    def _held_up_since(self, moment: float) -> HeldUp | None:
        return ThreadUse.here().held_up(self._loop.name, moment, self._clock.monotonic())

    def _note_held_up(self, held_up: HeldUp | None) -> None:
        """Keep in the status what other loops have made this one late by."""
        status = self._status
        status.held_up_by, status.held_up_seconds = (held_up.loop, held_up.seconds) if held_up else ("", 0.0)
        if held_up:
            self._log(
                logging.INFO,
                "%s: the thread was blocked by %s for %.1f s, so the tick ended %.1f s after it was due",
                self._loop.name,
                held_up.loop,
                held_up.seconds,
                status.lag_seconds,
                about=held_up.loop,
            )

    def _note_blocked(self) -> None:
        """Keep in the status how long this loop has blocked all others since its last tick, and say it."""
        now = self._clock.monotonic()
        seconds = self._steps.blocked_seconds - self._blocked_before
        self._blocked_before = self._steps.blocked_seconds
        place = self._steps.place()
        while self._blocked and now - self._blocked[0][0] >= _BLOCKED_SECONDS:
            self._blocked.popleft()
        if seconds:
            self._blocked.append((now, seconds))
            self._log(
                logging.WARNING,
                "%s: a tick blocked the thread of all loops for %.1f s%s: what takes so long must be awaited, or run by"
                " asyncio.to_thread or in another process",
                self._loop.name,
                seconds,
                f" ({place})" if place else "",
                about="",
            )
        self._status.blocked_seconds = max((length for _, length in self._blocked), default=0.0)

    async def _limited(self, tick: Tick, began: float) -> TickResult:
        """Run one tick, prolonging the lease meanwhile, and cut it off at its limit.

        :param began: on the loop's clock.
        """
        time = asyncio.get_running_loop().time
        ends = time() + self._tick_limit
        task = self._steps.start(self._work(tick))
        task.add_done_callback(_look_at_exception)
        try:
            while True:
                done, _ = await asyncio.wait({task}, timeout=max(0.0, min(self._heartbeat, ends - time())))
                if done:
                    return _result_of(task)
                if time() >= ends + self._seconds_held_up_since(began):
                    raise TickTookTooLong(f"the tick took longer than {self._tick_limit:g} s and was cut off")
                await self._prolong()
                _heed_cancellation()
        finally:
            while task.cancel():
                # Not `await task`: its end could not be told from a cancellation of this copy itself. And more than
                # once, since a library may swallow it.
                await asyncio.wait({task}, timeout=_CANCEL_AGAIN_SECONDS)

    async def _work(self, tick: Tick) -> TickResult:
        if self._status.consecutive_failures and not await self._lease.acquire():
            raise LeaseLost("another copy has taken the lease since the last tick failed")
        if not self._is_reset:
            self._try_reset()
        return await contract.tick_result(self._loop, self._loop.tick(tick))

    def _succeeded(self, result: TickResult) -> None:
        status = self._status
        if status.consecutive_failures:
            self._log(
                logging.INFO, "%s: works again after %d failed ticks", self._loop.name, status.consecutive_failures
            )
        status.last_success_at = status.last_tick_at
        status.ticks += 1
        status.consecutive_failures = 0
        status.last_error = ""
        status.rows, status.keys, status.left_out = result.rows, result.keys, result.left_out
        status.out_of_range = dict(result.out_of_range)
        self._rows_since_summary += result.rows

    def _failed(self, error: Exception, held_up: HeldUp | None) -> None:
        """Count a failed tick, and tell of it.

        :param held_up: by other loops, such as until a server's answer came too late.
        """
        status = self._status
        status.failures += 1
        status.consecutive_failures += 1
        status.last_error = told = _told(error)
        if held_up:
            status.last_error += f" (meanwhile the thread was blocked by {held_up.loop} for {held_up.seconds:.1f} s)"
        now = self._clock.monotonic()
        # A stack is as long as an hour of lines: one for each outage, also where every other tick is good.
        with_stack = status.consecutive_failures == 1 and now >= self._next_stack
        logged = self._log(
            logging.ERROR,
            "%s: tick failed (%d in a row): %s",
            self._loop.name,
            status.consecutive_failures,
            status.last_error,
            about=told,
            error=error if with_stack else None,
        )
        if logged and with_stack:
            self._next_stack = now + _STACK_SECONDS

    def _log(
        self, level: int, template: str, *args: object, about: str | None = None, error: Exception | None = None
    ) -> bool:
        """Log a line that is no summary, unless it is one too many."""
        return self._lines.log(self._logger, level, template, *args, about=about, error=error)

    def _summarise(self) -> None:
        """Log one line a minute: one per tick would grow without end."""
        now = self._clock.monotonic()
        if now < self._next_summary:
            return
        status = self._status
        self._logger.info(
            "%s: %d ticks, %d failed, %d skipped; %d rows since the last line; last tick %.3f s, lag %.3f s, %d keys"
            "%s%s%s",
            self._loop.name,
            status.ticks,
            status.failures,
            status.skipped,
            self._rows_since_summary,
            status.duration_seconds,
            status.lag_seconds,
            status.keys,
            f", {status.left_out} rows left out for a missing dimension" if status.left_out else "",
            f", {sum(status.out_of_range.values())} values out of range" if status.out_of_range else "",
            f", {status.replaced_keys} keys that held something else replaced since its start"
            if status.replaced_keys
            else "",
        )
        self._rows_since_summary = 0
        self._next_summary = now + _SUMMARY_SECONDS

    async def _wait_until(self, moment: float) -> None:
        """Wait for the next tick, prolonging the lease meanwhile.

        :raises LeaseLost: it is another copy's now.
        """
        while (left := moment - self._clock.monotonic()) > 0:
            if left <= self._heartbeat:
                await self._sleep(left)
            else:
                await self._sleep(self._heartbeat)
                await self._prolong()
            if self._clock.now() >= self._deadline:
                return

    async def _prolong(self) -> None:
        """:raises LeaseLost: it is another copy's now."""
        # A server that does not answer: the tick will notice, and no other copy can take the lease there either.
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(self._heartbeat):
                await self._lease.prolong()

    async def _sleep(self, seconds: float) -> None:
        _heed_cancellation()
        left = (self._deadline - self._clock.now()).total_seconds()
        await self._clock.sleep(max(0.0, min(seconds, left)))

    async def _give_back(self) -> None:
        """Let a successor start at once. If that does not work, the lease expires by itself."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._lease.release()


def _heed_cancellation() -> None:
    """End if this copy was cancelled while it waited for Valkey.

    redis-py 8 swallows a cancellation that comes between a command and its answer if it has a socket timeout; the loop
    would go on for ever, lease in hand.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _result_of(task: asyncio.Future[TickResult]) -> TickResult:
    if task.cancelled():
        # Nobody has cancelled this copy, so it must not end as if somebody had.
        raise RuntimeError("the tick was cancelled from within")
    return task.result()


def _look_at_exception(task: asyncio.Future[TickResult]) -> None:
    """Keep asyncio from complaining about a failure of a tick that was cut off."""
    if not task.cancelled():
        task.exception()


def _told(error: BaseException) -> str:
    """Return an error in one line of bounded length."""
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    return text if len(text) <= 500 else text[:497] + "..."
