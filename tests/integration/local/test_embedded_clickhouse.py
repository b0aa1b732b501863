"""How the package of the embedded ClickHouse is installed here, and its former names."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).resolve().parents[3]
_PACKAGE = _ROOT / "packages" / "embedded-clickhouse"
_TEST = """
import pytest

@pytest.fixture(scope="session")
def clickhouse_options():
    return {"timezone": "Asia/Kathmandu"}

def test_fixtures(clickhouse_server, clickhouse_database, own_clickhouse_server):
    assert clickhouse_database.query("SELECT timezone()") == "Asia/Kathmandu"
    assert clickhouse_database.database != clickhouse_server.database
    assert own_clickhouse_server.pid != clickhouse_server.pid
"""


def _run(*arguments: str, cwd: Path = _ROOT) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join((str(_ROOT), str(_PACKAGE / "src")))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_lock_covers_what_the_package_needs() -> None:
    # It is installed without its dependencies: what they are has its hashes in the lock.
    project = tomllib.loads((_PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (_ROOT / "local" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in named}
    for needed in map(Requirement, project["dependencies"]):
        name = canonicalize_name(needed.name)
        assert name in pinned, needed
        assert pinned[name] in needed.specifier, needed


@pytest.mark.parametrize(
    ("module", "names"),
    [("testing", "Server, ServerArguments, running_server"), ("pytest_plugin", "clickhouse_database")],
)
def test_a_former_module_still_works_and_says_what_it_is_called_now(module: str, names: str) -> None:
    done = _run("-W", "default", "-c", f"from local.clickhouse.{module} import {names}")
    assert done.returncode == 0, done.stderr
    assert f"DeprecationWarning: local.clickhouse.{module} is now embedded_clickhouse.{module}" in done.stderr


def test_the_former_command_still_works_and_says_what_it_is_called_now(tmp_path: Path) -> None:
    done = _run("-m", "local.clickhouse", "status", str(tmp_path))
    assert done.returncode == 1
    assert f"Nobody serves {tmp_path}" in done.stderr
    assert "DeprecationWarning: `python -m local.clickhouse` is now `embedded-clickhouse`" in done.stderr


def test_the_former_fixtures_still_work(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["local.clickhouse.pytest_plugin"]\n')
    (tmp_path / "test_former.py").write_text(_TEST)
    done = _run("-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
