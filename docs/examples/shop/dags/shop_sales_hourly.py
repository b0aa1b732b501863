"""
Hourly sales per region and product: `shop_sales_hourly` in ClickHouse, then one hash per product in Valkey.

For the shop's dashboards. A run computes one hour of each region: the parameter `hour` if given, else the hour of the
run's data interval, else the last full hour. `regions` leaves some of them out.

**Re-running is safe**, for any hour, in any way, also several runs at once: each region's hour is one partition and one
group of keys, and each is replaced as a whole.

**Triage**
- `choose_partitions` fails: `hour` names no zone.
- `roll_up` fails with "a check fails": what was computed cannot be right, so the hour of this region was left as it is.
  Look at the source's rows, then clear the task. The other regions wait for it to be cached; a run with `regions` does
  them without it.
- `roll_up` warns that rows fail a check: sales without a product, or refunds only. They are not in the hour.
- `check_sales` fails: the hour in the table is suspect, and Valkey still has what it had.
- `cache` fails: Valkey still has what it had. Clear it once Valkey is back.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, CronDataIntervalTimetable, Param, task

from maxy.operators.clickhouse_checks import ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from shop.regions import REGIONS, hour_of_run

TABLE = "shop_sales_hourly"

with DAG(
    dag_id="shop_sales_hourly",
    description=__doc__.strip().partition("\n")[0],
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=4,
    default_args={"owner": "shop", "retries": 2, "retry_delay": timedelta(seconds=30)},
    template_searchpath=[str(Path(__file__).resolve().parents[1] / "include" / "sql" / "shop")],
    params={
        "hour": Param(None, type=["null", "string"], format="date-time", description="an instant in the hour"),
        "regions": Param(list(REGIONS), type="array", items={"type": "string", "enum": list(REGIONS)}, minItems=1),
    },
    tags=["shop"],
) as dag:

    @task
    def choose_partitions(dag_run: Any = None, params: Any = None) -> list[dict[str, str]]:
        """Return the hour and each region, as SQL takes them."""
        hour = f"{hour_of_run(dag_run, params):%Y-%m-%d %H:%M:%S}"
        return [{"hour": hour, "region": region} for region in params["regions"]]

    partitions = choose_partitions()
    roll_up = ClickHouseReplacePartitionOperator.partial(
        task_id="roll_up",
        sql="roll_up.sql",
        table=TABLE,
        # An hour without a sale is nothing special, at night.
        allow_empty=True,
        row_checks={"has_a_product": "product != ''", "revenue_is_plausible": "revenue >= 0"},
        checks={"one_row_per_product": "count() = uniqExact(product)"},
    ).expand_kwargs(partitions.map(lambda one: {"partition": (one["hour"], one["region"]), "parameters": one}))
    check_sales = ClickHouseTableCheckOperator.partial(
        task_id="check_sales",
        table=TABLE,
        checks={"every_order_brings_something": {"check_statement": "countIf(orders = 0) = 0"}},
        # The same rows would fail again.
        retry_on_failure=False,
    ).expand(partition_clause=partitions.map(lambda one: "hour = '{hour}' AND region = '{region}'".format_map(one)))
    cache = ClickHouseToValkeyHashOperator.partial(
        task_id="cache",
        sql="cache.sql",
        key_template="shop:{region}:{hour_utc}:{product}",
        fields=["orders", "revenue"],
        expire=timedelta(days=2),
    ).expand_kwargs(
        # One group of keys has one writer: each region's hour has an index of its own.
        partitions.map(lambda one: {"index_key": "index:shop:{region}:{hour}".format_map(one), "parameters": one})
    )

    roll_up >> check_sales >> cache
