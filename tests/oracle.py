"""The daily statistics computed in plain Python, straight from the definitions.

Shares nothing with the package or with the sample data on purpose: where both agree, neither is wrong in the same
way by accident.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from math import fsum
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Key = tuple[str, int, str]
PartialKey = tuple[str | None, int | None, str | None]
Row = dict[str, Any]

# Install and application start: the rows that make a device seen on a day.
ACCESS_LOG_TYPES = frozenset({1048597, 1048580})

COUNTS = ("crash_count", "error_count", "js_error_count", "log_count")
AVERAGES = ("intervaltime", "lcp", "ttfb", "fcp", "inp")


@dataclass(frozen=True)
class ExpectedStatistics:
    """What max_device_statistic must hold for a day.

    :param by_key: the metrics of each key, by the table's column names, without stat_date and updated_at.
    :param left_out_keys: the keys with a missing dimension that have page_flow rows on the day or history rows
        in the 30 days; every missing dimension is None here, whether it was NULL, empty or blank.
    :param left_out_rows: how many distinct page_flow rows of the day have a missing dimension.
    """

    by_key: dict[Key, dict[str, float]]
    left_out_keys: frozenset[PartialKey]
    left_out_rows: int


@dataclass
class _Group:
    """What is known of one key.

    :param pages: page_flow rows of the day.
    :param devices_by_day: devices seen on each of the 30 days.
    :param history: history rows of the day.
    """

    pages: list[Row] = field(default_factory=list)
    devices_by_day: dict[date, set[str]] = field(default_factory=lambda: defaultdict(set))
    history: list[Row] = field(default_factory=list)


def expected_statistics(
    page_flow: Iterable[Row], history: Iterable[Row], *, stat_date: date, timezone: str
) -> ExpectedStatistics:
    """Compute one day.

    :param page_flow: rows of maxy_device_page_flow, as often as they were delivered, of the 30 days that end with
        stat_date at least; page_start_tm_dt is aware.
    :param history: rows of maxy_device_access_history as the table holds them, of the same days at least.
    :param timezone: IANA name of the zone whose midnight begins a day.
    :raises ValueError: a page_start_tm_dt is naive.
    """
    zone = ZoneInfo(timezone)
    window = {stat_date - timedelta(days=back) for back in range(30)}
    groups: dict[PartialKey, _Group] = defaultdict(_Group)
    left_out_keys: set[PartialKey] = set()
    left_out_rows = 0
    for row in _distinct(page_flow):
        key = _key(row)
        day = _local_day(row["page_start_tm_dt"], zone)
        if None in key:
            if day == stat_date:
                left_out_keys.add(key)
                left_out_rows += 1
            continue
        if day == stat_date:
            groups[key].pages.append(row)
        if day in window and row["log_type"] in ACCESS_LOG_TYPES:
            groups[key].devices_by_day[day].add(row["device_id"])
    for row in history:
        key = _key(row)
        if row["log_date"] not in window:
            continue
        if None in key:
            left_out_keys.add(key)
            continue
        # Having been seen in the window is enough for a row, with zeros for what the day itself lacks.
        group = groups[key]
        if row["log_date"] == stat_date:
            group.history.append(row)

    return ExpectedStatistics(
        by_key={cast("Key", key): _metrics(group, stat_date) for key, group in groups.items()},
        left_out_keys=frozenset(left_out_keys),
        left_out_rows=left_out_rows,
    )


def _distinct(rows: Iterable[Row]) -> Iterable[Row]:
    """One row for each key of the table's ORDER BY: the one that was delivered last."""
    return {(row["page_start_tm"], row["device_id"], row["sum_mem_usage"]): row for row in rows}.values()


def _key(row: Mapping[str, Any]) -> PartialKey:
    return _name(row["package_nm"]), row["server_type"], _name(row["os_type"])


def _name(value: str | None) -> str | None:
    """The name as it is, outer blanks included; None if there is nothing else in it."""
    return value if value and value.strip() else None


def _local_day(instant: datetime, zone: ZoneInfo) -> date:
    if instant.tzinfo is None:
        raise ValueError(f"page_start_tm_dt {instant} has no time zone")
    return instant.astimezone(zone).date()


def _metrics(group: _Group, stat_date: date) -> dict[str, float]:
    today = group.devices_by_day.get(stat_date, set())
    week_before = _devices(group, [stat_date - timedelta(days=back) for back in range(1, 8)])
    month = _devices(group, [stat_date - timedelta(days=back) for back in range(30)])
    return {
        "visit": sum(row["visit_cnt"] for row in group.history),
        "install": sum(row["install_cnt"] for row in group.history),
        "login": sum(row["login_cnt"] for row in group.history),
        "dau": len(today),
        "revisit_7d": len(today & week_before),
        "mau": len(month),
        **{name: sum(_present(group.pages, name)) for name in COUNTS},
        **{f"{name}_avg": _mean(_present(group.pages, name)) for name in AVERAGES},
        "pv": len(group.pages),
    }


def _devices(group: _Group, days: Sequence[date]) -> set[str]:
    return {device for day in days for device in group.devices_by_day.get(day, ())}


def _present(rows: Iterable[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values) if values else 0.0
