"""The package in Airflow homes of other forms than the checkout's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from maxy.paths import find_sql_directory
from tests.conftest import ROOT

from .test_integrity import DAG_IDS

if TYPE_CHECKING:
    from pathlib import Path

# Parses the DAGs as a DAG processor does, and finds SQL files as tasks do.
_LOAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
loader = bag.dags["device_statistic_daily"].get_template_env().loader
sql = {name: loader.get_source(None, f"statistics/device_statistic/{name}.sql")[0] for name in ("rollup", "cache")}
print(json.dumps({"dags": sorted(bag.dags), "errors": bag.import_errors, "sql": sql}))
"""


def load(home: Path, **variables: str) -> dict[str, object]:
    foreign = ("AIRFLOW", "CLICKHOUSE_", "VALKEY_", "MAXY_", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    settings = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_MAXY_TIMEZONE": "UTC",
        "AIRFLOW_VAR_MAXY_STATISTICS": "{}",
        "AIRFLOW_VAR_MAXY_REALTIME": "{}",
    }
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LOAD, str(home / "dags")],
        env=environment | settings | variables,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def copy(home: Path, *folders: str) -> None:
    for folder in folders:
        shutil.copytree(ROOT / folder, home / folder, ignore=shutil.ignore_patterns("__pycache__"))


def expected_sql() -> dict[str, str]:
    folder = ROOT / "include" / "sql" / "statistics" / "device_statistic"
    return {name: (folder / f"{name}.sql").read_text(encoding="utf-8") for name in ("rollup", "cache")}


def test_a_home_that_takes_only_dags_and_plugins_has_the_sql_below_plugins(tmp_path: Path) -> None:
    copy(tmp_path, "dags", "plugins")
    shutil.copytree(ROOT / "include", tmp_path / "plugins" / "include")

    assert load(tmp_path) == {"dags": DAG_IDS, "errors": {}, "sql": expected_sql()}


def test_the_sql_may_lie_anywhere(tmp_path: Path) -> None:
    home = tmp_path / "home"
    copy(home, "dags", "plugins")
    shutil.copytree(ROOT / "include" / "sql", tmp_path / "elsewhere")

    loaded = load(home, MAXY_SQL_DIRECTORY=str(tmp_path / "elsewhere"))

    assert loaded == {"dags": DAG_IDS, "errors": {}, "sql": expected_sql()}


def test_the_folder_beside_plugins_comes_first_and_a_named_one_before_it(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    beside, below, named = tmp_path / "include" / "sql", plugins / "include" / "sql", tmp_path / "named"
    for folder in (beside, below, named):
        folder.mkdir(parents=True)

    assert find_sql_directory(plugins, {}) == beside
    assert find_sql_directory(plugins, {"MAXY_SQL_DIRECTORY": ""}) == beside
    assert find_sql_directory(plugins, {"MAXY_SQL_DIRECTORY": str(named)}) == named
    beside.rmdir()
    assert find_sql_directory(plugins, {}) == below


def test_missing_sql_is_said_with_the_places_and_the_variable(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"in none of .*include/sql, .*plugins/include/sql, .* MAXY_SQL_D"):
        find_sql_directory(tmp_path / "plugins", {})
    with pytest.raises(FileNotFoundError, match="MAXY_SQL_DIRECTORY=/no/such: there is no such folder"):
        find_sql_directory(tmp_path / "plugins", {"MAXY_SQL_DIRECTORY": "/no/such"})
