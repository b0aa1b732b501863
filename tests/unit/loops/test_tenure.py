"""A tenure alone, as an ingester has it, and that of a runner."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as ValkeyConnectionError

from maxy.loops.tenure import LimitReached, Tenure
from maxy.valkey.lease import LeaseLost
from tests.loop_scene import START, FakeLease, Scene, fail, forever
from tests.realtime_support import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ERRORS = [ValkeyConnectionError("refused"), TimeoutError("slow"), OSError("no route")]


class Holder:
    """A tenure with a lease and a clock that do what a test says.

    :param lease_seconds: three times as long as a heartbeat.
    """

    def __init__(self, lease_seconds: float = 15.0, **patience: float) -> None:
        self.clock = FakeClock(START)
        self.fake = FakeLease()
        lease: Any = self.fake
        self.tenure = Tenure(lease, lease_seconds=lease_seconds, sleep=self.clock.sleep, **patience)

    @property
    def calls(self) -> list[str]:
        return self.fake.calls

    def play(self, story: Coroutine[Any, Any, None]) -> None:
        async def taken() -> None:
            assert await self.tenure.take()
            await story

        asyncio.run(asyncio.wait_for(taken(), 20))


# ---- alone ----


def test_a_lease_is_taken_unless_another_copy_holds_it() -> None:
    async def story() -> None:
        holder = Holder()
        holder.fake.others = True
        assert not await holder.tenure.take()
        assert holder.tenure.holder == ""
        holder.fake.others = False
        assert await holder.tenure.take()
        assert holder.tenure.holder == "1:me"

    asyncio.run(story())


def test_a_renewed_tenure_has_a_greater_fence_number() -> None:
    holder = Holder()

    async def story() -> None:
        await holder.tenure.renew()
        assert holder.tenure.holder == "2:me"
        holder.fake.others = True
        with pytest.raises(LeaseLost):
            await holder.tenure.renew()

    holder.play(story())


@pytest.mark.parametrize(
    ("seconds", "waited", "calls"), [(3, 3, []), (5, 5, []), (5.1, 5, ["prolong"]), (100, 5, ["prolong"])]
)
def test_holding_waits_for_a_heartbeat_at_the_most(seconds: float, waited: float, calls: list[str]) -> None:
    holder = Holder()

    async def story() -> None:
        await holder.tenure.hold(seconds)
        assert holder.clock.now() == START + timedelta(seconds=waited)
        assert holder.calls[1:] == calls

    holder.play(story())


@pytest.mark.parametrize("error", ERRORS)
def test_a_server_that_fails_ends_no_tenure(error: Exception) -> None:
    holder = Holder(lease_seconds=0.03)

    async def story() -> None:
        prolonged = asyncio.Event()

        def before(name: str) -> None:
            if holder.calls.count("prolong") == 3:
                prolonged.set()
            raise error

        holder.fake.before = before
        await holder.tenure.hold_while(asyncio.ensure_future(prolonged.wait()))
        await holder.tenure.give_back()

    holder.play(story())
    assert holder.calls[-1] == "release"


@pytest.mark.parametrize("error", ERRORS)
def test_a_server_that_cannot_be_asked_is_an_error_of_taking(error: Exception) -> None:
    holder = Holder()
    holder.fake.before = lambda _: fail(error)
    with pytest.raises(type(error)):
        asyncio.run(holder.tenure.take())


@pytest.mark.parametrize("command", ["take", "prolong", "give_back"])
def test_no_answer_is_waited_for_without_end(command: str) -> None:
    async def story() -> None:
        holder = Holder(lease_seconds=0.03, release_seconds=0.01)
        holder.fake.before = lambda _: forever()
        with pytest.raises(TimeoutError) if command == "take" else contextlib.nullcontext():
            await getattr(holder.tenure, command)()

    asyncio.run(asyncio.wait_for(story(), 20))


class Ingester:
    """Works without pause and without a schedule, until it is cancelled.

    :param steps: how many it does before it ends by itself.
    """

    def __init__(self, steps: int = 10**9) -> None:
        self.steps = steps
        self.done = 0
        self.is_running = False
        self.started = asyncio.Event()

    async def work(self) -> int:
        self.is_running = True
        self.started.set()
        try:
            while self.done < self.steps:
                await asyncio.sleep(0)
                self.done += 1
        finally:
            self.is_running = False
        return self.done


def test_work_is_held_until_it_is_done() -> None:
    holder, ingester = Holder(), Ingester(steps=7)

    async def story() -> None:
        assert await holder.tenure.hold_while(asyncio.ensure_future(ingester.work())) == 7

    holder.play(story())
    assert holder.calls == ["acquire"]


def test_work_ends_before_its_lost_tenure_does() -> None:
    holder, ingester = Holder(lease_seconds=0.03), Ingester()

    async def story() -> None:
        holder.fake.before = lambda _: setattr(holder.fake, "others", ingester.done > 100)
        with pytest.raises(LeaseLost):
            await holder.tenure.hold_while(asyncio.ensure_future(ingester.work()))
        assert ingester.done > 100
        assert not ingester.is_running

    holder.play(story())


def test_work_is_cut_off_at_a_limit_that_may_move() -> None:
    holder, ingester = Holder(lease_seconds=0.03), Ingester()

    async def story() -> None:
        asked = []

        def seconds_left() -> float:
            asked.append(ingester.done)
            return 10.0 if len(asked) < 6 else 0.0

        with pytest.raises(LimitReached, match="the import was cut off"):
            await holder.tenure.hold_while(
                asyncio.ensure_future(ingester.work()), seconds_left=seconds_left, name="the import"
            )
        assert not ingester.is_running
        assert holder.calls.count("prolong") >= 2

    holder.play(story())


def test_work_that_fails_or_cancels_itself_says_so() -> None:
    holder = Holder()

    async def raising(error: BaseException) -> None:
        raise error

    async def story() -> None:
        with pytest.raises(ZeroDivisionError):
            await holder.tenure.hold_while(asyncio.ensure_future(raising(ZeroDivisionError())))
        with pytest.raises(RuntimeError, match="the work was cancelled from within"):
            await holder.tenure.hold_while(asyncio.ensure_future(raising(asyncio.CancelledError())))

    holder.play(story())


def test_work_that_swallows_its_cancellation_is_cancelled_again() -> None:
    holder = Holder(lease_seconds=0.03, cancel_again_seconds=0.01)
    swallowed = []

    async def stubborn() -> None:
        for number in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await forever()
            swallowed.append(number)
        await forever()

    async def story() -> None:
        with pytest.raises(LimitReached):
            await holder.tenure.hold_while(asyncio.ensure_future(stubborn()), seconds_left=lambda: 0.0)

    holder.play(story())
    assert swallowed == [0, 1, 2]


def test_a_cancelled_copy_ends_its_work_and_gives_the_lease_back() -> None:
    holder, ingester = Holder(), Ingester()

    async def run() -> None:
        try:
            assert await holder.tenure.take()
            await holder.tenure.hold_while(asyncio.ensure_future(ingester.work()))
        finally:
            await holder.tenure.give_back()

    async def story() -> None:
        task = asyncio.ensure_future(run())
        await ingester.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ingester.is_running
        assert holder.calls == ["acquire", "release"]

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize("wait", ["hold", "hold_while", "sleep"])
def test_a_cancellation_that_was_swallowed_is_heeded_at_the_next_wait(wait: str) -> None:
    holder, ingester = Holder(), Ingester()
    waits: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
        "hold": lambda: holder.tenure.hold(1),
        "sleep": lambda: holder.tenure.sleep(1),
        "hold_while": lambda: holder.tenure.hold_while(asyncio.ensure_future(ingester.work())),
    }

    async def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        await waits[wait]()

    async def story() -> None:
        task = asyncio.ensure_future(run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (holder.clock.now(), ingester.done) == (START, 0)

    asyncio.run(asyncio.wait_for(story(), 20))


# ---- a runner's ----


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
def test_valkey_that_never_answers_holds_nothing_up(command: str) -> None:
    name = command.split()[0]
    scene = Scene(
        lambda _: forever() if command == "prolong in a tick" else None,
        seconds=0.2,
        patience={"release_seconds": 0.01},
        period_seconds=0.1,
        lease_seconds=0.06,
        tick_limit_seconds=0.05,
    )
    scene.lease.before = lambda called: forever() if called == name else None
    ticks, failures = scene.run()
    assert (ticks, failures) == {"acquire": (0, 0), "prolong in a tick": (0, 2)}.get(command, (2, 0))
