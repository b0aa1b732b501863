"""The shop's Airflow plugin: a page of its own in Airflow's navigation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


class _Page:
    """The application behind the page.

    Every part of Airflow loads the plugin; only the API server needs the application and what it imports.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        from shop.page import app

        await app(scope, receive, send)


class ShopPlugin(AirflowPlugin):
    """Adds the page to Airflow's UI."""

    name = "shop"
    fastapi_apps = [{"app": _Page(), "url_prefix": "/shop", "name": "shop sales"}]  # noqa: RUF012 - as the base has it
    external_views = [  # noqa: RUF012
        {"name": "Shop sales", "href": "/shop/today", "url_route": "shop-today", "category": "Shop"}
    ]
