"""The runner with a clock, a lease and a loop that do what a test says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import ConnectionError as ValkeyConnectionError

from maxy.loops.loop import TickResult
from maxy.loops.status import LoopStatus
from tests.loop_scene import START, FakeLoop, Scene, fail, forever

PHASES = ["acquire", "tick", "prolong in a tick", "prolong between ticks", "status", "sleep"]


# ---- failures ----


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
    place = f"(loop fake, class {FakeLoop.__module__}.FakeLoop)"
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


def test_the_status_says_what_the_last_ticks_did() -> None:
    result = TickResult(rows=7, keys=3, left_out=2, out_of_range={"lcp": 4})

    def work(number: int) -> TickResult:
        scene.clock.advance(1.5 + 5 * number)
        return result

    scene = Scene(work, seconds=12)
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
def test_cancelled_in_any_phase_gives_the_lease_back_and_does_nothing_else(
    monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
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
        monkeypatch.setattr(scene.clock, "sleep", lambda _: reach())
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


def test_cancelled_with_a_valkey_that_does_not_answer_the_release() -> None:
    reached = asyncio.Event()

    async def reach() -> None:
        reached.set()
        await forever()

    scene = Scene(lambda _: reach(), patience={"release_seconds": 0.01})
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


def test_tick_that_swallows_its_cancellation_is_cancelled_again() -> None:
    async def stubborn() -> None:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
        await forever()

    scene = Scene(
        lambda number: stubborn() if number == 0 else None,
        seconds=10,
        patience={"cancel_again_seconds": 0.01},
        tick_limit_seconds=0.01,
    )
    assert scene.run() == (1, 1)
