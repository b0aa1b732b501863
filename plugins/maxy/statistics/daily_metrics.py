"""What the daily job tells Airflow's metrics, beside what Airflow sends by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk.observability import stats

if TYPE_CHECKING:
    from maxy.days import CalendarDay

_log = logging.getLogger(__name__)

#: Before the name of every metric.
METRIC_PREFIX = "maxy.daily"


def send_day(day: CalendarDay, keys: int | None, *, keys_replaced: int = 0, is_superseded: bool = False) -> None:
    """Tell that a day is computed, checked and cached.

    The end of the day is an instant and not an age, so that its age grows by itself while no day is computed. One that
    cannot be sent is an error in the log.

    :param day: which day.
    :param keys: hashes that were written for it; None if that is not known, or a newer result was there already.
    :param keys_replaced: keys that held another type than a hash, so that something else must write there.
    :param is_superseded: other runs have published the day, again and again, while this one was reading it.
    """
    try:
        stats.gauge(f"{METRIC_PREFIX}.day_end_seconds", day.end.timestamp())
        stats.gauge(f"{METRIC_PREFIX}.superseded", int(is_superseded))
        stats.gauge(f"{METRIC_PREFIX}.keys_replaced", keys_replaced)
        if keys is not None:
            stats.gauge(f"{METRIC_PREFIX}.keys", keys)
    except Exception:
        # The day is done, whoever hears of it.
        _log.exception("The metrics of %s could not be sent", day)
