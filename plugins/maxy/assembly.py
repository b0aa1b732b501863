"""Joins what is shared and what the families hand in; the DAGs and the plugin import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maxy.families import families_with_loops, import_named, load_families
from maxy.loops.registry import enabled_loops
from maxy.web.plugin_parts import PluginParts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from maxy.family import Family
    from maxy.loops.registry import EnabledLoop, RefusedLoop


def live_loops() -> Iterator[tuple[Family, EnabledLoop | RefusedLoop]]:
    """Yield the live loops of all families that are to run, and those that cannot, with their families.

    :raises ValueError: naming the setting that is wrong where it is not one loop's, or a name that two families have
        for a loop.
    """
    every = [(family, loops, loops.read_settings()) for family, loops in families_with_loops()]
    names = [name for _, loops, settings in every for name in settings.names(loops.classes)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"live loops: two families have a loop called {', '.join(twice)}")
    for family, loops, settings in every:
        own = settings.names(loops.classes)
        refused: list[RefusedLoop] = []
        running = enabled_loops(
            settings,
            loops.classes,
            loops.read_shared_options(),
            others=[name for name in names if name not in own],
            refuse=refused.append,
        )
        yield from ((family, loop) for loop in running)
        yield from ((family, loop) for loop in refused)


def macros() -> list[Callable[..., Any]]:
    """Return the functions of all families that templates have below ``macros.maxy``.

    :raises ValueError: two have the same name.
    """
    found: dict[str, Callable[..., Any]] = {}
    for family in load_families():
        for macro in map(import_named, family.macros):
            if macro.__name__ in found:
                raise ValueError(f"family {family.name}: there is a macro {macro.__name__} already")
            found[macro.__name__] = macro
    return list(found.values())


def plugin_parts() -> PluginParts:
    """Return what Airflow's plugin declares for the pages and APIs of all families."""
    return PluginParts(import_named(family.web) for family in load_families() if family.web is not None)
