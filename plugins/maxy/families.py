"""The one list of families, and how the parts that all families share get at them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from maxy.loops.watch import watched_loops

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maxy.family import Family, LiveLoops

#: Import paths of the families. Paths, so that what is shared imports no family.
FAMILIES = (
    # One a line.
    "maxy.statistics.family.FAMILY",
)


@cache
def load_families() -> tuple[Family, ...]:
    """Return all families."""
    return tuple(import_named(path) for path in FAMILIES)


def import_named(path: str) -> Any:
    """Return what is at an import path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def families_with_loops() -> Iterator[tuple[Family, LiveLoops]]:
    """Yield each family that has live loops, with them."""
    yield from ((family, family.loops) for family in load_families() if family.loops is not None)


def loops_to_watch(watch: str) -> list[str]:
    """Return the names of the loops that a watch looks at, as the settings of all families say at this moment.

    :param watch: its own name.
    :raises ValueError: naming the setting that is wrong.
    """
    read = [(loops.read_settings(), loops.classes) for _, loops in families_with_loops()]
    every = [(settings, name) for settings, classes in read for name in settings.names(classes)]
    others = [name for _, name in every if name != watch]
    for settings, name in every:
        if name == watch:
            return watched_loops(settings.loops.get(watch, {}), others, where=f"{settings.where}.loops.{watch}")
    return others
