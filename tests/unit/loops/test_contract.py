"""What a loop's methods return: whatever is wrong with it is said with the method, the loop and the class."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from maxy.clickhouse.client import Columns
from maxy.loops.hash_loop import HashLoop
from maxy.loops.loop import Loop, TickResult
from maxy.loops.loop_log import LoopLog
from maxy.loops.registry import loop_class
from maxy.loops.runner import LoopRunner
from tests.loop_scene import FakeLease
from tests.realtime_support import FakeClock, fast_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxy.loops.loop import Tick

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Hashes(HashLoop):
    """Keeps what the test returns."""

    name = "fake"
    period_seconds = 5.0
    key_template = "sales:{country}"
    metrics = ("orders",)
    answer: Any = None

    async def figures(self, tick: Tick) -> Columns:
        return self.answer


class PlainFigures(Hashes):
    """Has forgotten the async."""

    def figures(self, tick: Tick) -> Columns:  # type: ignore[override]
        return self.answer


class Generator(Hashes):
    """Yields its rows."""

    async def figures(self, tick: Tick) -> Any:
        yield self.answer


class Plain(Loop):
    """Ticks without waiting."""

    name = "fake"
    period_seconds = 5.0
    answer: Any = None

    def tick(self, tick: Tick) -> TickResult:  # type: ignore[override]
        return self.answer


class Ticking(Loop):
    """Returns what the test says."""

    name = "fake"
    period_seconds = 5.0
    answer: Any = None

    async def tick(self, tick: Tick) -> TickResult:
        return self.answer


class Resetting(Ticking):
    """Returns something where nothing is wanted."""

    answer = TickResult()
    returned: Any = True

    def reset(self) -> Any:
        return self.returned() if callable(self.returned) else self.returned


class AsyncReset(Ticking):
    """Forgets too late."""

    answer = TickResult()

    async def reset(self) -> None:  # type: ignore[override]
        """Never awaited."""


def run(found: type[Loop], answer: Any = None, *, seconds: float = 12) -> FakeLease:
    """Run a loop for three ticks at the most, and return what has become of its status."""
    clock, lease = FakeClock(START), FakeLease()
    valkey = SimpleNamespace(zrange=None)
    settings = fast_settings(5.0, expire_hours=1.0, rewrite_minutes=1.0)
    environment: Any = SimpleNamespace(
        lease=lease, prefix="stats:realtime", settings=settings, log=LoopLog(clock.monotonic), valkey=valkey
    )
    loop = found(environment)
    if answer is not None:
        loop.answer = answer  # type: ignore[attr-defined]
    asyncio.run(LoopRunner(loop, clock=clock, deadline=START + timedelta(seconds=seconds)).run())
    return lease


def columns(**given: Any) -> Columns:
    return Columns(list(given), list(given.values()))


WRONG: dict[str, tuple[type[Loop], Any, str]] = {
    "rows": (Hashes, [{"country": "KR"}], "figures() must return Columns, not list"),
    "a mapping": (Hashes, {"country": ["KR"], "orders": [1]}, "figures() must return Columns, not dict"),
    "a tick's result": (Hashes, TickResult(), "figures() must return Columns, not TickResult"),
    "a text": (Hashes, "KR", "figures() must return Columns, not str"),
    "the class": (Hashes, Columns, "figures() must return Columns, not type"),
    "figures that are no coroutine": (PlainFigures, [1], "figures() must return Columns, not list"),
    "right figures that are no coroutine": (
        PlainFigures,
        columns(country=["KR"], orders=[1]),
        "figures() must be written with async def",
    ),
    "a generator": (Generator, 1, "figures() must return Columns, not async_generator"),
    "columns of two lengths": (
        Hashes,
        columns(country=["KR", "US"], orders=[1]),
        "figures() must return Columns of one length, not country 2, orders 1",
    ),
    "a name too few": (
        Hashes,
        Columns(["country"], [["KR"], [1]]),
        "figures() must return Columns with a name for each column, not 1 names and 2 columns",
    ),
    "a text for a column": (
        Hashes,
        columns(country="KR", orders=[1]),
        "figures() must return Columns whose columns are lists of values, not str",
    ),
    "numbers for columns": (
        Hashes,
        columns(country=1, orders=2),
        "figures() must return Columns whose columns are lists of values, not int",
    ),
    "a number of rows": (Ticking, 5, "tick() must return a TickResult, not int"),
    "right result that is no coroutine": (Plain, TickResult(rows=1), "tick() must be written with async def"),
    "wrong result that is no coroutine": (Plain, {"rows": 1}, "tick() must return a TickResult, not dict"),
    "rows as text": (
        Ticking,
        TickResult(rows="5"),  # type: ignore[arg-type]
        "tick() must return a TickResult with a whole number as rows, not str",
    ),
    "keys as a fraction": (
        Ticking,
        TickResult(keys=0.5),  # type: ignore[arg-type]
        "tick() must return a TickResult with a whole number as keys, not float",
    ),
    "left out, but not how many": (
        Ticking,
        TickResult(left_out=True),
        "tick() must return a TickResult with a whole number as left_out, not bool",
    ),
    "out of range without metrics": (
        Ticking,
        TickResult(out_of_range=[3]),  # type: ignore[arg-type]
        "tick() must return a TickResult with whole numbers by metric as out_of_range, not list",
    ),
    "a reset that returns something": (Resetting, None, "reset() must return None, not bool"),
    "a reset that is a coroutine": (AsyncReset, None, "reset() must return None, not coroutine"),
}


@pytest.mark.parametrize(("found", "answer", "problem"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_return_is_said_in_status_and_log_each_time_alike(
    found: type[Loop],
    answer: Any,
    problem: str,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    lease = run(found, answer)
    said = f"TypeError: {problem} (loop fake, class {__name__}.{found.__name__})"
    assert len(lease.statuses) == 2
    assert {status["last_error"] for status in lease.statuses} == {said}
    assert [status["failures"] for status in lease.statuses] == ["1", "2"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert line == f"fake: tick failed (1 in a row): {said}"
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_a_reset_that_fails_fails_the_tick_and_not_the_run() -> None:
    def fail() -> None:
        raise LookupError("nothing to forget")

    class Failing(Resetting):
        returned: Callable[[], None] = staticmethod(fail)

    lease = run(Failing)
    assert {status["last_error"] for status in lease.statuses} == {"LookupError: nothing to forget"}
    assert lease.calls[-1] == "release"


def test_an_async_reset_is_refused_where_the_dags_are_parsed() -> None:
    with pytest.raises(ValueError, match=r"AsyncReset.*reset\(\) must be written with def, not async def"):
        loop_class(f"{__name__}.AsyncReset")


@pytest.mark.parametrize("attribute", ["metrics", "ranged_metrics", "reserved"])
def test_a_text_in_the_place_of_names_is_refused_when_the_class_is_made(attribute: str) -> None:
    with pytest.raises(ValueError, match=rf"Orders: {attribute} must be a sequence of names, not str"):
        type("Orders", (HashLoop,), {attribute: "orders"})


def test_right_returns_pass() -> None:
    result = TickResult(rows=2, keys=1, left_out=0, out_of_range={"lcp": 3})
    lease = run(Ticking, result)
    assert lease.statuses[-1]["last_error"] == ""
    assert (lease.statuses[-1]["rows"], lease.statuses[-1]["out_of_range"]) == ("2", '{"lcp": 3}')
