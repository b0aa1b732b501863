"""What a loop logs in forty minutes, counted line by line."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from maxy.loops.hash_loop import log_hashes
from maxy.loops.loop import Loop, Tick, TickResult
from maxy.loops.loop_log import LoopLog
from maxy.loops.runner import LoopRunner
from maxy.loops.tick_writer import HashGroup
from maxy.valkey.own_keys import ReplacedKeys
from tests.realtime_support import FakeClock, fast_settings

if TYPE_CHECKING:
    from collections.abc import Callable

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINUTES = 38
KEYS = [f"stats:realtime:page:com.p{number}:1:iOS" for number in range(100)]
_log = logging.getLogger("maxy.realtime.busy")


class Busy(Loop):
    """Writes a hundred keys at each tick, and fails or warns as it is told."""

    name = "busy"
    period_seconds = 5.0

    def __init__(self, environment: Any, work: Callable[[int], None]) -> None:
        super().__init__(environment)
        self._work = work
        self._number = -1

    async def tick(self, tick: Tick) -> TickResult:
        self._number += 1
        self._work(self._number)
        log_hashes(self.environment, [HashGroup(["pv"], [(key, [str(self._number)]) for key in KEYS])])
        return TickResult(rows=100, keys=100)


class LeaseOfTheTest:
    """A lease that is always granted, or now and then another copy's."""

    def __init__(self, refuse_status: bool) -> None:
        self.replaced = ReplacedKeys()
        self.holder = "1:me"
        self.refuse_status = refuse_status

    async def acquire(self) -> bool:
        return True

    async def prolong(self) -> None: ...

    async def release(self) -> None: ...

    def script(self, body: str) -> str:
        return body

    async def run(self, script: str, keys: list[str], args: list[Any]) -> None:
        if self.refuse_status:
            raise ConnectionError("refused")


def lines_of(
    caplog: pytest.LogCaptureFixture,
    work: Callable[[int], None] = lambda _: None,
    *,
    refuse_status: bool = False,
    **options: Any,
) -> list[logging.LogRecord]:
    """Return what a loop of 5 s logs in 38 minutes."""
    caplog.set_level(logging.INFO)
    clock = FakeClock(START)
    # The bounds hold for lines, so each must be told its minute by the clock of the test.
    environment: Any = SimpleNamespace(
        lease=LeaseOfTheTest(refuse_status),
        prefix="stats:realtime",
        settings=fast_settings(5.0, **options),
        log=LoopLog(clock.monotonic),
    )
    runner = LoopRunner(Busy(environment, work), clock=clock, deadline=START + timedelta(minutes=MINUTES))

    def stamp(record: logging.LogRecord) -> bool:
        vars(record)["at"] = clock.now()
        return True

    caplog.handler.addFilter(stamp)
    asyncio.run(runner.run())
    return list(caplog.records)


def per_minute(records: list[logging.LogRecord]) -> Counter[int]:
    return Counter(int((vars(record)["at"] - START).total_seconds() // 60) for record in records)


def test_a_loop_that_works_logs_a_summary_and_some_samples_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    records = lines_of(caplog)
    lines = [record.getMessage() for record in records]
    assert sum("since the last line" in line for line in lines) == MINUTES - 1
    samples = [line for line in lines if line.startswith("stats:realtime:page:")]
    assert len(samples) == 5 * MINUTES
    assert len(set(samples)) == len(samples)
    # 100 keys at each of 456 ticks would be 45,600 lines.
    assert len(lines) <= 8 * MINUTES
    assert max(per_minute(records).values()) <= 8


@pytest.mark.parametrize(
    ("options", "samples"),
    [
        ({"log_values": False}, 0),
        ({"log_values_per_minute": 1}, MINUTES),
        ({"log_values_per_minute": 1000, "log_values_per_tick": 2}, 2 * MINUTES * 12),
        ({"log_values_per_minute": 10**6, "log_values_per_tick": 10**6}, 100 * MINUTES * 12),
    ],
)
def test_how_many_samples_is_a_setting(caplog: pytest.LogCaptureFixture, options: dict[str, Any], samples: int) -> None:
    records = lines_of(caplog, **options)
    assert sum(record.getMessage().startswith("stats:realtime:page:") for record in records) == samples


def _fail(error: Exception) -> None:
    raise error


FAILING: dict[str, Callable[[int], None]] = {
    "the same error": lambda _: _fail(ValueError("no such column")),
    "another error each time": lambda number: _fail(ValueError(f"query {number} failed")),
    "every other tick": lambda number: _fail(OSError("reset")) if number % 2 else None,
    "every third tick, another error": lambda number: _fail(OSError(f"reset {number}")) if number % 3 == 0 else None,
}


@pytest.mark.parametrize("work", FAILING.values(), ids=FAILING.keys())
def test_a_loop_that_fails_does_not_fill_the_log(caplog: pytest.LogCaptureFixture, work: Callable[[int], None]) -> None:
    records = lines_of(caplog, work, log_values=False)
    assert max(per_minute(records).values()) <= 8
    stacks = [record for record in records if record.exc_info]
    assert 1 <= len(stacks) <= MINUTES // 10 + 1
    assert all(record.levelno == logging.ERROR for record in stacks)
    # The first failure is said at once.
    failed = [record for record in records if "tick failed (1 in a row)" in record.getMessage()]
    assert vars(failed[0])["at"] - START <= timedelta(seconds=5)


def test_a_change_of_the_error_is_said_at_once(caplog: pytest.LogCaptureFixture) -> None:
    records = lines_of(caplog, lambda number: _fail(OSError("first" if number < 5 else "second")))
    said = [record.getMessage() for record in records if "tick failed" in record.getMessage()]
    assert [line.partition("OSError: ")[2] for line in said[:2]] == ["first", "first"] or "first" in said[0]
    assert "busy: tick failed (6 in a row): OSError: second" in said


def test_a_status_that_cannot_be_written_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    records = lines_of(caplog, refuse_status=True, log_values=False)
    said = [record for record in records if "its status cannot be written" in record.getMessage()]
    assert MINUTES - 1 <= len(said) <= MINUTES + 1


def test_warnings_of_a_loop_itself_are_bounded_too() -> None:
    clock = FakeClock(START)
    log = LoopLog(clock.monotonic)
    said = Counter[int]()
    for second in range(0, 600, 5):
        said[second // 60] += log.log(_log, logging.WARNING, "%d keys were removed", second)
        said[second // 60] += log.log(_log, logging.WARNING, "what was counted is gone")
        clock.advance(5)
    assert set(said.values()) == {4}
