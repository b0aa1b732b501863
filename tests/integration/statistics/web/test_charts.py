"""The charts in a real browser, on figures that are made up: what they tell, how they are zoomed, what they need."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from local.browser import find_chromium, running_browser
from maxy.web.headers import CONTENT_SECURITY_POLICY
from tests.page_server import Answers, serving_pages
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from playwright.sync_api import Browser, Locator, Page

    from tests.page_server import Event

CHROMIUM = find_chromium()
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("MAXY_REQUIRE_BROWSER") != "1",
    reason="no Chromium on this machine: apt-get install chromium, or set CHROMIUM to a browser's path",
)
# What npm publishes as uplot 1.6.31.
UPLOT = "2d27e8ad3d228164525ce213f9dc716f39b4e3aee0cc773fb3491c96cf4921a2"
KEY = {"package_nm": "shop", "server_type": 0, "os_type": "Android"}
KEYS = {"keys": [KEY], "busiest": KEY, "is_complete": True, "timezone": "Asia/Seoul", "today": "2026-11-21"}
FIRST = date(2026, 11, 7)
VISITS = [120, 130, None, 0, 1_500, 90, 100, 110, None, None, 140, 150, 160, 170]
BEFORE = [value if value is None else value + 1000 for value in VISITS]
DAYS = [str(FIRST + timedelta(days=number)) for number in range(len(VISITS))]
PATIENCE = 30.0
# Collected by the page itself: a violation is told to nobody else.
WATCH_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event => window.violations.push(event.violatedDirective));
"""


def figures(visits: int | None) -> dict[str, float | None] | None:
    return None if visits is None else {"visit": visits, "intervaltime_avg": visits * 10}


HISTORY = {
    "timezone": "Asia/Seoul",
    "dag_id": "device_statistic_daily",
    "first_computed": DAYS[0],
    "days": [
        {
            "stat_date": day,
            "state": "missing" if visits is None else "present",
            "figures": figures(visits),
            "week_before": figures(before),
            "week_before_state": "missing" if before is None else "present",
        }
        for day, visits, before in zip(DAYS, VISITS, BEFORE, strict=True)
    ],
}


@dataclass
class Feed:
    """The stream's events: those that are set before it is opened, then those that are put.

    :param first: at its beginning.
    """

    first: list[Event] = field(default_factory=list)
    later: list[Event] = field(default_factory=list)

    async def events(self) -> AsyncIterator[Event]:
        """Yield them."""
        for event in self.first:
            yield event
        while True:
            while self.later:
                yield self.later.pop(0)
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "MAXY_REQUIRE_BROWSER is set, and there is no Chromium"
    with running_browser(CHROMIUM) as opened:
        yield opened


@pytest.fixture(scope="module")
def feed() -> Feed:
    return Feed()


@pytest.fixture(scope="module")
def site(feed: Feed) -> Iterator[str]:
    with serving_pages(Answers({"keys": KEYS, "history": HISTORY}, feed.events)) as url:
        yield url


@pytest.fixture
def opened(browser: Browser, site: str) -> Iterator[Callable[..., Page]]:
    """Open a page; it must not complain, nor do what its policy forbids."""
    seen: list[tuple[Page, list[str]]] = []

    def open_page(
        path: str, *, width: int = 1280, airflow_zone: str = "", theme: str = "light", **options: Any
    ) -> Page:
        settings = {"viewport": {"width": width, "height": 900}, "reduced_motion": "reduce"}
        context = browser.new_context(**(settings | {"locale": "en-US"} | options))
        context.add_init_script(WATCH_VIOLATIONS)
        # As Airflow keeps them.
        context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        if airflow_zone:
            context.add_init_script(f"""localStorage.setItem('timezone', '"{airflow_zone}"')""")
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{site}/{path}")
        seen.append((page, complaints))
        return page

    yield open_page
    for page, complaints in seen:
        assert page.evaluate("window.violations") == []
        assert complaints == []
        page.context.close()


def history_chart(page: Page) -> Locator:
    chart = page.locator("#history-chart")
    wait_until(lambda: chart.get_attribute("data-points") == "11", PATIENCE, "the chart is drawn")
    return chart


def told_at(chart: Locator, across: float, down: float = 0.5) -> str:
    """What is told where the pointer is, in parts of the area between the axes; nothing if nothing is."""
    box = area(chart)
    chart.page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
    hint = chart.locator(".hint")
    return "\n".join(filter(None, hint.inner_text().split("\n"))) if hint.is_visible() else ""


def area(chart: Locator) -> Any:
    chart.scroll_into_view_if_needed()
    return chart.locator(".u-over").bounding_box()


def day_at(number: float) -> float:
    """Where a day is: each has as much room on both sides."""
    return (number + 0.5) / len(DAYS)


def test_the_library_is_what_its_authors_publish() -> None:
    script = (files("youplot") / "vendor" / "uplot.iife.min.js").read_bytes()
    assert hashlib.sha256(script).hexdigest() == UPLOT


def test_charts_need_no_exception_from_the_policy() -> None:
    assert not re.search(r"unsafe|sha\d+|nonce|blob|https?:|\*", CONTENT_SECURITY_POLICY)


@needs_chromium
@pytest.mark.parametrize("as_bars", [False, True])
def test_the_values_of_each_day_are_told_and_a_missing_day_has_none(
    opened: Callable[..., Page], *, as_bars: bool
) -> None:
    page = opened("history")
    chart = history_chart(page)
    page.locator("#as-bars").set_checked(as_bars)
    for number, (day, visits, before) in enumerate(zip(DAYS, VISITS, BEFORE, strict=True)):
        title, *rest = told_at(chart, day_at(number)).split("\n")
        assert title == f"{date.fromisoformat(day):%a, %b} {date.fromisoformat(day).day}, 2026"
        if visits is None or before is None:
            assert rest == ["missing", "not computed"]
        else:
            assert rest == ["A week before", f"{before:,}", "Visits", f"{visits:,}"]
    page.mouse.move(0, 0)
    assert not chart.locator(".hint").is_visible()


@needs_chromium
@pytest.mark.parametrize("timezone_id", ["Asia/Beirut", "America/Los_Angeles", "Pacific/Apia"])
def test_days_are_those_of_the_calendar_in_every_zone_and_korean_is_korean(
    opened: Callable[..., Page], timezone_id: str
) -> None:
    chart = history_chart(opened("history", locale="ko-KR", timezone_id=timezone_id))
    assert told_at(chart, day_at(4)).split("\n") == [
        "2026년 11월 11일 (수)",
        "전주 같은 요일",
        "2,500",
        "방문",
        "1,500",
    ]


@needs_chromium
def test_a_series_is_switched_off_and_on_by_its_name(opened: Callable[..., Page]) -> None:
    page = opened("history")
    chart = history_chart(page)
    names = chart.locator(".legend button")
    assert names.all_inner_texts() == ["A week before", "Visits", "missing"]
    names.nth(0).focus()
    page.keyboard.press("Enter")
    assert names.nth(0).get_attribute("aria-pressed") == "false"
    assert told_at(chart, day_at(0)).split("\n")[1:] == ["Visits", "120"]
    page.locator("#as-bars").check()
    assert names.nth(0).get_attribute("aria-pressed") == "false"
    wait_until(lambda: told_at(chart, day_at(0)).split("\n")[1:] == ["Visits", "120"], PATIENCE, "nor is it as bars")
    for name in (names.nth(1), names.nth(2)):
        name.click()
        name.click()
    names.nth(0).dblclick()
    assert [name.get_attribute("aria-pressed") for name in names.all()] == ["true", "false", "false"]
    assert told_at(chart, day_at(0)).split("\n")[1:] == ["A week before", "1,120"]
    names.nth(0).dblclick()
    assert {name.get_attribute("aria-pressed") for name in names.all()} == {"true"}
    # Another metric is another chart.
    names.nth(0).click()
    page.locator("#metric").select_option("intervaltime_avg")
    wait_until(lambda: names.nth(0).get_attribute("aria-pressed") == "true", PATIENCE, "all are shown again")
    assert told_at(chart, day_at(4)).split("\n")[1:] == ["A week before", "25 sec", "Mean time on a page", "15 sec"]


def drag(chart: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    box, mouse = area(chart), chart.page.mouse
    (x0, y0), (x1, y1) = (
        (box["x"] + box["width"] * across, box["y"] + box["height"] * down) for across, down in (start, end)
    )
    mouse.move(x0, y0)
    mouse.down()
    mouse.move(x1, y1, steps=5)
    mouse.up()


@needs_chromium
def test_a_part_is_chosen_by_a_drag_or_a_button_moved_and_left_again(opened: Callable[..., Page]) -> None:
    page = opened("history")
    chart = history_chart(page)

    def middle() -> str:
        return told_at(chart, 0.51).split("\n")[0][5:11]

    assert middle() == "Nov 14"
    # The right half.
    drag(chart, (0.5, 0.5), (1.0, 0.52))
    wait_until(lambda: middle() == "Nov 17", PATIENCE, "the chosen half is shown")
    page.locator("#as-bars").check()
    page.locator("#as-bars").uncheck()
    assert middle() == "Nov 17", "another look leaves the part alone"
    area(chart)
    page.mouse.dblclick(*centre(chart))
    wait_until(lambda: middle() == "Nov 14", PATIENCE, "all is shown again")
    pan, closer, further, everything = chart.locator(".chart-tools button").all()
    closer.focus()
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    wait_until(lambda: middle() == "Nov 17", PATIENCE, "a quarter of the half twice to the right")
    further.click()
    wait_until(lambda: told_at(chart, 0.02) != "", PATIENCE, "more is shown")
    everything.click()
    wait_until(lambda: middle() == "Nov 14", PATIENCE, "all is shown again")
    pan.click()
    assert pan.get_attribute("aria-pressed") == "true"
    drag(chart, (0.75, 0.5), (0.25, 0.5))
    wait_until(lambda: told_at(chart, 0.01).split("\n")[0][5:11] == "Nov 14", PATIENCE, "it has moved with the pointer")


def centre(chart: Locator) -> tuple[float, float]:
    box = area(chart)
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@needs_chromium
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_the_theme_and_the_missing_days_are_marked(opened: Callable[..., Page], theme: str) -> None:
    page = opened("history", theme=theme)
    chart = history_chart(page)
    line = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--chart-1')").strip()
    wanted = [int(line[at : at + 2], 16) for at in (1, 3, 5)]
    assert wanted in colours(chart), "the line is in the theme's colour"
    column = colours_at(chart, day_at(2))
    beside = colours_at(chart, day_at(0))
    assert len(column - beside) >= 1, "the whole height of a missing day is coloured"


def colours(chart: Locator) -> list[list[int]]:
    """Every colour that covers its pixel."""
    found: list[list[int]] = chart.locator("canvas").evaluate(
        "canvas => { const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
        " const found = new Set(); for (let at = 0; at < data.length; at += 4)"
        " if (data[at + 3] === 255) found.add(`${data[at]},${data[at + 1]},${data[at + 2]}`);"
        " return [...found].map(one => one.split(',').map(Number)); }"
    )
    return found


def colours_at(chart: Locator, across: float) -> set[str]:
    """The colours in the lower half of a column, between the grid's lines too."""
    found: list[str] = chart.locator("canvas").evaluate(
        "(canvas, across) => { const over = canvas.parentElement.querySelector('.u-over');"
        " const x = Math.round((over.offsetLeft + over.offsetWidth * across) * devicePixelRatio) + 3;"
        " const top = Math.round((over.offsetTop + over.offsetHeight / 2) * devicePixelRatio);"
        " const {data} = canvas.getContext('2d').getImageData(x, top, 1, Math.round(over.offsetHeight / 3));"
        " const found = new Set(); for (let at = 0; at < data.length; at += 4)"
        " found.add([...data.slice(at, at + 4)].join()); return [...found]; }",
        across,
    )
    return set(found)


@needs_chromium
def test_a_finger_is_told_the_values_and_scrolls_the_page(opened: Callable[..., Page]) -> None:
    page = opened("history", width=390, has_touch=True, is_mobile=True)
    chart = history_chart(page)
    box = area(chart)
    page.touchscreen.tap(box["x"] + box["width"] * day_at(4), box["y"] + 50)
    wait_until(lambda: "1,500" in chart.locator(".hint").inner_text(), PATIENCE, "the values are told")
    assert chart.locator(".chart-tools").count() == 0
    assert page.evaluate("getComputedStyle(document.querySelector('.u-over')).touchAction") == "auto"


@needs_chromium
def test_a_chart_fits_a_phone_another_width_and_paper(opened: Callable[..., Page]) -> None:
    page = opened("history", width=390, locale="ko-KR")
    chart = history_chart(page)
    for width in (390, 1000, 500):
        page.set_viewport_size({"width": width, "height": 900})
        wait_until(lambda: is_as_wide(chart), PATIENCE, "the chart is as wide as its place")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert told_at(chart, day_at(13)).startswith("2026년 11월 20일")
    page.set_viewport_size({"width": 1280, "height": 900})
    wait_until(lambda: is_as_wide(chart), PATIENCE, "the chart is as wide as its place")
    # The page becomes narrower, and nobody tells it.
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 700, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert not chart.locator(".chart-tools").is_visible()


def is_as_wide(chart: Locator) -> bool:
    plot, drawn = chart.locator(".plot").bounding_box(), chart.locator("canvas").bounding_box()
    return plot is not None and drawn is not None and abs(plot["width"] - drawn["width"]) < 1


def scatter(loop: str, first: int, points: list[tuple[int, float]], *, reset: bool = True) -> Event:
    count = len(points)
    added = {
        "id": list(range(first, first + count)),
        "reg_dt_ms": [at for at, _ in points],
        "value_ms": [value for _, value in points],
        "os_type": ["Android"] * count,
        "page": [f"/page/{first + number}" for number in range(count)],
        **{name: ["x"] * count for name in ("device_model", "app_ver", "com_type")},
    }
    return "scatter", {"loop": loop, "reset": reset, "added": added, "removed": [], "meta": None, "wrong_key": None}


def rates(end: float, rows: list[int], *, seconds: int = 60) -> Event:
    """Slots that follow one another, the last of which ends then."""
    starts = [end - seconds * (len(rows) - place) for place in range(len(rows))]
    slots = [
        {"start": instant(start), "end": instant(start + seconds), "rows": count}
        for start, count in zip(starts, rows, strict=True)
    ]
    return "log_rate", {"reset": True, "slots": slots, "wrong_key": None}


def instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()


@needs_chromium
def test_points_and_rates_are_told_where_they_are_in_the_zone_that_airflow_shows(
    opened: Callable[..., Page], feed: Feed
) -> None:
    now = time.time()
    # Late ones come last.
    points = [(int((now - 100) * 1000), 1000.0), (int((now - 60) * 1000), 9000.0), (int((now - 200) * 1000), 100.0)]
    feed.first = [
        ("loops", {"error": None, "loops": []}),
        scatter("loading_time", 1, points),
        rates(now, [60] * 5 + [600]),
    ]
    page = opened("live", airflow_zone="Asia/Kolkata")
    chart = page.locator("#loading-chart")
    wait_until(lambda: chart.get_attribute("data-points") == "3", PATIENCE, "the points are shown")
    for number, (at, value) in enumerate(points, start=1):
        text = find(chart, f"/page/{number}", *spot_of(at, value))
        clock = datetime.fromtimestamp(at / 1000, ZoneInfo("Asia/Kolkata"))
        assert f"{clock:%-I:%M:%S}" in text.replace("\u202f", " ")
        assert chart.locator(".hint").get_attribute("data-kind") == ("slow" if value > 1500 else "normal")
    # A linear axis ends a bit above 5 s: what is above lies there.
    page.locator("#log-axis").uncheck()
    across, _ = spot_of(*points[1])
    find(chart, "/page/2", across, 0.03)
    assert chart.locator(".hint").get_attribute("data-kind") == "beyond"
    rate = page.locator("#rate-chart")
    assert "10 rows per second" in told_at(rate, 0.99)
    assert "1 rows per second" in told_at(rate, 0.6)


def spot_of(at_ms: float, value: float) -> tuple[float, float]:
    """Where a point is now, in parts of the area, on an axis from 8 to 10,000 ms."""
    across = 1 - (time.time() - at_ms / 1000) / 300
    return across, 1 - math.log10(value / 8) / math.log10(10_000 / 8)


def find(chart: Locator, text: str, across: float, down: float) -> str:
    """Move the pointer to where a text is to be told. The axes may have been drawn some seconds ago."""
    for back in range(8):
        told = told_at(chart, across + back / 60, down)
        if text in told:
            return told
    raise AssertionError(f"nowhere is told of {text}")


@needs_chromium
def test_what_was_chosen_stays_while_points_arrive(opened: Callable[..., Page], feed: Feed) -> None:
    at, value = int((time.time() - 100) * 1000), 1000.0
    feed.first = [scatter("response_time", 1, [(at, value)])]
    page = opened("live")
    chart = page.locator("#response-chart")
    wait_until(lambda: chart.get_attribute("data-points") == "1", PATIENCE, "the point is shown")
    across, down = spot_of(at, value)
    find(chart, "/page/1", across, down)
    drag(chart, (across - 0.1, down - 0.3), (across + 0.1, down + 0.3))
    find(chart, "/page/1", 0.4, 0.5)
    spot = chart.locator(".hint").bounding_box()
    for number in range(2, 5):
        point = (int((time.time() - 250) * 1000), 500.0)
        feed.later.append(scatter("response_time", number, [point], reset=False))
        wait_until(lambda number=number: chart.get_attribute("data-points") == str(number), PATIENCE, "one more")
    assert chart.locator(".hint").is_visible(), "what is told stays as well"
    assert chart.locator(".hint").bounding_box() == spot
    page.mouse.dblclick(*centre(chart))
    find(chart, "/page/4", *spot_of(*point))


# What a page of another family could show: a histogram, three lines over a day, a small chart without axes.
OTHER_CHARTS = """async () => {
    const { Chart } = await import(`${location.href.split("/history")[0]}/static/js/charts.js`);
    const hour = 3_600_000;
    const drawings = {
        histogram: {
            x: [10, 20, 30], xAxis: { kind: "number" }, yAxis: { label: "players" }, points: 3,
            series: [{ name: "score", look: "bars", colour: "chart-1", y: [3, 50, 7] }],
        },
        lines: {
            x: [0, 1, 2, 3].map(number => Date.parse("2026-11-20T20:00:00Z") + number * hour),
            xAxis: { kind: "time" }, yAxis: { isLog: true }, points: 4,
            series: ["a", "b", "c"].map((name, at) => (
                { name, look: "line", colour: "chart-1", y: [1, 10, null, 1000].map(one => one && one * (at + 1)) }
            )),
        },
        small: {
            x: [0, 1, 2], xAxis: { kind: "number" }, yAxis: {}, points: 3,
            series: [{ name: "trend", look: "line", colour: "chart-1", area: "chart-1-area", y: [1, 3, 2] }],
        },
    };
    for (const [name, drawing] of Object.entries(drawings)) {
        const host = document.createElement("div");
        host.id = name;
        host.className = "chart";
        document.querySelector("main").prepend(host);
        new Chart(host, () => drawing, { isSmall: name === "small" });
    }
}"""


@needs_chromium
def test_other_families_charts_need_nothing_but_a_description(opened: Callable[..., Page]) -> None:
    page = opened("history", timezone_id="Asia/Seoul")
    page.evaluate(OTHER_CHARTS)
    charts = {name: page.locator(f"#{name}") for name in ("histogram", "lines", "small")}
    for chart in charts.values():
        wait_until(lambda chart=chart: chart.get_attribute("data-points") is not None, PATIENCE, "it is drawn")
        assert len(colours(chart)) > 0
    assert told_at(charts["histogram"], 1 / 6).split("\n") == ["10", "score", "3"]
    assert told_at(charts["histogram"], 5 / 6).split("\n") == ["30", "score", "7"]
    title, *values = told_at(charts["lines"], 1 / 3).split("\n")
    assert title.replace("\u202f", " ") == "Nov 21, 2026, 6:00:00 AM"
    assert values == ["a", "10", "b", "20", "c", "30"]
    assert told_at(charts["lines"], 2 / 3) == "", "a gap has no values"
    assert told_at(charts["small"], 0.5) == ""
    assert charts["small"].locator("button").count() == 0


@needs_chromium
def test_without_its_library_a_page_says_so_and_goes_on(browser: Browser, site: str) -> None:
    page = browser.new_page(locale="en-US")
    page.route("**/uplot.iife.min.js", lambda route: route.abort())
    page.goto(f"{site}/history")
    page.locator("#history-chart.chart-failed").wait_for()
    assert "could not be loaded" in page.locator("#history-chart").inner_text()
    rows = page.locator("#table tbody tr")
    wait_until(lambda: rows.count() == len(DAYS), PATIENCE, "the table is there all the same")
    page.close()
