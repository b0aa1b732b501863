"""Run tasks without a scheduler, and read what they wrote.

Airflow is imported by what needs it alone: most tests of the servers do without.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from maxy import testing
from maxy.migrations import ClickHouseMigrations, ClickHouseServer
from maxy.valkey.groups import REGISTRY_KEY
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import DAG, BaseOperator, Context

    from embedded_clickhouse.testing import Server

#: A client that returns text.
Valkey = redis.Redis


def break_snapshots(valkey: Valkey, directory: Path) -> None:
    """Have a snapshot fail, as on a full disk: a folder is in its place."""
    name = str(valkey.config_get("dbfilename")["dbfilename"])
    (directory / name).unlink(missing_ok=True)
    (directory / name / "occupied").mkdir(parents=True)
    valkey.config_set("save", "3600 1")
    valkey.bgsave()
    wait_until(lambda: valkey.info("persistence")["rdb_last_bgsave_status"] == "err", 20, "the snapshot has failed")


def hashes(valkey: Valkey, pattern: str = "*") -> dict[str, dict[str, str]]:
    """Return every hash whose key matches, but those by which groups of hashes are kept."""
    return {
        str(key): {str(name): str(value) for name, value in valkey.hgetall(key).items()}
        for key in sorted(valkey.scan_iter(match=pattern))
        if valkey.type(key) == "hash" and not is_record(key)
    }


def is_record(key: str) -> bool:
    """Whether a key is a group's record, or the registry of all groups."""
    return key == REGISTRY_KEY or key.endswith(":group")


def data_keys(valkey: Valkey) -> list[str]:
    """Return all keys, sorted, but those by which groups of hashes are kept."""
    return sorted(key for key in valkey.scan_iter() if not is_record(key))


#: Far enough that the fixed dates of tests and benchmarks never expire.
KEEP = dict.fromkeys(("total_log", "page_flow", "access_history", "device_statistic"), 18_250)


def make_tables(server: Server, *, database: str, timezone: str = "UTC") -> None:
    """Make the package's tables in a database of a test's own server."""
    target = ClickHouseServer(
        host=server.host,
        native_port=server.tcp_port,
        user=server.user,
        password=server.password,
        database=database,
    )
    ClickHouseMigrations(timezone=timezone, ttl_days=KEEP).apply(target)


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


def task_context(task: BaseOperator, **options: Any) -> Context:
    """Return a task's context as the task runner makes it, with the parameters of the daily job."""
    # Less than Airflow declares: what operators and templates usually look at.
    context: Any = _context_of(task, **options)
    return context


def _context_of(task: BaseOperator, **options: Any) -> dict[str, Any]:
    given = dict(options.pop("params", None) or {})
    variables = {"maxy_log_cache_values": "false", **(options.pop("variables", None) or {})}
    defaults = {"stat_date": None, "allow_empty": False, "cache_only": False}
    return testing.task_context(task, params={**defaults, **given}, conf=given, variables=variables, **options)


def daily_task(task_id: str, *, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a task of device_statistic_daily.

    :param settings: ClickHouse settings on top of the task's own.
    """
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=str(Path(__file__).resolve().parents[1] / "dags"))
    task: Any = bag.dags["device_statistic_daily"].get_task(task_id)
    if settings:
        task._settings.update(settings)
    return task


def run_task(task: BaseOperator, **options: Any) -> Any:
    """Render and execute one task, as a worker does, without a scheduler.

    :return: what the task would push as XCom.
    """
    from maxy.testing.tasks import run_in_context

    return run_in_context(task, _context_of(task, **options))


def run_dag(dag: DAG, **options: Any) -> dict[str, Any]:
    """Run all tasks of a DAG in their order; the first one that fails or is skipped ends it with its exception.

    :return: what each task would push as XCom.
    """
    return {task.task_id: run_task(task, **options) for task in dag.topological_sort()}
