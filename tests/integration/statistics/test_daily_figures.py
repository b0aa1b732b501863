"""The daily job's figures against an independent computation in plain Python from the same rows.

Three statistics zones, one with a change to standard time among the days, on an engine in a fourth zone.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest
import redis
from airflow.dag_processing.dagbag import DagBag

from local.statistics.sample_data.generator import SampleData, page_flow_rows
from tests.conftest import ROOT
from tests.oracle import ExpectedStatistics, expected_statistics
from tests.support import hashes, make_tables, package_environment, run_dag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from embedded_clickhouse.testing import Server

# New York goes back to standard time on 2026-11-01; the last days have a full 7 days before them.
DAYS = [date(2026, 10, 24) + timedelta(days=number) for number in range(12)]
ZONES = ["UTC", "Asia/Seoul", "America/New_York"]
COUNTS = [
    "visit",
    "install",
    "login",
    "dau",
    "revisit_7d",
    "mau",
    "crash_count",
    "error_count",
    "js_error_count",
    "log_count",
    "pv",
]
AVERAGES = ["intervaltime_avg", "lcp_avg", "ttfb_avg", "fcp_avg", "inp_avg"]


@pytest.fixture(scope="module", params=ZONES)
def zone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def database(zone: str, clickhouse_server: Server) -> str:
    name = zone.replace("/", "_").lower()
    make_tables(clickhouse_server, database=name, timezone=zone)
    return name


@pytest.fixture(scope="module")
def client(database: str, clickhouse_server: Server) -> Iterator[Client]:
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(database)) as client:
        yield client


@pytest.fixture(scope="module")
def expected(zone: str, client: Client) -> dict[date, ExpectedStatistics]:
    """Insert the generated rows, repeats included, and compute every day from them."""
    sample = SampleData(seed=7, scale=0.03, timezone=zone)
    rows: list[dict[str, Any]] = []
    for day in DAYS:
        deliveries = sample.page_flow(day)
        for columns in deliveries:
            client.insert(
                "maxy_device_page_flow",
                list(columns.values()),
                column_names=list(columns),
                column_oriented=True,
            )
        rows.extend(page_flow_rows(deliveries))
    # visit, install and login are taken from the history as it stands.
    history = list(client.query("SELECT * FROM maxy_device_access_history").named_results())
    return {day: expected_statistics(rows, history, stat_date=day, timezone=zone) for day in DAYS}


@pytest.fixture(scope="module")
def computed(
    zone: str, database: str, expected: dict[date, ExpectedStatistics], clickhouse_server: Server, valkey_server: Any
) -> Iterator[dict[date, dict[str, Any]]]:
    """Run the DAG's tasks for every day."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", zone)
        for name, value in package_environment(
            clickhouse_server, valkey_port=valkey_server.port, database=database
        ).items():
            environment.setenv(name, value)
        environment.setenv("VALKEY_PREFIX", f"exact:{database}")
        dag = DagBag(dag_folder=str(ROOT / "dags")).dags["device_statistic_daily"]
        yield {day: run_dag(dag, params={"stat_date": day.isoformat()}) for day in DAYS}


@pytest.mark.parametrize("day", DAYS, ids=str)
def test_table_and_hashes_equal_the_independent_computation(
    day: date,
    zone: str,
    database: str,
    client: Client,
    expected: dict[date, ExpectedStatistics],
    computed: dict[date, dict[str, Any]],
    valkey_server: Any,
) -> None:
    table = {
        (row["package_nm"], row["server_type"], row["os_type"]): row
        for row in client.query(
            "SELECT * FROM max_device_statistic WHERE stat_date = {day:Date}", parameters={"day": day}
        ).named_results()
    }
    wanted = expected[day].by_key
    assert wanted
    assert table.keys() == wanted.keys()
    for key, metrics in wanted.items():
        assert {name: table[key][name] for name in COUNTS} == {name: metrics[name] for name in COUNTS}, key
        for name in AVERAGES:
            assert table[key][name] == pytest.approx(metrics[name], rel=1e-12), (key, name)

    with redis.Redis(port=valkey_server.port, decode_responses=True) as valkey:
        cached = hashes(valkey, f"exact:{database}:daily:{day}:*")
    assert len(cached) == len(wanted) == computed[day]["cache"]["keys_written"]
    for fields in cached.values():
        key = (fields["package_nm"], int(fields["server_type"]), fields["os_type"])
        assert fields["stat_date"] == day.isoformat()
        assert {name: int(fields[name]) for name in COUNTS} == {name: table[key][name] for name in COUNTS}
        assert {name: float(fields[name]) for name in AVERAGES} == {name: table[key][name] for name in AVERAGES}
        escaped = [part.replace("%", "%25").replace(":", "%3A") for part in (key[0], str(key[1]), key[2])]
        assert cached[":".join((f"exact:{database}:daily:{day}", *escaped))] is fields

    left_out = computed[day]["rollup"]["warnings"]["page_flow rows left out for a missing dimension"]
    assert left_out == expected[day].left_out_rows


def test_the_sample_holds_what_makes_it_hard(expected: dict[date, ExpectedStatistics]) -> None:
    last = expected[DAYS[-1]]
    assert last.left_out_rows > 0
    packages = {package for package, _, _ in last.by_key}
    assert any(":" in package for package in packages)
    assert any(ord(character) > 0xAC00 for package in packages for character in package)
    assert any(metrics["revisit_7d"] > 0 for metrics in last.by_key.values())


def test_the_older_readers_view_shows_the_same_rows(client: Client, computed: dict[date, dict[str, Any]]) -> None:
    both = "SELECT count(), sum(cityHash64(*)) FROM {}"
    assert (
        client.query(both.format("maxy_device_statistic")).result_rows
        == client.query(both.format("max_device_statistic")).result_rows
    )
