"""What Airflow's plugin declares for the pages: applications, what stands in front of them, and links in the menu."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maxy.web.bare_paths import BarePaths
from maxy.web.family_web import PAGES_PREFIX, check_families

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from maxy.web.app import Applications
    from maxy.web.family_web import FamilyWeb
    from maxy.web.sources import Clients


class PluginParts:
    """The applications of some families, made at the first request.

    Every part of Airflow loads the plugin, for its macros; only the API server needs the applications and what they
    import.

    :param families: whose pages and routes there are.
    :param clients: where figures come from; the package's own connections by default.
    :raises ValueError: two families have the same name, or prefixes that answer the same addresses.
    """

    def __init__(self, families: Iterable[FamilyWeb], clients: Clients | None = None) -> None:
        self._families = check_families(families)
        self._clients = clients
        self._made: Applications | None = None
        prefixes = tuple(prefix for family in self._families for prefix in family.prefixes)
        #: Airflow's ``fastapi_apps``. The first one's name is that of when it had one family's pages.
        self.applications: list[dict[str, Any]] = [
            {"app": _Mounted(self, PAGES_PREFIX), "url_prefix": PAGES_PREFIX, "name": "maxy statistics"},
            *({"app": _Mounted(self, prefix), "url_prefix": prefix, "name": f"maxy {prefix}"} for prefix in prefixes),
        ]
        #: Airflow's ``fastapi_root_middlewares``: in front of all of its routes, so only where it has something to do.
        self.middlewares: list[dict[str, Any]] = [
            {"middleware": BarePaths, "kwargs": {"prefixes": prefixes}, "name": "maxy bare prefixes"}
        ] * bool(prefixes)
        #: Airflow's ``external_views``.
        self.views: list[dict[str, Any]] = [view.as_airflow() for family in self._families for view in family.views]

    def application(self, prefix: str = PAGES_PREFIX) -> FastAPI:
        """Return what answers at a prefix."""
        if self._made is None:
            from maxy.web.app import create_apps

            self._made = create_apps(self._families, self._clients)
        return self._made.pages if prefix == PAGES_PREFIX else self._made.mounts[prefix]


class _Mounted:
    def __init__(self, parts: PluginParts, prefix: str) -> None:
        self._parts = parts
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._parts.application(self._prefix)(scope, receive, send)
