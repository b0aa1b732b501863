"""What the scheduler of the embedded stack is started with."""

from __future__ import annotations

import runpy
from multiprocessing import Queue, SimpleQueue, Value
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.executors import local_executor
from airflow.executors.base_executor import BaseExecutor

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("log_path", "also_on_stdout"), [("dag_id=daily/attempt=1.log", False), (None, True)], ids=["task", "no log"]
)
def test_a_task_of_local_executor_logs_into_its_own_log_alone(
    monkeypatch: pytest.MonkeyPatch, log_path: str | None, also_on_stdout: bool
) -> None:
    calls: list[dict[str, Any]] = []

    def record(workload: object, **options: Any) -> int:
        calls.append(options)
        return 0

    monkeypatch.setattr(BaseExecutor, "run_workload", staticmethod(record))
    runpy.run_path(str(ROOT / "local" / "preload" / "airflow_local_settings.py"))
    workload = SimpleNamespace(
        key="key", log_path=log_path, display_name="task", running_state=None, success_state="success"
    )
    work: SimpleQueue[Any] = SimpleQueue()
    results: Queue[Any] = Queue()
    work.put(workload)
    work.put(None)

    # Airflow's own worker, as LocalExecutor forks it: that it still asks for the second log shows in its arguments.
    local_executor._run_worker("test", work, results, Value("I", 2), local_executor.LocalExecutor(parallelism=1).conf)

    assert results.get(timeout=10) == ("key", "success", None)
    assert [call["subprocess_logs_to_stdout"] for call in calls] == [also_on_stdout]
