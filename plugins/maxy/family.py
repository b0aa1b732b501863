"""What a family hands to the parts that all families share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from maxy.loops.options import RealtimeSettings


@dataclass(frozen=True)
class LiveLoops:
    """The live loops of a family.

    :param classes: import path of the class by name. Paths, so that the list costs no imports.
    :param read_settings: returns what Airflow's variable says of them.
    :param read_shared_options: returns the values of options that other variables set for all of them.
    """

    classes: Mapping[str, str]
    read_settings: Callable[[], RealtimeSettings]
    read_shared_options: Callable[[], Mapping[str, Any]] = field(default=dict)


@dataclass(frozen=True)
class Family:
    """One family.

    :param name: of its folder.
    :param domain: what its DAGs are about, for their tag ``domain:<domain>``.
    :param loops: its live loops; None if it has none.
    :param macros: import paths of the functions that templates have below ``macros.maxy``.
    :param web: import path of its :class:`~maxy.web.family_web.FamilyWeb`; None if it has no pages and no API.
    """

    name: str
    domain: str
    loops: LiveLoops | None = None
    macros: tuple[str, ...] = ()
    web: str | None = None

    @property
    def tag(self) -> str:
        """The tag that all its DAGs have."""
        return f"domain:{self.domain}"
