"""What templates can call as ``macros.maxy.<name>``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from maxy.settings import statistics_timezone, valkey_prefix
from maxy.statistics.settings import (
    daily_cache_days,
    log_cache_values,
    max_name_length,
    metric_ranges,
    settling_minutes,
)
from maxy.statistics.statistics_day import statistics_day_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.days import CalendarDay

__all__ = [
    "daily_cache_days",
    "log_cache_values",
    "max_name_length",
    "metric_ranges",
    "settling_minutes",
    "statistics_day",
    "valkey_prefix",
]


def statistics_day(dag_run: Any, params: Mapping[str, Any]) -> CalendarDay:
    """Return the day that a run computes: prints as YYYY-MM-DD, with ``start`` and ``end`` as instants in UTC.

    In a template: ``{{ macros.maxy.statistics_day(dag_run, params) }}``.

    :raises AirflowFailException: if the parameter ``stat_date`` is not a date, contradicts the run's interval, or is a
        day that the table cannot hold; a retry cannot help.
    """
    timezone = statistics_timezone()
    try:
        return statistics_day_of_run(dag_run, params, timezone)
    except ValueError as error:
        raise AirflowFailException(str(error)) from None
