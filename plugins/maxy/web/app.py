"""The applications that Airflow's API server mounts: the pages with their API, and what families answer elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.routing import Route

from maxy import __version__
from maxy.clock import SystemClock
from maxy.web import api, pages
from maxy.web.changes import csrf
from maxy.web.errors import HANDLERS
from maxy.web.family_web import check_families
from maxy.web.headers import SecurityHeaders
from maxy.web.shell import Shell
from maxy.web.sources import Clients

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import ASGIApp

    from maxy.web.family_web import FamilyWeb
    from maxy.web.parts import Handler, Mount, WebParts


@dataclass(frozen=True)
class Applications:
    """What is mounted.

    :param pages: under :data:`maxy.web.family_web.PAGES_PREFIX`.
    :param mounts: by the prefix of each.
    """

    pages: FastAPI
    mounts: Mapping[str, FastAPI]


class _Application(FastAPI):
    """Has the headers on the answer to a defect too, which is made outside of all that ``add_middleware`` adds."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(super().build_middleware_stack())


def create_apps(families: Iterable[FamilyWeb], clients: Clients | None = None) -> Applications:
    """Make them. Their clients are made when they are first needed, so they start whatever is down.

    :param families: whose pages and routes they have.
    :param clients: where figures come from; the package's own connections by default.
    :raises ValueError: two families hand in the same name, or a family's mounts are not at its prefixes.
    """
    parts = {family.name: _parts(family) for family in check_families(families)}
    shell = Shell(clients or Clients(SystemClock()))
    shell.families.update({name: one.open(shell) for name, one in parts.items()})
    mounts = {prefix: _make_mount(mount, shell) for one in parts.values() for prefix, mount in one.mounts.items()}
    return Applications(_make_pages(parts, shell), mounts)


def _parts(family: FamilyWeb) -> WebParts:
    parts = family.parts()
    if set(parts.mounts) != set(family.prefixes):
        raise ValueError(f"family {family.name}: mounts {sorted(parts.mounts)} at prefixes {sorted(family.prefixes)}")
    return parts


def _make_pages(families: Mapping[str, WebParts], shell: Shell) -> FastAPI:
    app = _Application(
        title="maxy",
        version=__version__,
        description="\n\n".join(
            (
                "Every route but the liveness one needs a user who is logged in to Airflow and may see its plugins.",
                *(parts.description for parts in families.values() if parts.description),
            )
        ),
        # Airflow's login protects the document as well, and the page that shows it fetches nothing from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        exception_handlers=_handlers(families),
    )
    app.state.shell = shell
    app.include_router(api.open_router)
    app.include_router(api.router)
    app.include_router(csrf.router)
    for parts in families.values():
        for router in parts.routers:
            app.include_router(router)
    app.include_router(pages.make_router(families))
    _check_routes(app)
    return app


def _make_mount(mount: Mount, shell: Shell) -> FastAPI:
    app = _Application(
        title=mount.title,
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        exception_handlers={**HANDLERS, **mount.exception_handlers},
    )
    app.state.shell = shell
    for router in mount.routers:
        app.include_router(router)
    _check_routes(app)
    return app


def _handlers(families: Mapping[str, WebParts]) -> dict[int | type[Exception], Handler]:
    """Return what makes answers of exceptions on the pages' routes, which all families share.

    :raises ValueError: an exception is handled by two, or is raised on routes of others too.
    """
    handlers: dict[int | type[Exception], Handler] = {**HANDLERS}
    for name, parts in families.items():
        for kind, handler in parts.exception_handlers.items():
            if kind in handlers or _is_everybodys(kind):
                raise ValueError(
                    f"family {name}: {getattr(kind, '__name__', kind)} is raised on routes of others too; only a mount "
                    "has answers of its own to it"
                )
            handlers[kind] = handler
    return handlers


def _is_everybodys(kind: int | type[Exception]) -> bool:
    return isinstance(kind, int) or kind.__module__.partition(".")[0] in ("builtins", "fastapi", "starlette")


def _check_routes(app: FastAPI) -> None:
    """Refuse a route that would never be reached.

    :raises ValueError: two have the same method and path.
    """
    seen: set[tuple[str, str]] = set()
    for route in app.routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                if (method, route.path) in seen:
                    raise ValueError(f"route {method} {route.path} is there twice")
                seen.add((method, route.path))
