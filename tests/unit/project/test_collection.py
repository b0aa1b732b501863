"""What it takes to collect tests: every process of a run collects all of them, and a run of a single test its file."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

from tests.conftest import ROOT

#: Of no use to anything in these, but for single tests, which import it themselves.
_LIGHT = (
    "tests/e2e",
    "tests/integration/clickhouse",
    "tests/integration/statistics/live",
    "tests/integration/valkey",
    "tests/unit/clickhouse",
    "packages/embedded-clickhouse/tests/conformance",
    "packages/embedded-clickhouse/tests/integration",
)
_HEAVY = ("airflow", "pandas", "playwright", "pyarrow", "schemathesis")

_COLLECT = """
import sys
import pytest
status = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *{light}])
assert status == 0, status
print("heavy:", *[name for name in {heavy} if name in sys.modules])
"""


def test_what_needs_no_airflow_is_collected_without_it() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    answer = subprocess.run(
        [sys.executable, "-c", _COLLECT.format(light=_LIGHT, heavy=_HEAVY)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
    assert answer.stdout.splitlines()[-1] == "heavy:"


def test_the_garbage_collector_runs_again_once_the_tests_are_collected() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
