"""`pip install .` gives the package ``maxy``: its plain parts work without Airflow, and no DAG comes along."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from hatchling.builders.wheel import WheelBuilder

from maxy import __version__
from tests.conftest import ROOT
from tests.unit.project.test_layers import KNOWS_AIRFLOW, imported_by_module, is_below, modules, reachable

if TYPE_CHECKING:
    from pathlib import Path

# As in an environment that has no Airflow: importing it fails.
_IMPORT_WITHOUT_AIRFLOW = """
import importlib, importlib.abc, sys

class NoAirflow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("airflow", "airflow_clickhouse_plugin"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoAirflow())
installed, *names = sys.argv[1:]
sys.path.insert(0, installed)
for name in names:
    importlib.import_module(name)
import maxy
from maxy.clickhouse.sql_files import read_statement
print(maxy.__file__)
print(read_statement("web/disks.sql")[:6])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return folder / built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_its_name_says_what_it_is(wheel: Path) -> None:
    assert wheel.name.startswith(f"maxy-{__version__}-py3-none-any")


def test_it_holds_the_package_and_its_files_and_nothing_else(installed: Path) -> None:
    assert {path.name for path in installed.iterdir()} == {"maxy", f"maxy-{__version__}.dist-info"}
    wanted = {
        path.relative_to(ROOT / "plugins").as_posix()
        for path in (ROOT / "plugins" / "maxy").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {
        f"maxy/include/sql/{path.relative_to(ROOT / 'include' / 'sql').as_posix()}"
        for path in (ROOT / "include" / "sql").rglob("*")
        if path.is_file()
    }
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    assert wanted <= found
    assert not [name for name in found if name.startswith("maxy/") and name not in wanted]


def test_its_plain_parts_work_without_airflow(installed: Path) -> None:
    following = imported_by_module()
    plain = [
        f"maxy.{name}"
        for name, _ in modules()
        if not any(is_below(one, KNOWS_AIRFLOW) for one in (name, *reachable(name, following)))
    ]
    assert {"maxy.clock", "maxy.clickhouse.client", "maxy.valkey.hashes", "maxy.loops.runner"} <= set(plain)
    answer = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORT_WITHOUT_AIRFLOW, str(installed), *plain], capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    place, statement = answer.stdout.splitlines()
    assert place == str(installed / "maxy" / "__init__.py")
    assert statement.strip()
