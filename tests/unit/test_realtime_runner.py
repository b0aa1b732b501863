"""The runner with a clock, a lease and a loop that do what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as ValkeyConnectionError

from maxy.loops import runner as runner_module
from maxy.loops.loop import Loop, LoopEnvironment, Tick, TickResult
from maxy.loops.loop_log import LoopLog
from maxy.loops.runner import LoopRunner
from maxy.loops.status import LoopStatus
from maxy.valkey.lease import LeaseLost
from maxy.valkey.own_keys import ReplacedKeys
from tests.realtime_support import FakeClock, fast_settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PHASES = ["acquire", "tick", "prolong in a tick", "prolong between ticks", "status", "sleep"]


class FakeLease:
    """A lease without a server. ``before`` is called before each command is done, with the command's name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.replaced = ReplacedKeys()
        self.statuses: list[dict[str, str]] = []
        self.others = False
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
    :param options: settings of the loop.
    """

    def __init__(
        self,
        work: Callable[[int], Any] = lambda _: None,
        *,
        seconds: float = 60,
        observer: Any = None,
        **options: Any,
    ) -> None:
        self.clock = FakeClock(START)
        self.lease = FakeLease()
        settings = fast_settings(**{"period_seconds": 5.0, **options})
        environment: Any = SimpleNamespace(
            lease=self.lease, prefix="stats:realtime", settings=settings, log=LoopLog(self.clock.monotonic)
        )
        self.loop = FakeLoop(environment, work)
        self.runner = LoopRunner(
            self.loop, clock=self.clock, deadline=START + timedelta(seconds=seconds), host="here", observer=observer
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


def fail(error: Exception) -> None:
    raise error


async def forever() -> None:
    await asyncio.Event().wait()


# ---- the rate ----


def test_ticks_at_a_fixed_rate_until_exactly_the_deadline() -> None:
    durations = [0.3, 4.9, 0.01, 2.5] * 3
    scene = Scene(lambda number: scene.clock.advance(durations[number]), seconds=58)
    assert scene.run() == (12, 0)
    assert scene.seconds == pytest.approx([5.0 * number for number in range(12)])
    assert scene.clock.now() == START + timedelta(seconds=58)
    assert scene.lease.calls[-1] == "release"
    assert scene.lease.calls.count("release") == 1


def test_no_drift_over_half_an_hour() -> None:
    scene = Scene(lambda _: scene.clock.advance(0.1), seconds=1800, period_seconds=0.7)
    assert scene.run() == (2572, 0)
    assert scene.seconds[-1] == pytest.approx(2571 * 0.7)


def test_late_ticks_are_skipped_and_counted() -> None:
    scene = Scene(lambda number: scene.clock.advance(12.5 if number == 1 else 0), seconds=30)
    scene.run()
    assert scene.seconds == [0, 5, 20, 25]
    assert scene.last_status.skipped == 2


def test_tick_that_ends_when_the_next_is_due_makes_none_skip() -> None:
    scene = Scene(lambda _: scene.clock.advance(5), seconds=20)
    scene.run()
    assert scene.seconds == [0, 5, 10, 15]
    assert scene.last_status.skipped == 0


def test_deadline_that_has_passed_runs_nothing() -> None:
    scene = Scene(seconds=0)
    assert scene.run() == (0, 0)
    assert scene.lease.calls in ([], ["release"])


# ---- failures ----


def test_failures_come_after_growing_pauses_up_to_a_minute() -> None:
    scene = Scene(lambda _: fail(ValueError("no such column")), seconds=260)
    assert scene.run() == (0, 8)
    assert scene.seconds == [0, 5, 15, 35, 75, 135, 195, 255]
    assert scene.last_status.consecutive_failures == 8
    assert scene.last_status.last_error == "ValueError: no such column"
    assert scene.last_status.last_success_at is None


def test_slow_loop_fails_at_its_own_period() -> None:
    scene = Scene(lambda _: fail(ValueError()), seconds=500, period_seconds=120)
    scene.run()
    assert scene.seconds == [0, 120, 240, 360, 480]


def test_good_tick_ends_the_pauses_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene(lambda number: fail(OSError(f"down {number}")) if number < 3 else TickResult(rows=9), seconds=50)
    assert scene.run() == (3, 3)
    assert scene.seconds == [0, 5, 15, 35, 40, 45]
    status = scene.last_status
    assert (status.consecutive_failures, status.failures, status.ticks, status.last_error) == (0, 3, 3, "")
    messages = [(record.levelname, record.getMessage(), record.exc_info is not None) for record in caplog.records]
    assert ("ERROR", "fake: tick failed (1 in a row): OSError: down 0", True) in messages
    assert ("ERROR", "fake: tick failed (2 in a row): OSError: down 1", False) in messages
    assert [message for _, message, _ in messages].count("fake: works again after 3 failed ticks") == 1


def test_error_is_told_in_one_line_of_bounded_length() -> None:
    scene = Scene(lambda _: fail(ValueError("a\nb" * 1000)), seconds=1)
    scene.run()
    error = scene.last_status.last_error
    assert error.startswith("ValueError: a ba b")
    assert len(error) == 500
    assert "\n" not in error


def test_memory_is_forgotten_at_a_takeover_and_after_a_failure() -> None:
    resets = []

    def work(number: int) -> None:
        resets.append(scene.loop.resets)
        if number == 1:
            raise ValueError

    scene = Scene(work, seconds=15)
    scene.run()
    assert resets == [1, 1, 2]


@pytest.mark.parametrize("result", ["5 rows", 5, True])
def test_loop_that_returns_something_else_is_told_so(result: Any) -> None:
    scene = Scene(lambda number: result if number == 0 else None, seconds=10)
    assert scene.run() == (1, 1)
    error = scene.lease.statuses[0]["last_error"]
    place = f"(loop fake, class {__name__}.FakeLoop)"
    assert error == f"TypeError: tick() must return a TickResult, not {type(result).__name__} {place}"


def test_tick_after_a_failed_one_has_a_new_fence_number() -> None:
    scene = Scene(lambda number: fail(ValueError()) if number in (1, 2) else None, seconds=30)
    scene.run()
    assert scene.loop.fences == ["1:me", "1:me", "2:me", "3:me", "3:me"]
    assert scene.last_status.holder == "3:me"


def test_lease_that_is_another_copys_after_a_failed_tick_is_no_failure() -> None:
    def before(name: str) -> None:
        # The first copy's failed tick, and what comes after: another copy has it for the second asking alone.
        scene.lease.others = name == "acquire" and scene.lease.calls.count("acquire") == 2

    scene = Scene(lambda number: fail(ValueError()) if number == 0 else None, seconds=20)
    scene.lease.before = before
    assert scene.run() == (2, 1)
    assert scene.seconds == [0, 10, 15]


def test_lease_that_is_lost_again_and_again_makes_no_ticks_race() -> None:
    scene = Scene(seconds=20)
    scene.lease.before = lambda name: setattr(scene.lease, "others", name == "status")
    assert scene.run() == (4, 0)
    assert scene.seconds == [0, 5, 10, 15]


def test_tick_that_hangs_is_cut_off_at_its_limit() -> None:
    ended = []

    async def hang() -> None:
        try:
            await forever()
        finally:
            ended.append(True)

    scene = Scene(lambda number: hang() if number == 0 else None, seconds=10, tick_limit_seconds=0.02)
    assert scene.run() == (1, 1)
    assert ended == [True]
    assert scene.lease.statuses[0]["last_error"] == (
        "TickTookTooLong: the tick took longer than 0.02 s and was cut off"
    )


def test_tick_that_fails_while_it_is_cut_off_is_cut_off() -> None:
    async def hang() -> None:
        try:
            await forever()
        finally:
            raise ValueError("while cleaning up")

    scene = Scene(lambda _: hang(), seconds=1, tick_limit_seconds=0.01)
    assert scene.run() == (0, 1)
    assert "TickTookTooLong" in scene.last_status.last_error


def test_tick_that_is_cancelled_from_within_is_a_failure() -> None:
    scene = Scene(lambda number: fail(asyncio.CancelledError()) if number == 0 else None, seconds=10)
    assert scene.run() == (1, 1)
    assert "cancelled from within" in scene.lease.statuses[0]["last_error"]


# ---- the lease ----


def test_lease_is_prolonged_between_ticks() -> None:
    scene = Scene(seconds=60, period_seconds=60, lease_seconds=15)
    scene.run()
    assert scene.lease.calls == ["acquire", "status", *["prolong"] * 11, "release"]


def test_lease_is_prolonged_while_a_tick_is_under_way() -> None:
    prolonged = asyncio.Event()

    def before(name: str) -> None:
        if scene.lease.calls.count("prolong") == 3:
            prolonged.set()

    async def until_prolonged() -> None:
        await prolonged.wait()

    scene = Scene(lambda _: until_prolonged(), seconds=1, lease_seconds=0.03)
    scene.lease.before = before
    assert scene.run() == (1, 0)


@pytest.mark.parametrize("where", ["tick", "prolong in a tick", "prolong between ticks", "status"])
def test_lost_lease_makes_the_copy_wait_quietly_and_step_in_when_it_is_free(
    caplog: pytest.LogCaptureFixture, where: str
) -> None:
    caplog.set_level(logging.INFO)
    ended = []

    async def long() -> None:
        try:
            await forever()
        finally:
            ended.append(True)

    def work(number: int) -> Any:
        if number == 0 and where == "tick":
            scene.lease.others = True
            raise LeaseLost("another copy's")
        return long() if number == 0 and where == "prolong in a tick" else None

    def before(name: str) -> None:
        if name == where.split()[0] and len(scene.loop.ticks) == 1:
            scene.lease.others = True
        if scene.lease.calls.count("acquire") == 4:
            scene.lease.others = False

    in_tick = where == "prolong in a tick"
    scene = Scene(work, seconds=100, period_seconds=20, lease_seconds=0.3 if in_tick else 15)
    scene.lease.before = before
    assert scene.run()[1] == 0
    # In vain twice, a third of the lease apart.
    assert scene.lease.calls.count("acquire") == 4
    assert scene.seconds[1] - scene.seconds[0] == pytest.approx(
        {"tick": 15, "prolong in a tick": 0.3, "prolong between ticks": 20, "status": 15}[where]
    )
    assert ended == [True] * in_tick
    assert scene.loop.resets == 3
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count("fake: another copy holds the lease; waiting quietly to step in") == 1
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_copy_that_never_gets_the_lease_ends_at_the_deadline() -> None:
    scene = Scene(seconds=33)
    scene.lease.others = True
    assert scene.run() == (0, 0)
    assert scene.clock.now() == START + timedelta(seconds=33)
    assert scene.loop.ticks == []
    assert set(scene.lease.calls) == {"acquire", "release"}


# ---- Valkey fails ----


@pytest.mark.parametrize("error", [ValkeyConnectionError("refused"), TimeoutError("slow"), OSError("no route")])
@pytest.mark.parametrize("command", ["acquire", "prolong", "status", "release"])
def test_no_error_of_valkey_ends_the_run(command: str, error: Exception) -> None:
    def before(name: str) -> None:
        is_early = scene.clock.now() < START + timedelta(seconds=60)
        if name == command and (is_early or name == "release"):
            raise error

    scene = Scene(seconds=120, period_seconds=20)
    scene.lease.before = before
    assert scene.run() == (3 if command == "acquire" else 6, 0)
    assert scene.clock.now() == START + timedelta(seconds=120)


@pytest.mark.parametrize("command", ["acquire", "prolong in a tick", "prolong between ticks", "status", "release"])
def test_valkey_that_never_answers_holds_nothing_up(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_RELEASE_SECONDS", 0.01)
    name = command.split()[0]
    scene = Scene(
        lambda _: forever() if command == "prolong in a tick" else None,
        seconds=0.2,
        period_seconds=0.1,
        lease_seconds=0.06,
        tick_limit_seconds=0.05,
    )
    scene.lease.before = lambda called: forever() if called == name else None
    ticks, failures = scene.run()
    assert (ticks, failures) == {"acquire": (0, 0), "prolong in a tick": (0, 2)}.get(command, (2, 0))


def test_lease_that_cannot_be_asked_for_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(seconds=175)
    scene.lease.before = lambda _: fail(ValkeyConnectionError("refused"))
    scene.run()
    assert [record.getMessage() for record in caplog.records] == [
        "fake: Valkey cannot be asked for the lease: ConnectionError: refused"
    ] * 3


# ---- who watches ----


class Recorder:
    def __init__(self, error: Exception | None = None) -> None:
        self.heard: list[tuple[int, int]] = []
        self._error = error

    def ticked(self, status: LoopStatus) -> None:
        self.heard.append((status.ticks, status.consecutive_failures))
        if self._error is not None:
            raise self._error


def test_observer_hears_of_every_tick_of_this_copy() -> None:
    recorder = Recorder()
    Scene(lambda number: fail(ValueError()) if number == 1 else None, seconds=20, observer=recorder).run()
    assert recorder.heard == [(1, 0), (1, 1), (2, 0), (3, 0)]


def test_observer_hears_of_a_valkey_that_cannot_be_asked_for_the_lease() -> None:
    def before(name: str) -> None:
        if name == "acquire" and scene.clock.now() < START + timedelta(seconds=12):
            raise ValkeyConnectionError("refused")

    heard: list[tuple[int, str]] = []
    observer = SimpleNamespace(ticked=lambda status: heard.append((status.consecutive_failures, status.last_error)))
    scene = Scene(seconds=20, observer=observer)
    scene.lease.before = before
    scene.run()
    failures = [(count, "ConnectionError: refused") for count in (1, 2, 3)]
    assert heard == [*failures, (0, "")]


def test_observer_that_fails_is_said_once_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(ZeroDivisionError("metrics"))
    scene = Scene(seconds=20, observer=recorder)
    assert scene.run() == (4, 0)
    assert len(recorder.heard) == len(scene.lease.statuses) == 4
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        "fake: the observer failed; its further failures are not logged"
    ]


def test_status_says_how_the_loop_fares() -> None:
    result = TickResult(rows=7, keys=3, left_out=2, out_of_range={"lcp": 4})
    scene = Scene(lambda number: (scene.clock.advance(1.5 + 5 * number), result)[1], seconds=12)
    scene.run()
    assert scene.lease.statuses == [
        {
            "period_seconds": "5.000", "holder": "1:me", "host": "here",
            "last_tick_at": "2026-03-01T12:00:00.000000Z", "last_success_at": "2026-03-01T12:00:00.000000Z",
            "lag_seconds": "1.500", "duration_seconds": "1.500", "rows": "7", "keys": "3", "left_out": "2",
            "out_of_range": '{"lcp": 4}', "replaced_keys": "0", "blocked_seconds": "1.500",
            "held_up_by": "", "held_up_seconds": "0.000",
            "ticks": "1", "skipped": "0", "failures": "0", "consecutive_failures": "0", "last_error": "",
        },
        {
            "period_seconds": "5.000", "holder": "1:me", "host": "here",
            "last_tick_at": "2026-03-01T12:00:05.000000Z", "last_success_at": "2026-03-01T12:00:05.000000Z",
            "lag_seconds": "6.500", "duration_seconds": "6.500", "rows": "7", "keys": "3", "left_out": "2",
            "out_of_range": '{"lcp": 4}', "replaced_keys": "0", "blocked_seconds": "6.500",
            "held_up_by": "", "held_up_seconds": "0.000",
            "ticks": "2", "skipped": "0", "failures": "0", "consecutive_failures": "0", "last_error": "",
        },
    ]  # fmt: skip


@pytest.mark.parametrize("texts", [{}, {"period_seconds": "x"}, {"period_seconds": "5"}])
def test_status_of_another_version_is_none(texts: dict[str, str]) -> None:
    assert LoopStatus.from_texts(texts) is None


def test_status_keeps_what_was_out_of_range() -> None:
    texts = LoopStatus(5.0, out_of_range={"lcp": 4, "inp": 1}, replaced_keys=2).texts()
    read = LoopStatus.from_texts(texts)
    assert read is not None
    assert (read.out_of_range, read.replaced_keys) == ({"lcp": 4, "inp": 1}, 2)
    # The copy of a version that did not write them.
    for name in ("out_of_range", "replaced_keys", "blocked_seconds", "held_up_by", "held_up_seconds"):
        del texts[name]
    read = LoopStatus.from_texts(texts)
    assert read is not None
    assert (read.out_of_range, read.replaced_keys) == ({}, 0)


@pytest.mark.parametrize("text", ["[1]", "{", '{"lcp": "x"}', "7"])
def test_status_with_damaged_counts_is_none(text: str) -> None:
    assert LoopStatus.from_texts({**LoopStatus(5.0).texts(), "out_of_range": text}) is None


def test_status_with_an_instant_without_a_zone_is_none() -> None:
    texts = LoopStatus(5.0, last_tick_at=START, last_success_at=START).texts()
    assert LoopStatus.from_texts(texts) is not None
    assert LoopStatus.from_texts({**texts, "last_success_at": "2026-03-01T12:00:00"}) is None


def test_one_line_a_minute_sums_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Scene(lambda _: TickResult(rows=10, keys=2, left_out=1), seconds=181).run()
    lines = [record.getMessage() for record in caplog.records if "since the last line" in record.getMessage()]
    assert lines == [
        f"fake: {ticks} ticks, 0 failed, 0 skipped; {rows} rows since the last line; last tick 0.000 s, lag 0.000 s,"
        " 2 keys, 1 rows left out for a missing dimension"
        for ticks, rows in ((13, 130), (25, 120), (37, 120))
    ]


# ---- cancellation ----


def cancelled_at(scene: Scene, reached: asyncio.Event) -> None:
    """Run, cancel when the phase is reached, and see that the runner ends by that."""

    async def story() -> None:
        task = asyncio.create_task(scene.runner.run())
        await asyncio.wait_for(reached.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)

    asyncio.run(story())


@pytest.mark.parametrize("phase", [*PHASES, "standby"])
def test_cancelled_in_any_phase_gives_the_lease_back_and_does_nothing_else(phase: str) -> None:
    reached = asyncio.Event()

    async def reach() -> None:
        reached.set()
        await forever()

    in_tick = phase in ("tick", "prolong in a tick")

    def work(_: int) -> Any:
        return (reach() if phase == "tick" else forever()) if in_tick else None

    scene = Scene(work, period_seconds=20, lease_seconds=0.06 if phase == "prolong in a tick" else 15)
    scene.lease.others = phase == "standby"
    scene.lease.before = lambda name: reach() if name == phase.split()[0] else None
    if phase in ("sleep", "standby"):
        scene.clock.sleep = lambda _: reach()
    cancelled_at(scene, reached)
    assert scene.lease.calls[-1] == "release"
    assert scene.lease.calls.count("release") == 1
    assert len(scene.loop.ticks) == (0 if phase in ("acquire", "standby") else 1)
    assert len(scene.lease.statuses) == (1 if phase in ("prolong between ticks", "sleep") else 0)


def test_cancelled_while_a_tick_that_was_cut_off_still_ends() -> None:
    reached = asyncio.Event()

    async def stubborn() -> None:
        try:
            await forever()
        finally:
            reached.set()
            await forever()

    scene = Scene(lambda _: stubborn(), tick_limit_seconds=0.01)
    cancelled_at(scene, reached)
    assert scene.lease.calls == ["acquire", "release"]


def test_cancelled_with_a_valkey_that_does_not_answer_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_RELEASE_SECONDS", 0.01)
    reached = asyncio.Event()

    async def reach() -> None:
        reached.set()
        await forever()

    scene = Scene(lambda _: reach())
    scene.lease.before = lambda name: forever() if name == "release" else None
    cancelled_at(scene, reached)


@pytest.mark.parametrize("phase", ["acquire", "prolong in a tick", "prolong between ticks", "status"])
def test_cancellation_that_is_swallowed_by_valkeys_client_ends_the_run_all_the_same(phase: str) -> None:
    reached = asyncio.Event()

    async def swallow() -> None:
        reached.set()
        with contextlib.suppress(asyncio.CancelledError):
            await forever()

    in_tick = phase == "prolong in a tick"
    scene = Scene(lambda _: forever() if in_tick else None, period_seconds=20, lease_seconds=0.3 if in_tick else 15)
    scene.lease.before = lambda name: swallow() if name == phase.split()[0] and not reached.is_set() else None
    cancelled_at(scene, reached)
    assert scene.lease.calls[-1] == "release"
    assert len(scene.loop.ticks) == (0 if phase == "acquire" else 1)


def test_tick_that_swallows_its_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_CANCEL_AGAIN_SECONDS", 0.01)

    async def stubborn() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
        await forever()

    scene = Scene(lambda number: stubborn() if number == 0 else None, seconds=10, tick_limit_seconds=0.01)
    assert scene.run() == (1, 1)
