"""The package's one Airflow plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

from maxy.statistics.macros import max_name_length, metric_ranges, statistics_day, valkey_prefix
from maxy.statistics.web.family import WEB
from maxy.web.plugin_parts import PluginParts

if TYPE_CHECKING:
    from fastapi import FastAPI

_PARTS = PluginParts([WEB])


def _application() -> FastAPI:
    return _PARTS.application()


class MaxyPlugin(AirflowPlugin):
    """Adds the pages to Airflow's UI, what families answer elsewhere, and ``macros.maxy`` to every template."""

    name = "maxy"
    macros = [statistics_day, valkey_prefix, metric_ranges, max_name_length]  # noqa: RUF012 - the base class declares it so
    fastapi_apps = _PARTS.applications
    fastapi_root_middlewares = _PARTS.middlewares
    external_views = _PARTS.views
