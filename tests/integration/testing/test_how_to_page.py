"""docs/how-to-test.md as somebody would follow it: its files in a folder, its servers from the environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from maxy import testing
from tests.conftest import ROOT
from tests.support import package_environment

if TYPE_CHECKING:
    from pathlib import Path

    import clickhouse_driver

    from embedded_clickhouse.testing import Server
    from tests.support import Valkey

PAGE = (ROOT / "docs" / "how-to-test.md").read_text(encoding="utf-8")
# A comment in its first line names each file.
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))


def test_every_block_is_a_file_and_every_helper_is_named() -> None:
    assert sorted(FILES) == [
        "conftest.py",
        "dags/shop_sales.py",
        "test_dags.py",
        "test_sales_today.py",
        "test_tasks.py",
    ]
    table = PAGE[: PAGE.index("## Servers")]
    for name in testing.__all__:
        if name not in ("LoopRun", "RunningLoop", "copy_of"):
            assert f"`{name}`" in table, name


def test_the_tests_of_the_page_pass(
    tmp_path: Path, clickhouse_server: Server, clickhouse: clickhouse_driver.Client, valkey: Valkey
) -> None:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    # Where plugins/ is deployed there are neither tests/ nor local/.
    plugins = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins" / "maxy", plugins / "maxy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "docs" / "examples" / "shop" / "plugins" / "shop", plugins / "shop")
    (tmp_path / "include").symlink_to(ROOT / "include")
    port = valkey.get_connection_kwargs()["port"]
    server = clickhouse_server
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHONPATH"))},
        **package_environment(server, valkey_port=port, database="scratch"),
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(plugins),
        "TEST_CLICKHOUSE_URL": f"http://{server.user}:{server.password}@{server.host}:{server.http_port}/scratch",
        "TEST_VALKEY_URL": f"redis://127.0.0.1:{port}/0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
    # What a loop was tested with is gone.
    assert [key for key in valkey.scan_iter() if "maxy-test" in key] == []
