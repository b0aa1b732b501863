"""How the modules of the package depend on each other, and what importing the pytest plugin costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import embedded_clickhouse
from clickhouse_testkit.source import SOURCE

_PACKAGE = Path(embedded_clickhouse.__file__).parent
_HERE = Path(__file__).resolve().parents[2]


def imports_of(folder: Path) -> dict[str, set[str]]:
    """The modules of a package that each of its modules imports, for type checking or inside of functions too."""
    names = {_name(path, folder.parent): path for path in folder.rglob("*.py")}
    return {name: {other for other in _imported(path) if other in names} - {name} for name, path in names.items()}


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_it_is_this_checkouts_package_that_is_tested() -> None:
    assert _PACKAGE == _HERE / "src" / "embedded_clickhouse", "install this checkout's (make install)"


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = imports_of(_PACKAGE)
    assert len(graph) > 50
    # An import for type checking alone is one.
    assert "embedded_clickhouse.engine" in graph["embedded_clickhouse.statements"]
    TopologicalSorter(graph).prepare()


def test_a_circle_is_found_however_its_imports_are_written(tmp_path: Path) -> None:
    package = tmp_path / "ring"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ring.b import B\n")
    (package / "b.py").write_text("def late():\n    from ring import c\n")
    (package / "c.py").write_text("import ring.a\n")
    with pytest.raises(CycleError):
        TopologicalSorter(imports_of(package)).prepare()


def test_the_plugin_imports_nothing_before_a_fixture_is_used() -> None:
    probe = (
        "import sys, pytest; before = set(sys.modules); import embedded_clickhouse.pytest_plugin\n"
        "print(sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-c", probe]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['embedded_clickhouse', 'embedded_clickhouse.pytest_plugin']"
