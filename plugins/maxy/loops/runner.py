"""Ticks of one loop by its schedule and under its lease: their limit, its status and its log, once for all loops."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from maxy.loops import contract
from maxy.loops.loop import Tick, TickResult, loop_key
from maxy.loops.schedule import Schedule
from maxy.loops.status import LoopStatus, StatusWriter
from maxy.loops.tenure import LimitReached, Tenure, heed_cancellation
from maxy.loops.thread_use import StepTimer, Stopwatch, ThreadUse
from maxy.valkey.lease import LeaseLost

if TYPE_CHECKING:
    from datetime import datetime

    from maxy.clock import Clock
    from maxy.loops.loop import Loop
    from maxy.loops.observer import Observer
    from maxy.loops.thread_use import HeldUp

_SUMMARY_SECONDS = 60.0
_STACK_SECONDS = 600.0
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

    - Ticks are due at multiples of the period after the lease was taken, see :class:`~maxy.loops.schedule.Schedule`.
    - A tick that fails, or takes longer than its limit, is an error in the log and in the status; the next ones come
      after growing pauses, up to a minute, and catch up.
    - The log has one line a minute, and what changes, at a bounded rate, see :class:`~maxy.loops.loop_log.LoopLog`.
    - How long each tick blocks the thread in which all loops tick is measured, see :mod:`maxy.loops.thread_use`.
      What other loops have blocked of a tick's time does not count towards its limit, and is named where it made it
      late.
    - The tick after a failed one gets a new fence number first: the failed one may have sent a write that is still
      under way, and it must not arrive after the state has been read anew.
    - Without the lease the loop is quiet and asks for it again and again, so that it steps in when the other copy ends.
    - No answer of Valkey is waited for longer than a third of the lease, outside the ticks, which have their own limit;
      see :class:`~maxy.loops.tenure.Tenure`.

    :param loop: what is done at each tick.
    :param clock: tells the time, and waits.
    :param deadline: when to stop, with its zone; absolute, so that a restart in between does not move it.
    :param host: where this runs, for the status.
    :param observer: told about every tick.
    :param logger: where the loop's log goes.
    :param steps: times for how long the loop blocks the thread; by the clock unless given.
    :param tenure: holds the loop's lease; one that waits by the clock, but not beyond the deadline, unless given.
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
        tenure: Tenure | None = None,
    ) -> None:
        environment = loop.environment
        self._loop = loop
        self._lease = environment.lease
        self._clock = clock
        self._observer = observer
        self._logger = logger or logging.getLogger(__name__)
        self._lines = environment.log
        self._period = environment.settings.period_seconds
        self._tick_limit = environment.settings.tick_limit_seconds
        self._schedule = Schedule(clock, period_seconds=self._period, deadline=deadline)
        self._tenure = tenure or Tenure(
            self._lease, lease_seconds=float(environment.settings["lease_seconds"]), sleep=self._schedule.sleep
        )
        self._heartbeat = self._tenure.heartbeat_seconds
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
            while not self._schedule.is_over:
                if await self._take_lease():
                    await self._tick_while_held()
                    # Lost: not asked for again at once, or a lease that is lost again and again would make ticks race.
                    await self._tenure.sleep(min(self._heartbeat, self._period))
                else:
                    await self._tenure.sleep(self._heartbeat)
        finally:
            await self._tenure.give_back()
        return RunSummary(self._status.ticks, self._status.failures)

    async def _take_lease(self) -> bool:
        try:
            taken = await self._tenure.take()
        except (RedisError, OSError) as error:
            self._warn_of_valkey(error)
            return False
        if not taken:
            self._say_standby()
            return False
        self._log(logging.INFO, "%s: lease taken (%s)", self._loop.name, self._tenure.holder)
        self._standby_said = False
        self._status.holder = self._tenure.holder
        self._status.consecutive_failures = 0
        self._reset()
        return True

    def _warn_of_valkey(self, error: Exception) -> None:
        """Tell that the lease cannot be had."""
        now = self._clock.monotonic()
        text = _format_error(error)
        self._log(logging.WARNING, "%s: Valkey cannot be asked for the lease: %s", self._loop.name, text)
        # Without the lease there are no ticks that could fail, but those who watch must hear of it: as of ticks.
        if now >= self._next_failure:
            self._next_failure = now + self._period
            self._status.last_tick_at = self._clock.now()
            self._status.consecutive_failures += 1
            self._status.last_error = text
            self._tell_observer(self._status)

    def _say_standby(self) -> None:
        if not self._standby_said:
            self._log(logging.INFO, "%s: another copy holds the lease; waiting quietly to step in", self._loop.name)
            self._standby_said = True

    async def _tick_while_held(self) -> None:
        """Tick at the fixed rate until the lease is lost or the deadline has come."""
        self._schedule.start()
        try:
            while not self._schedule.is_over:
                await self._tick_once()
                self._summarise()
                self._status.skipped += self._schedule.advance(failures=self._status.consecutive_failures)
                await self._wait_for_tick()
        except LeaseLost:
            self._log(logging.INFO, "%s: the lease is another copy's now, or is gone", self._loop.name)
            self._reset()

    async def _wait_for_tick(self) -> None:
        """Wait until the next tick is due, or the deadline has come.

        :raises LeaseLost: the lease is another copy's now.
        """
        while (left := self._schedule.seconds_until_due) > 0:
            await self._tenure.hold(left)
            if self._schedule.is_over:
                return

    async def _tick_once(self) -> None:
        heed_cancellation()
        status, due = self._status, self._schedule.due
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
        status.holder = self._tenure.holder
        status.replaced_keys = self._lease.replaced.count
        self._tell_observer(status)
        try:
            async with asyncio.timeout(self._heartbeat):
                await self._writer.write(status)
        except (RedisError, OSError) as error:
            # The data is written; the next tick tells how it went.
            self._log(logging.WARNING, "%s: its status cannot be written: %s", self._loop.name, _format_error(error))

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

        def seconds_left() -> float:
            return ends + self._seconds_held_up_since(began) - time()

        try:
            return await self._tenure.hold_while(
                self._steps.start(self._work(tick)), seconds_left=seconds_left, name="the tick"
            )
        except LimitReached:
            raise TickTookTooLong(f"the tick took longer than {self._tick_limit:g} s and was cut off") from None

    async def _work(self, tick: Tick) -> TickResult:
        if self._status.consecutive_failures:
            await self._tenure.renew()
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
        status.last_error = text = _format_error(error)
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
            about=text,
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


def _format_error(error: BaseException) -> str:
    """Return an error in one line of bounded length."""
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    return text if len(text) <= 500 else text[:497] + "..."
