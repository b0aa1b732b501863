"""Which regions there are, and which hour a run computes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

REGIONS = ("eu", "kr", "us")


def hour_of_run(dag_run: Any, params: Mapping[str, Any]) -> datetime:
    """Return the start of the hour that a run computes, in UTC.

    In this order: the parameter ``hour``; the run's data interval (scheduled and backfill runs); the last full hour
    before the run may start. A run that is triggered by hand has no interval, unless it is given a logical date.

    :param dag_run: the run, as found in a task's context.
    :param params: the run's parameters.
    :raises ValueError: if ``hour`` names no zone.
    """
    if params["hour"]:
        moment = datetime.fromisoformat(params["hour"])
        if moment.tzinfo is None:
            raise ValueError(f"hour {params['hour']!r} names no zone: add Z, or an offset such as +09:00")
    else:
        moment = dag_run.data_interval_start or dag_run.run_after - timedelta(hours=1)
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
