"""The package's one Airflow plugin."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

from maxy.statistics.macros import max_name_length, metric_ranges, statistics_day, valkey_prefix
from maxy.statistics.web.family import WEB
from maxy.web.bare_paths import BarePaths
from maxy.web.family_web import PAGES_PREFIX, check_families

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from maxy.web.app import Applications

_FAMILIES = check_families([WEB])
_PREFIXES = tuple(prefix for family in _FAMILIES for prefix in family.prefixes)


class _Mounted:
    """One of the applications, made at the first request.

    Every part of Airflow loads the plugin, for its macros; only the API server needs the applications and what they
    import.

    :param prefix: where Airflow mounts it.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await _application(self._prefix)(scope, receive, send)


@cache
def _applications() -> Applications:
    from maxy.web.app import create_apps

    return create_apps(_FAMILIES)


def _application(prefix: str = PAGES_PREFIX) -> ASGIApp:
    made = _applications()
    return made.pages if prefix == PAGES_PREFIX else made.mounts[prefix]


class MaxyPlugin(AirflowPlugin):
    """Adds the pages to Airflow's UI, what families answer elsewhere, and ``macros.maxy`` to every template."""

    name = "maxy"
    macros = [statistics_day, valkey_prefix, metric_ranges, max_name_length]  # noqa: RUF012 - the base class declares it so
    fastapi_apps: list[Any] = [  # noqa: RUF012
        {"app": _Mounted(PAGES_PREFIX), "url_prefix": PAGES_PREFIX, "name": "maxy statistics"},
        *({"app": _Mounted(prefix), "url_prefix": prefix, "name": f"maxy {prefix}"} for prefix in _PREFIXES),
    ]
    # In front of all of Airflow's routes, so only where there is something to lead to.
    fastapi_root_middlewares: list[Any] = [  # noqa: RUF012
        {"middleware": BarePaths, "kwargs": {"prefixes": _PREFIXES}, "name": "maxy bare prefixes"}
        for _ in _PREFIXES[:1]
    ]
    external_views: list[Any] = [view.as_airflow() for family in _FAMILIES for view in family.views]  # noqa: RUF012
