"""What the charts cost whoever looks at them: main-thread time of Chromium for a tick, and the weight of the scripts.

The live page with two scatters that are full, each of which gets new points and loses old ones at every tick, as from
the server. No stack is needed, only a Chromium.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from local.browser import find_chromium, running_browser
from tests.page_server import Answers, serving_pages
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.sync_api import Browser

    from tests.page_server import Event

AIM_MS = 30.0
POINTS = 14_000
PERIOD_SECONDS = 5.0
_WINDOW_MS = 300_000
_KEY = {"package_nm": "com.maxy.shop", "server_type": 0, "os_type": "Android"}
_SETTLING_SECONDS = 8.0


class _Traffic:
    """Makes up a stream of events: a full scatter first, then one tick after the other.

    :param points: in a full scatter.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        self._random = random.Random(7)
        self._number = 0

    async def events(self) -> AsyncIterator[Event]:
        """Yield them, as from the server, in real time."""
        per_tick = int(self._points * PERIOD_SECONDS * 1000 / _WINDOW_MS)
        kept: list[int] = []
        yield "loops", {"error": None, "loops": []}
        now = _now_ms()
        slots = [self._slot(now - age * 1000 * PERIOD_SECONDS) for age in range(120, 0, -1)]
        yield "log_rate", {"reset": True, "slots": slots, "wrong_key": None}
        for loop in ("loading_time", "response_time"):
            added = self._columns(now - _WINDOW_MS, now, self._points)
            kept = added["id"]
            yield "scatter", _scatter(loop, added, [], is_new=True)
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            now = _now_ms()
            added = self._columns(now - PERIOD_SECONDS * 1000, now, per_tick)
            removed, kept = kept[:per_tick], kept[per_tick:] + added["id"]
            yield "log_rate", {"reset": False, "slots": [self._slot(now)], "wrong_key": None}
            for loop in ("loading_time", "response_time"):
                yield "scatter", _scatter(loop, added, removed, is_new=False)

    def _slot(self, end: float) -> dict[str, Any]:
        start, until = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000)) for at in (end - 5000, end))
        return {"start": start, "end": until, "rows": self._random.randint(50, 120)}

    def _columns(self, since: float, until: float, count: int) -> dict[str, list[Any]]:
        first = self._number
        self._number += count
        return {
            "id": list(range(first, self._number)),
            "reg_dt_ms": sorted(int(self._random.uniform(since, until)) for _ in range(count)),
            "value_ms": [round(self._random.lognormvariate(6, 0.9), 1) for _ in range(count)],
            "os_type": ["Android"] * count,
            "page": ["/product/list"] * count,
            "device_model": ["SM-S918N"] * count,
            "app_ver": ["3.2.1"] * count,
            "com_type": ["WIFI"] * count,
        }


def _scatter(loop: str, added: dict[str, list[Any]], removed: list[int], *, is_new: bool) -> dict[str, Any]:
    return {"loop": loop, "reset": is_new, "added": added, "removed": removed, "meta": None, "wrong_key": None}


def _now_ms() -> float:
    return time.time() * 1000


def measure(browser: Browser, *, points: int, ticks: int) -> None:
    """Open the page, measure some ticks and judge."""
    keys = {"keys": [_KEY], "busiest": _KEY, "is_complete": True, "timezone": "Asia/Seoul", "today": "2026-11-28"}
    with serving_pages(Answers({"keys": keys}, _Traffic(points).events)) as url:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        session = page.context.new_cdp_session(page)
        # CPU time of the thread: what else the machine does would count otherwise.
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(f"{url}/live")
        chart = page.locator("#response-chart")
        wait_until(lambda: int(chart.get_attribute("data-points") or 0) > points * 0.9, 60, "both scatters are full")
        _print_weight(page)
        page.locator("#loading-chart").scroll_into_view_if_needed()
        time.sleep(_SETTLING_SECONDS)
        before = _metrics(session)
        time.sleep(ticks * PERIOD_SECONDS)
        after = _metrics(session)
        page.close()
    spent = {name: (after[name] - before[name]) * 1000 / ticks for name in ("TaskDuration", "ScriptDuration")}
    took = spent["TaskDuration"]
    print(
        f"two scatters of {points:,} points, {ticks} ticks: {took:.1f} ms of the main thread a tick "
        f"({spent['ScriptDuration']:.1f} ms of script), all that the page does in {PERIOD_SECONDS:.0f} s"
    )
    print(f"aim: under {AIM_MS:.0f} ms a tick: {'met' if took < AIM_MS else 'MISSED'}")


def _print_weight(page: Any) -> None:
    weights: list[tuple[str, int, int]] = page.evaluate(
        "performance.getEntriesByType('resource').map(one => [one.name, one.transferSize, one.decodedBodySize])"
    )
    for kind in (".js", ".css"):
        found = [(sent, decoded) for name, sent, decoded in weights if name.endswith(kind)]
        sent, decoded = (sum(column) / 1000 for column in zip(*found, strict=True))
        print(f"{len(found)} files *{kind}: {sent:,.0f} kB transferred, {decoded:,.0f} kB decoded")


def _metrics(session: Any) -> dict[str, float]:
    return {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}


def run(*, points: int = POINTS, ticks: int = 6) -> None:
    """Measure, if there is a browser."""
    chromium = find_chromium()
    if chromium is None:
        print("charts are not measured: no Chromium on this machine (apt-get install chromium, or set CHROMIUM)")
        return
    with running_browser(chromium) as browser:
        measure(browser, points=points, ticks=ticks)
