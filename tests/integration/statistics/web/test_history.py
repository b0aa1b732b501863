"""Days as the API tells them against the table."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from maxy.statistics.web.models import METRICS
from tests.realtime_support import FakeClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clickhouse_connect.driver.client import Client

    from tests.integration.statistics.web.site import Loops, Site, Triple

    Story = Callable[[Site], Awaitable[None]]

NOW = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
KEY: Triple = ("shop", 1, "iOS")
OTHER: Triple = ("shop", 1, "Android")
WEEK = timedelta(days=7)
COUNTS = [metric for metric in METRICS if not metric.endswith("_avg")]


def in_site(site: Any, story: Story, now: datetime = NOW, **options: Any) -> None:
    async def run() -> None:
        async with site(FakeClock(now), **options) as running:
            await story(running)

    asyncio.run(run())


def parameters(key: Triple, **more: Any) -> dict[str, Any]:
    return {**dict(zip(("package_nm", "server_type", "os_type"), key, strict=True)), **more}


class Days:
    """max_device_statistic, and what was put into it.

    :param client: its database.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self.rows: dict[tuple[Triple, date], dict[str, Any]] = {}

    def insert(self, key: Triple, *days: date) -> None:
        """Insert a row of a key for each of these days, with figures that no other row has."""
        for day in days:
            number = len(self.rows) + 1
            figures = {
                metric: place * 1000 + number + (0.125 if metric.endswith("_avg") else 0)
                for place, metric in enumerate(METRICS)
            }
            figures["visit"] = 2**53 - number
            figures["lcp_avg"] = 0.1 + 0.2
            updated = datetime(2026, 11, 21, 0, 0, number % 60, 500_000, tzinfo=UTC)
            self.rows[key, day] = {**figures, "updated_at": updated}
        names = ["stat_date", "package_nm", "server_type", "os_type", *METRICS, "updated_at"]
        records = [[day, *key, *self.rows[key, day].values()] for day in days]
        many = {"max_partitions_per_insert_block": 0}
        self._client.insert("max_device_statistic", records, column_names=names, settings=many)

    def figures(self, key: Triple, day: date) -> dict[str, Any] | None:
        row = self.rows.get((key, day))
        return {metric: row[metric] for metric in METRICS} if row else None


@pytest.fixture
def table(client: Client) -> Days:
    return Days(client)


def day(text: str) -> date:
    return date.fromisoformat(text)


def range_of(first: str, last: str) -> list[date]:
    return [day(first) + timedelta(days=number) for number in range((day(last) - day(first)).days + 1)]


def test_every_day_has_its_state_its_figures_and_those_of_the_week_before(site: Any, table: Days) -> None:
    table.insert(KEY, *range_of("2026-11-03", "2026-11-10"), day("2026-11-18"), day("2026-11-20"))
    table.insert(OTHER, day("2026-11-18"), day("2026-11-19"))

    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY, first="2026-11-10", last="2026-11-23"))
        days = answer.pop("days")
        assert answer == {
            "timezone": "UTC",
            "first": "2026-11-10",
            "last": "2026-11-23",
            "first_computed": "2026-11-03",
            "dag_id": "device_statistic_daily",
        }
        every = range_of("2026-11-10", "2026-11-23")
        assert [one["stat_date"] for one in days] == [str(one) for one in every]
        assert [one["state"] for one in days] == [
            "present",
            *["missing"] * 7,
            "present",
            "no_row",
            "present",
            *["not_due"] * 3,
        ]
        for one, shown in zip(days, every, strict=True):
            assert one["figures"] == table.figures(KEY, shown)
            assert one["week_before"] == table.figures(KEY, shown - WEEK)
            week_before = "present" if str(shown - WEEK) <= "2026-11-10" else "missing"
            assert one["week_before_state"] == week_before
            row = table.rows.get((KEY, shown))
            assert one["updated_at"] == (row and row["updated_at"].isoformat().replace("500000+00:00", "500000Z"))

    in_site(site, story)


def test_without_a_range_it_is_the_thirty_days_that_end_yesterday(site: Any, table: Days) -> None:
    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY))
        # It is the 22nd in Seoul.
        assert (answer["first"], answer["last"], len(answer["days"])) == ("2026-10-23", "2026-11-21", 30)

    in_site(site, story, timezone="Asia/Seoul")


def test_the_longest_range_is_answered_and_no_longer_one(site: Any, table: Days) -> None:
    table.insert(KEY, *range_of("2025-10-10", "2026-11-20"))

    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY, first="2025-10-17", last="2026-11-20"))
        assert len(answer["days"]) == 400
        assert {one["state"] for one in answer["days"]} == {"present"}
        assert all(one["week_before"] for one in answer["days"])
        refused = await running.ask("history", status=422, **parameters(KEY, first="2025-10-16", last="2026-11-20"))
        assert refused == {"detail": "first: 2025-10-16 to last: 2026-11-20 are more than 400 days"}

    in_site(site, story)


@pytest.mark.parametrize(
    ("first", "last", "status"),
    [
        ("1971-01-01", "1971-12-31", 200),
        ("1970-12-31", "1971-12-31", 422),
        ("2147-06-01", "2148-01-01", 200),
        ("2147-06-01", "2148-01-02", 422),
        ("2026-11-02", "2026-11-01", 422),
        ("2026-02-29", "2026-03-01", 422),
        ("0001-01-01", "9999-12-31", 422),
        ("", "2026-11-01", 422),
        ("2026-11-01' OR 1=1", "2026-11-01", 422),
    ],
)
def test_days_that_the_table_cannot_hold_are_refused(
    first: str, last: str, status: int, site: Any, table: Days
) -> None:
    async def story(running: Site) -> None:
        for path in ("history", "history.csv"):
            answer = await running.client.get(f"api/{path}", params=parameters(KEY, first=first, last=last))
            assert answer.status_code == status, answer.text
            if status != 200:
                assert isinstance(answer.json()["detail"], str)

    in_site(site, story)


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("UTC", "2026-10-31", {24}),
        ("Asia/Seoul", "2026-10-31", {24}),
        ("America/New_York", "2026-10-31", {24, 25}),
        ("America/New_York", "2026-03-07", {24, 23}),
    ],
)
def test_days_begin_and_end_in_the_statistics_zone(
    zone: str, first: str, hours: set[int], site: Any, table: Days
) -> None:
    every = range_of(first, str(day(first) + timedelta(days=3)))
    table.insert(KEY, *every[:2])

    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY, first=first, last=str(every[-1])))
        days = answer["days"]
        assert answer["timezone"] == zone
        starts = [datetime.fromisoformat(one["start"]) for one in days]
        ends = [datetime.fromisoformat(one["end"]) for one in days]
        assert starts == [datetime(one.year, one.month, one.day, tzinfo=ZoneInfo(zone)) for one in every]
        assert starts[1:] == ends[:-1]
        assert {(end - start) / timedelta(hours=1) for start, end in zip(starts, ends, strict=True)} == hours
        assert all(one["start"].endswith("Z") and one["end"].endswith("Z") for one in days)
        assert [one["state"] for one in days] == ["present", "present", "missing", "missing"]
        assert [one["figures"] for one in days[:2]] == [table.figures(KEY, one) for one in every[:2]]

    in_site(site, story, timezone=zone)


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("Asia/Seoul", "2026-11-20T14:59:59.999999Z", "2026-11-20"),
        ("Asia/Seoul", "2026-11-20T15:00:00Z", "2026-11-21"),
        ("America/New_York", "2026-11-02T04:59:59Z", "2026-11-01"),
        ("America/New_York", "2026-11-02T05:00:00Z", "2026-11-02"),
    ],
)
def test_a_day_is_due_when_it_has_ended_in_the_statistics_zone(
    zone: str, now: str, today: str, site: Any, table: Days
) -> None:
    yesterday, tomorrow = day(today) - timedelta(days=1), day(today) + timedelta(days=1)
    long_ago = yesterday - timedelta(days=40)
    table.insert(OTHER, long_ago)

    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY, first=str(yesterday), last=str(tomorrow)))
        assert [one["state"] for one in answer["days"]] == ["missing", "not_due", "not_due"]
        assert answer["first_computed"] == str(long_ago)
        assert (await running.ask("keys"))["today"] == today

    in_site(site, story, datetime.fromisoformat(now), timezone=zone)


NAMES = ["it's", 'say "hi"', "a:b%", "\\", "\\'", "🎉 한국어", "' OR 1=1 --"]
NAMES += ["{first:Date}", "a\tb\nc", "\0", "%", "_", "NULL"]


def test_names_of_any_kind_have_their_own_days(site: Any, table: Days) -> None:
    shown = day("2026-11-20")
    keys: list[Triple] = [(name, 2**32 - 1, f"{name}{name}") for name in NAMES]
    for key in keys:
        table.insert(key, shown)

    async def story(running: Site) -> None:
        for key in keys:
            answer = await running.ask("history", **parameters(key, first=str(shown), last=str(shown)))
            assert answer["days"][0]["figures"] == table.figures(key, shown)
            asked = parameters(key, first=str(shown), bom=False)
            text = (await running.client.get("api/history.csv", params=asked)).text
            (line,) = csv.DictReader(io.StringIO(text, newline=""))
            assert (line["package_nm"], line["os_type"]) == (key[0], key[2])
            assert int(line["visit"]) == table.rows[key, shown]["visit"]

    in_site(site, story)


def test_the_csv_has_the_days_and_figures_of_the_history(site: Any, table: Days) -> None:
    table.insert(KEY, *range_of("2026-11-03", "2026-11-10"), day("2026-11-19"))
    table.insert(OTHER, day("2026-11-18"))

    async def story(running: Site) -> None:
        asked = parameters(KEY, first="2026-11-08", last="2026-11-22")
        answer = await running.ask("history", **asked)
        csv_answer = await running.client.get("api/history.csv", params=asked)
        assert csv_answer.headers["content-type"] == "text/csv; charset=utf-8"
        name = "max_device_statistic_shop_1_iOS_2026-11-08_2026-11-22.csv"
        wanted = f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
        assert csv_answer.headers["content-disposition"] == wanted
        # Excel takes a file without the mark for one in the code page of its country.
        assert csv_answer.content.startswith(b"\xef\xbb\xbfstat_date,")
        plain = await running.client.get("api/history.csv", params={**asked, "bom": False})
        assert plain.content == csv_answer.content.removeprefix(b"\xef\xbb\xbf")
        lines = list(csv.DictReader(io.StringIO(plain.text, newline="")))
        assert len(lines) == len(answer["days"]) == 15
        for line, one in zip(lines, answer["days"], strict=True):
            assert (line["stat_date"], line["state"]) == (one["stat_date"], one["state"])
            assert line["updated_at"] == (one["updated_at"] or "")
            assert (line["package_nm"], line["server_type"], line["os_type"]) == ("shop", "1", "iOS")
            figures = {metric: float(line[metric]) for metric in METRICS if line[metric]}
            assert figures == (one["figures"] or {})
            assert all("." not in line[metric] for metric in COUNTS)

    in_site(site, story)


def test_a_computed_day_shows_soon(site: Any, table: Days) -> None:
    clock = FakeClock(NOW)
    asked = parameters(KEY, first="2026-11-20", last="2026-11-20")

    async def run() -> None:
        async with site(clock) as running:
            assert (await running.ask("history", **asked))["days"][0]["state"] == "before_first"
            table.insert(KEY, day("2026-11-20"))
            clock.advance(15)
            assert (await running.ask("history", **asked))["days"][0]["state"] == "present"

    asyncio.run(run())


def test_before_the_first_computed_day_nothing_is_missing(site: Any, table: Days) -> None:
    table.insert(OTHER, day("2026-11-15"), day("2026-11-18"))

    async def story(running: Site) -> None:
        days = (await running.ask("history", **parameters(KEY, first="2026-11-12", last="2026-11-21")))["days"]
        assert [one["state"] for one in days] == [
            *["before_first"] * 3,
            "no_row",
            *["missing"] * 2,
            "no_row",
            # After the last computed day: it should be there by now.
            *["missing"] * 2,
            "not_due",
        ]
        assert {one["week_before_state"] for one in days} == {"before_first"}
        health = (await running.ask("health"))["daily"]
        assert health["first_computed"] == "2026-11-15"
        states = {one["stat_date"]: one["state"] for one in health["days"]}
        assert {states[f"2026-11-{number:02}"] for number in range(7, 15)} == {"before_first"}
        assert [states[f"2026-11-{number}"] for number in range(15, 21)] == [
            "present", "missing", "missing", "present", "missing", "missing",
        ]  # fmt: skip

    in_site(site, story)


def test_without_any_computed_day_none_is_missing(site: Any, table: Days) -> None:
    async def story(running: Site) -> None:
        answer = await running.ask("history", **parameters(KEY))
        assert {one["state"] for one in answer["days"]} == {"before_first"}
        assert answer["first_computed"] is None
        health = await running.ask("health")
        assert {one["state"] for one in health["daily"]["days"]} == {"before_first"}
        assert health["daily"]["first_computed"] is None
        assert {one["kind"] for one in health["problems"]} <= {"disk_space", "clock_skew"}

    in_site(site, story)


def test_of_several_rows_of_a_key_and_day_the_newest_counts(site: Any, table: Days, client: Client) -> None:
    shown = day("2026-11-20")
    table.insert(KEY, shown)
    table.insert(OTHER, shown)
    newest = table.figures(KEY, shown)
    # Older ones, as a restart of an old server brings them back; once more and once less than what counts.
    names = ["stat_date", "package_nm", "server_type", "os_type", "visit", "pv", "updated_at"]
    for hours, figure in ((1, 1), (30, 2**60)):
        older = datetime(2026, 11, 21, tzinfo=UTC) - timedelta(hours=hours)
        client.insert("max_device_statistic", [[shown, *KEY, figure, figure, older]], column_names=names)

    async def story(running: Site) -> None:
        asked = parameters(KEY, first=str(shown), last="2026-11-20")
        (one,) = (await running.ask("history", **asked))["days"]
        assert one["figures"] == newest
        assert one["updated_at"].startswith("2026-11-21T00:00:01.5")
        later = await running.ask("history", **parameters(KEY, first="2026-11-27", last="2026-11-27"))
        assert later["days"][0]["week_before"] == newest
        text = (await running.client.get("api/history.csv", params={**asked, "bom": False})).text
        (line,) = csv.DictReader(io.StringIO(text, newline=""))
        assert newest is not None
        assert (int(line["visit"]), int(line["pv"])) == (newest["visit"], newest["pv"])

    in_site(site, story)


def test_what_was_not_measured_is_null_and_an_empty_cell(site: Any, client: Client) -> None:
    names = ["stat_date", "package_nm", "server_type", "os_type", "pv", "lcp_avg", "inp_avg", "fcp_avg", "updated_at"]
    record = [day("2026-11-20"), *KEY, 0, 0.0, float("inf"), 812.5, datetime(2026, 11, 21, tzinfo=UTC)]
    client.insert("max_device_statistic", [record], column_names=names)

    async def story(running: Site) -> None:
        asked = parameters(KEY, first="2026-11-20", last="2026-11-20")
        figures = (await running.ask("history", **asked))["days"][0]["figures"]
        averages = ("lcp_avg", "inp_avg", "ttfb_avg", "intervaltime_avg", "fcp_avg")
        assert [figures[name] for name in averages] == [None, None, None, None, 812.5]
        # A count of nothing is a count.
        assert (figures["pv"], figures["visit"]) == (0, 0)
        text = (await running.client.get("api/history.csv", params={**asked, "bom": False})).text
        (line,) = csv.DictReader(io.StringIO(text, newline=""))
        assert [line[name] for name in averages] == ["", "", "", "", "812.5"]
        assert (line["pv"], line["visit"]) == ("0", "0")

    in_site(site, story)


def test_the_busiest_package_is_shown_first(site: Any, client: Client) -> None:
    names = ["stat_date", "package_nm", "server_type", "os_type", "pv", "dau", "updated_at"]
    at = datetime(2026, 11, 21, tzinfo=UTC)
    rows = [
        # Many page views, but long ago.
        [day("2026-11-10"), "once", 0, "Web", 10_000, 9, at],
        # More in all than any, with a busiest key of its own.
        [day("2026-11-20"), "whole", 0, "iOS", 60, 1, at],
        [day("2026-11-20"), "whole", 0, "Android", 50, 5, at],
        [day("2026-11-19"), "whole", 1, "Android", 70, 5, at],
        [day("2026-11-20"), "single", 0, "Web", 100, 100, at],
        [day("2026-11-19"), " first by name", 0, "Web", 1, 1, at],
        # An older row of a key that stands twice does not count.
        [day("2026-11-20"), "single", 0, "Web", 9_000, 100, at - timedelta(days=1)],
    ]
    client.insert("max_device_statistic", rows, column_names=names)

    async def story(running: Site) -> None:
        keys = await running.ask("keys")
        assert keys["busiest"] == parameters(("whole", 1, "Android"))
        assert keys["keys"][0] == parameters((" first by name", 0, "Web"))

    in_site(site, story)


def test_between_equally_busy_packages_the_name_decides(site: Any, client: Client) -> None:
    names = ["stat_date", "package_nm", "server_type", "os_type", "pv", "dau", "updated_at"]
    at = datetime(2026, 11, 21, tzinfo=UTC)
    rows = [[day("2026-11-20"), name, 0, "Web", 5, devices, at] for name, devices in (("c", 2), ("b", 2), ("a", 1))]
    client.insert("max_device_statistic", rows, column_names=names)

    async def story(running: Site) -> None:
        assert (await running.ask("keys"))["busiest"] == parameters(("b", 0, "Web"))

    in_site(site, story)


def test_without_any_computed_day_the_busiest_is_todays(site: Any, table: Days, loops: Loops) -> None:
    for name, views, devices in (("a", 3, 1), ("b", 7, 1), ("c", 7, 2)):
        loops.figures("page", (name, 0, "Web"), NOW, pv=views)
        loops.figures("device", (name, 0, "Web"), NOW, dau=devices)

    async def story(running: Site) -> None:
        assert (await running.ask("keys"))["busiest"] == parameters(("c", 0, "Web"))

    in_site(site, story)


@pytest.mark.parametrize(
    ("path", "name"), [("history", "package_nm"), ("history.csv", "os_type"), ("today", "os_type")]
)
def test_names_are_as_long_as_the_pipeline_takes_them(path: str, name: str, site: Any, table: Days) -> None:
    async def story(running: Site) -> None:
        for length, status in ((300, 200), (301, 422), (2_000, 422)):
            answer = await running.client.get(f"api/{path}", params={**parameters(KEY), name: "가" * length})
            assert answer.status_code == status
        wanted = f"{name}: 2000 characters are more than the 300 that names may have"
        assert answer.json() == {"detail": wanted}

    in_site(site, story)
