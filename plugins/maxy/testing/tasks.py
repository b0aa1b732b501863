"""Render and execute tasks without a scheduler and without Airflow's database."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.execution_time import macros

from maxy.statistics import macros as package_macros

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from airflow.sdk import DAG, BaseOperator


@dataclass
class _TaskInstance:
    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    xcoms: Mapping[str, Any]
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_pull(self, task_ids: Any = None, *, key: str = "return_value", default: Any = None, **_: Any) -> Any:
        if task_ids is None or isinstance(task_ids, str):
            return self.xcoms.get(task_ids or self.task_id, default)
        return [self.xcoms.get(task_id, default) for task_id in task_ids]

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def task_context(
    task: BaseOperator | MappedOperator,
    *,
    params: Mapping[str, Any] | None = None,
    conf: Mapping[str, Any] | None = None,
    logical_date: datetime | None = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    run_type: str = "manual",
    map_index: int = -1,
    run_id: str = "run",
    try_number: int = 1,
    variables: Mapping[str, str] | None = None,
    xcoms: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a task's context as the task runner makes it, as far as operators and templates usually look.

    :param params: values of the DAG's parameters, on top of their defaults.
    :param conf: what the run was triggered with; ``params`` unless given.
    :param logical_date: None: of a run that was triggered without one, which has no ``ds`` unless it has an interval.
    :param variables: Airflow variables, for ``{{ var.value.name }}`` and ``var.json``; what code reads by
        ``Variable.get`` comes from the environment (``AIRFLOW_VAR_<NAME>``).
    :param xcoms: what former tasks have returned, by task id, for ``ti.xcom_pull``.
    """
    dag = getattr(task, "dag", None) if task.has_dag() else None
    ti = _TaskInstance(task.dag_id, task.task_id, run_id, map_index, try_number, dict(xcoms or {}))
    context: dict[str, Any] = {
        "task": task,
        "dag": dag,
        "ti": ti,
        "task_instance": ti,
        "run_id": run_id,
        "dag_run": SimpleNamespace(
            dag_id=task.dag_id,
            run_id=run_id,
            conf=dict((params if conf is None else conf) or {}),
            run_type=run_type,
            data_interval_start=data_interval_start,
            data_interval_end=data_interval_end,
            logical_date=logical_date,
            run_after=None,
        ),
        "data_interval_start": data_interval_start,
        "data_interval_end": data_interval_end,
        "params": {**(dag.params.dump() if dag is not None else {}), **(params or {})},
        # The plugin manager adds the package's own in a worker.
        "macros": SimpleNamespace(
            **{name: value for name, value in vars(macros).items() if name != "maxy"},
            maxy=SimpleNamespace(**{name: getattr(package_macros, name) for name in package_macros.__all__}),
        ),
        "var": {"value": dict(variables or {}), "json": _parsed(variables or {})},
    }
    return {**context, **_dates(logical_date or data_interval_start)}


def _parsed(variables: Mapping[str, str]) -> dict[str, Any]:
    """Return those that are JSON."""
    parsed = {}
    for name, text in variables.items():
        with suppress(ValueError):
            parsed[name] = json.loads(text)
    return parsed


def _dates(moment: datetime | None) -> dict[str, Any]:
    if moment is None:
        return {}
    return {
        "logical_date": moment,
        "ds": moment.strftime("%Y-%m-%d"),
        "ds_nodash": moment.strftime("%Y%m%d"),
        "ts": moment.isoformat(),
        "ts_nodash": moment.strftime("%Y%m%dT%H%M%S"),
    }


def run_task(task: BaseOperator | MappedOperator, **options: Any) -> Any:
    """Render and execute one task, as a worker does, without a scheduler.

    One instance of a mapped task is the one of ``map_index``, 0 unless given; its values are those in ``expand``.

    :param options: those of :func:`task_context`.
    :return: what the task would push as XCom.
    :raises Exception: what the task raises, also ``TaskDeferred`` and ``AirflowSkipException``.
    """
    if isinstance(task, MappedOperator):
        options.setdefault("map_index", 0)
    return run_in_context(task, task_context(task, **options))


def run_in_context(task: BaseOperator | MappedOperator, context: dict[str, Any]) -> Any:
    """Do the same in a context that is there already."""
    prepared = task.prepare_for_execution()
    context["task"] = prepared
    prepared.render_template_fields(context)  # type: ignore[arg-type]
    # Of a mapped one, rendering has put the instance into the context.
    return context["task"].execute(context)


def run_dag(dag: DAG, **options: Any) -> dict[str, Any]:
    """Run all tasks of a DAG in their order; the first one that fails or is skipped ends it with its exception.

    What a task returns can be pulled by those after it. Trigger rules, retries and mapped tasks are left to Airflow.

    :param options: those of :func:`task_context`.
    :return: what each task would push as XCom.
    """
    returned: dict[str, Any] = dict(options.pop("xcoms", None) or {})
    for task in dag.topological_sort():  # type: ignore[no-untyped-call]
        returned[task.task_id] = run_task(task, xcoms=returned, **options)
    return returned
