"""The package's imports warn of nothing: each line of such a warning would stand in the log of every task."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.unit.project.test_layers import FORMER_NAMES

# Imports every module, with the warnings of code that is about to go as errors.
_IMPORT_ALL = """
import importlib, pkgutil, warnings
import airflow.sdk
import maxy
for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
    warnings.simplefilter("error", category)
for name in sorted(module.name for module in pkgutil.walk_packages(maxy.__path__, "maxy.")):
    # The pages are no part of a task, and FastAPI itself warns. Former names warn on purpose.
    if ".web" not in name and not name.startswith({former!r}):
        importlib.import_module(name)
        print(name)
"""

_FIRST_THE_PLUGIN = """
import warnings
warnings.simplefilter("error", FutureWarning)
{first}
import airflow_clickhouse_plugin.hooks.clickhouse
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
    )


def test_importing_the_package_warns_of_nothing() -> None:
    former = tuple(f"maxy.{name}" for name in FORMER_NAMES)
    answer = run(_IMPORT_ALL.format(former=former))
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert {"maxy.operators.clickhouse_checks", "maxy.hooks.clickhouse", "maxy.triggers.realtime"} <= set(
        answer.stdout.split()
    )


@pytest.mark.parametrize(
    ("first", "warns"),
    [("import maxy.hooks._plugin_imports", True), ("", True), ("import maxy.hooks.clickhouse", False)],
)
def test_a_strangers_own_import_of_the_plugin_warns_as_ever(first: str, warns: bool) -> None:
    answer = run(_FIRST_THE_PLUGIN.format(first=first))
    assert ("airflow.hooks.base.BaseHook" in answer.stderr) is warns


def test_other_warnings_of_the_plugin_are_not_hidden() -> None:
    answer = run(
        "import warnings; warnings.simplefilter('error')\n"
        "from maxy.hooks._plugin_imports import without_moved_names\n"
        "with without_moved_names():\n"
        "    warnings.warn_explicit('other', DeprecationWarning, 'f', 1, module='airflow_clickhouse_plugin.x')\n"
    )
    assert "DeprecationWarning: other" in answer.stderr
