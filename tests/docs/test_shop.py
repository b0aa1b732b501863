"""The example's own tests, as its page says to run them."""

from __future__ import annotations

import os
import re
import subprocess

from tests.conftest import ROOT
from tests.docs.blocks import blocks

PAGE = "docs/examples/shop/README.md"


def test_the_tests_of_the_shop_pass() -> None:
    (block,) = blocks(PAGE, "sh", under="Its tests")
    # Nothing of this process's own Airflow: a stranger starts them from a terminal.
    foreign = ("AIRFLOW", "CLICKHOUSE_", "VALKEY_", "MAXY_", "PYTHONPATH", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(
        ["bash", "-c", block.text], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b\d+ passed", done.stdout)
    assert "skipped" not in done.stdout
