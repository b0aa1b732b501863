"""The settings of statistics: the Airflow variable ``maxy_statistics``.

Each of them has a variable of its own as well, which is older. One that is set in both places is refused.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from airflow.sdk import Variable
from pydantic import Field

from maxy.family_settings import FamilySettings, parse_settings
from maxy.loops.options import RealtimeSettings
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.metric_ranges import MetricRange, checked_metric_ranges, parse_metric_ranges, to_json

DEFAULT_MAX_NAME_LENGTH = 300
DEFAULT_DAILY_CACHE_DAYS = 93
DEFAULT_SETTLING_MINUTES = 10.0
# A key of Valkey may have 512 MiB, a line of a log should not.
_LARGEST_MAX_NAME_LENGTH = 10_000
_WHERE = "Airflow variable maxy_statistics"


class StatisticsSettings(FamilySettings):
    """The family's settings."""

    live: dict[str, Any] = Field(
        {}, description="the live loops, as in `maxy_realtime` (docs/statistics/live-loops.md)"
    )
    metric_ranges: dict[str, Any] = Field(
        {},
        description='the lowest and highest plausible value of a metric, such as `{"lcp": [0, 60000]}`; values outside'
        " are left out and counted",
    )
    max_name_length: int = Field(
        DEFAULT_MAX_NAME_LENGTH,
        ge=1,
        le=_LARGEST_MAX_NAME_LENGTH,
        description="characters that a package's or system's name may have; rows with a longer one are left out",
    )
    settling_minutes: float = Field(
        DEFAULT_SETTLING_MINUTES, ge=0, description="minutes after a day's end until it is computed"
    )
    daily_cache_ttl_days: int = Field(
        DEFAULT_DAILY_CACHE_DAYS, ge=1, le=99_999, description="days until a daily hash in Valkey expires"
    )
    log_cache_values: bool | Literal["all"] | int = Field(
        True,
        description='keys that the cache task logs with their values: `true` (at most 1,000), `false`, `"all"`, or a'
        " number",
    )


#: The older variable of each setting, and the value that it has where nobody has set it.
OLDER_VARIABLES = {
    "live": ("maxy_realtime", "{}"),
    "metric_ranges": ("maxy_metric_ranges", "{}"),
    "max_name_length": ("maxy_max_name_length", str(DEFAULT_MAX_NAME_LENGTH)),
    "settling_minutes": ("maxy_settling_minutes", "10"),
    "daily_cache_ttl_days": ("maxy_daily_cache_ttl_days", str(DEFAULT_DAILY_CACHE_DAYS)),
    "log_cache_values": ("maxy_log_cache_values", "true"),
}


def statistics_settings() -> StatisticsSettings:
    """Return what ``maxy_statistics`` says (a JSON object, default ``{}``).

    Read while DAGs are parsed. The embedded stack and docker compose set it as ``AIRFLOW_VAR_MAXY_STATISTICS``, so that
    parsing does no look-up.

    :raises ValueError: naming every setting that is wrong.
    """
    return parse_settings(StatisticsSettings, str(Variable.get("maxy_statistics", default="{}")), where=_WHERE)


def _given(setting: str) -> tuple[Any, str | None]:
    """Return what ``maxy_statistics`` says of a setting, or what its older variable does.

    :return: a value and None, or None and a text.
    :raises ValueError: naming both, if both say something.
    """
    variable, unset = OLDER_VARIABLES[setting]
    older = str(Variable.get(variable, default=unset)).strip() or unset
    settings = statistics_settings()
    if setting not in settings.model_fields_set:
        return None, older
    if older != unset:
        raise ValueError(
            f"{_WHERE}.{setting} and Airflow variable {variable} are both set: put {variable} back to {unset}"
        )
    return getattr(settings, setting), None


def realtime_settings() -> RealtimeSettings:
    """Return the settings of the live loops (``live``, or the variable ``maxy_realtime``).

    Read while the live DAGs are parsed, because it decides which of them there are.

    :raises ValueError: naming the setting that is wrong.
    """
    value, text = _given("live")
    if text is None:
        return RealtimeSettings.from_json(value, where=f"{_WHERE}.live", built_in=LIVE_LOOPS)
    return RealtimeSettings.parse(text, where="Airflow variable maxy_realtime", built_in=LIVE_LOOPS)


def metric_ranges() -> dict[str, MetricRange]:
    """Return the plausible range of every metric (``metric_ranges``, or the variable ``maxy_metric_ranges``).

    :raises ValueError: naming the metric that is wrong.
    """
    value, text = _given("metric_ranges")
    if text is None:
        return checked_metric_ranges(value, where=f"{_WHERE}.metric_ranges")
    return parse_metric_ranges(text, where="Airflow variable maxy_metric_ranges")


def daily_cache_days() -> int:
    """Return how many days a daily hash stays in Valkey (``daily_cache_ttl_days``, or ``maxy_daily_cache_ttl_days``).

    :raises ValueError: if the variable is not a whole number above 0.
    """
    value, text = _given("daily_cache_ttl_days")
    if text is None:
        return int(value)
    if not re.fullmatch(r"0*[1-9][0-9]{0,4}", text):
        raise ValueError(f"Airflow variable maxy_daily_cache_ttl_days: {text!r} is not a whole number above 0")
    return int(text)


def max_name_length() -> int:
    """Return how many characters a name may have (``max_name_length``, or the variable ``maxy_max_name_length``).

    Rows with a longer package or system name are left out and counted.

    :raises ValueError: if the variable is not a whole number from 1 to 10,000.
    """
    value, text = _given("max_name_length")
    if text is None:
        return int(value)
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= _LARGEST_MAX_NAME_LENGTH:
        raise ValueError(
            f"Airflow variable maxy_max_name_length: {text!r} is not a whole number from 1 to"
            f" {_LARGEST_MAX_NAME_LENGTH}"
        )
    return int(text)


def settling_minutes() -> str:
    """Return after how many minutes a day has settled (``settling_minutes``, or ``maxy_settling_minutes``).

    :return: as it is written; the sensor refuses what is no number.
    """
    value, text = _given("settling_minutes")
    return f"{value:g}" if text is None else text


def log_cache_values() -> str:
    """Return how many keys the cache task logs (``log_cache_values``, or ``maxy_log_cache_values``).

    :return: as the hash operator takes it.
    """
    value, text = _given("log_cache_values")
    return str(value).lower() if text is None else text


def row_rules() -> dict[str, Any]:
    """Return the options of the live loops that are set for all of them, and for the daily job.

    :raises ValueError: naming the variable that is wrong.
    """
    return {"max_name_length": max_name_length(), "metric_ranges": to_json(metric_ranges())}
