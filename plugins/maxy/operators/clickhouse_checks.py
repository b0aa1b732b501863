"""airflow-clickhouse-plugin's column and table checks, with the environment's connection on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_clickhouse_plugin.operators.clickhouse_dbapi import (
    ClickHouseSQLColumnCheckOperator as _PluginColumnCheck,
)
from airflow_clickhouse_plugin.operators.clickhouse_dbapi import (
    ClickHouseSQLTableCheckOperator as _PluginTableCheck,
)

from maxy.hooks.clickhouse import ClickHouseDbApiHook
from maxy.hooks.environment import CLICKHOUSE_NATIVE_CONN_ID

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


class _EnvironmentHook:
    """Gives a check our hook in the place of the plugin's."""

    conn_id: str | None
    database: str | None

    def get_db_hook(self) -> DbApiHook:
        return ClickHouseDbApiHook(clickhouse_conn_id=self.conn_id or CLICKHOUSE_NATIVE_CONN_ID, schema=self.database)


class ClickHouseColumnCheckOperator(_EnvironmentHook, _PluginColumnCheck):  # type: ignore[misc]
    """Check columns of a ClickHouse table, as ``SQLColumnCheckOperator`` describes."""


class ClickHouseTableCheckOperator(_EnvironmentHook, _PluginTableCheck):  # type: ignore[misc]
    """Check a ClickHouse table as a whole, as ``SQLTableCheckOperator`` describes."""
