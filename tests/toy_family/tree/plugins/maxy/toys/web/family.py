"""Toys in Airflow's navigation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.web.family_web import FamilyWeb, View

if TYPE_CHECKING:
    from maxy.web.parts import WebParts


def _parts() -> WebParts:
    from maxy.toys.web.parts import toy_parts

    return toy_parts()


WEB = FamilyWeb(name="toys", parts=_parts, views=(View(name="Toys", page="toys", category="Toys"),))
