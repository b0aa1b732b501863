"""Airflow without a database: what a test needs of it comes from the environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

ROOT = Path(__file__).resolve().parents[1]
_END_TO_END = "tests/e2e/"

# Airflow reads its configuration once, when it is imported; so this happens before any test module is.
_AIRFLOW_HOME = tempfile.mkdtemp(prefix="maxy-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW_VAR_MAXY_TIMEZONE"] = "UTC"
os.environ["AIRFLOW_VAR_MAXY_REALTIME"] = "{}"
os.environ["AIRFLOW_VAR_MAXY_METRIC_RANGES"] = "{}"
os.environ["AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH"] = "300"


def is_foreign(name: str) -> bool:
    """Whether a variable of the environment is a developer's own, by which a test could reach their servers."""
    # What the tests themselves are told: what must not be skipped, and where pictures go.
    if name.startswith("MAXY_REQUIRE_") or name == "MAXY_ARTEFACTS":
        return False
    return name.startswith(("CLICKHOUSE_", "VALKEY_", "AIRFLOW_CONN_", "MAXY_"))


for _name in filter(is_foreign, list(os.environ)):
    del os.environ[_name]

# How long an example takes says something about the machine's load, not about the code: no test is timed.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_unconfigure() -> None:
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the end-to-end tests: they take longest, and mostly wait."""
    items.sort(key=lambda item: not item.nodeid.startswith(_END_TO_END))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Say which tests share a process where there are several (`make test`)."""
    return _ByFile(config, log)


class _ByFile(LoadScopeScheduling):
    """The tests of a file, which share servers, and all end-to-end tests, which share a stack."""

    def _split_scope(self, nodeid: str) -> str:
        return _END_TO_END if nodeid.startswith(_END_TO_END) else nodeid.partition("::")[0]
