"""What the statistics hand in for the pages and the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from maxy.statistics.web import routes
from maxy.statistics.web.history import BadRange
from maxy.statistics.web.live_store import LiveStore
from maxy.statistics.web.service import Service
from maxy.statistics.web.sources import StatisticsSources, read_page_settings
from maxy.web.errors import refuse
from maxy.web.parts import HealthReport, Page, WebParts

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxy.statistics.web.sources import PageSettings
    from maxy.web.shell import Shell


def statistics_parts(read_settings: Callable[[], PageSettings] = read_page_settings) -> WebParts:
    """Return the parts.

    :param read_settings: reads the settings of the statistics; may block.
    """

    def open_service(shell: Shell) -> Service:
        sources = StatisticsSources(shell.clients, read_settings)
        return Service(sources, shell.make_hub(sources, LiveStore))

    return WebParts(
        open=open_service,
        routers=(routes.router,),
        exception_handlers={BadRange: refuse, routes.BadName: refuse},
        directory=Path(__file__).resolve().parent,
        pages=(Page(name="live"), Page(name="history"), Page(name="dag", is_in_bar=False)),
        keeps=("package_nm", "server_type", "os_type"),
        texts=("js/statistics-texts.js",),
        styles=("statistics.css",),
        health=HealthReport(template="statistics-health.html", script="js/statistics-health.js"),
        description="Figures of mobile and web applications: live from Valkey, days from ClickHouse.",
    )
