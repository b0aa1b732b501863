"""The settings that all families share, read from Airflow variables and the environment.

Airflow variables are named ``maxy_<setting>``; as everywhere in Airflow, the environment variable
``AIRFLOW_VAR_MAXY_<SETTING>`` takes precedence over the stored one and costs no look-up.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk import Variable

from maxy._moved import warn_renamed

DEFAULT_TIMEZONE = "UTC"
DEFAULT_VALKEY_PREFIX = "stats:realtime"
# They were here, and can still be had from here for one release.
_MOVED = ("daily_cache_days", "max_name_length", "metric_ranges", "realtime_settings", "row_rules")


def statistics_timezone() -> ZoneInfo:
    """Return the zone in which a statistics day begins at midnight (variable ``maxy_timezone``, default UTC).

    Read while a DAG is parsed, because a timetable needs its zone then. The embedded stack and docker compose set it as
    ``AIRFLOW_VAR_MAXY_TIMEZONE``, so that parsing does no look-up.

    :raises ValueError: if the variable does not name a zone of the IANA time zone database.
    """
    name = str(Variable.get("maxy_timezone", default=DEFAULT_TIMEZONE)).strip()
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"Airflow variable maxy_timezone: {name!r} is not a time zone; use an IANA name such as UTC or Asia/Seoul"
        ) from None


def valkey_prefix() -> str:
    """Return the prefix of every key in Valkey (environment ``VALKEY_PREFIX``, default ``stats:realtime``)."""
    return os.environ.get("VALKEY_PREFIX") or DEFAULT_VALKEY_PREFIX


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = "maxy.statistics.settings"
    warn_renamed(f"{__name__}.{name}", f"{new}.{name}", stacklevel=2)
    return getattr(import_module(new), name)
