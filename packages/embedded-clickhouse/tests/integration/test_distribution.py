"""The package as it is installed: built without a network, and found by pytest in a stranger's project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parents[2]
_TEST = """\
def test_counts(embedded_clickhouse):
    embedded_clickhouse.query("CREATE TABLE visits (user UInt32) ENGINE = Memory")
    assert embedded_clickhouse.query("SELECT count() FROM visits") == "0"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, as an installer leaves it."""
    uv = shutil.which("uv", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    assert uv is not None, "the package is built by uv"
    built, site = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("site")
    # A copy: what is built must not depend on what else lies in the checkout.
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(_HERE / name, copy)
    shutil.copytree(_HERE / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__"))
    command = [uv, "build", "--quiet", "--offline", "--no-config", "--wheel", "--out-dir", str(built), str(copy)]
    subprocess.run(command, check=True, timeout=120)
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture(scope="module")
def distribution(site: Path) -> Distribution:
    (metadata,) = site.glob("*.dist-info")
    return PathDistribution(metadata)


def test_the_wheel_has_every_module_and_says_that_they_are_typed(site: Path) -> None:
    sources = {
        path.relative_to(_HERE / "src") for path in (_HERE / "src").rglob("*") if path.suffix in {".py", ".typed"}
    }
    packed = {path.relative_to(site) for path in site.rglob("*") if path.is_file() and ".dist-info" not in str(path)}
    assert packed == sources
    assert Path("embedded_clickhouse/py.typed") in packed


def test_the_wheel_names_the_command_and_the_plugin(distribution: Distribution) -> None:
    points = {(point.group, point.name, point.value) for point in distribution.entry_points}
    assert points == {
        ("console_scripts", "embedded-clickhouse", "embedded_clickhouse.__main__:main"),
        ("pytest11", "embedded_clickhouse.pytest_plugin", "embedded_clickhouse.pytest_plugin"),
    }
    for point in distribution.entry_points:
        assert point.load()


def test_the_engine_alone_is_pinned(distribution: Distribution) -> None:
    requirements = distribution.requires or []
    assert {line.partition("==")[0] for line in requirements if "==" in line} == {"chdb", "chdb-core"}
    assert "uvicorn" not in " ".join(requirements)
    assert distribution.metadata["Requires-Python"] == ">=3.11"


def _run(project: Path, site: Path, *arguments: str) -> str:
    """Run a project's tests where the package is installed, and return what pytest wrote."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.stdout + done.stderr


def test_three_lines_are_a_test(tmp_path: Path, site: Path) -> None:
    (tmp_path / "test_visits.py").write_text(_TEST)
    assert "1 passed" in _run(tmp_path, site)


@pytest.mark.parametrize("by", ["conftest", "argument"])
def test_naming_the_plugin_as_well_does_no_harm(tmp_path: Path, site: Path, by: str) -> None:
    (tmp_path / "test_visits.py").write_text(_TEST)
    arguments = ("-p", "embedded_clickhouse.pytest_plugin") if by == "argument" else ()
    if by == "conftest":
        (tmp_path / "conftest.py").write_text('pytest_plugins = ["embedded_clickhouse.pytest_plugin"]\n')
    assert "1 passed" in _run(tmp_path, site, *arguments)


def test_a_project_may_do_without_the_plugin(tmp_path: Path, site: Path) -> None:
    (tmp_path / "test_visits.py").write_text(_TEST)
    output = _run(tmp_path, site, "-p", "no:embedded_clickhouse.pytest_plugin")
    assert "fixture 'embedded_clickhouse' not found" in output
