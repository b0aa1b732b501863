"""Helpers to test loops and DAGs of one's own, see docs/how-to-test.md. They need no test framework.

A loop runs against a ClickHouse and a Valkey that the test names, at times that it sets (:func:`run_loop`,
:func:`running_loop`). A DAG file is loaded as Airflow does, and looked at (:func:`load_dags`, :func:`dag_problems`).
A task is rendered and executed without a scheduler (:func:`run_task`).

The helpers are imported when they are first used: those for loops need no Airflow, and those for DAGs no client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maxy.testing.clock import FakeClock
    from maxy.testing.dags import check_dags, dag_problems, load_dags
    from maxy.testing.loops import LoopRun, RunningLoop, copy_of, run_loop, running_loop
    from maxy.testing.tasks import run_dag, run_task, task_context

__all__ = [
    "FakeClock",
    "LoopRun",
    "RunningLoop",
    "check_dags",
    "copy_of",
    "dag_problems",
    "load_dags",
    "run_dag",
    "run_loop",
    "run_task",
    "running_loop",
    "task_context",
]

_MODULES = {
    "clock": ("FakeClock",),
    "dags": ("check_dags", "dag_problems", "load_dags"),
    "loops": ("LoopRun", "RunningLoop", "copy_of", "run_loop", "running_loop"),
    "tasks": ("run_dag", "run_task", "task_context"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
