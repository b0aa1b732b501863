"""The daily statistics computed in plain Python, straight from the definitions.

Shares nothing with the package or with the sample data on purpose: where both agree, neither is wrong in the same
way by accident.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
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

# What is taken for a measurement, both ends included: of one device's day, of one page view. Vitals in milliseconds.
PLAUSIBLE = {
    **dict.fromkeys(("visit", "install", "login"), (0, 1_000_000)),
    **dict.fromkeys(("crash_count", "error_count", "js_error_count", "log_count"), (0, 1_000_000)),
    "intervaltime": (0, 24 * 60 * 60 * 1000),
    **dict.fromkeys(("lcp", "ttfb", "fcp", "inp"), (0, 10 * 60 * 1000)),
}
LONGEST_NAME = 300
# Drawn as nothing, though Unicode files them under letters, marks and symbols.
_BLANK_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2065\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0xE0000, 0xE1000))))
)

COUNTS = ("crash_count", "error_count", "js_error_count", "log_count")
HISTORY = ("visit", "install", "login")
AVERAGES = ("intervaltime", "lcp", "ttfb", "fcp", "inp")


@dataclass(frozen=True)
class ExpectedStatistics:
    """What max_device_statistic must hold for a day.

    :param by_key: the metrics of each key, by the table's column names, without stat_date and updated_at.
    :param left_out_keys: the keys with a missing dimension that have page_flow rows on the day or history rows
        in the 30 days; every missing dimension is None here, whether it was NULL, empty or blank.
    :param left_out_rows: how many distinct page_flow rows of the day have a missing dimension.
    :param too_long_rows: how many of them have none missing, but one longer than LONGEST_NAME.
    :param out_of_range: by metric, how many values of the keys were not taken for measurements.
    """

    by_key: dict[Key, dict[str, float]]
    left_out_keys: frozenset[PartialKey]
    left_out_rows: int
    too_long_rows: int
    out_of_range: dict[str, int]


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
    page_flow: Iterable[Row],
    history: Iterable[Row],
    *,
    stat_date: date,
    timezone: str,
    devices_of_history: bool = False,
) -> ExpectedStatistics:
    """Compute one day.

    :param page_flow: rows of maxy_device_page_flow, as often as they were delivered, of the 30 days that end with
        stat_date at least; page_start_tm_dt is aware.
    :param history: rows of maxy_device_access_history as the table holds them, of the same days at least.
    :param timezone: IANA name of the zone whose midnight begins a day.
    :param devices_of_history: the history has devices that did not come out of page_flow.
    :raises ValueError: a page_start_tm_dt is naive.
    """
    zone = ZoneInfo(timezone)
    window = {stat_date - timedelta(days=back) for back in range(30)}
    groups: dict[PartialKey, _Group] = defaultdict(_Group)
    left_out: list[PartialKey] = []
    for row in _distinct(page_flow):
        key = key_of(row)
        day = _local_day(row["page_start_tm_dt"], zone)
        if not _makes_a_key(key):
            left_out += [key] * (day == stat_date)
            continue
        if day == stat_date:
            groups[key].pages.append(row)
        if day in window and row["log_type"] in ACCESS_LOG_TYPES:
            groups[key].devices_by_day[day].add(row["device_id"])
    left_out_of_history = _add_history(groups, [row for row in history if row["log_date"] in window], stat_date)
    if devices_of_history:
        _add_devices(groups, [row for row in history if row["log_date"] in window])
    out_of_range: Counter[str] = Counter()
    for group in groups.values():
        out_of_range.update(_out_of_range(group))
    return ExpectedStatistics(
        by_key={cast("Key", key): _metrics(group, stat_date) for key, group in groups.items()},
        left_out_keys=frozenset(left_out) | left_out_of_history,
        left_out_rows=sum(None in key for key in left_out),
        too_long_rows=sum(None not in key for key in left_out),
        out_of_range=dict(+out_of_range),
    )


def _add_history(groups: dict[PartialKey, _Group], rows: Iterable[Row], stat_date: date) -> set[PartialKey]:
    """Add the history's rows of the window to their groups; return the keys that make none."""
    left_out = set()
    for row in rows:
        key = key_of(row)
        if not _makes_a_key(key):
            left_out.add(key)
            continue
        # Having been seen in the window is enough for a row, with zeros for what the day itself lacks.
        group = groups[key]
        if row["log_date"] == stat_date:
            group.history.append(row)
    return left_out


def _add_devices(groups: dict[PartialKey, _Group], rows: Iterable[Row]) -> None:
    for row in rows:
        if _makes_a_key(key := key_of(row)):
            groups[key].devices_by_day[row["log_date"]].add(row["device_id"])


def _distinct(rows: Iterable[Row]) -> Iterable[Row]:
    """One row for each key of the table's ORDER BY: the one that was delivered last."""
    return {(row["page_start_tm"], row["device_id"], row["sum_mem_usage"]): row for row in rows}.values()


def key_of(row: Mapping[str, Any]) -> PartialKey:
    """Return a row's key as it is written, with None for what is missing."""
    return written_name(row["package_nm"]), row["server_type"], written_name(row["os_type"])


def written_name(value: str | bytes | None) -> str | None:
    """Return a name as it is written everywhere, outer blanks included; None if there is nothing to be seen in it.

    Bytes that are not UTF-8 are one U+FFFD for each run of them; a control character is one, too.
    """
    if isinstance(value, bytes):
        value = re.sub("[\udc80-\udcff]+", "\ufffd", _without_rest(value).decode("utf-8", "surrogateescape"))
    if not value or all(map(_is_invisible, value)):
        return None
    return "".join("\ufffd" if unicodedata.category(character) == "Cc" else character for character in value)


def _without_rest(value: bytes) -> bytes:
    """Leave out what ClickHouse's toValidUTF8 does not look at any more.

    A byte that begins a character of more bytes than are left ends its work: what follows the byte is gone with it,
    even if that is ASCII.
    """
    position = 0
    while position < len(value):
        first = value[position]
        length = 2 if 0xC0 <= first < 0xE0 else 3 if 0xE0 <= first < 0xF0 else 4 if 0xF0 <= first < 0xF8 else 1
        if position + length > len(value):
            return value[: position + 1]
        try:
            value[position : position + length].decode()
        except UnicodeDecodeError:
            position += 1
        else:
            position += length
    return value


def _is_invisible(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "Z" or category in {"Cc", "Cf"} or character in _BLANK_LETTERS


def _makes_a_key(key: PartialKey) -> bool:
    package, server_type, system = key
    if package is None or server_type is None or system is None:
        return False
    return len(package) <= LONGEST_NAME and len(system) <= LONGEST_NAME


def _local_day(instant: datetime, zone: ZoneInfo) -> date:
    if instant.tzinfo is None:
        raise ValueError(f"page_start_tm_dt {instant} has no time zone")
    return instant.astimezone(zone).date()


def _metrics(group: _Group, stat_date: date) -> dict[str, float]:
    today = group.devices_by_day.get(stat_date, set())
    week_before = _devices(group, [stat_date - timedelta(days=back) for back in range(1, 8)])
    month = _devices(group, [stat_date - timedelta(days=back) for back in range(30)])
    return {
        **{name: sum(filter(partial(_is_plausible, name), _by_device(group, name))) for name in HISTORY},
        "dau": len(today),
        "revisit_7d": len(today & week_before),
        "mau": len(month),
        **{name: sum(_present(group.pages, name)) for name in COUNTS},
        **{f"{name}_avg": _mean(_present(group.pages, name)) for name in AVERAGES},
        "pv": len(group.pages),
    }


def _devices(group: _Group, days: Sequence[date]) -> set[str]:
    return {device for day in days for device in group.devices_by_day.get(day, ())}


def _by_device(group: _Group, name: str) -> list[int]:
    """Return a counter of the day for each device: a merge of the history may have made one row of several."""
    sums: dict[str, int] = defaultdict(int)
    for row in group.history:
        sums[row["device_id"]] = (sums[row["device_id"]] + row[f"{name}_cnt"]) % 2**64
    return list(sums.values())


def _out_of_range(group: _Group) -> dict[str, int]:
    values = {
        **{name: _by_device(group, name) for name in HISTORY},
        **{name: [row[name] for row in group.pages if row[name] is not None] for name in (*COUNTS, *AVERAGES)},
    }
    return {name: sum(not _is_plausible(name, value) for value in found) for name, found in values.items()}


def _is_plausible(name: str, value: float) -> bool:
    low, high = PLAUSIBLE[name]
    return low <= value <= high


def _present(rows: Iterable[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None and _is_plausible(name, row[name])]


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values) if values else 0.0
