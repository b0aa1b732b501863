"""docs/adding-a-family.md, carried out: a family is its own folders and a line in a few lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from embedded_clickhouse.testing import running_server
from maxy.migrations import ClickHouseMigrations, ClickHouseServer
from tests.conftest import ROOT
from tests.toy_family.checkout import EDITS, TREE, make_checkout

if TYPE_CHECKING:
    from pathlib import Path

# What the parts that all families share make of it: DAGs, pages, settings of the stack.
_LOOK = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(dag_folder=sys.argv[1])
assert not bag.import_errors, bag.import_errors
dag = bag.dags["realtime_toys"]
import maxy_plugin
from local.families import FAMILIES, make_families
from local.settings import read_settings
from pathlib import Path
settings = read_settings(Path(sys.argv[2]), {"MAXY_LOCAL_DIR": "stack"})
print(json.dumps({
    "loop": dag.get_task("run_loop").settings["period_seconds"],
    "tags": sorted(dag.tags),
    "watched": bag.dags["realtime_watch"].get_task("run_loop").settings["watched"],
    "views": [view["name"] for view in maxy_plugin.MaxyPlugin.external_views],
    "routes": [getattr(route, "path", "") for route in maxy_plugin._application().routes],
    "families": [family.name for family in make_families(settings, settings.families)],
}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    make_checkout(folder)
    return folder


def run(checkout: Path, *command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__CORE__")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        cwd=checkout,
        env=environment | {"PYTHONPATH": f"{checkout}{os.pathsep}{checkout / 'plugins'}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_four_files_are_touched_outside_its_own_folders() -> None:
    assert len({edit.file for edit in EDITS}) == 4
    # The rest is new: nothing of it takes the place of a file that is there.
    new = [path.relative_to(TREE) for path in TREE.rglob("*") if path.is_file()]
    assert len(new) > 10
    assert [str(path) for path in new if (ROOT / path).exists()] == []


def test_the_page_names_the_files_that_are_touched() -> None:
    page = (ROOT / "docs" / "adding-a-family.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(edit.file for edit in EDITS)


def test_it_has_a_dag_a_page_and_a_place_on_the_stack(checkout: Path) -> None:
    found = json.loads(run(checkout, "-c", _LOOK, str(checkout / "dags"), str(checkout)).splitlines()[-1])
    assert found["loop"] == 5.0
    assert found["tags"] == ["cadence:live", "domain:toys", "tier:1"]
    assert "toys" in found["watched"]
    assert "Toys" in found["views"]
    assert {"/toys", "/api/toys/kinds"} <= set(found["routes"])
    assert sorted(found["families"]) == ["statistics", "toys"]


@pytest.mark.parametrize(
    "about", ["tests/unit/project/test_layers.py", "tests/unit/project/test_monitoring.py", "tests/docs/test_links.py"]
)
def test_what_is_held_of_every_family_holds_of_it(checkout: Path, about: str) -> None:
    run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", about)


def test_its_tables_are_made_beside_those_of_the_others(checkout: Path, tmp_path: Path) -> None:
    migrations = checkout / "include" / "sql" / "migrations"
    with running_server(tmp_path / "clickhouse") as server:
        database = ClickHouseServer(
            host="127.0.0.1",
            native_port=server.tcp_port,
            user=server.user,
            password=server.password,
            database="toys",
        )
        everything = ClickHouseMigrations(timezone="UTC", directory=migrations)
        applied = [str(step) for step in everything.apply(database)]
        assert any("toys/001_toys.sql" in step for step in applied)
        assert everything.apply(database) == []
