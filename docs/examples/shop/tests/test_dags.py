"""The DAGs: that they parse, and what a whole run of them leaves in ClickHouse and Valkey."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.utils.db import initdb

from maxy.testing import check_dags, load_dags, run_task
from shop.regions import REGIONS

if TYPE_CHECKING:
    import clickhouse_driver
    import redis
    from airflow.sdk import DAG

DAGS = Path(__file__).resolve().parents[1] / "dags"
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
SALES = [
    # sold_at, region, product, amount
    (HOUR - timedelta(seconds=1), "kr", "tea", "100.00"),
    (HOUR, "kr", "tea", "10.25"),
    (HOUR + timedelta(minutes=59, seconds=59), "kr", "tea", "2.50"),
    (HOUR + timedelta(minutes=5), "kr", "cups: 50%", "7.11"),
    (HOUR + timedelta(minutes=5), "kr", "", "3.00"),
    (HOUR + timedelta(minutes=6), "us", "tea", "4.44"),
    (HOUR + timedelta(hours=1), "us", "tea", "200.00"),
]


def expected_rows(sales: list[tuple[datetime, str, str, str]], hour: datetime) -> list[tuple[Any, ...]]:
    """Compute the rows of an hour in a few lines of plain Python."""
    orders: Counter[tuple[str, str]] = Counter()
    revenue: Counter[tuple[str, str]] = Counter()
    for sold_at, region, product, amount in sales:
        if hour <= sold_at < hour + timedelta(hours=1) and product:
            orders[region, product] += 1
            revenue[region, product] += Decimal(amount)
    return sorted((region, product, orders[region, product], revenue[region, product]) for region, product in orders)


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """For `dag.test()`."""
    initdb()


@pytest.fixture
def dags() -> dict[str, DAG]:
    # Anew for each test: a run by `dag.test()` leaves its parameters in the DAG.
    return load_dags(DAGS)


@pytest.fixture
def hourly(dags: dict[str, DAG], airflow_database: None, servers: None) -> DAG:
    return dags["shop_sales_hourly"]


def sell(clickhouse: clickhouse_driver.Client, sales: list[tuple[datetime, str, str, str]]) -> None:
    clickhouse.execute(
        "INSERT INTO shop_sales (sold_at, region, product, amount) VALUES",
        [(*sale[:3], Decimal(sale[3])) for sale in sales],
    )


def rows_of(clickhouse: clickhouse_driver.Client, hour: datetime) -> list[tuple[Any, ...]]:
    return clickhouse.execute(
        "SELECT region, product, orders, revenue FROM shop_sales_hourly WHERE hour = %(hour)s ORDER BY ALL",
        {"hour": hour},
    )


def states(run: Any) -> Counter[tuple[str, str]]:
    return Counter((instance.task_id, str(instance.state)) for instance in run.get_task_instances())


def test_the_dags_can_be_loaded_and_have_an_owner_tags_and_retries() -> None:
    dags = check_dags(DAGS, owner="shop", tags=["shop"], least_retries=2)
    assert sorted(dags) == ["shop_sales_hourly", "shop_tables"]


def test_the_notes_speak_of_every_task(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert [task.task_id for task in dag.tasks if f"`{task.task_id}`" not in dag.doc_md] == []


@pytest.mark.usefixtures("airflow_database", "servers")
def test_the_tables_are_made_and_those_that_are_there_are_left(
    dags: dict[str, DAG], clickhouse: clickhouse_driver.Client
) -> None:
    clickhouse.execute("DROP TABLE shop_sales")
    clickhouse.execute("INSERT INTO shop_sales_hourly VALUES", [(HOUR, "kr", "tea", 1, Decimal("1.00"))])
    assert dags["shop_tables"].test().state == "success"
    assert [name for (name,) in clickhouse.execute("SHOW TABLES")] == ["shop_sales", "shop_sales_hourly"]
    assert rows_of(clickhouse, HOUR) == [("kr", "tea", 1, Decimal("1.00"))]


def test_an_hour_becomes_a_row_and_a_hash_per_region_and_product(
    hourly: DAG, clickhouse: clickhouse_driver.Client, valkey: redis.Redis
) -> None:
    sell(clickhouse, SALES)
    run = hourly.test(run_conf={"hour": HOUR.isoformat()})
    assert run.state == "success"
    assert states(run) == {
        ("choose_partitions", "success"): 1,
        ("roll_up", "success"): 3,
        ("check_sales", "success"): 3,
        ("cache", "success"): 3,
    }
    rows = expected_rows(SALES, HOUR)
    assert rows_of(clickhouse, HOUR) == rows
    assert {
        key: {name: Decimal(text) for name, text in valkey.hgetall(key).items()} for key in valkey.scan_iter("shop:*")
    } == {
        f"shop:{region}:2026-11-20T12:{product.replace('%', '%25').replace(':', '%3A')}": {
            "orders": orders,
            "revenue": revenue,
        }
        for region, product, orders, revenue in rows
    }


def test_a_repeated_run_leaves_what_the_source_has_now(
    hourly: DAG, clickhouse: clickhouse_driver.Client, valkey: redis.Redis
) -> None:
    sell(clickhouse, SALES)
    hourly.test(run_conf={"hour": HOUR.isoformat()})
    clickhouse.execute("TRUNCATE TABLE shop_sales")
    later = [(HOUR + timedelta(minutes=1), "kr", "tea", "0.75")]
    sell(clickhouse, later)
    for _ in range(2):
        assert hourly.test(run_conf={"hour": HOUR.isoformat()}).state == "success"
        assert rows_of(clickhouse, HOUR) == expected_rows(later, HOUR)
        assert list(valkey.scan_iter("shop:*")) == ["shop:kr:2026-11-20T12:tea"]


def test_one_region_alone_leaves_the_others(
    hourly: DAG, clickhouse: clickhouse_driver.Client, valkey: redis.Redis
) -> None:
    sell(clickhouse, SALES)
    hourly.test(run_conf={"hour": HOUR.isoformat()})
    more = [(HOUR + timedelta(minutes=9), region, "tea", "1.01") for region in ("kr", "us")]
    sell(clickhouse, more)
    run = hourly.test(run_conf={"hour": HOUR.isoformat(), "regions": ["us"]})
    assert states(run)["roll_up", "success"] == 1
    assert rows_of(clickhouse, HOUR) == expected_rows([*SALES, more[1]], HOUR)
    assert valkey.hget("shop:us:2026-11-20T12:tea", "orders") == "2"
    assert valkey.hget("shop:kr:2026-11-20T12:tea", "orders") == "2"


def test_by_hand_without_a_date_it_computes_the_last_full_hour(
    hourly: DAG, clickhouse: clickhouse_driver.Client
) -> None:
    this_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    # One more, for the hour may end meanwhile.
    sales = [(this_hour + timedelta(hours=passed, minutes=1), "eu", "tea", "5.05") for passed in (-1, 0, 1)]
    sell(clickhouse, sales)
    run = hourly.test(logical_date=None)
    assert (run.state, run.logical_date) == ("success", None)
    computed = run.run_after.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    assert rows_of(clickhouse, computed) == expected_rows(sales, computed)


def test_a_region_that_cannot_be_right_stays_as_it_is(
    hourly: DAG, clickhouse: clickhouse_driver.Client, valkey: redis.Redis
) -> None:
    clickhouse.execute("INSERT INTO shop_sales_hourly VALUES", [(HOUR, "us", "tea", 1, Decimal("1.00"))])
    sell(clickhouse, [(HOUR, "us", "tea", "-4.00"), (HOUR, "kr", "tea", "2.00")])
    run = hourly.test(run_conf={"hour": HOUR.isoformat()})
    assert run.state == "failed"
    assert states(run)["roll_up", "failed"] == 1
    assert rows_of(clickhouse, HOUR) == [("kr", "tea", 1, Decimal("2.00")), ("us", "tea", 1, Decimal("1.00"))]
    # The checks and the cache wait for it.
    assert list(valkey.scan_iter("shop:*")) == []


def test_the_hour_is_that_of_an_instant_in_any_zone(dags: dict[str, DAG]) -> None:
    choose = dags["shop_sales_hourly"].get_task("choose_partitions")
    chosen = run_task(choose, params={"hour": "2026-11-20T21:30:00+09:00", "regions": ["kr", "eu"]})
    assert chosen == [{"hour": "2026-11-20 12:00:00", "region": region} for region in ("kr", "eu")]
    with pytest.raises(ValueError, match="'2026-11-20T12:00:00' names no zone"):
        run_task(choose, params={"hour": "2026-11-20T12:00:00"})


def test_a_scheduled_run_computes_its_interval(dags: dict[str, DAG]) -> None:
    choose = dags["shop_sales_hourly"].get_task("choose_partitions")
    chosen = run_task(choose, data_interval_start=HOUR)
    assert chosen == [{"hour": "2026-11-20 12:00:00", "region": region} for region in REGIONS]
