"""The pages in a real browser, inside Airflow's UI, on a whole stack with live traffic.

Screenshots of what the tests have seen are kept in the folder MAXY_ARTEFACTS (`.artefacts` of the checkout).
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import urllib.error
import urllib.request
from datetime import date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe

from local.browser import AirflowUi, find_chromium, running_browser
from local.settings import ADMIN_USER, VIEWER_USER
from maxy.valkey.keys import KeyTemplate
from tests.e2e.conftest import FAST, ROOT, started_stack
from tests.e2e.live import DEVICE_METRICS, PAGE_METRICS, Feed, Live
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.sync_api import Browser, FrameLocator, Locator

    from local.browser import PageName, Theme
    from tests.e2e.conftest import RunningStack

CHROMIUM = find_chromium()
if CHROMIUM is None and os.environ.get("MAXY_REQUIRE_BROWSER") != "1":
    pytest.skip(
        "no Chromium on this machine: apt-get install chromium, or set CHROMIUM to a browser's path",
        allow_module_level=True,
    )
PICTURES = Path(os.environ.get("MAXY_ARTEFACTS") or ROOT / ".artefacts")
REALTIME = {
    "loops": {
        **{name: {"period_seconds": 2} | FAST for name in ("log_meter", "loading_time", "response_time")},
        **{name: {"period_seconds": 4} | FAST for name in ("device", "page")},
        "watch": {"period_seconds": 10},
    }
}
KEY = {"package_nm": "com.maxy.shop", "server_type": "0", "os_type": "Android"}
OTHER_KEY = {"package_nm": "com.maxy.bank", "server_type": "0", "os_type": "iOS"}
RATE = 60
PATIENCE = 60.0


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStack]:
    """A stack with sample data of three days, the first and last of which are computed, and ticking loops."""
    with started_stack(MAXY_TIMEZONE="Asia/Seoul", MAXY_REALTIME=json.dumps(REALTIME)) as stack:
        seeded = stack.run_command("seed", "--days", "3", "--scale", "0.2")
        assert seeded.returncode == 0, seeded.stdout + seeded.stderr
        live = Live(stack)
        first, missing, yesterday = (datetime.now(live.zone).date() - timedelta(days=back) for back in (3, 2, 1))
        filled = stack.run_command("backfill", "--unpause", "--from", str(first), "--to", str(yesterday))
        assert filled.returncode == 0, filled.stdout + filled.stderr
        # The day between is lost again.
        with live.clickhouse() as client:
            client.command(f"ALTER TABLE max_device_statistic DROP PARTITION '{missing}'")
        live.unpause()
        live.wait_for_ticks()
        yield stack


@pytest.fixture(scope="module")
def live(running: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The stack with traffic."""
    feed = Feed(dict(running.environment), tmp_path_factory.mktemp("feed") / "ledger.jsonl", rate=RATE)
    live = Live(running)
    live.wait_for_ticks()
    yield live
    feed.process.kill()
    feed.process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "MAXY_REQUIRE_BROWSER is set, and there is no Chromium"
    with running_browser(CHROMIUM) as opened:
        yield opened


@contextlib.contextmanager
def user(browser: Browser, stack: RunningStack, name: str, **options: Any) -> Iterator[AirflowUi]:
    """Somebody who is logged in; whose pages must not complain."""
    settings = stack.settings
    passwords = {ADMIN_USER: settings.airflow_admin_password, VIEWER_USER: settings.airflow_viewer_password}
    ui = AirflowUi(browser, settings.airflow_url, **options)
    try:
        ui.log_in(name, passwords[name])
        yield ui
    finally:
        ui.close()


@pytest.fixture
def viewer(browser: Browser, live: Live, request: pytest.FixtureRequest) -> Iterator[AirflowUi]:
    with user(browser, live.stack, VIEWER_USER) as ui:
        yield ui
        # What was to be seen last, for whoever looks into a failure.
        picture(ui, f"end-of-{re.sub(r'[^a-z0-9]+', '-', request.node.name)}")


def picture(ui: AirflowUi, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    ui.page.screenshot(path=PICTURES / f"{name}.png")


def query(key: Mapping[str, str]) -> str:
    return f"?{urlencode(key)}"


def shown(frame: FrameLocator) -> dict[str, float | None]:
    """The figures that stand on the page, read in one step."""
    values: dict[str, str | None] = frame.locator("main").evaluate(
        "main => Object.fromEntries([...main.querySelectorAll('[data-metric]')]"
        ".map(tile => [tile.dataset.metric, tile.dataset.value ?? null]))"
    )
    return {name: float(value) if value else None for name, value in values.items() if name != "log_rate"}


def in_valkey(live: Live, key: Mapping[str, str]) -> dict[str, float | None]:
    """The figures that stand in Valkey."""
    columns = [[key[name]] for name in ("package_nm", "server_type", "os_type")]
    figures: dict[str, float | None] = {}
    with live.valkey() as client:
        for template, metrics in (
            ("{package_nm}:{server_type}:{os_type}", DEVICE_METRICS),
            ("page:{package_nm}:{server_type}:{os_type}", PAGE_METRICS),
        ):
            (name,) = KeyTemplate(template, prefix=f"{live.prefix}:").keys(columns)
            hash_ = client.hgetall(name)
            # An average that is kept as 0 was not measured.
            figures |= {
                metric: None if metric.endswith("_avg") and not float(hash_[metric]) else float(hash_[metric])
                for metric in metrics
            }
    return figures


def agree(live: Live, frame: FrameLocator, key: Mapping[str, str]) -> bool:
    """Whether page and Valkey say the same, at a moment at which Valkey did not change."""
    before, page, after = in_valkey(live, key), shown(frame), in_valkey(live, key)
    return before == after and page == pytest.approx(after)


def test_a_viewer_finds_the_live_page_and_sees_figures_change_as_rows_arrive(viewer: AirflowUi, live: Live) -> None:
    viewer.choose_from_navigation("live")
    frame = viewer.open("live", query(KEY))
    wait_until(lambda: agree(live, frame, KEY), PATIENCE, "the page shows what Valkey has")
    first = shown(frame)
    wait_until(lambda: (shown(frame)["pv"] or 0) > (first["pv"] or 0), PATIENCE, "page views grow")
    # All of them, in the same moment, again.
    wait_until(lambda: agree(live, frame, KEY), PATIENCE, "the page shows what Valkey has")
    assert int(frame.locator("#rate-chart").get_attribute("data-points") or 0) > 1
    picture(viewer, "live")
    assert viewer.complaints == []


def test_the_choice_of_another_key_shows_its_figures(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("live", query(KEY))
    frame.locator("#package_nm").select_option(OTHER_KEY["package_nm"])
    frame.locator("#server_type").select_option(OTHER_KEY["server_type"])
    frame.locator("#os_type").select_option(OTHER_KEY["os_type"])
    wait_until(lambda: agree(live, frame, OTHER_KEY), PATIENCE, "the page shows the other key's figures")
    # A reload, or somebody who is sent the link, sees the same.
    wait_until(lambda: "com.maxy.bank" in viewer.page.url, PATIENCE, "the address names the choice")
    viewer.page.reload()
    frame = viewer.frame()
    wait_until(lambda: agree(live, frame, OTHER_KEY), PATIENCE, "the page shows the same key after a reload")
    assert viewer.complaints == []


@pytest.mark.parametrize(("chart", "loop"), [("#loading-chart", "loadingtime"), ("#response-chart", "responsetime")])
def test_a_scatter_shows_the_points_that_valkey_has(viewer: AirflowUi, live: Live, chart: str, loop: str) -> None:
    frame = viewer.open("live", query(KEY))
    frame.locator("#only-system").uncheck()

    def points() -> int:
        return int(frame.locator(chart).get_attribute("data-points") or 0)

    def kept() -> int:
        with live.valkey() as client:
            return int(client.zcard(f"{live.prefix}:{loop}:{KEY['package_nm']}:{KEY['server_type']}"))

    # Points come and go all the while; what is shown is at most one tick older than what is kept.
    wait_until(lambda: points() > 50, PATIENCE, "points are shown")
    wait_until(lambda: kept() == points() == kept(), PATIENCE, "as many points as Valkey has", interval=0.05)
    assert viewer.complaints == []


def test_a_point_under_the_pointer_is_told(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("live", query(KEY))
    frame.locator("#only-system").uncheck()
    chart = frame.locator("#loading-chart")
    wait_until(lambda: int(chart.get_attribute("data-points") or 0) > 50, PATIENCE, "points are shown")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    hint = chart.locator(".hint")
    # Somewhere on a grid that is as close as a pointer must come, there is a point.
    places = product(range(60, int(box["width"]) - 40, 20), range(20, int(box["height"]) - 40, 20))
    for x, y in places:
        viewer.page.mouse.move(box["x"] + x, box["y"] + y)
        if hint.is_visible():
            break
    value = float(hint.get_attribute("data-value") or "nan")
    picture(viewer, "point")
    with live.valkey() as client:
        points = client.zrange(f"{live.prefix}:loadingtime:{KEY['package_nm']}:{KEY['server_type']}", 0, -1)
    found = [point for point in map(json.loads, points) if point["loading_time"] == value]
    assert any(point["device_model"] in hint.inner_text() for point in found if point["device_model"])


def test_the_pages_follow_airflows_dark_mode(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("live", query(KEY))
    looks = {}
    for theme in ("dark", "light"):
        viewer.choose_theme(theme)
        frame.locator(f"html[data-theme={theme}]").wait_for(state="attached")
        looks[theme] = frame.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
        picture(viewer, f"live-{theme}")
    assert looks["dark"] != looks["light"]
    assert viewer.complaints == []


@pytest.mark.parametrize("page", ["live", "history", "health"])
def test_a_page_fits_a_phone_and_speaks_korean(browser: Browser, live: Live, page: PageName) -> None:
    with user(browser, live.stack, VIEWER_USER, width=390, height=800, locale="ko-KR") as phone:
        phone.page.goto(f"{live.stack.settings.airflow_url}/maxy/{page}{query(KEY)}")
        phone.page.locator("html[data-ready=true]").wait_for(state="attached")
        assert phone.page.locator("html").get_attribute("lang") == "ko"
        assert re.search("[가-힣]", phone.page.locator("h1").inner_text())
        width = phone.page.evaluate("document.documentElement.scrollWidth")
        picture(phone, f"{page}-phone-ko")
        assert width <= 390
        assert phone.complaints == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("page", ["live", "history", "health"])
def test_a_page_can_be_used_with_a_screen_reader_and_by_keyboard(
    viewer: AirflowUi, live: Live, page: PageName, theme: Theme
) -> None:
    """By the rules of axe-core: names, roles, landmarks, contrast, focus."""
    frame = viewer.open(page, query(KEY))
    viewer.choose_theme(theme)
    frame.locator(f"html[data-theme={theme}]").wait_for(state="attached")
    # The page by itself, without Airflow's around it.
    viewer.page.goto(f"{live.stack.settings.airflow_url}/maxy/{page}{query(KEY)}")
    viewer.page.locator(f"html[data-ready=true][data-theme={theme}]").wait_for(state="attached")
    found = Axe().run(viewer.page).response["violations"]
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]][:3]) for rule in found] == []
    # The first stop of the tabulator leads past the navigation.
    viewer.page.keyboard.press("Tab")
    assert viewer.page.evaluate("document.activeElement.className") == "skip"


def test_the_history_is_what_the_table_has_and_comes_as_csv(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("history", query(KEY))
    frame.locator("#metric").select_option("pv")
    days = days_shown(frame)
    with live.clickhouse() as client:
        stored = {
            str(day): pv
            for day, pv in client.query(
                "SELECT stat_date, pv FROM max_device_statistic"
                " WHERE (package_nm, server_type, os_type)"
                " = ({package_nm:String}, {server_type:UInt32}, {os_type:String})",
                parameters=dict(KEY),
            ).result_rows
        }
    assert len(stored) >= 1
    assert {day: float(value) for day, (state, value) in days.items() if value} == pytest.approx(stored)
    # Days before the first computed one are not missing.
    assert {state for state, _ in days.values()} == {"present", "missing", "before_first"}
    assert [state for _, (state, _) in sorted(days.items())][-3:] == ["present", "missing", "present"]
    picture(viewer, "history")
    with viewer.page.expect_download() as downloading:
        frame.locator("#csv").click()
    content = Path(downloading.value.path()).read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    name = downloading.value.suggested_filename
    assert name == f"max_device_statistic_com.maxy.shop_0_Android_{min(days)}_{max(days)}.csv"
    lines = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    # No vital is measured on Android: an empty cell, and a dash on the page.
    assert {line["lcp_avg"] for line in lines} == {""}
    assert {line["stat_date"]: line["pv"] for line in lines if line["state"] == "present"} == {
        day: str(pv) for day, pv in stored.items()
    }
    assert [line["stat_date"] for line in lines] == sorted(days)
    assert viewer.complaints == []


def days_shown(frame: FrameLocator) -> dict[str, tuple[str, str]]:
    """State and value of each day of the history's table."""
    rows: list[tuple[str, str, str]] = frame.locator("#table tbody").evaluate(
        "body => [...body.rows].map(row => [row.dataset.day, row.dataset.state, row.dataset.value])"
    )
    return {day: (state, value) for day, state, value in rows}


def open_backfill_form(frame: FrameLocator, day: str) -> None:
    """Follow the link of a missing day."""
    link = frame.locator(f'#missing-days a[data-backfill="{day}"]')
    # Of many days in a row, the links to the single ones are folded away.
    link.evaluate("link => { const fold = link.closest('details'); if (fold) fold.open = true; }")
    link.click()
    frame.locator("#backfill").wait_for()
    assert frame.locator("#backfill-first").input_value() == day
    assert frame.locator("#backfill-last").input_value() == day


def test_a_missing_day_is_filled_from_the_history_by_whom_airflow_lets(browser: Browser, live: Live) -> None:
    day = str(datetime.now(live.zone).date() - timedelta(days=2))
    with user(browser, live.stack, VIEWER_USER) as viewer:
        frame = viewer.open("history", query(KEY))
        assert days_shown(frame)[day][0] == "missing"
        frame.locator(f'#missing-days a[data-backfill="{day}"]').click()
        frame.locator('#backfill-answer [data-state="forbidden"]').wait_for()
        assert not frame.locator("#backfill-form").is_visible()
        picture(viewer, "backfill-forbidden")
    running = {"state": "running"}
    found = live.stack.api.request("GET", "/dags/device_statistic_daily/dagRuns", query=running)
    assert found["total_entries"] == 0
    with user(browser, live.stack, ADMIN_USER) as admin:
        frame = admin.open("history", query(KEY))
        open_backfill_form(frame, day)
        frame.locator("#backfill-start").click()
        frame.locator('#backfill-answer [data-tone="good"]').wait_for()
        frame.locator('#backfill-progress[data-state="ended"]').wait_for(timeout=3 * 1000 * PATIENCE)
        assert frame.locator("#backfill-progress progress").get_attribute("value") == "1"
        # Chart and table follow by themselves.
        frame.locator(f'#table tr[data-day="{day}"][data-state="present"]').wait_for()
        assert not frame.locator("#missing").is_visible()
        picture(admin, "backfill-ended")
        frame.locator("#backfill-link a").click()
        admin.page.wait_for_url("**/dags/device_statistic_daily/backfills")
        assert admin.complaints == []


def test_means_of_web_vitals_are_not_rated_and_what_was_not_measured_is_a_dash(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("live", query(KEY | {"os_type": "Web"}))
    tile = frame.locator('#vitals-tiles [data-metric="lcp_avg"]')
    wait_until(lambda: tile.get_attribute("data-value") != "", PATIENCE, "LCP is measured on the Web")
    assert frame.locator("#vitals-tiles .badge").count() == 0
    assert "mean" in tile.inner_text()
    assert not re.search("good|poor|improvement", tile.inner_text())
    frame.locator("#os_type").select_option("Android")
    wait_until(lambda: agree(live, frame, KEY), PATIENCE, "the page shows the other system's figures")
    assert frame.locator("#vitals-tiles .value").all_inner_texts() == ["–"] * 4


def test_who_comes_for_the_first_time_sees_the_busiest_package(viewer: AirflowUi, live: Live) -> None:
    with live.clickhouse() as client:
        ((package,),) = client.query(
            "SELECT package_nm FROM max_device_statistic GROUP BY package_nm ORDER BY sum(pv) DESC, package_nm LIMIT 1"
        ).result_rows
    frame = viewer.open("history")
    assert frame.locator("#package_nm").input_value() == package
    assert viewer.page.title() == "Statistics by day - Airflow"
    # A choice of one's own is remembered.
    frame.locator("#package_nm").select_option(OTHER_KEY["package_nm"])
    viewer.page.goto(f"{live.stack.settings.airflow_url}/plugin/maxy-live")
    assert viewer.frame().locator("#package_nm").input_value() == OTHER_KEY["package_nm"]


def test_back_leads_to_what_was_shown_before_a_choice(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("history", query(KEY))
    first = str(datetime.now(live.zone).date() - timedelta(days=4))
    usual = frame.locator("#first").input_value()

    def shown_choice() -> tuple[str, ...]:
        return tuple(frame.locator(f"#{name}").input_value() for name in ("package_nm", "metric", "first"))

    steps = [(KEY["package_nm"], "visit", usual)]
    frame.locator("#package_nm").select_option(OTHER_KEY["package_nm"])
    steps.append((OTHER_KEY["package_nm"], "visit", usual))
    frame.locator("#metric").select_option("pv")
    # The same again is no step.
    frame.locator("#metric").select_option("pv")
    steps.append((OTHER_KEY["package_nm"], "pv", usual))
    frame.locator("#first").fill(first)
    steps.append((OTHER_KEY["package_nm"], "pv", first))
    for step in reversed(steps[:-1]):
        viewer.page.go_back()
        wait_until(lambda step=step: shown_choice() == step, PATIENCE, f"back at {step}")
        wait_until(lambda step=step: step[0] in viewer.page.url, PATIENCE, "Airflow's address says the same")
    assert set(days_shown(frame)) == {str(date.fromisoformat(usual) + timedelta(days=number)) for number in range(30)}
    viewer.page.go_forward()
    wait_until(lambda: shown_choice() == steps[1], PATIENCE, "forth again")
    # Links between the pages work as before.
    frame.locator("#pages a").nth(0).click()
    frame.locator("#device-tiles .tile").first.wait_for()
    viewer.page.go_back()
    frame.locator("#metric").wait_for()
    assert viewer.complaints == []


def test_days_that_are_not_as_readers_rely_on_them_are_named_with_what_repairs_them(
    viewer: AirflowUi, live: Live
) -> None:
    day = str(datetime.now(live.zone).date() - timedelta(days=3))
    index = f"{live.prefix}:index:daily:{day}"
    with live.clickhouse() as client, live.valkey() as valkey:
        client.command(
            "INSERT INTO max_device_statistic SELECT * REPLACE (updated_at - 1000 AS updated_at)"
            f" FROM max_device_statistic WHERE stat_date = '{day}' LIMIT 2"
        )
        valkey.rename(index, f"{index}:kept")
        try:
            assert f"make recache FROM={day} TO={day}" in said(viewer, "health", "not_cached")
            command = f'make backfill FROM={day} TO={day} ARGS="--reprocess completed"'
            assert command in said(viewer, "health", "duplicate_rows")
            picture(viewer, "health-days")
        finally:
            valkey.rename(f"{index}:kept", index)
    repaired = live.stack.run_command("backfill", "--from", day, "--to", day, "--reprocess", "completed")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    frame = viewer.open("health")
    row = frame.locator(f'#daily tr[data-day="{day}"]')
    wait_until(lambda: "for" not in row.inner_text(), PATIENCE, "each key has one row again")
    assert frame.locator('#banners [data-state="duplicate_rows"]').count() == 0


@contextlib.contextmanager
def stopped_loop(live: Live, name: str) -> Iterator[None]:
    """A loop that stands still: its DAG is paused, its run marked as failed."""
    api, path = live.stack.api, f"/dags/realtime_{name}"
    api.request("PATCH", path, body={"is_paused": True})
    for run in api.request("GET", f"{path}/dagRuns", query={"state": "running"})["dag_runs"]:
        api.request("PATCH", f"{path}/dagRuns/{quote(run['dag_run_id'])}", body={"state": "failed"})
    try:
        yield
    finally:
        api.request("PATCH", path, body={"is_paused": False})
        live.wait_for_ticks()


def test_why_a_loop_stands_still_can_be_read_on_every_screen(viewer: AirflowUi, live: Live) -> None:
    name = "response_time"
    with stopped_loop(live, name):
        # By itself, as on a phone; inside Airflow's page the rest of it takes from the width.
        viewer.page.goto(f"{live.stack.settings.airflow_url}/maxy/health")
        loops = viewer.page.locator("#loops")
        loops.locator(f'tr[data-loop="{name}"][data-state="stale"]').wait_for(timeout=1000 * 2 * PATIENCE)
        detail = loops.locator(f'tr[data-detail-of="{name}"]')
        reason = detail.locator('[data-reason="paused"]')
        reason.wait_for()
        assert "The DAG is paused" in reason.inner_text()
        for width, height in ((1280, 900), (1920, 1080), (390, 844)):
            viewer.page.set_viewport_size({"width": width, "height": height})
            # Wherever the table is scrolled to.
            for left in (0, 10_000):
                loops.evaluate("(table, left) => { table.parentElement.scrollLeft = left; }", left)
                for part in (reason, detail.locator(".error-text")):
                    assert is_in_sight(part, loops.locator("xpath=.."), width)
            # The loop's own line is no higher than that of one that works.
            assert (
                height_of(loops.locator(f'tr[data-loop="{name}"]'))
                <= height_of(loops.locator("tr[data-loop=page]")) + 1
            )
            picture(viewer, f"health-stopped-{width}")
        reason.locator("a").click()
        viewer.page.wait_for_url(f"**/dags/realtime_{name}*")
        assert viewer.complaints == []


def test_a_clock_that_differs_and_a_key_of_another_type_are_said_in_their_place(
    browser: Browser, viewer: AirflowUi, live: Live
) -> None:
    name, key = "device", ":".join((live.prefix, *KEY.values()))
    with stopped_loop(live, name), live.valkey() as valkey:
        status = f"{live.prefix}:loop:{name}"
        wait_until(lambda: not valkey.exists(f"{status}:lease"), PATIENCE, "its copy has ended")
        ahead = (datetime.now(live.zone) + timedelta(hours=1)).isoformat()
        valkey.hset(status, mapping={"last_tick_at": ahead, "last_success_at": ahead})
        valkey.delete(key)
        valkey.rpush(key, "visit", 3)
        frame = viewer.open("live", query(KEY))
        banner = frame.locator('#banners [data-state="stale"]')
        banner.wait_for()
        assert "may not be fresh" in banner.inner_text()
        section = frame.locator(f'[data-loop="{name}"]')
        assert "clocks differ and its age is not known" in section.locator("[data-stale-badge]").inner_text()
        assert key in section.locator("[data-wrong-key]").inner_text()
        figures = shown(frame)
        assert figures["visit"] is None
        assert figures["pv"], "the other loop's figures are there"
        assert frame.locator("[data-wrong-key]:visible").count() == 1
        assert frame.locator('#banners [data-state="empty"]').count() == 0
        told = said(viewer, "health", "loops")
        assert f"{name} – clock differs: its last update lies in the future" in told
        assert "no update since" not in told
        with user(browser, live.stack, VIEWER_USER, locale="ko-KR") as korean:
            assert f"{name} – 시계 불일치: 마지막 갱신 시각이 미래임" in said(korean, "health", "loops")
        frame = viewer.open("live", query(KEY))
        frame.locator("[data-wrong-key]:visible").wait_for()
        picture(viewer, "live-wrong-key")
    # The loop writes it again, on the page that was open all the while.
    frame.locator("[data-wrong-key]:visible").wait_for(state="hidden", timeout=1000 * PATIENCE)
    wait_until(lambda: agree(live, frame, KEY), PATIENCE, "the figures are back")
    assert viewer.complaints == []


def is_in_sight(part: Locator, table: Locator, width: int) -> bool:
    """Whether the whole width of a text is within what is shown of a table, and of the window."""
    part.scroll_into_view_if_needed()
    inner, outer = part.bounding_box(), table.bounding_box()
    assert inner is not None
    assert outer is not None
    right = min(outer["x"] + outer["width"], width)
    return outer["x"] <= inner["x"] and inner["x"] + inner["width"] <= right


def height_of(row: Locator) -> float:
    box = row.bounding_box()
    assert box is not None
    return box["height"]


def test_the_health_page_tells_of_every_loop_and_leads_to_its_log(viewer: AirflowUi, live: Live) -> None:
    frame = viewer.open("health")

    def states() -> dict[str, str]:
        rows: list[tuple[str, str]] = frame.locator("#loops tbody").evaluate(
            "body => [...body.rows].filter(row => row.dataset.loop).map(row => [row.dataset.loop, row.dataset.state])"
        )
        return dict(rows)

    loops = {"log_meter", "loading_time", "response_time", "device", "page", "watch"}
    wait_until(lambda: states() == dict.fromkeys(loops, "ok"), PATIENCE, "all loops are well")
    yesterday = str(datetime.now(live.zone).date() - timedelta(days=1))
    # The runs come from Airflow, a moment later.
    frame.locator(f'#daily tr[data-day="{yesterday}"][data-state=present][data-run-state=success]').wait_for()
    names = frame.locator("#queries tbody th").all_inner_texts()
    assert {"realtime_page", "realtime_device", "device_statistic_daily.rollup"} <= set(names)
    picture(viewer, "health")
    frame.locator('#loops tr[data-loop="page"] a').last.click()
    viewer.page.wait_for_url("**/dags/realtime_page/runs/**/tasks/run_loop*")
    assert viewer.complaints == []


def test_a_dag_has_a_tab_with_its_statistics(viewer: AirflowUi, live: Live) -> None:
    url = live.stack.settings.airflow_url
    for dag_id, part in (("realtime_page", "#loop-part"), ("device_statistic_daily", "#daily-part")):
        viewer.page.goto(f"{url}/dags/{dag_id}")
        viewer.page.get_by_role("link", name="Statistics", exact=True).click()
        viewer.frame().locator(f"{part} tbody tr").first.wait_for()
    assert viewer.complaints == []


def test_every_route_is_closed_to_the_anonymous_and_open_to_viewer_and_admin(live: Live) -> None:
    url = f"{live.stack.settings.airflow_url}/maxy"
    viewer, admin = live.stack.token(VIEWER_USER), live.stack.token(ADMIN_USER)
    document = json.loads(fetch(f"{url}/api/openapi.json", viewer)[1])
    values = {**KEY, "loop": "loading_time"}
    paths = [f"/{page}" for page in ("live", "history", "health", "dag", "docs")]
    paths += ["/static/app.css", "/static/vendor/uplot.iife.min.js", "/api/openapi.json"]
    for path, methods in document["paths"].items():
        assert set(methods) == {"get"}, path
        needed = [given["name"] for given in methods["get"].get("parameters", []) if given["required"]]
        paths.append(f"{path}?{urlencode({name: values[name] for name in needed})}")
    assert len(paths) > 15
    for path in paths:
        anonymous = 200 if path.startswith("/api/alive") else 401
        answers = [fetch(url + path, token)[0] for token in (None, "not.a.token", viewer, admin)]
        assert answers[0] == anonymous, path
        assert answers[1] in ({200} if anonymous == 200 else {401, 403}), path
        assert answers[2:] == [200, 200], path


def fetch(url: str, token: str | None) -> tuple[int, bytes]:
    """The status and the beginning of an answer."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
            # A stream has no end.
            return answer.status, answer.readline() if "stream" in url else answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_whatever_is_down_every_page_opens_and_says_what_is_wrong(viewer: AirflowUi, live: Live) -> None:
    """One after the other, since each outage takes its time: ClickHouse, Valkey, an empty Valkey, no loop at all."""
    stack = live.stack
    live_frame = viewer.open("live", query(KEY))
    wait_until(lambda: agree(live, live_frame, KEY), PATIENCE, "the page shows what Valkey has")

    with outage(stack, "clickhouse"):
        # Of a key that nobody has just asked for: answers are kept for some seconds.
        assert said(viewer, "history", "history", OTHER_KEY)
        assert said(viewer, "health", "clickhouse")
        # Valkey has the figures, though they grow old, and the page says so.
        frame = viewer.open("live", query(KEY))
        frame.locator('#banners [data-state="stale"]').wait_for(timeout=1000 * PATIENCE)
        assert shown(frame)["pv"]
        picture(viewer, "live-without-clickhouse")
    live.wait_for_ticks()

    with outage(stack, "valkey"):
        assert said(viewer, "live", "valkey")
        picture(viewer, "live-without-valkey")
        assert said(viewer, "health", "valkey")
        frame = viewer.open("history", query(KEY))
        assert "present" in {state for state, _ in days_shown(frame).values()}
    live.wait_for_ticks()

    live.end()
    with live.valkey() as client:
        client.flushdb()
    frame = viewer.open("live", query(KEY))
    frame.locator('#banners [data-state="never"]').wait_for()
    frame.locator('#banners [data-state="empty"]').wait_for()
    picture(viewer, "live-with-an-empty-valkey")
    assert said(viewer, "health", "loops")

    # And it goes on by itself, on the page that was open all the while.
    frame = viewer.open("live", query(KEY))
    live.unpause()
    live.wait_for_ticks()
    wait_until(lambda: agree(live, frame, KEY), 2 * PATIENCE, "the figures are back")
    wait_until(lambda: frame.locator("#banners [data-state]").count() == 0, PATIENCE, "nothing is wrong any more")


def said(ui: AirflowUi, page: PageName, state: str, key: Mapping[str, str] = KEY) -> str:
    """Open a page, and return what it says of a trouble."""
    banner = ui.open(page, query(key)).locator(f'#banners [data-state="{state}"]')
    banner.wait_for(timeout=1000 * PATIENCE)
    return banner.inner_text()


@contextlib.contextmanager
def outage(stack: RunningStack, part: str) -> Iterator[None]:
    """Kill a part, and start it again."""
    pid = stack.pids()[part]
    assert pid is not None
    psutil.Process(pid).send_signal(signal.SIGKILL)
    wait_until(lambda: stack.pids()[part] is None, PATIENCE, f"{part} is gone")
    try:
        yield
    finally:
        up = stack.run_command("up")
    assert up.returncode == 0, up.stdout + up.stderr
