"""What the scheduler's tasks have in common, for the scheduler, which imports a module of this name when it starts.

**Libraries.** LocalExecutor forks every task from the scheduler's workers, so what is imported here, no task has to
import again: that halves the CPU time of a short task. Only other people's libraries: the package's own modules would
then be those of the scheduler's start, however often they are edited.

**Logs.** LocalExecutor (3.3) has each line of a task's log printed by the scheduler as well, and no setting says
otherwise. The task's own log has it, so here it would only fill the scheduler's.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from airflow.executors.base_executor import BaseExecutor

with warnings.catch_warnings():
    # As in maxy.hooks._plugin_imports, where this is explained.
    warnings.filterwarnings("ignore", r".*airflow\.hooks\.base\.BaseHook", module=r"airflow_clickhouse_plugin\.")
    for _module in (
        "airflow.providers.common.sql.operators.sql",
        "airflow.providers.redis.hooks.redis",
        "airflow_clickhouse_plugin.hooks.clickhouse",
        "airflow_clickhouse_plugin.operators.clickhouse_dbapi",
        "clickhouse_connect",
        "redis.asyncio",
    ):
        importlib.import_module(_module)

_run_workload = BaseExecutor.run_workload


def _run_workload_with_one_log(workload: Any, **options: Any) -> int:
    # A workload without a log of its own (a test of a connection) would otherwise say nothing anywhere.
    has_log = getattr(workload, "log_path", None) is not None
    to_stdout = options.pop("subprocess_logs_to_stdout", False) and not has_log
    return _run_workload(workload, subprocess_logs_to_stdout=to_stdout, **options)


BaseExecutor.run_workload = staticmethod(_run_workload_with_one_log)  # type: ignore[method-assign]
