"""The libraries of the package's tasks, for the scheduler, which imports a module of this name when it starts.

LocalExecutor forks every task from the scheduler's workers, so what is imported here, no task has to import again: that
halves the CPU time of a short task. Only other people's libraries: the package's own modules would then be those of the
scheduler's start, however often they are edited.
"""

import importlib

for _module in (
    "airflow.providers.common.sql.operators.sql",
    "airflow.providers.redis.hooks.redis",
    "airflow_clickhouse_plugin.hooks.clickhouse",
    "airflow_clickhouse_plugin.operators.clickhouse_dbapi",
    "clickhouse_connect",
    "redis.asyncio",
):
    importlib.import_module(_module)
