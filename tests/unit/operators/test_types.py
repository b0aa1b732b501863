"""What a stranger's type checker says of a DAG and a loop that are built on the package: mypy --strict, no settings."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.sql.operators.sql import (
    BaseSQLOperator,
    SQLColumnCheckOperator,
    SQLTableCheckOperator,
)
from airflow.sdk import BaseOperator, BaseSensorOperator

from maxy.operators._arguments import OperatorArguments, SensorArguments, SqlCheckArguments, TemplateArguments
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

EVERY_OPERATOR = """
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronDataIntervalTimetable

from maxy.notifiers.failure import FailureNotifier
from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_checks import ClickHouseColumnCheckOperator, ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.realtime import RealtimeLoopOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.statistics.day_sensor import StatisticsDaySensor

HOUR = "{{ data_interval_start.in_timezone('UTC').strftime('%Y-%m-%d %H:%M:%S') }}"

with DAG(
    dag_id="shop_hourly",
    schedule=CronDataIntervalTimetable("0 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    default_args={"on_failure_callback": FailureNotifier(), "retries": 2},
) as dag:
    wait = StatisticsDaySensor(task_id="wait", settling_minutes=5, poke_interval=30, mode="reschedule")
    prepare = ClickHouseTemplateOperator(
        task_id="prepare", sql="SELECT 1", parameters={"n": 1}, retries=5, pool="clickhouse", trigger_rule="all_done"
    )
    roll_up = ClickHouseReplacePartitionOperator(
        task_id="roll_up",
        table="shop_hours",
        partition=HOUR,
        sql="INSERT INTO {{ stage_table }} SELECT 1",
        parameters={"hour": HOUR},
        row_checks={"amount": "amount >= 0"},
        execution_timeout=timedelta(minutes=5),
        on_failure_callback=[FailureNotifier()],
    )
    columns = ClickHouseColumnCheckOperator(
        task_id="columns", table="shop_hours", column_mapping={"amount": {"min": {"geq_to": 0}}}, database="shop"
    )
    table = ClickHouseTableCheckOperator(
        task_id="table", table="shop_hours", checks={"rows": {"check_statement": "COUNT(*) > 0"}}
    )
    cache = ClickHouseToValkeyHashOperator.partial(
        task_id="cache", sql="SELECT 1 AS region", key_template="shop:{region}", expire=60
    ).expand(index_key=["index:kr", "index:jp"])
    live = RealtimeLoopOperator(task_id="live", loop="shop.Live", settings={}, duration=timedelta(hours=1), queue="q")
    wait >> prepare >> roll_up >> [columns, table] >> cache
"""

# Each line that has a mistake says which word mypy must name.
MISTAKES = """
from datetime import timedelta

from maxy.operators.clickhouse import ClickHouseTemplateOperator
from maxy.operators.clickhouse_checks import ClickHouseColumnCheckOperator, ClickHouseTableCheckOperator
from maxy.operators.clickhouse_partition import ClickHouseReplacePartitionOperator
from maxy.operators.realtime import RealtimeLoopOperator
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.statistics.day_sensor import StatisticsDaySensor

ClickHouseToValkeyHashOperator(task_id="a", sql="", key_template="", index_key="", expire=1, feilds=["x"])  # feilds
ClickHouseToValkeyHashOperator(task_id="a", key_template="", index_key="", expire=1)  # sql
ClickHouseToValkeyHashOperator(task_id="a", sql="", key_template="", index_key="", expire=1, pol="p")  # pol
ClickHouseTemplateOperator(task_id="a", sql="", paramters={})  # paramters
ClickHouseTemplateOperator(task_id="a", sql="", retries="3")  # retries
ClickHouseTemplateOperator(sql="")  # task_id
ClickHouseReplacePartitionOperator(task_id="a", sql="", table="t", partitions="p")  # partition
ClickHouseReplacePartitionOperator(task_id="a", sql="", table="t", partition="p", databse="x")  # databse
ClickHouseColumnCheckOperator(task_id="a", table="t", column_maping={})  # column_maping
ClickHouseTableCheckOperator(task_id="a", table="t", checks={}, partition="x")  # partition
StatisticsDaySensor(task_id="a", settling_minutes=1, poke_intervall=3)  # poke_intervall
RealtimeLoopOperator(task_id="a", loop="l", settings={}, duration=timedelta(1), retry_dely=1)  # retry_dely
"""


_SHOP = ROOT / "docs" / "examples" / "shop"


def check(folder: Path, *paths: Path) -> dict[str, dict[int, str]]:
    """Run mypy as somebody would who has nothing but the package; return its errors by file's name and line."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--explicit-package-bases"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}
    answer = subprocess.run(
        [*command, f"--cache-dir={folder / 'cache'}", *map(str, paths)],
        cwd=folder,
        env={**environment, "MYPYPATH": os.pathsep.join(map(str, (ROOT / "plugins", _SHOP / "plugins")))},
        capture_output=True,
        text=True,
    )
    assert answer.returncode in (0, 1), answer.stderr
    errors: dict[str, dict[int, str]] = defaultdict(dict)
    for path, line, text in re.findall(r"^(.+?):(\d+): error: (.+)$", answer.stdout, re.MULTILINE):
        errors[Path(path).name].setdefault(int(line), text)
    return dict(errors)


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[int, str]]:
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "every_operator.py").write_text(EVERY_OPERATOR, encoding="utf-8")
    (folder / "mistakes.py").write_text(MISTAKES, encoding="utf-8")
    return check(
        folder,
        folder / "every_operator.py",
        folder / "mistakes.py",
        *sorted((_SHOP / "dags").glob("*.py")),
        _SHOP / "plugins" / "shop" / "sales_today.py",
        ROOT / "docs" / "examples" / "notifiers" / "webhook_notifier.py",
    )


def test_a_strangers_dag_and_loop_have_no_error_nor_has_the_package(errors: Mapping[str, Mapping[int, str]]) -> None:
    assert {name: found for name, found in errors.items() if name != "mistakes.py"} == {}


def test_misspelt_missing_and_wrong_arguments_are_named(errors: Mapping[str, Mapping[int, str]]) -> None:
    expected = {
        number: line.rpartition("  # ")[2] for number, line in enumerate(MISTAKES.splitlines(), 1) if "  # " in line
    }
    found = errors["mistakes.py"]
    assert {number: word for number, word in expected.items() if f'"{word}"' not in found.get(number, "")} == {}
    assert found.keys() == expected.keys()


def test_every_module_of_the_package_is_said_to_be_typed() -> None:
    assert (ROOT / "plugins" / "maxy" / "py.typed").exists()


@pytest.mark.parametrize(
    ("arguments", "classes"),
    [
        (OperatorArguments, (BaseOperator,)),
        (SensorArguments, (BaseOperator, BaseSensorOperator)),
        (TemplateArguments, (BaseOperator, ClickHouseTemplateOperator)),
    ],
)
def test_the_arguments_are_those_of_the_base_classes(arguments: Any, classes: tuple[type, ...]) -> None:
    assert _named(arguments) == {name for each in classes for name in _keywords(each)}


def test_the_arguments_of_checks_are_those_of_their_base_classes() -> None:
    own = {"table", "column_mapping", "accept_none", "checks"}
    of_bases = set().union(
        *map(_keywords, (BaseOperator, BaseSQLOperator, SQLColumnCheckOperator, SQLTableCheckOperator))
    )
    assert _named(SqlCheckArguments) == of_bases - own


def _named(arguments: Any) -> set[str]:
    return set(arguments.__required_keys__ | arguments.__optional_keys__)


def _keywords(operator: type) -> set[str]:
    parameters = inspect.signature(operator.__init__).parameters.values()  # type: ignore[misc]
    return {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
