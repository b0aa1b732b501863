"""
Yesterday's sales per country: a table of one partition a day in ClickHouse, then one hash per country in Valkey.

Needs two tables: `sales (sold_at DateTime('UTC'), country String, amount Decimal(18, 2))` and
`country_sales (day Date, country String, orders UInt64, revenue Float64)`, a MergeTree table partitioned by `day`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator

DAY = "{{ data_interval_start | ds }}"

with DAG(
    dag_id="country_sales",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
) as dag:
    roll_up_sales = ClickHouseReplacePartitionOperator(
        task_id="roll_up_sales",
        table="country_sales",
        partition=DAY,
        sql="""
            INSERT INTO {{ stage_table }} (day, country, orders, revenue)
            SELECT toDate(sold_at), country, count(), sum(amount)
            FROM sales
            WHERE toDate(sold_at) = toDate(%(day)s)
            GROUP BY toDate(sold_at), country
        """,
        parameters={"day": DAY},
    )
    cache_sales = ClickHouseToValkeyHashOperator(
        task_id="cache_sales",
        sql="SELECT country, orders, revenue FROM country_sales WHERE day = toDate(%(day)s)",
        parameters={"day": DAY},
        key_template="sales:{country}",
        index_key="index:sales",
        fields=["orders", "revenue"],
        expire=timedelta(days=2),
    )
    roll_up_sales >> cache_sales
