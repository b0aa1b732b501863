"""What a family hands in for the pages, as far as every process of Airflow has to know it: no FastAPI is imported here.

Airflow loads its plugins in each of its processes, for their macros. So the links in its menu and the prefixes of the
applications are here, and everything that answers requests (:mod:`maxy.web.parts`) is made when the API server needs
it.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from maxy.web.parts import WebParts

#: Where Airflow mounts the pages.
PAGES_PREFIX = "/maxy"
#: Where Airflow answers itself. A mount at one of these, below it or around it would take its place.
AIRFLOWS_PREFIXES = (
    "/api/v1",
    "/api/v2",
    "/auth",
    "/execution",
    "/health",
    "/pluginsv2",
    "/static",
    "/ui",
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PREFIX = re.compile(r"(/[a-z0-9][a-z0-9_.-]*)+")


@dataclass(frozen=True, kw_only=True)
class View:
    """A page in Airflow's own navigation.

    :param name: what Airflow's menu calls it.
    :param page: the page's name below the pages' prefix.
    :param category: the menu that it is in; None for a tab.
    :param query: behind the page's address; Airflow fills in ``{DAG_ID}``.
    :param destination: ``nav`` for the menu, ``dag`` for a tab of every DAG.
    """

    name: str
    page: str
    category: str | None = None
    query: str = ""
    destination: str = "nav"

    def as_airflow(self) -> dict[str, Any]:
        """Return it as Airflow's plugins declare it."""
        view = {"name": self.name, "href": f"{PAGES_PREFIX}/{self.page}", "url_route": f"maxy-{self.page}"}
        if self.query:
            view["href"] += f"?{self.query}"
        if self.category:
            view["category"] = self.category
        if self.destination != "nav":
            view["destination"] = self.destination
        return view


@dataclass(frozen=True, kw_only=True)
class FamilyWeb:
    """A family's part of the pages and of the API.

    :param name: the family's; files and settings bear it.
    :param parts: makes everything that answers requests. It is called in the API server alone, so what it imports is
        imported there alone.
    :param views: its pages in Airflow's navigation.
    :param prefixes: where it answers outside of the pages' prefix, such as ``/api/batch``; each is a mount of
        :class:`~maxy.web.parts.WebParts`.
    :raises ValueError: the name is none, or a prefix would take the place of an address of Airflow's or of the pages'.
    """

    name: str
    parts: Callable[[], WebParts]
    views: tuple[View, ...] = ()
    prefixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"family {self.name!r}: a name is small letters, digits and underscores")
        for prefix in self.prefixes:
            if problem := _problem_of(prefix):
                raise ValueError(f"family {self.name}: prefix {prefix!r}: {problem}")


def check_families(families: Iterable[FamilyWeb]) -> tuple[FamilyWeb, ...]:
    """Return the families.

    :raises ValueError: two have the same name, or one answers at another's prefix or below it.
    """
    checked = tuple(families)
    counts = Counter(family.name for family in checked)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise ValueError(f"family {twice[0]}: handed in {counts[twice[0]]} times")
    owners = [(prefix, family.name) for family in checked for prefix in family.prefixes]
    for at, (prefix, owner) in enumerate(owners):
        for other, other_owner in owners[:at]:
            if _overlap(prefix, other):
                raise ValueError(
                    f"family {owner}: prefix {prefix!r} and {other!r} of family {other_owner} answer the same addresses"
                )
    return checked


def _problem_of(prefix: str) -> str | None:
    if prefix == "/":
        return "it would take the place of all of Airflow"
    if not _PREFIX.fullmatch(prefix):
        return "it begins with a slash, does not end with one, and has small letters, digits, '_', '.' and '-' between"
    airflows = ((taken, "Airflow answers") for taken in AIRFLOWS_PREFIXES)
    for taken, answers in (*airflows, (PAGES_PREFIX, "the pages answer")):
        if _overlap(prefix, taken):
            return f"{answers} at {taken}"
        # Airflow refuses what only begins like its own, such as /api/v2x, with a line in its log and no error.
        if prefix.startswith(taken):
            return f"it begins like {taken}, where {answers}"
    return None


def _overlap(one: str, other: str) -> bool:
    """Whether one prefix is the other, or above it."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
