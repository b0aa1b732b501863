"""The trigger of a live loop, with fakes for all it reaches; with real servers: tests/integration/loops."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from airflow.models.trigger import Trigger
from airflow.sdk.serde import serialize
from airflow.serialization.decoders import smart_decode_trigger_kwargs

from maxy.clickhouse.client import ClickHouseAddress
from maxy.loops.loop import Loop, TickResult
from maxy.loops.options import LoopSettings, Option, positive_int
from maxy.loops.watch import Watch
from maxy.triggers import realtime as module
from maxy.triggers.announcer import AirflowAnnouncer
from maxy.triggers.realtime import RealtimeLoopTrigger
from maxy.valkey.own_keys import ReplacedKeys
from tests.realtime_support import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.triggers.base import TriggerEvent

    from maxy.loops.loop import LoopEnvironment, Tick

NOW = datetime(2026, 11, 21, 7, 36, 14, 102570, tzinfo=UTC)
ADDRESS = ClickHouseAddress("db", 8123, "maxy", "maxy")


class Beat(Loop):
    """A loop that remembers its ticks."""

    name = "beat"
    period_seconds = 5.0
    options: ClassVar[Mapping[str, Option]] = {"size": Option(3, positive_int, "a setting")}
    environments: ClassVar[list[LoopEnvironment]] = []
    ticks: ClassVar[list[datetime]] = []
    # What the n-th tick does instead of its work.
    instead: ClassVar[dict[int, Any]] = {}

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self.environments.append(environment)

    async def tick(self, tick: Tick) -> TickResult:
        self.ticks.append(tick.now)
        instead = self.instead.get(len(self.ticks))
        if instead is not None:
            await instead()
        return TickResult(rows=7)


class Calls(list[str]):
    """What the fakes were asked to do, in order."""


class FakeLease:
    """A lease that nobody else wants."""

    def __init__(self, client: Any, key: str, *, ttl: timedelta) -> None:
        self.key, self.ttl, self.calls = key, ttl, client.calls
        self.holder = ""
        self.replaced = ReplacedKeys()

    async def acquire(self) -> bool:
        self.holder = "1:token"
        return True

    def script(self, body: str) -> str:
        return body

    async def run(self, script: str, keys: list[str], args: list[Any]) -> None:
        self.calls.append("status")

    async def prolong(self) -> None:
        self.calls.append("prolong")

    async def release(self) -> None:
        self.calls.append("release")


class FakeValkey:
    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    async def aclose(self) -> None:
        self.calls.append("valkey closed")


class FakeReader:
    made: ClassVar[list[FakeReader]] = []
    calls: ClassVar[Calls] = Calls()
    fails_to_close: ClassVar[bool] = False

    def __init__(self, address: ClickHouseAddress, *, name: str, settings: Mapping[str, Any]) -> None:
        self.address, self.name, self.settings = address, name, settings
        self.made.append(self)

    async def close(self) -> None:
        self.calls.append("reader closed")
        if self.fails_to_close:
            raise OSError("broken pipe")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Calls:
    """Everything that the trigger reaches is replaced."""
    calls = Calls()
    for remembered in (Beat.environments, Beat.ticks, Beat.instead, FakeReader.made):
        remembered.clear()
    monkeypatch.setattr(FakeReader, "calls", calls)

    async def address(conn_id: str) -> ClickHouseAddress:
        calls.append(f"address of {conn_id}")
        return ADDRESS

    async def client(conn_id: str) -> FakeValkey:
        calls.append(f"client of {conn_id}")
        return FakeValkey(calls)

    monkeypatch.setattr(module, "clickhouse_address", address)
    monkeypatch.setattr(module, "valkey_client", client)
    monkeypatch.setattr(module, "ClickHouseReader", FakeReader)
    monkeypatch.setattr(module, "Lease", FakeLease)
    monkeypatch.setattr(module, "SystemClock", lambda: clock)
    return calls


def trigger(*, seconds: float = 60, **arguments: Any) -> RealtimeLoopTrigger:
    given: dict[str, Any] = {
        "loop": f"{__name__}.Beat",
        "deadline": (NOW + timedelta(seconds=seconds)).isoformat(),
        "settings": {"size": 4},
        "prefix": "stats:realtime",
        "timezone": "Asia/Seoul",
    }
    return RealtimeLoopTrigger(**{**given, **arguments})


async def events_of(trigger: RealtimeLoopTrigger) -> list[TriggerEvent]:
    return [event async for event in trigger.run()]


def run(trigger: RealtimeLoopTrigger) -> list[Any]:
    return [event.payload for event in asyncio.run(events_of(trigger))]


# --- What is stored


def test_serialises_to_its_class_path_and_every_argument() -> None:
    arguments: dict[str, Any] = {
        "loop": "maxy.statistics.live.log_meter.LogMeter",
        "deadline": "2026-11-21T13:36:14.102570+00:00",
        "settings": {"period_seconds": 5.0, "leave_out_log_types": [1, 2], "tick_limit_seconds": None},
        "prefix": "other:prefix",
        "timezone": "Asia/Seoul",
        "clickhouse_conn_id": "their_clickhouse",
        "valkey_conn_id": "their_valkey",
    }
    assert RealtimeLoopTrigger(**arguments).serialize() == (
        "maxy.triggers.realtime.RealtimeLoopTrigger",
        arguments,
    )


def test_connections_are_the_packages_unless_named() -> None:
    _, arguments = trigger().serialize()
    assert (arguments["clickhouse_conn_id"], arguments["valkey_conn_id"]) == ("clickhouse_http", "redis_default")


def test_comes_back_from_airflows_serialisation_as_it_was() -> None:
    settings = LoopSettings.from_json({}, options=Beat.options, period_seconds=5.0, where="beat").to_json()
    before = trigger(settings={**settings, "names": ["a", "한국"], "none": None, "nested": {"a": [1.5]}})
    # The worker's, the API server's and the triggerer's part of the way.
    sent = json.loads(json.dumps(serialize(before.serialize()[1])))
    stored = Trigger.encrypt_kwargs(sent)
    read = {name: smart_decode_trigger_kwargs(value) for name, value in Trigger._decrypt_kwargs(stored).items()}
    assert RealtimeLoopTrigger(**read).serialize() == before.serialize()


@pytest.mark.parametrize(
    ("deadline", "cause"), [("2026-11-21T13:36:14", "2026-11-21T13:36:14 carries no time zone"), ("soon", "soon")]
)
def test_a_deadline_that_is_no_instant_is_refused(deadline: str, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        trigger(deadline=deadline)


# --- What it does


def test_ticks_until_the_deadline_then_fires_one_event_and_ends(calls: Calls) -> None:
    assert run(trigger(seconds=60)) == [{"status": "deadline", "ticks": 12, "failures": 0}]
    assert Beat.ticks == [NOW + timedelta(seconds=5 * number) for number in range(12)]


def test_the_deadline_is_the_same_for_whatever_zone_it_is_written_in(calls: Calls) -> None:
    deadline = (NOW + timedelta(seconds=20)).astimezone(ZoneInfo("Asia/Seoul")).isoformat()
    assert run(trigger(deadline=deadline)) == [{"status": "deadline", "ticks": 4, "failures": 0}]


def test_a_restart_after_the_deadline_ends_at_once_without_a_tick(calls: Calls) -> None:
    assert run(trigger(seconds=-1)) == [{"status": "deadline", "ticks": 0, "failures": 0}]
    assert Beat.ticks == []


def test_failed_ticks_do_not_end_it_and_are_counted(calls: Calls) -> None:
    async def fail() -> None:
        raise OSError("no route to host")

    Beat.instead.update({1: fail, 3: fail})
    (event,) = run(trigger(seconds=30))
    assert (event["failures"], event["ticks"]) == (2, len(Beat.ticks) - 2)
    assert event["ticks"] > 0


def test_gives_back_the_lease_and_closes_its_clients_before_the_event(calls: Calls) -> None:
    async def first_event() -> TriggerEvent:
        events = trigger().run()
        event = await anext(events)
        # What the triggerer sees when it has the event, before it asks for another one.
        calls.append("event")
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        return event

    asyncio.run(first_event())
    assert calls[-4:] == ["release", "reader closed", "valkey closed", "event"]
    assert [call for call in calls if "closed" in call] == ["reader closed", "valkey closed"]


def test_works_with_the_connections_and_settings_it_was_given(calls: Calls) -> None:
    run(
        trigger(
            settings={"size": 4, "max_threads": 3, "tick_limit_seconds": 12.5, "lease_seconds": 9},
            clickhouse_conn_id="their_clickhouse",
            valkey_conn_id="their_valkey",
        )
    )
    assert calls[:2] == ["address of their_clickhouse", "client of their_valkey"]
    (reader,) = FakeReader.made
    assert (reader.address, reader.name) == (ADDRESS, "beat")
    assert reader.settings["max_threads"] == 3
    assert reader.settings["max_execution_time"] == 12
    (environment,) = Beat.environments
    used: object = environment.clickhouse
    assert used is reader
    assert (environment.prefix, environment.timezone) == ("stats:realtime", ZoneInfo("Asia/Seoul"))
    assert (environment.settings["size"], environment.settings.period_seconds) == (4, 5.0)
    assert isinstance(environment.announcer, AirflowAnnouncer)
    lease: Any = environment.lease
    assert (lease.key, lease.ttl) == ("stats:realtime:loop:beat:lease", timedelta(seconds=9))


def test_a_tick_may_not_outlast_its_statement_however_short_the_limit(calls: Calls) -> None:
    run(trigger(settings={"tick_limit_seconds": 1}))
    # 0 would mean no limit.
    assert FakeReader.made[0].settings["max_execution_time"] == 1


class Watching(Watch):
    """A watch that finds nothing to do."""

    async def tick(self, tick: Tick) -> TickResult:
        raise OSError("Valkey is gone")


def test_only_a_watch_is_watched_itself(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    alerts: list[tuple[str, bool]] = []

    async def alert(self: AirflowAnnouncer, loop: str, message: str, *, cleared: bool) -> None:
        alerts.append((loop, cleared))

    async def fail() -> None:
        raise OSError("Valkey is gone")

    monkeypatch.setattr(AirflowAnnouncer, "alert", alert)
    # It is the watch that tells of the others.
    Beat.instead.update(dict.fromkeys(range(1, 100), fail))
    run(trigger(seconds=300))
    assert alerts == []
    (event,) = run(trigger(loop=f"{__name__}.Watching", settings={"failures": 2}, seconds=900))
    assert event["failures"] > 2
    assert alerts == [("watch", False)]


class Listing(Watch):
    """A watch that only asks which loops there are."""

    seen: ClassVar[list[list[str]]] = []
    between: ClassVar[Any] = None

    async def tick(self, tick: Tick) -> TickResult:
        self.seen.append(sorted(await self._names()))
        self.between()
        return TickResult()


def test_a_running_watch_asks_the_variable_at_each_tick(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_variable(**content: Any) -> None:
        monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", json.dumps(content))

    own = {"own_loops": {"orders": "shop.loops.Orders"}}
    changes = iter([{"enabled": ["page", "orders", "watch"], **own}, {"enabled": ["orders", "watch"], **own}, {}])
    Listing.seen.clear()
    monkeypatch.setattr(Listing, "between", staticmethod(lambda: set_variable(**next(changes))))
    set_variable(enabled=["page", "watch"])
    run(trigger(loop=f"{__name__}.Listing", settings={"watched": ["page"]}, seconds=170))
    # The class of a new loop need not be there for that.
    assert Listing.seen == [["page"], ["orders", "page"], ["orders"]]


# --- How it ends otherwise


def test_cancelled_it_gives_back_the_lease_closes_its_clients_and_does_nothing_else(calls: Calls) -> None:
    async def cancelled() -> list[TriggerEvent]:
        begun = asyncio.Event()

        async def hang() -> None:
            begun.set()
            await asyncio.Event().wait()

        Beat.instead[2] = hang
        task = asyncio.ensure_future(events_of(trigger()))
        await begun.wait()
        calls.append("cancelled")
        task.cancel()
        return await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert calls[calls.index("cancelled") + 1 :] == ["release", "reader closed", "valkey closed"]


def test_cancelled_between_two_ticks_it_ends_the_same_way(
    calls: Calls, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled() -> list[TriggerEvent]:
        waiting = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(clock, "sleep", sleep)
        task = asyncio.ensure_future(events_of(trigger()))
        await waiting.wait()
        calls.append("cancelled")
        task.cancel()
        return await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert calls[calls.index("cancelled") + 1 :] == ["release", "reader closed", "valkey closed"]


def test_a_client_that_cannot_be_closed_keeps_none_of_the_others_open(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeReader, "fails_to_close", True)
    with pytest.raises(OSError, match="broken pipe"):
        run(trigger())
    assert calls[-2:] == ["reader closed", "valkey closed"]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"sizes": 4}, "beat: there is no setting sizes; there are .*size"),
        ({"size": "4"}, "beat.size: '4' is not a whole number above 0"),
        ({"period_seconds": 0}, "beat.period_seconds: 0"),
    ],
)
def test_settings_of_another_version_are_an_error_that_names_them(
    calls: Calls, settings: dict[str, Any], cause: str
) -> None:
    with pytest.raises(ValueError, match=cause):
        run(trigger(settings=settings))
    # Nothing was opened that could be left open.
    assert calls == []


@pytest.mark.parametrize("loop", ["no_such_module.Loop", f"{__name__}.Bear", "pathlib.Path", "Beat"])
def test_a_loop_that_is_not_there_is_an_error_that_names_it(calls: Calls, loop: str) -> None:
    with pytest.raises(ValueError, match=loop):
        run(trigger(loop=loop))
    assert calls == []


def test_an_unknown_zone_is_an_error_and_leaves_nothing_open(calls: Calls) -> None:
    with pytest.raises(Exception, match="Mars/Olympus"):
        run(trigger(timezone="Mars/Olympus"))
    assert calls[-2:] == ["reader closed", "valkey closed"]


@pytest.mark.parametrize("connection", ["clickhouse_address", "valkey_client"])
def test_a_missing_connection_is_an_error_and_leaves_nothing_open(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, connection: str
) -> None:
    async def missing(conn_id: str) -> None:
        raise LookupError(f"no connection {conn_id}")

    monkeypatch.setattr(module, connection, missing)
    with pytest.raises(LookupError, match="no connection"):
        run(trigger())
    assert not [call for call in calls if "client of" in call]
    assert FakeReader.made == []
