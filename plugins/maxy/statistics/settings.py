"""The settings of statistics, read from Airflow variables."""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import Variable

from maxy.loops.options import RealtimeSettings
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.metric_ranges import MetricRange, parse_metric_ranges, to_json

DEFAULT_MAX_NAME_LENGTH = 300
DEFAULT_DAILY_CACHE_DAYS = 93
# A key of Valkey may have 512 MiB, a line of a log should not.
_LARGEST_MAX_NAME_LENGTH = 10_000


def realtime_settings() -> RealtimeSettings:
    """Return the settings of the live loops (variable ``maxy_realtime``, a JSON object, default ``{}``).

    Read while the live DAGs are parsed, because it decides which of them there are. The embedded stack and docker
    compose set it as ``AIRFLOW_VAR_MAXY_REALTIME``, so that parsing does no look-up.

    :raises ValueError: naming the setting that is wrong.
    """
    text = str(Variable.get("maxy_realtime", default="{}")).strip() or "{}"
    return RealtimeSettings.parse(text, where="Airflow variable maxy_realtime", built_in=LIVE_LOOPS)


def metric_ranges() -> dict[str, MetricRange]:
    """Return the plausible range of every metric (variable ``maxy_metric_ranges``, a JSON object, default ``{}``).

    :raises ValueError: naming the metric that is wrong.
    """
    text = str(Variable.get("maxy_metric_ranges", default="{}")).strip() or "{}"
    return parse_metric_ranges(text, where="Airflow variable maxy_metric_ranges")


def daily_cache_days() -> int:
    """Return how many days a daily hash stays in Valkey (variable ``maxy_daily_cache_ttl_days``, default 93).

    :raises ValueError: if the variable is not a whole number above 0.
    """
    text = str(Variable.get("maxy_daily_cache_ttl_days", default=str(DEFAULT_DAILY_CACHE_DAYS))).strip()
    if not re.fullmatch(r"0*[1-9][0-9]{0,4}", text):
        raise ValueError(f"Airflow variable maxy_daily_cache_ttl_days: {text!r} is not a whole number above 0")
    return int(text)


def max_name_length() -> int:
    """Return how many characters a name may have (variable ``maxy_max_name_length``, default 300).

    Rows with a longer package or system name are left out and counted.

    :raises ValueError: if the variable is not a whole number from 1 to 10,000.
    """
    text = str(Variable.get("maxy_max_name_length", default="")).strip() or str(DEFAULT_MAX_NAME_LENGTH)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= _LARGEST_MAX_NAME_LENGTH:
        raise ValueError(
            f"Airflow variable maxy_max_name_length: {text!r} is not a whole number from 1 to"
            f" {_LARGEST_MAX_NAME_LENGTH}"
        )
    return int(text)


def row_rules() -> dict[str, Any]:
    """Return the options of the live loops that are set for all of them, and for the daily job.

    :raises ValueError: naming the variable that is wrong.
    """
    return {"max_name_length": max_name_length(), "metric_ranges": to_json(metric_ranges())}
