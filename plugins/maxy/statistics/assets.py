"""The data that the package's DAGs make, for other DAGs to follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from maxy.statistics.daily_metrics import send_day
from maxy.statistics.macros import statistics_day

if TYPE_CHECKING:
    from airflow.sdk import Context

#: One day of ``max_device_statistic``, checked and cached. Its events' extra holds ``stat_date`` (YYYY-MM-DD).
MAX_DEVICE_STATISTIC = Asset(name="max_device_statistic", uri="x-maxy://max_device_statistic")


def tell_stat_date(context: Context, result: Any) -> None:
    """Put the run's day into the extra of the events of the task's assets, and into Airflow's metrics.

    For the ``post_execute`` of a task that returns what
    :class:`~maxy.operators.valkey.ClickHouseToValkeyHashOperator` does.
    """
    day = statistics_day(context["dag_run"], context["params"])
    for asset in context["task"].outlets:
        context["outlet_events"][asset].extra["stat_date"] = str(day)
    totals = result or {}
    is_superseded = bool(totals.get("superseded"))
    send_day(
        day,
        None if is_superseded else totals.get("keys_written"),
        keys_replaced=totals.get("keys_replaced", 0),
        is_superseded=is_superseded,
    )
