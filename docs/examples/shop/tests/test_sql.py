"""The SQL, one task at a time: where an hour ends, and what is left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from maxy.testing import load_dags, run_task

if TYPE_CHECKING:
    import clickhouse_driver

SHOP = Path(__file__).resolve().parents[1]
SQL = sorted((SHOP / "include").rglob("*.sql")) + sorted((SHOP / "plugins").rglob("*.sql"))
HOUR = datetime(2026, 11, 20, 12, tzinfo=UTC)
# What choose_partitions would return for two regions.
CHOSEN = [{"hour": "2026-11-20 12:00:00", "region": region} for region in ("kr", "us")]


@pytest.mark.parametrize("path", SQL, ids=lambda path: path.name)
def test_a_file_says_what_it_is_for_and_why_a_retry_is_safe(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("-- Purpose:")
    assert "Grain:" in text
    assert "Safe to retry:" in text


def roll_up(map_index: int) -> Any:
    task = load_dags(SHOP / "dags")["shop_sales_hourly"].get_task("roll_up")
    return run_task(task, map_index=map_index, xcoms={"choose_partitions": CHOSEN})


@pytest.mark.usefixtures("servers")
def test_an_hour_has_its_first_second_and_not_the_next_hours(clickhouse: clickhouse_driver.Client) -> None:
    moments = [HOUR + timedelta(seconds=seconds) for seconds in (-1, 0, 1, 3599, 3600)]
    clickhouse.execute("INSERT INTO shop_sales VALUES", [(at, "us", "tea", Decimal("1.10")) for at in moments])
    # The second of the mapped instances.
    assert roll_up(1)["rows"] == 1
    rows = clickhouse.execute("SELECT hour, region, product, orders, revenue FROM shop_sales_hourly")
    assert rows == [(HOUR, "us", "tea", 3, Decimal("3.30"))]


@pytest.mark.usefixtures("servers")
def test_what_has_no_product_or_was_given_back_is_left_out_and_counted(clickhouse: clickhouse_driver.Client) -> None:
    sales = [("", "5.00"), ("", "5.00"), ("cups", "-2.00"), ("tea", "-1.00"), ("tea", "3.00")]
    clickhouse.execute("INSERT INTO shop_sales VALUES", [(HOUR, "kr", product, Decimal(a)) for product, a in sales])
    warnings = roll_up(0)["warnings"]
    assert {name: rows for name, rows in warnings.items() if rows} == {
        "rows that fail check has_a_product": 1,
        "rows that fail check revenue_is_plausible": 1,
    }
    assert clickhouse.execute("SELECT product, orders, revenue FROM shop_sales_hourly") == [("tea", 2, Decimal(2))]
