"""Every operator and sensor of the package, mapped in each way that Airflow has: what test_mapped_operators.py runs.

`RealtimeLoopOperator` is left out: a live loop has one lease, so a second instance could only wait for the first one.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task, task_group

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_checks import ClickHouseColumnCheckOperator, ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.statistics.day_sensor import StatisticsDaySensor

REGIONS = ("kr", "us")
DAYS = ("2026-11-01", "2026-11-02")
INSERT = "INSERT INTO mapped_rows SELECT %(way)s, %(region)s, {{ ti.map_index }}"
ROLLUP = "INSERT INTO {{ stage_table }} SELECT day, region, n * 10 FROM mapped_source WHERE "
HASHES = "SELECT region, sum(n) AS total FROM mapped_source WHERE region = %(region)s GROUP BY region"

with DAG(
    dag_id="mapped.operators",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={"stat_date": DAYS[0], "settling_minutes": 0.0},
    default_args={"retries": 0, "execution_timeout": timedelta(minutes=5)},
):
    wait = StatisticsDaySensor.partial(task_id="wait").expand(settling_minutes=["0", "{{ params.settling_minutes }}"])

    # expand over values, and a dot in the task's id.
    insert = ClickHouseTemplateOperator.partial(task_id="insert.rows", sql=INSERT).expand(
        parameters=[{"way": "expand", "region": region} for region in REGIONS]
    )

    # expand over what another task has returned.
    @task
    def regions() -> list[dict[str, Any]]:
        """Return the parameters of each instance."""
        return [{"way": "xcom", "region": region} for region in REGIONS]

    ClickHouseTemplateOperator.partial(task_id="insert_from_xcom", sql=INSERT).expand(parameters=regions())

    # expand_kwargs: several arguments of each instance.
    replace_days = ClickHouseReplacePartitionOperator.partial(
        task_id="replace_days", table="mapped_by_day", sql=ROLLUP + "day = %(day)s"
    ).expand_kwargs([{"partition": day, "parameters": {"day": day}} for day in DAYS])

    ClickHouseToValkeyHashOperator.partial(
        task_id="publish.hashes",
        sql=HASHES,
        key_template="mapped:{region}",
        fields=["total"],
        expire=timedelta(hours=1),
    ).expand_kwargs([{"index_key": f"index:mapped:{region}", "parameters": {"region": region}} for region in REGIONS])

    check_columns = ClickHouseColumnCheckOperator.partial(
        task_id="check_columns", column_mapping={"n": {"min": {"geq_to": 10}, "null_check": {"equal_to": 0}}}
    ).expand(table=["mapped_by_day", "mapped_by_region"])
    check_table = ClickHouseTableCheckOperator.partial(task_id="check_table", table="mapped_by_day").expand(
        checks=[{"rows": {"check_statement": f"countIf(day = '{day}') = 2"}} for day in DAYS]
    )

    # All of them in a group that is mapped as a whole.
    @task_group(group_id="each_region")
    def each_region(region: str) -> None:
        """Roll up, check and publish one region."""
        rows = ClickHouseTemplateOperator(task_id="insert", sql=INSERT, parameters={"way": "group", "region": region})
        rollup = ClickHouseReplacePartitionOperator(
            task_id="roll.up",
            table="mapped_by_region",
            sql=ROLLUP + "region = %(region)s",
            parameters={"region": region},
            partition=region,
        )
        columns = ClickHouseColumnCheckOperator(
            task_id="check_columns", table="mapped_by_region", column_mapping={"n": {"min": {"geq_to": 10}}}
        )
        table = ClickHouseTableCheckOperator(
            task_id="check_table",
            table="mapped_by_region",
            partition_clause="region = ['kr', 'us'][{{ ti.map_index }} + 1]",
            checks={"rows": {"check_statement": "count() = 2"}},
        )
        publish = ClickHouseToValkeyHashOperator(
            task_id="publish",
            sql=HASHES,
            parameters={"region": region},
            key_template="grouped:{region}",
            index_key="index:grouped:{{ ti.map_index }}",
            fields=["total"],
            expire=timedelta(hours=1),
        )
        settled = StatisticsDaySensor(task_id="wait", settling_minutes=0)
        rows >> rollup >> [columns, table] >> publish >> settled

    each = each_region.expand(region=list(REGIONS))
    replace_days >> check_table
    [replace_days, each] >> check_columns
