"""When ticks are due: the schedule alone, and a runner that goes by it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from maxy.loops.schedule import Schedule
from tests.loop_scene import START, Scene, fail
from tests.realtime_support import FakeClock


def schedule_of(clock: FakeClock, *, seconds: float = 3600) -> Schedule:
    """Return one with ticks every 5 s."""
    return Schedule(clock, period_seconds=5, deadline=START + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("lasted", "failures", "due", "skipped"),
    [
        (0, 0, 5, 0),
        (4.999, 0, 5, 0),
        (5, 0, 5, 0),
        (5.001, 0, 10, 1),
        (14, 0, 15, 2),
        (0, 1, 5, 0),
        (0, 2, 10, 0),
        (0, 4, 40, 0),
        (0, 5, 60, 0),
        (0, 5000, 60, 0),
        # What was skipped counts, whatever the pause is.
        (14, 3, 20, 2),
        (100, 3, 100, 19),
    ],
)
def test_next_tick_is_the_first_that_is_not_late_or_comes_after_a_pause(
    lasted: float, failures: int, due: float, skipped: int
) -> None:
    clock = FakeClock(START)
    schedule = schedule_of(clock)
    clock.advance(1234.5)
    schedule.start()
    assert schedule.seconds_until_due == 0
    clock.advance(lasted)
    assert schedule.advance(failures=failures) == skipped
    assert schedule.seconds_until_due == pytest.approx(due - lasted)


def test_a_start_counts_from_its_own_instant() -> None:
    clock = FakeClock(START)
    schedule = schedule_of(clock)
    schedule.advance(failures=0)
    clock.advance(3.3)
    schedule.start()
    assert schedule.seconds_until_due == 0


def test_no_sleep_goes_beyond_the_deadline() -> None:
    clock = FakeClock(START)
    schedule = schedule_of(clock, seconds=7)
    asyncio.run(schedule.sleep(4))
    assert (clock.now(), schedule.is_over) == (START + timedelta(seconds=4), False)
    asyncio.run(schedule.sleep(4))
    assert (clock.now(), schedule.is_over) == (START + timedelta(seconds=7), True)
    asyncio.run(schedule.sleep(4))
    assert clock.now() == START + timedelta(seconds=7)


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
