"""The package's one Airflow plugin."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

from maxy.statistics.macros import max_name_length, metric_ranges, statistics_day, valkey_prefix

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = "/maxy"
_CATEGORY = "Statistics"


class _Pages:
    """The application behind the pages, made at the first request.

    Every part of Airflow loads the plugin, for its macros; only the API server needs the application and what it
    imports.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await _application()(scope, receive, send)


@cache
def _application() -> ASGIApp:
    from maxy.web.app import create_app

    return create_app()


def _view(name: str, page: str) -> dict[str, Any]:
    return {"name": name, "href": f"{_PREFIX}/{page}", "url_route": f"maxy-{page}", "category": _CATEGORY}


class MaxyPlugin(AirflowPlugin):
    """Adds the pages to Airflow's UI, and ``macros.maxy`` to every template."""

    name = "maxy"
    macros = [statistics_day, valkey_prefix, metric_ranges, max_name_length]  # noqa: RUF012 - the base class declares it so
    fastapi_apps = [{"app": _Pages(), "url_prefix": _PREFIX, "name": "maxy statistics"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        _view("Live statistics", "live"),
        _view("Statistics history", "history"),
        _view("Statistics health", "health"),
        {
            "name": "Statistics",
            "href": f"{_PREFIX}/dag?dag_id={{DAG_ID}}",
            "url_route": "maxy-dag",
            "destination": "dag",
        },
    ]
