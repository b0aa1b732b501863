"""The loop of one's own of docs/how-to-live-loops.md, which is docs/examples/sales_live."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from maxy.realtime.registry import BUILT_IN, enabled_loops, loop_class
from maxy.realtime.settings import RealtimeSettings
from tests.conftest import ROOT
from tests.realtime_support import running_loop
from tests.support import hashes

if TYPE_CHECKING:
    from pathlib import Path

    import clickhouse_driver

    from local.clickhouse.testing import Server
    from maxy.realtime.registry import EnabledLoop
    from tests.support import Valkey

EXAMPLE = ROOT / "docs" / "examples" / "sales_live"
PATH = "sales_live.sales_today.SalesToday"
# As an installation sets the Airflow variable.
VARIABLE: dict[str, Any] = {
    "own_loops": {"sales_today": PATH},
    "loops": {"sales_today": {"least_amount": 1, "period_seconds": 20}},
}
# 22:00 on the 21st in Seoul.
NOW = datetime(2026, 11, 21, 13, 0, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 21, 15, 0, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    # Airflow does the same with plugins/, where an installation puts the folder.
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))


@pytest.fixture
def sales(clickhouse: clickhouse_driver.Client) -> clickhouse_driver.Client:
    clickhouse.execute(
        "CREATE TABLE sales (sold_at DateTime('UTC'), country String, amount Decimal(18, 2))"
        " ENGINE = MergeTree ORDER BY sold_at"
    )
    return clickhouse


def sell(client: clickhouse_driver.Client, *rows: tuple[str, str, float]) -> None:
    client.execute(
        "INSERT INTO sales (sold_at, country, amount) VALUES",
        [(datetime.fromisoformat(f"{at}+00:00"), country, amount) for at, country, amount in rows],
    )


def own_loop() -> EnabledLoop:
    settings = RealtimeSettings.parse(json.dumps(VARIABLE), where="maxy_realtime", built_in=BUILT_IN)
    (found,) = [loop for loop in enabled_loops(settings, BUILT_IN) if loop.name == "sales_today"]
    return found


def test_the_page_shows_the_example_as_it_is() -> None:
    page = (ROOT / "docs" / "how-to-live-loops.md").read_text(encoding="utf-8")
    for file, language in (("sales_today.py", "python"), ("sales_today.sql", "sql")):
        assert f"```{language}\n{(EXAMPLE / file).read_text(encoding='utf-8')}```" in page


def test_the_example_does_what_the_page_says(
    clickhouse_server: Server,
    sales: clickhouse_driver.Client,
    valkey: Valkey,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = own_loop()
    settings = {name: own.settings[name] for name in ("least_amount", "log_values")}
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        async with running_loop(
            loop_class(own.path), clickhouse_server, valkey.get_connection_kwargs()["port"],
            timezone="Asia/Seoul", **settings,
        ) as running:  # fmt: skip
            # The day began at 15:00 UTC; half a unit is less than least_amount, and one country has no name.
            sell(
                sales,
                ("2026-11-20 14:59:59", "KR", 100),
                ("2026-11-20 15:00:00", "KR", 10.5),
                ("2026-11-21 12:59:59", "KR", 2.25),
                ("2026-11-21 12:00:00", "US", 0.5),
                ("2026-11-21 12:00:00", "a:b", 7),
                ("2026-11-21 12:00:00", "", 9),
            )
            result = await running.tick(NOW)
            assert (result.rows, result.keys, result.left_out) == (4, 2, 1)
            at = "2026-11-21T13:00:00.000000Z"
            korea = {"country": "KR", "orders": "2", "revenue": "12.75", "updated_at": at}
            strange = {"country": "a:b", "orders": "1", "revenue": "7.0", "updated_at": at}
            assert hashes(valkey, "stats:realtime:sales:*") == {
                "stats:realtime:sales:KR": korea,
                "stats:realtime:sales:a%3Ab": strange,
            }
            assert "stats:realtime:sales:KR {'country': 'KR', 'orders': '2'" in caplog.text
            # Only what has changed is written.
            sell(sales, ("2026-11-21 12:59:59", "a:b", 1))
            assert (await running.tick(NOW.replace(second=20))).keys == 1
            assert valkey.hget("stats:realtime:sales:a%3Ab", "revenue") == "8.0"
            assert valkey.hgetall("stats:realtime:sales:KR") == korea
            # A new day: nothing of yesterday is left standing as today's.
            sell(sales, ("2026-11-21 15:00:01", "KR", 3))
            await running.tick(TOMORROW)
            found = hashes(valkey, "stats:realtime:sales:*").values()
            assert {fields["country"]: (fields["orders"], fields["revenue"]) for fields in found} == {
                "KR": ("1", "3.0"),
                "a:b": ("0", "0"),
            }
            assert all(valkey.ttl(key) > 0 for key in valkey.scan_iter(match="stats:realtime:sales:*"))

    asyncio.run(scenario())


def test_the_variable_gives_it_a_dag_and_has_it_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", json.dumps(VARIABLE))
    bag = DagBag(dag_folder=str(ROOT / "dags" / "realtime.py"))
    assert bag.import_errors == {}
    task: Any = bag.dags["realtime_sales_today"].get_task("run_loop")
    assert task.loop == PATH
    assert (task.settings["least_amount"], task.settings["period_seconds"]) == (1.0, 20.0)
    assert "sales_today" in bag.dags["realtime_watch"].get_task("run_loop").settings["watched"]


def test_a_wrong_value_of_its_own_option_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {**VARIABLE, "loops": {"sales_today": {"least_amount": "1"}}}
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_REALTIME", json.dumps(wrong))
    (error,) = DagBag(dag_folder=str(ROOT / "dags" / "realtime.py")).import_errors.values()
    assert "maxy_realtime.loops.sales_today.least_amount: '1' is not a number" in error


AS_AIRFLOW_DOES = """
import sys
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import ensure_plugins_loaded

ensure_plugins_loaded()
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
assert "realtime_sales_today" in bag.dags, bag.dags
# The plugin loader has left the folder alone, so the module bears its full name only.
print(*sorted(name for name in sys.modules if "sales" in name))
"""


def test_the_folder_is_found_in_plugins_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to-live-loops.md").read_text(encoding="utf-8")
    assert "`plugins/.airflowignore`: `sales_live/`" in page
    assert json.dumps(VARIABLE["own_loops"]) in page
    plugins = tmp_path / "plugins"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(EXAMPLE, plugins / "sales_live", ignore=shutil.ignore_patterns("__pycache__"))
    # maxy finds its SQL beside plugins/.
    (tmp_path / "include").symlink_to(ROOT / "include")
    with (plugins / ".airflowignore").open("a", encoding="utf-8") as file:
        file.write("sales_live/\n")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW_VAR_MAXY_REALTIME": json.dumps(VARIABLE),
    }
    done = subprocess.run(
        [sys.executable, "-c", AS_AIRFLOW_DOES, str(ROOT / "dags" / "realtime.py")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "sales_live sales_live.sales_today"
