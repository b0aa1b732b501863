"""The settings of toys: the Airflow variable ``maxy_toys``."""

from __future__ import annotations

from airflow.sdk import Variable

from maxy.loops.options import RealtimeSettings

LIVE_LOOPS = {"toys": "maxy.toys.stock.ToyStock"}


def loop_settings() -> RealtimeSettings:
    """Return the settings of the live loop.

    :raises ValueError: naming the setting that is wrong.
    """
    text = str(Variable.get("maxy_toys", default="{}"))
    return RealtimeSettings.parse(text, where="Airflow variable maxy_toys", built_in=LIVE_LOOPS)
