"""Every operator and sensor over two values, on the real scheduler: the DAG in tests/e2e/dags/mapped_operators.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from scripts.backfill import ApiError
from tests.support import hashes
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from clickhouse_connect.driver.client import Client

    from tests.e2e.conftest import RunningStack

DAG_ID = "mapped.operators"
RUN_SECONDS = 400.0
SOURCE = [("2026-11-01", "kr", 1), ("2026-11-01", "us", 2), ("2026-11-02", "kr", 4), ("2026-11-02", "us", 8)]
TABLES = {
    "mapped_source": "(day Date, region String, n UInt64) ENGINE = MergeTree ORDER BY day",
    "mapped_rows": "(way String, region String, map_index Int32) ENGINE = MergeTree ORDER BY way",
    "mapped_by_day": "(day Date, region String, n UInt64) ENGINE = MergeTree PARTITION BY day ORDER BY region",
    "mapped_by_region": "(day Date, region String, n UInt64) ENGINE = MergeTree PARTITION BY region ORDER BY day",
}
# What has SQL of its own, in a group or not.
STATEMENTS = ("insert.rows", "insert_from_xcom", "replace_days", "publish.hashes",
              "each_region.insert", "each_region.roll.up", "each_region.publish")  # fmt: skip
OTHERS = ("wait", "check_columns", "check_table",
          "each_region.check_columns", "each_region.check_table", "each_region.wait")  # fmt: skip


@pytest.fixture
def client(stack: RunningStack) -> Iterator[Client]:
    with stack.clickhouse() as client:
        for name, definition in TABLES.items():
            client.command(f"CREATE OR REPLACE TABLE {name} {definition}")
        client.insert("mapped_source", [(datetime.fromisoformat(day).date(), *rest) for day, *rest in SOURCE],
                      column_names=["day", "region", "n"])  # fmt: skip
        # What was there before: of the partitions that are replaced, and of others.
        for name in ("mapped_by_day", "mapped_by_region"):
            client.command(f"INSERT INTO {name} VALUES ('2026-11-01', 'kr', 77), ('2026-11-03', 'jp', 99)")
        yield client
        for name in TABLES:
            client.command(f"DROP TABLE {name}")


@pytest.fixture
def valkey(stack: RunningStack) -> Iterator[redis.Redis]:
    with stack.stack.valkey.client() as valkey:
        yield valkey


def known(stack: RunningStack) -> bool:
    try:
        stack.api.request("GET", f"/dags/{DAG_ID}")
    except ApiError:
        return False
    return True


def run_of(stack: RunningStack) -> tuple[str, list[dict[str, Any]]]:
    """Run the DAG once; return the run's id and its task instances."""
    wait_until(lambda: known(stack), 120, "Airflow knows the DAG")
    stack.api.request("PATCH", f"/dags/{DAG_ID}", body={"is_paused": False})
    # The first day's end, and so many minutes that the second instance of the sensor has to wait for a while.
    end = datetime(2026, 11, 2, tzinfo=ZoneInfo(stack.settings.timezone))
    minutes = (datetime.now(UTC) + timedelta(seconds=25) - end).total_seconds() / 60
    body = {"logical_date": None, "conf": {"settling_minutes": minutes}}
    run_id = str(stack.api.request("POST", f"/dags/{DAG_ID}/dagRuns", body=body)["dag_run_id"])

    def state() -> str:
        return str(stack.api.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"])

    wait_until(lambda: state() in ("success", "failed"), RUN_SECONDS, "the run's end")
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    return run_id, stack.api.request("GET", path, query={"limit": 100})["task_instances"]


def test_every_operator_maps(stack: RunningStack, client: Client, valkey: redis.Redis) -> None:
    run_id, instances = run_of(stack)

    states = {(instance["task_id"], instance["map_index"]): instance["state"] for instance in instances}
    expected = {(task_id, index) for task_id in (*STATEMENTS, *OTHERS) for index in (0, 1)}
    assert states == dict.fromkeys({*expected, ("regions", -1)}, "success")

    # Each instance has worked for its own value.
    rows = client.query("SELECT way, region, map_index FROM mapped_rows ORDER BY ALL").result_rows
    ways = ("expand", "group", "xcom")
    assert rows == [(way, region, index) for way in ways for index, region in enumerate(("kr", "us"))]

    # Partitions that are nobody's stay, and of the others nothing of before is left.
    rolled_up = sorted([*((day, region, n * 10) for day, region, n in SOURCE), ("2026-11-03", "jp", 99)])
    for table in ("mapped_by_day", "mapped_by_region"):
        found = client.query(f"SELECT toString(day), region, n FROM {table} ORDER BY ALL").result_rows
        assert found == rolled_up, table
    stages = "SELECT name FROM system.tables WHERE startsWith(name, 'mapped') AND position(name, '__stage_') > 0"
    assert client.query(stages).result_rows == []

    totals = {"kr": "5", "us": "10"}
    for template in ("mapped", "grouped"):
        assert hashes(valkey, f"{template}:*") == {
            f"{template}:{region}": {"total": total} for region, total in totals.items()
        }

    # Each statement can be found by its task, its index (0 as well), run and try.
    ids = client.query(
        "SELECT DISTINCT if(log_comment = '', query_id, log_comment) AS id FROM system.query_log"
        " WHERE startsWith(id, {dag:String})",
        parameters={"dag": f"{DAG_ID}."},
    ).result_rows
    tries = {id.rpartition(".")[0] for (id,) in ids}
    assert tries == {f"{DAG_ID}.{task_id}/{index}/{run_id}/try1" for task_id in STATEMENTS for index in (0, 1)}
