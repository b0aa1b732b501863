"""Run tasks without a scheduler, and read what they wrote."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import redis
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.execution_time import macros

from maxy import macros as package_macros
from scripts.migrate import TtlDays, migrate
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow.sdk import DAG, BaseOperator

    from local.clickhouse.testing import Server

#: A client that returns text.
Valkey = redis.Redis


def break_snapshots(valkey: Valkey, directory: Path) -> None:
    """Have a snapshot fail, as on a full disk: a folder is in its place."""
    name = valkey.config_get("dbfilename")["dbfilename"]
    (directory / name).unlink(missing_ok=True)
    (directory / name / "occupied").mkdir(parents=True)
    valkey.config_set("save", "3600 1")
    valkey.bgsave()
    wait_until(lambda: valkey.info("persistence")["rdb_last_bgsave_status"] == "err", 20, "the snapshot has failed")


def hashes(valkey: Valkey, pattern: str = "*") -> dict[str, dict[str, str]]:
    """Return every hash whose key matches."""
    return {key: valkey.hgetall(key) for key in sorted(valkey.scan_iter(match=pattern)) if valkey.type(key) == "hash"}


#: Far enough that the fixed dates of tests and benchmarks never expire.
KEEP = TtlDays(total_log=18_250, page_flow=18_250, access_history=18_250, device_statistic=18_250)


def make_tables(server: Server, *, database: str, timezone: str = "UTC") -> None:
    """Make the package's tables in a database of a test's own server."""
    migrate(
        host=server.host,
        native_port=server.tcp_port,
        user=server.user,
        password=server.password,
        database=database,
        timezone=timezone,
        ttl_days=KEEP,
    )


def package_environment(server: Server, *, valkey_port: int, database: str) -> dict[str, str]:
    """Return the environment that leads the package's connections to servers of a test's own."""
    return {
        "AIRFLOW_CONN_CLICKHOUSE_DEFAULT": '{"conn_type": "clickhouse"}',
        "AIRFLOW_CONN_REDIS_DEFAULT": '{"conn_type": "redis"}',
        "CLICKHOUSE_HOST": server.host,
        "CLICKHOUSE_NATIVE_PORT": str(server.tcp_port),
        "CLICKHOUSE_USER": server.user,
        "CLICKHOUSE_PASSWORD": server.password,
        "CLICKHOUSE_DB": database,
        "VALKEY_HOST": "127.0.0.1",
        "VALKEY_PORT": str(valkey_port),
    }


def task_context(
    task: BaseOperator,
    *,
    params: Mapping[str, Any] | None = None,
    data_interval_start: datetime | None = None,
    run_type: str = "manual",
    map_index: int = -1,
    run_id: str = "run",
    try_number: int = 1,
    variables: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a task's context as the task runner makes it, as far as the package's tasks look."""
    return {
        "task": task,
        "ti": SimpleNamespace(
            dag_id=task.dag_id, task_id=task.task_id, run_id=run_id, map_index=map_index, try_number=try_number
        ),
        "dag_run": SimpleNamespace(
            conf=dict(params or {}),
            run_type=run_type,
            data_interval_start=data_interval_start,
            data_interval_end=None,
            logical_date=None,
            run_after=None,
        ),
        "data_interval_start": data_interval_start,
        "params": {"stat_date": None, "allow_empty": False, "cache_only": False, **(params or {})},
        # The plugin manager adds the package's own in a worker.
        "macros": SimpleNamespace(
            **vars(macros),
            maxy=SimpleNamespace(**{name: getattr(package_macros, name) for name in package_macros.__all__}),
        ),
        "var": {"value": {"maxy_log_cache_values": "false", **(variables or {})}},
    }


def daily_task(task_id: str, *, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a task of device_statistic_daily.

    :param settings: ClickHouse settings on top of the task's own.
    """
    bag = DagBag(dag_folder=str(Path(__file__).resolve().parents[1] / "dags"))
    task: Any = bag.dags["device_statistic_daily"].get_task(task_id)
    if settings:
        task._settings.update(settings)
    return task


def run_task(task: BaseOperator, **options: Any) -> Any:
    """Render and execute one task, as a worker does, without a scheduler.

    :return: what the task would push as XCom.
    """
    prepared = task.prepare_for_execution()
    context = task_context(prepared, **options)
    prepared.render_template_fields(context)
    return prepared.execute(context)


def run_dag(dag: DAG, **options: Any) -> dict[str, Any]:
    """Run all tasks of a DAG in their order; the first one that fails or is skipped ends it with its exception.

    :return: what each task would push as XCom.
    """
    return {task.task_id: run_task(task, **options) for task in dag.topological_sort()}
