"""Imports run one way: a module knows those of the floors below it, and no family knows another one."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

import pytest

from maxy.families import load_families
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

PLUGINS = ROOT / "plugins"
FAMILIES = tuple(family.name for family in load_families())

#: From the ground up. What stands in one place may know of each other; all may know what stands below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("_addresses", "_json_object", "_moved", "_parsing", "clock", "days", "instants", "paths", "text"),
    ("clickhouse",),
    ("valkey",),
    ("postgres",),
    ("migrations",),
    ("family_settings", "service_checks", "settings"),
    ("hooks", "notifiers", "sensors"),
    ("loops",),
    ("families", "family"),
    ("triggers",),
    ("operators", "run_parameters"),
    ("dag_defaults",),
    ("web",),
    FAMILIES,
    ("assembly",),
    ("testing",),
)
#: Where Airflow may be imported: its own words, what reads its variables, and what stands in its web server.
KNOWS_AIRFLOW = {
    "dag_defaults",
    "hooks",
    "notifiers",
    "operators",
    "run_parameters",
    "sensors",
    "settings",
    "testing",
    "triggers",
    "web",
    *(f"{family}.{part}" for family in FAMILIES for part in ("assets", "macros", "settings", "web")),
    "statistics.daily_metrics",
    "statistics.day_sensor",
}
#: Former names, which go with the next release, stand outside of all floors.
FORMER_NAMES = ("assets", "realtime", "sensors.statistics_day", "statistics_day", "ui")


class Import(NamedTuple):
    """One module's import of another; names without the leading ``maxy.``."""

    module: str
    imported: str

    def __str__(self) -> str:
        return f"{self.module} -> {self.imported}"


def imports_of(source: str, known: Container[str] = ()) -> Iterator[str]:
    """Yield the full names of what a module imports, wherever in it.

    :param known: modules that may be imported as names of their packages, as by ``from maxy.web import pages``.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def modules(directory: Path = PLUGINS / "maxy") -> Iterator[tuple[str, Path]]:
    """Yield the modules of the package, without ``maxy.``, and their files."""
    for path in sorted(directory.rglob("*.py")):
        name = ".".join(path.relative_to(directory).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name and not is_below(name, FORMER_NAMES):
            yield name, path


def is_below(name: str, places: Iterable[str]) -> bool:
    """Whether a module is one of some places, or in one of them."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


def inner_imports() -> list[Import]:
    """Return which module of the package imports which."""
    names = dict(modules())
    full = {f"maxy.{name}" for name in names}
    found = {
        Import(name, imported.removeprefix("maxy."))
        for name, path in names.items()
        for imported in imports_of(path.read_text(encoding="utf-8"), full)
        if imported.startswith("maxy.")
    }
    return sorted(one for one in found if one.imported in names and one.module != one.imported)


def imported_by_module() -> dict[str, set[str]]:
    """Return what each module of the package imports of it."""
    following: dict[str, set[str]] = {}
    for one in inner_imports():
        following.setdefault(one.module, set()).add(one.imported)
    return following


def floor(name: str) -> int:
    """Return how high a module stands.

    :raises LookupError: if it stands nowhere.
    """
    for height, places in enumerate(FLOORS):
        if is_below(name, places):
            return height
    raise LookupError(f"maxy.{name} stands on no floor: add it to FLOORS")


def family(name: str) -> str | None:
    """Return the family that a module belongs to."""
    first = name.partition(".")[0]
    return first if first in FAMILIES else None


def violations() -> set[str]:
    """Return the arrows that run up, or from one family to another."""
    return {
        str(one)
        for one in inner_imports()
        if floor(one.imported) > floor(one.module)
        or (family(one.imported) and family(one.module) not in (None, family(one.imported)))
    }


@pytest.mark.parametrize("name", [name for name, _ in modules()])
def test_every_module_stands_on_a_floor(name: str) -> None:
    assert floor(name) >= 0


def test_no_arrow_runs_up_or_from_one_family_to_another() -> None:
    assert violations() == set()


def test_only_these_places_know_airflow() -> None:
    found = {
        name
        for name, path in modules()
        for imported in imports_of(path.read_text(encoding="utf-8"))
        if is_below(imported, ["airflow", "airflow_clickhouse_plugin"])
    }
    assert {name for name in found if not is_below(name, KNOWS_AIRFLOW)} == set()


@pytest.mark.parametrize("outside", ["local", "scripts", "tests", "benchmarks", "dags"])
def test_the_package_stands_without(outside: str) -> None:
    found = {
        name
        for name, path in modules()
        for imported in imports_of(path.read_text(encoding="utf-8"))
        if is_below(imported, [outside])
    }
    assert found == set()


def test_no_module_leads_back_to_itself() -> None:
    following = imported_by_module()
    circles = [name for name in following if name in reachable(name, following)]
    assert circles == []


def reachable(start: str, following: dict[str, set[str]]) -> set[str]:
    """Return all modules that a module leads to."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = following.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found
