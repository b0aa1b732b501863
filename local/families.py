"""The families that the embedded stack runs: all that there are, or those that ``FAMILIES`` names."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from local.family import LocalFamily
    from local.settings import Settings

#: Import path of each by name, in the order in which they are shown.
FAMILIES = {
    # One a line.
    "statistics": "local.statistics.family.Statistics",
}


def make_families(settings: Settings, names: Iterable[str]) -> Sequence[LocalFamily]:
    """Return the families of these names."""
    found = []
    for name in names:
        module, _, attribute = FAMILIES[name].rpartition(".")
        found.append(getattr(import_module(module), attribute)(settings))
    return found
