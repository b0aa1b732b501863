"""The application that Airflow's API server mounts under ``/maxy``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from maxy import __version__
from maxy.clock import SystemClock
from maxy.statistics.web import routes
from maxy.statistics.web.history import BadRange
from maxy.statistics.web.sources import Sources, SourceUnavailable
from maxy.web import pages
from maxy.web.headers import SecurityHeaders
from maxy.web.hub import TooManyPages
from maxy.web.service import Service

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class _Application(FastAPI):
    """Has the headers on the answer to a defect too, which is made outside of all that ``add_middleware`` adds."""

    def build_middleware_stack(self) -> ASGIApp:
        return SecurityHeaders(super().build_middleware_stack())


def create_app(sources: Sources | None = None) -> FastAPI:
    """Make it. Its clients are made when they are first needed, so it starts whatever is down.

    :param sources: where the figures come from; the package's own connections by default.
    """
    app = _Application(
        title="maxy statistics",
        version=__version__,
        description="Figures of mobile and web applications: live from Valkey, days from ClickHouse. "
        "Every route but the liveness one needs a user who is logged in to Airflow and may see its plugins.",
        # Airflow's login protects the document as well, and the page that shows it fetches nothing from elsewhere.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = Service(sources or Sources(SystemClock()))
    app.include_router(routes.open_router)
    app.include_router(routes.router)
    app.include_router(pages.router)
    app.add_exception_handler(SourceUnavailable, routes.unavailable)
    app.add_exception_handler(TooManyPages, routes.unavailable)
    app.add_exception_handler(BadRange, routes.refused)
    app.add_exception_handler(routes.BadName, routes.refused)
    app.add_exception_handler(RequestValidationError, routes.bad_parameter)
    return app
