"""What the template operator refuses, keeps, drops and kills, against a real engine."""

from __future__ import annotations

import os
import signal
import threading
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowTaskTimeout
from airflow.sdk.execution_time.timeout import timeout

from maxy.hooks.clickhouse import ClickHouseHook
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from tests.support import run_task, task_context
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import clickhouse_driver

    from local.clickhouse.testing import Server

pytestmark = pytest.mark.usefixtures("connections")


def template(sql: Any, **options: Any) -> ClickHouseTemplateOperator:
    return ClickHouseTemplateOperator(task_id="sql", sql=sql, **options)


def in_dag(operator: Any, folder: Path, **options: Any) -> Any:
    """Run an operator as a worker does whose DAG finds its files in a folder."""
    operator.get_template_env = lambda dag=None: _environment(folder, native=options.pop("native", False))
    return run_task(operator, **options)


def _environment(folder: Path, *, native: bool) -> Any:
    from airflow.sdk.definitions._internal.templater import NativeEnvironment, SandboxedEnvironment
    from jinja2 import FileSystemLoader

    return (NativeEnvironment if native else SandboxedEnvironment)(loader=FileSystemLoader(folder))
