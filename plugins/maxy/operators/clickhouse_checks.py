"""airflow-clickhouse-plugin's column and table checks, with the environment's connection on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.hooks._plugin_imports import without_moved_names
from maxy.hooks.clickhouse import ClickHouseDbApiHook
from maxy.hooks.environment import CLICKHOUSE_NATIVE_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Unpack

    from airflow.providers.common.sql.hooks.sql import DbApiHook

    from maxy.operators._arguments import SqlCheckArguments

with without_moved_names():
    from airflow_clickhouse_plugin.operators import clickhouse_dbapi as _plugin  # type: ignore[import-untyped, unused-ignore]


class _EnvironmentHook:
    """Gives a check our hook in the place of the plugin's."""

    conn_id: str | None
    database: str | None

    def get_db_hook(self) -> DbApiHook:
        return ClickHouseDbApiHook(clickhouse_conn_id=self.conn_id or CLICKHOUSE_NATIVE_CONN_ID, schema=self.database)


class ClickHouseColumnCheckOperator(_EnvironmentHook, _plugin.ClickHouseSQLColumnCheckOperator):  # type: ignore[misc]
    """Check columns of a ClickHouse table, as ``SQLColumnCheckOperator`` describes.

    :param table: the table.
    :param column_mapping: the checks of each column, by its name.
    :param accept_none: whether the result of an empty table counts as 0.
    """

    def __init__(
        self,
        *,
        table: str,
        column_mapping: Mapping[str, Mapping[str, Any]],
        accept_none: bool = True,
        **kwargs: Unpack[SqlCheckArguments],
    ) -> None:
        super().__init__(table=table, column_mapping=column_mapping, accept_none=accept_none, **kwargs)


class ClickHouseTableCheckOperator(_EnvironmentHook, _plugin.ClickHouseSQLTableCheckOperator):  # type: ignore[misc]
    """Check a ClickHouse table as a whole, as ``SQLTableCheckOperator`` describes.

    :param table: the table.
    :param checks: the checks, by name, each with its ``check_statement``.
    """

    def __init__(
        self, *, table: str, checks: Mapping[str, Mapping[str, Any]], **kwargs: Unpack[SqlCheckArguments]
    ) -> None:
        super().__init__(table=table, checks=checks, **kwargs)
