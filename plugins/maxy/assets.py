"""The data that the package's DAGs make, for other DAGs to follow."""

from __future__ import annotations

from airflow.sdk import Asset

#: One day of ``max_device_statistic``, checked and cached. Events carry ``stat_date`` (YYYY-MM-DD).
MAX_DEVICE_STATISTIC = Asset(name="max_device_statistic", uri="x-maxy://max_device_statistic")
