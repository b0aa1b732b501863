"""
Makes the tables of the shop: trigger it once, by hand.

**Re-running is safe**: it makes what is not there, and leaves what is.

**Triage**
- `make_tables` fails: the message has ClickHouse's error and the statement's place in `tables.sql`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from airflow.sdk import DAG

from maxy.operators.clickhouse import ClickHouseTemplateOperator

with DAG(
    dag_id="shop_tables",
    description=__doc__.strip().partition("\n")[0],
    doc_md=__doc__,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # It runs only when somebody triggers it.
    is_paused_upon_creation=False,
    default_args={"owner": "shop", "retries": 2},
    template_searchpath=[str(Path(__file__).resolve().parents[1] / "include" / "sql" / "shop")],
    tags=["shop"],
) as dag:
    make_tables = ClickHouseTemplateOperator(task_id="make_tables", sql="tables.sql")
