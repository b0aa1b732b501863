"""The statistics in Airflow's navigation; what answers requests is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.web.family_web import FamilyWeb, View

if TYPE_CHECKING:
    from maxy.web.parts import WebParts

_CATEGORY = "Statistics"


def _parts() -> WebParts:
    from maxy.statistics.web.parts import statistics_parts

    return statistics_parts()


WEB = FamilyWeb(
    name="statistics",
    parts=_parts,
    views=(
        View(name="Live statistics", page="live", category=_CATEGORY),
        View(name="Statistics history", page="history", category=_CATEGORY),
        View(name="Statistics health", page="health", category=_CATEGORY),
        View(name="Statistics", page="dag", query="dag_id={DAG_ID}", destination="dag"),
    ),
)
