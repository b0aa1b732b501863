"""The loop of one's own of docs/how-to-live-loops.md: what an installation gets for the page's steps.

What the loop does is tested where it is, in docs/examples/shop/tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.conftest import ROOT
from tests.docs.blocks import blocks

if TYPE_CHECKING:
    from pathlib import Path

PAGE = "docs/how-to-live-loops.md"
PLUGINS = ROOT / "docs" / "examples" / "shop" / "plugins"
PATH = "shop.sales_today.SalesToday"
(TEXT,) = [block.text for block in blocks(PAGE, "json", under="A loop of your own")]
# As an installation sets the Airflow variable.
VARIABLE: dict[str, Any] = json.loads(TEXT)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow does the same with plugins/, where an installation puts the folder.
    monkeypatch.syspath_prepend(str(PLUGINS))


def test_the_variable_gives_it_a_dag_and_has_it_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", TEXT)
    bag = DagBag(dag_folder=str(ROOT / "dags" / "realtime.py"))
    assert bag.import_errors == {}
    task: Any = bag.dags["realtime_shop_sales"].get_task("run_loop")
    assert task.loop == PATH
    assert (task.settings["least_amount"], task.settings["period_seconds"]) == (1.0, 10.0)
    watch: Any = bag.dags["realtime_watch"].get_task("run_loop")
    assert "shop_sales" in watch.settings["watched"]


def test_a_wrong_value_of_its_own_option_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**VARIABLE, "loops": {"shop_sales": {"least_amount": "1"}}}
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", json.dumps(wrong))
    bag = DagBag(dag_folder=str(ROOT / "dags" / "realtime.py"))
    assert bag.import_errors == {}
    words = "Refused: Airflow variable maxy_realtime.loops.shop_sales.least_amount: '1' is not a number"
    assert str(bag.dags["realtime_shop_sales"].description).startswith(words)
    assert not str(bag.dags["realtime_page"].description).startswith("Refused")


AS_AIRFLOW_DOES = """
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import ensure_plugins_loaded

ensure_plugins_loaded()
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
assert "realtime_shop_sales" in bag.dags, bag.dags
# The plugin loader has left the folder alone, so the module bears its full name only.
print(*sorted(name for name in sys.modules if "sales" in name or name.startswith("shop")))
"""


def test_the_folder_is_found_in_plugins_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert "`plugins/.airflowignore`: `shop/`" in page
    plugins = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PLUGINS / "shop", plugins / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    # maxy finds its SQL beside plugins/.
    (tmp_path / "include").symlink_to(ROOT / "include")
    with (plugins / ".airflowignore").open("a", encoding="utf-8") as file:
        file.write("shop/\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW_VAR_MAXY_REALTIME": TEXT,
    }
    done = subprocess.run(
        [sys.executable, "-c", AS_AIRFLOW_DOES, str(ROOT / "dags" / "realtime.py")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "shop shop.sales_today"
