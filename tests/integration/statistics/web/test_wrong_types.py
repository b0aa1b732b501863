"""One key that somebody has given another type hides nothing but itself, and is named where its figures would be."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from maxy.loops.loop import loop_key
from maxy.statistics.live_loops import LIVE_LOOPS
from tests.integration.statistics.web.listener import LivePage, listening
from tests.integration.statistics.web.site import SCATTER_NAMES, Loops, Site, asked, key_of
from tests.realtime_support import PREFIX, TYPES, FakeClock, spoil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.statistics.web.site import Serve
    from tests.support import Valkey

    Story = Callable[[Site], Awaitable[None]]
    Tell = Callable[[Story], None]

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PAIR = ("shop", 1)
TRIPLE = (*PAIR, "iOS")
OTHER = (*PAIR, "Android")
NO_HASH = [kind for kind in TYPES if kind != "hash"]
NO_SORTED_SET = [kind for kind in TYPES if kind != "zset"]


def point(number: int) -> dict[str, Any]:
    reg_ms = int(NOW.timestamp() * 1000) - number
    return {"reg_ms": reg_ms, "loading_time": number, "intervaltime": number, "os_type": "iOS", "number": number}


@pytest.fixture
def full(loops: Loops) -> Loops:
    """What every loop has written: figures of two systems, rows, two points of each scatter."""
    loops.all_ticked(NOW)
    for triple, visits in ((TRIPLE, 3), (OTHER, 5)):
        loops.figures("device", triple, NOW, visit=visits)
        loops.figures("page", triple, NOW, pv=10 * visits)
    loops.rate(PAIR, NOW, rows=40)
    for name in SCATTER_NAMES:
        loops.points(name, PAIR, [point(1), point(2)], NOW)
    return loops


@pytest.fixture
def tell(site: Serve) -> Tell:
    def run(story: Story) -> None:
        async def telling() -> None:
            async with site(FakeClock(NOW)) as running:
                await story(running)

        asyncio.run(telling())

    return run


async def heard(running: Site) -> LivePage:
    """Return what a page of the key is told at first."""
    async with listening(running, TRIPLE) as page:
        await page.until(page.knows_all, "everything")
        return page


@pytest.mark.parametrize(("name", "kind"), [*zip(LIVE_LOOPS, cycle(NO_HASH), strict=False)])
def test_a_status_of_another_type_is_that_of_one_loop(
    name: str, kind: str, tell: Tell, full: Loops, valkey: Valkey
) -> None:
    spoil(valkey, loop_key(PREFIX, name), kind)

    async def story(running: Site) -> None:
        health = await running.ask("health")
        assert (health["valkey"]["is_reachable"], health["valkey"]["error"]) == (True, None)
        states = {loop["name"]: loop["state"] for loop in health["loops"]}
        assert states == {**dict.fromkeys(LIVE_LOOPS, "ok"), name: "never"}
        pieces = running.listen(TRIPLE)
        page = LivePage()
        while not page.knows_all():
            page.take(await anext(pieces))
        await pieces.aclose()
        assert page.loops["error"] is None
        assert {loop["name"]: loop["state"] for loop in page.loops["loops"]} == states
        assert page.today["device"]["figures"]["visit"] == 3

    tell(story)


@pytest.mark.parametrize("kind", NO_HASH)
@pytest.mark.parametrize(("loop", "other"), [("device", "page"), ("page", "device")])
def test_figures_of_another_type_are_those_of_one_key_and_loop(
    loop: str, other: str, kind: str, tell: Tell, full: Loops, valkey: Valkey
) -> None:
    key = key_of(loop, TRIPLE)
    spoil(valkey, key, kind)
    metric, value = {"device": ("visit", 3), "page": ("pv", 30)}[other]

    async def story(running: Site) -> None:
        found = await running.ask("today", **asked(TRIPLE))
        assert found[loop] == {"updated_at": None, "figures": None, "wrong_key": key}
        assert (found[other]["figures"][metric], found[other]["wrong_key"]) == (value, None)
        whole = await running.ask("today", **asked(OTHER))
        assert (whole["device"]["figures"]["visit"], whole["page"]["figures"]["pv"]) == (5, 50)
        page = await heard(running)
        assert (page.today[loop], page.today[other]) == (found[loop], found[other])
        assert page.loops["error"] is None
        assert all(len(points) == 2 for points in page.points.values())

    tell(story)


@pytest.mark.parametrize("kind", NO_SORTED_SET)
@pytest.mark.parametrize(("name", "other"), [SCATTER_NAMES, SCATTER_NAMES[::-1]])
def test_points_of_another_type_are_those_of_one_scatter(
    name: str, other: str, kind: str, tell: Tell, full: Loops, valkey: Valkey
) -> None:
    key = key_of(name, PAIR)
    spoil(valkey, key, kind)

    async def story(running: Site) -> None:
        pair: dict[str, Any] = {"package_nm": "shop", "server_type": 1}
        found = await running.ask("scatter", loop=name, **pair)
        assert (found["points"]["id"], found["wrong_key"]) == ([], key)
        assert found["meta"]["last_saved_at"].startswith("2026-11-21T09:00:00")
        whole = await running.ask("scatter", loop=other, **pair)
        assert (sorted(whole["points"]["value_ms"]), whole["wrong_key"]) == ([1, 2], None)
        page = await heard(running)
        told = {data["loop"]: data["wrong_key"] for event, data in page.events if event == "scatter"}
        assert told == {name: key, other: None}
        assert {loop: len(points) for loop, points in page.points.items()} == {name: 0, other: 2}

    tell(story)


@pytest.mark.parametrize("kind", NO_HASH)
def test_notes_of_another_type_do_not_hide_the_points(kind: str, tell: Tell, full: Loops, valkey: Valkey) -> None:
    key = f"{key_of('loading_time', PAIR)}:meta"
    spoil(valkey, key, kind)

    async def story(running: Site) -> None:
        found = await running.ask("scatter", loop="loading_time", package_nm="shop", server_type=1)
        assert (sorted(found["points"]["value_ms"]), found["meta"], found["wrong_key"]) == ([1, 2], None, key)

    tell(story)


@pytest.mark.parametrize("kind", NO_SORTED_SET)
@pytest.mark.parametrize(("loop", "kept"), [("device", "page"), ("page", "device")])
def test_an_index_of_another_type_hides_no_key_of_the_other_loop(
    loop: str, kept: str, kind: str, tell: Tell, full: Loops, valkey: Valkey
) -> None:
    full.figures(kept, ("shop", 2, "Web"), NOW)
    spoil(valkey, f"{loop_key(PREFIX, loop)}:keys", kind)

    async def story(running: Site) -> None:
        found = await running.ask("keys")
        assert found["source"] == "valkey"
        expected = [OTHER, TRIPLE, ("shop", 2, "Web")]
        assert [tuple(key.values()) for key in found["keys"]] == expected

    tell(story)


@pytest.mark.parametrize("kind", NO_HASH)
def test_a_log_rate_of_another_type_is_a_gap_that_is_told_and_ends(
    kind: str, site: Serve, full: Loops, valkey: Valkey
) -> None:
    """A slot without rows would say that nothing came in, which is not known."""
    key = key_of("log_meter", PAIR)

    async def story() -> None:
        clock = FakeClock(NOW)
        async with site(clock) as running, listening(running, TRIPLE) as page:
            await page.until(lambda: page.names().count("log_rate") == 2, "the first tick, and the table")
            assert page.slots[-1]["rows"] == 40

            def last() -> dict[str, Any]:
                return [data for name, data in page.events if name == "log_rate"][-1]

            assert last()["wrong_key"] is None
            spoil(valkey, key, kind)
            full.ticked("log_meter", NOW + timedelta(seconds=5))
            await page.until(lambda: last()["wrong_key"] == key, "the wrong key is told")
            assert (last()["slots"], page.slots[-1]["rows"]) == ([], 40)
            valkey.delete(key)
            full.rate(PAIR, NOW + timedelta(seconds=10), rows=7)
            full.ticked("log_meter", NOW + timedelta(seconds=10))
            await page.until(lambda: last()["wrong_key"] is None, "it is the loop's again")
            assert [one["rows"] for one in page.slots[-2:]] == [40, 7]
            assert page.slots[-1]["start"] == "2026-11-21T09:00:05.000000Z"
            assert page.loops["error"] is None

    asyncio.run(story())


def test_all_keys_of_another_type_at_once_are_no_outage(tell: Tell, full: Loops, valkey: Valkey) -> None:
    for number, key in enumerate(sorted(valkey.scan_iter(f"{PREFIX}*"))):
        kinds = NO_HASH if valkey.type(key) in (b"hash", "hash") else NO_SORTED_SET
        spoil(valkey, key, kinds[number % len(kinds)])

    async def story(running: Site) -> None:
        found = await running.ask("today", **asked(TRIPLE))
        assert [found[loop]["wrong_key"] for loop in ("device", "page")] == [
            key_of(loop, TRIPLE) for loop in ("device", "page")
        ]
        health = await running.ask("health")
        assert {loop["state"] for loop in health["loops"]} == {"never"}
        assert health["valkey"]["error"] is None
        assert (await running.ask("keys"))["keys"] == []

    tell(story)
