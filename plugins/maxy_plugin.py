"""The package's one Airflow plugin."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from maxy.macros import statistics_day, valkey_prefix


class MaxyPlugin(AirflowPlugin):
    """Adds ``macros.maxy`` to every template."""

    name = "maxy"
    macros = [statistics_day, valkey_prefix]  # noqa: RUF012 - the base class declares it so
