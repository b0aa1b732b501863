"""The package's one Airflow plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

from maxy import assembly

if TYPE_CHECKING:
    from fastapi import FastAPI

_PARTS = assembly.plugin_parts()


def _application() -> FastAPI:
    return _PARTS.application()


class MaxyPlugin(AirflowPlugin):
    """Adds the pages to Airflow's UI, what families answer elsewhere, and ``macros.maxy`` to every template."""

    name = "maxy"
    macros = assembly.macros()
    fastapi_apps = _PARTS.applications
    fastapi_root_middlewares = _PARTS.middlewares
    external_views = _PARTS.views
