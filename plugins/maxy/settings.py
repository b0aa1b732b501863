"""The package's settings, read from Airflow variables and the environment.

Airflow variables are named ``maxy_<setting>``; as everywhere in Airflow, the environment variable
``AIRFLOW_VAR_MAXY_<SETTING>`` takes precedence over the stored one and costs no look-up.
"""

from __future__ import annotations

import os
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow.sdk import Variable

from maxy.realtime.registry import BUILT_IN
from maxy.realtime.settings import RealtimeSettings

DEFAULT_TIMEZONE = "UTC"
DEFAULT_VALKEY_PREFIX = "stats:realtime"


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


def realtime_settings() -> RealtimeSettings:
    """Return the settings of the live loops (variable ``maxy_realtime``, a JSON object, default ``{}``).

    Read while the live DAGs are parsed, because it decides which of them there are. The embedded stack and docker
    compose set it as ``AIRFLOW_VAR_MAXY_REALTIME``, so that parsing does no look-up.

    :raises ValueError: naming the setting that is wrong.
    """
    text = str(Variable.get("maxy_realtime", default="{}")).strip() or "{}"
    return RealtimeSettings.parse(text, where="Airflow variable maxy_realtime", built_in=BUILT_IN)
