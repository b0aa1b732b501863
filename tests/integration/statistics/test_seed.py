"""The sample data in real tables: what was generated is what is stored, once, however often `seed` is called."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import clickhouse_connect
import pytest

from embedded_clickhouse.testing import running_server
from local.statistics.sample_data import SampleData, page_flow_rows, seed
from local.statistics.sample_data.bulk import fill_access_history, fill_page_flow_day
from tests.support import make_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

TIMEZONE = "America/New_York"
# Noon of the day after the clocks went back: the full days before it hold one of 25 hours.
NOW = datetime(2026, 11, 2, 17, 0, tzinfo=UTC)
TODAY = date(2026, 11, 2)
SCALE = 0.05

_numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("clickhouse")
    with running_server(directory, timezone="UTC", user="maxy", password="secret", database="maxy") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Connected to a database of the test's own, with all tables in it."""
    database = f"seed_{next(_numbers)}"
    make_tables(server, database=database, timezone=TIMEZONE)
    with clickhouse_connect.get_client(**server.http_arguments(database)) as client:
        yield client


def fill(client: Client, **arguments: Any) -> tuple[int, int, list[str]]:
    said: list[str] = []
    defaults: dict[str, Any] = {"now": NOW, "days": 3, "scale": SCALE, "timezone": TIMEZONE, "report": said.append}
    result = seed(client, **defaults | arguments)
    return result.page_flow_rows, result.total_log_rows, said


def key_of(row: dict[str, Any]) -> tuple[int, str, int]:
    return row["page_start_tm"], row["device_id"], row["sum_mem_usage"]


def generated(until: datetime = NOW) -> list[dict[str, Any]]:
    """Every delivered row of the three full days and of today, in the order of its delivery."""
    data = SampleData(scale=SCALE, timezone=TIMEZONE)
    days = [TODAY - timedelta(days=back) for back in (3, 2, 1, 0)]
    return [row for day in days for row in page_flow_rows(data.page_flow(day)) if row["reg_dt"] <= until]


def stored(client: Client, columns: list[str]) -> list[dict[str, Any]]:
    rows = client.query(f"SELECT {', '.join(columns)} FROM maxy_device_page_flow FINAL", query_tz="UTC").result_rows
    return [dict(zip(columns, row, strict=True)) for row in rows]


def history(client: Client) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    rows = client.query(
        "SELECT log_date, package_nm, server_type, os_type, device_id, sum(visit_cnt), sum(install_cnt), sum(login_cnt)"
        " FROM maxy_device_access_history GROUP BY ALL"
    ).result_rows
    return {tuple(row[:5]): tuple(row[5:]) for row in rows}


def expected_history(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    visits: Counter[tuple[Any, ...]] = Counter()
    installs: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        if row["log_type"] in (1048597, 1048580) and row["server_type"] is not None:
            day = row["page_start_tm_dt"].astimezone(ZoneInfo(TIMEZONE)).date()
            key = (day, row["package_nm"] or "", row["server_type"], row["os_type"] or "", row["device_id"])
            visits[key] += 1
            installs[key] += row["log_type"] == 1048597
    return {key: (visits[key], installs[key], 0) for key in visits}


def test_every_generated_value_is_stored(client: Client) -> None:
    delivered = generated()
    sent, _, said = fill(client)
    assert sent == len(delivered)
    assert f"{sent:,} page rows" in said[0]

    expected = {key_of(row): row for row in delivered}
    columns = [name for name in delivered[0] if name != "reg_dt"]
    found = {key_of(row): row for row in stored(client, columns)}
    assert found.keys() == expected.keys()
    for key, row in found.items():
        row["page_start_tm_dt"] = row["page_start_tm_dt"].replace(tzinfo=UTC)
        assert row == {name: expected[key][name] for name in columns}


def test_the_history_counts_what_was_delivered(client: Client) -> None:
    fill(client)
    assert history(client) == expected_history(generated())


def test_the_bitmap_knows_the_devices_of_the_history(client: Client) -> None:
    fill(client)
    devices: dict[tuple[Any, ...], int] = defaultdict(int)
    for key in history(client):
        devices[key[:4]] += 1
    rows = client.query(
        "SELECT log_date, package_nm, server_type, os_type, groupBitmapMerge(users)"
        " FROM maxy_device_access_bitmap GROUP BY ALL"
    ).result_rows
    assert {tuple(row[:4]): row[4] for row in rows} == devices


def test_a_second_call_sends_nothing(client: Client) -> None:
    fill(client)
    before = history(client)
    page_rows, log_rows, said = fill(client)
    assert (page_rows, log_rows) == (0, 0)
    assert "is there already, nothing sent" in said[0]
    assert history(client) == before


def test_a_later_call_adds_what_arrived_since(client: Client) -> None:
    later = NOW + timedelta(hours=3)
    first, *_ = fill(client)
    second, *_ = fill(client, now=later)
    assert first + second == len(generated(later))
    assert history(client) == expected_history(generated(later))


def test_force_delivers_everything_again(client: Client) -> None:
    sent, *_ = fill(client)
    before = history(client)
    assert fill(client, force=True)[0] == sent
    assert len(stored(client, ["page_start_tm"])) == len({key_of(row) for row in generated()})
    assert history(client) == {key: tuple(2 * value for value in counts) for key, counts in before.items()}


def test_the_total_log_holds_the_last_hours(client: Client) -> None:
    _, log_rows, _ = fill(client, log_hours=2)
    first, last, rows = client.query(
        "SELECT min(reg_dt), max(reg_dt), count() FROM maxy_app_total_log", query_tz="UTC"
    ).result_rows[0]
    assert NOW - timedelta(hours=2) < first.replace(tzinfo=UTC) < NOW - timedelta(minutes=110)
    assert NOW - timedelta(minutes=10) < last.replace(tzinfo=UTC) <= NOW
    assert 0 < rows <= log_rows


def test_an_end_day_leaves_today_and_the_log_out(client: Client) -> None:
    _, log_rows, _ = fill(client, days=1, end_day=date(2026, 11, 1))
    assert log_rows == 0
    days = client.query(
        "SELECT DISTINCT toString(toDate(page_start_tm_dt, {zone:String})) FROM maxy_device_page_flow",
        parameters={"zone": TIMEZONE},
    ).result_rows
    assert [row[0] for row in days] == ["2026-11-01"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"now": datetime(2026, 11, 2)}, "aware"), ({"days": 0}, "days must be positive")],
)
def test_a_wrong_argument_is_refused(client: Client, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fill(client, **arguments)


def test_bulk_pages_fill_the_day_with_one_percent_repeats(client: Client) -> None:
    day = date(2026, 11, 1)
    sent = fill_page_flow_day(client, day=day, rows=5_000, packages=5, devices_per_day=300, timezone=TIMEZONE)
    assert sent == 5_050
    distinct, keys, days, first, last = client.query(
        "SELECT count(), uniqExact(package_nm, server_type, os_type),"
        " uniqExact(toDate(page_start_tm_dt, {zone:String})), min(page_start_tm), max(page_start_tm)"
        " FROM maxy_device_page_flow FINAL",
        parameters={"zone": TIMEZONE},
    ).result_rows[0]
    start_ms, end_ms = SampleData(timezone=TIMEZONE).bounds_ms(day)
    assert (distinct, keys, days) == (5_000, 5 * 2 * 3, 1)
    assert start_ms == first < last < end_ms
    assert history(client) == {}


def test_bulk_history_has_devices_that_come_back_and_the_same_bitmap(client: Client) -> None:
    end_day = date(2026, 11, 20)
    fill_access_history(client, end_day=end_day, days=30, devices_per_day=400, packages=5)
    rows = history(client)
    by_day = Counter(key[0] for key in rows)
    assert by_day.keys() == {end_day - timedelta(days=back) for back in range(30)}
    assert all(300 < devices < 500 for devices in by_day.values())
    assert 5 < len(rows) / len({key[4] for key in rows}) < 10
    assert len({key[1:4] for key in rows}) == 5 * 2 * 3
    bitmap = client.query(
        "SELECT log_date, sum(devices) FROM (SELECT log_date, groupBitmapMerge(users) AS devices"
        " FROM maxy_device_access_bitmap GROUP BY log_date, package_nm, server_type, os_type) GROUP BY log_date"
    ).result_rows
    assert {row[0]: row[1] for row in bitmap} == by_day
