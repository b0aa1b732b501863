"""Collects the names that others rely on, without knowing which module of the package they come from.

``python -m tests.freeze.public_names`` writes them into ``public_names.json``: additions are fine there, anything else
is a change that needs a way over for those who use the old name.
"""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).resolve().parents[2]
FROZEN = Path(__file__).with_name("public_names.json")

#: Import paths that the docs name: whoever wrote a DAG, a loop or a page has them in a file.
DOCUMENTED = (
    "maxy.assets.MAX_DEVICE_STATISTIC",
    "maxy.hooks.clickhouse.ClickHouseHook",
    "maxy.hooks.environment.overridden",
    "maxy.hooks.valkey.ValkeyHook",
    "maxy.notifiers.failure.FailureNotifier",
    "maxy.operators.clickhouse.ClickHouseTemplateOperator",
    "maxy.operators.clickhouse_checks.ClickHouseColumnCheckOperator",
    "maxy.operators.clickhouse_checks.ClickHouseTableCheckOperator",
    "maxy.operators.clickhouse_partition.ClickHouseReplacePartitionOperator",
    "maxy.operators.realtime.RealtimeLoopOperator",
    "maxy.operators.valkey.ClickHouseToValkeyHashOperator",
    "maxy.realtime.clickhouse.Columns",
    "maxy.realtime.clock.to_ms",
    "maxy.realtime.hash_loop.HashLoop",
    "maxy.realtime.loop.Loop",
    "maxy.realtime.loop.LoopEnvironment",
    "maxy.realtime.loop.Tick",
    "maxy.realtime.loop.TickResult",
    "maxy.realtime.own_keys.read_own",
    "maxy.realtime.settings.Option",
    "maxy.realtime.settings.int_from",
    "maxy.realtime.settings.non_negative_number",
    "maxy.realtime.settings.number_from",
    "maxy.realtime.sql.read_statement",
    "maxy.realtime.writer.HashGroup",
    "maxy.realtime.writer.TickWriter",
    "maxy.sensors.statistics_day.StatisticsDaySensor",
    "maxy.settings.realtime_settings",
    "maxy.settings.statistics_timezone",
    "maxy.settings.valkey_prefix",
    "maxy.statistics_day.StatisticsDay",
    "maxy.testing.LoopRun",
    "maxy.testing.check_dags",
    "maxy.testing.load_dags",
    "maxy.testing.run_loop",
    "maxy.testing.run_task",
    "maxy.testing.running_loop",
    "maxy.ui.access.MAY_SEE_PLUGINS",
    "maxy.ui.headers.SecurityHeaders",
    "maxy.valkey.groups.GroupReader",
    "maxy.valkey.hashes.HashPublisher",
)
#: Import paths that Airflow's database holds for as long as a deferred run lives.
STORED = (
    "maxy.triggers.realtime.RealtimeLoopTrigger",
    "maxy.realtime.log_meter.LogMeter",
    "maxy.realtime.loading_time.LoadingTime",
    "maxy.realtime.response_time.ResponseTime",
    "maxy.realtime.device.Device",
    "maxy.realtime.page.Page",
    "maxy.realtime.watch.Watch",
)


def find(path: str) -> Any:
    """Return what is at an import path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def collect(dag_bag: DagBag) -> dict[str, Any]:
    """Return all of them, as JSON would hold them."""
    plugin = import_module("maxy_plugin").MaxyPlugin
    names = {
        "dags": {dag_id: _dag(dag) for dag_id, dag in sorted(dag_bag.dags.items())},
        "signatures": {path: _signature(find(path)) for path in DOCUMENTED},
        "plugin": {
            "name": plugin.name,
            "macros": sorted(macro.__name__ for macro in plugin.macros),
            "applications": {app["name"]: app["url_prefix"] for app in plugin.fastapi_apps},
            "views": plugin.external_views,
        },
        "api": _api(),
        "settings": _airflow_settings(),
        "compose": _compose(),
        "environment": sorted(
            set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
        ),
        "alerts": sorted(set(re.findall(r"alert: (\w+)", _texts("monitoring", "*alerts.yaml")))),
        "metrics": sorted(set(re.findall(r"`(maxy\.[a-z_.]+)`", _texts("docs", "**/metrics.md")))),
        "key_patterns": sorted(_key_patterns()),
    }
    return json.loads(json.dumps(names, default=str))


def _dag(dag: Any) -> dict[str, Any]:
    return {
        "tags": sorted(dag.tags),
        "params": {name: dag.params.get_param(name).dump() for name in dag.params},
        "tasks": {task.task_id: _task(task) for task in dag.tasks},
    }


def _task(task: Any) -> dict[str, Any]:
    known = {
        "operator": type(task).__name__,
        "downstream": sorted(task.downstream_task_ids),
        "pool": task.pool,
        "retries": task.retries,
        "outlets": [f"{outlet.name} {outlet.uri}" for outlet in task.outlets],
    }
    # What a live loop's settings are, and the keys that a group is made of.
    return known | {
        name: getattr(task, name)
        for name in ("settings", "key_template", "index_key", "table", "conn_id", "valkey_conn_id", "source")
        if hasattr(task, name)
    }


def _signature(found: Any) -> list[str] | None:
    if not callable(found):
        return None
    parameters = inspect.signature(found).parameters.values()
    return [f"{parameter.name}{'' if parameter.default is parameter.empty else '='}" for parameter in parameters]


def _api() -> dict[str, Any]:
    plugin = import_module("maxy_plugin")
    app = plugin._application()
    document = app.openapi()
    shapes = {"schemas": document["components"]["schemas"], "paths": document["paths"]}
    return {"routes": sorted(_routes(app.routes)), **{name: _without_prose(part) for name, part in shapes.items()}}


def _without_prose(part: Any) -> Any:
    """Leave out what a description says: it may become clearer."""
    if isinstance(part, list):
        return [_without_prose(item) for item in part]
    if not isinstance(part, dict):
        return part
    # A property may bear these names; then it is an object.
    return {
        name: _without_prose(item)
        for name, item in part.items()
        if not (name in ("description", "title", "summary", "operationId") and isinstance(item, str))
    }


def _routes(routes: Any) -> Iterator[str]:
    for route in routes:
        for method in sorted(getattr(route, "methods", None) or [""]):
            yield f"{method} {route.path}".strip()


def _airflow_settings() -> Mapping[str, Any]:
    stored = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"]
    return {
        kind: sorted(
            str(next(value for key, value in item.items() if key.endswith(("_id", "_name")))) for item in items
        )
        for kind, items in stored.items()
    }


def _compose() -> Mapping[str, Any]:
    stored = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return {
        "services": sorted(stored["services"]),
        "volumes": sorted(stored["volumes"]),
        "environment": sorted(set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)", json.dumps(stored)))),
    }


def _key_patterns() -> Iterator[str]:
    """Yield the words of keys that readers know: they are in the docs of the live loops."""
    yield from set(re.findall(r"`(\{prefix\}:[^`]*)`", _texts("docs", "**/*.md")))


def _texts(folder: str, pattern: str) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).glob(pattern)))


def main() -> None:
    """Write them down."""
    from airflow.dag_processing.dagbag import DagBag

    names = collect(DagBag(dag_folder=str(ROOT / "dags")))
    FROZEN.write_text(json.dumps(names, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
