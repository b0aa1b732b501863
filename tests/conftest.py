"""Airflow without a database: what a test needs of it comes from the environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Airflow reads its configuration once, when it is imported; so this happens before any test module is.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="maxy-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW_VAR_MAXY_TIMEZONE"] = "UTC"
os.environ["AIRFLOW_VAR_MAXY_REALTIME"] = "{}"
# A developer's own servers must not be reached by a test.
for _name in [name for name in os.environ if name.startswith(("CLICKHOUSE_", "VALKEY_", "AIRFLOW_CONN_", "MAXY_"))]:
    del os.environ[_name]


def pytest_unconfigure() -> None:
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a process where there are several (`make test`): those of a file, and all end-to-end ones.

    The latter share one stack. They take longest, and mostly wait, so they come first.
    """

    def is_end_to_end(item: pytest.Item) -> bool:
        return item.path.is_relative_to(ROOT / "tests" / "e2e")

    items.sort(key=lambda item: not is_end_to_end(item))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("e2e" if is_end_to_end(item) else item.path.as_posix()))
