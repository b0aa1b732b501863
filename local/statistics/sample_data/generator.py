"""Rows of the source tables for one day, the same for the same seed, scale, zone and day.

Every day is made on its own, so any of them can be asked for alone. The rows come as the deliveries in which the
collectors would send them: the awkward 1 % holds repeats inside a delivery and across deliveries, missing and
blank dimensions and metrics, and rows on both sides of each midnight.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from local.statistics.sample_data.population import PACKAGES, SYSTEMS, Population

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from local.statistics.sample_data.population import ActiveDevices

# One list per column of the table, all of one length. Instants are numbers as the table stores them: reg_dt in
# milliseconds since 1970-01-01 UTC, page_start_tm_dt and log_tm_dt in seconds.
Columns = dict[str, list[Any]]

LOG_TYPE_INSTALL = 1048597
LOG_TYPE_APPLICATION_START = 1048580
LOG_TYPE_PAGE = 1048592
LOG_TYPE_PAGE_TROUBLE = 1048594
LOG_TYPE_WEB_RESPONSE = 524291
LOG_TYPE_NATIVE_RESPONSE = 8388612
LOG_TYPE_CRASH = 2097152

_STREAM_PAGE_FLOW, _STREAM_TOTAL_LOG = 3, 4

# How busy each hour of the day is: quiet at four, busiest at nine in the evening.
_HOURLY_WEIGHTS = (
    9, 5, 3, 2, 2, 3, 7, 14, 20, 22, 23, 25, 30, 27, 24, 23, 24, 27, 30, 33, 37, 39, 32, 19,
)  # fmt: skip

_AWKWARD_SHARE = 0.005
_MISSING_NAMES = (None, "", "  ")

# Some application starts are put right at the edges of the day: milliseconds from its start and before its end.
_EDGES_AFTER_START = (0, 1, 999)
_EDGES_BEFORE_END = (1, 999, 1000)

_PAGES = ("홈", "main", "search", "product", "cart", "order", "my page", "event: [sale]")
_MODELS = ("SM-S928N", "SM-A546S", "iPhone16,2", "iPhone14,7", "Chrome", "Pixel 9")
_APP_VERSIONS = ("3.2.0", "3.2.1", "3.3.0-beta")
_OS_VERSIONS = ("14", "15", "18.2")
_NETWORKS = ("WIFI", "LTE", "5G")
_OPERATORS = ("SKTelecom", "KT", "LG U+")


@dataclass(frozen=True)
class _Day:
    """A local day as instants, in milliseconds since 1970-01-01 UTC."""

    local_date: date
    start_ms: int
    end_ms: int

    @classmethod
    def of(cls, day: date, zone: ZoneInfo) -> _Day:
        midnights = (datetime.combine(day + timedelta(days=plus), time(), zone) for plus in (0, 1))
        start_ms, end_ms = (int(midnight.timestamp()) * 1000 for midnight in midnights)
        return cls(day, start_ms, end_ms)


class SampleData:
    """Deterministic rows of maxy_device_page_flow and maxy_app_total_log.

    :param seed: the same seed gives the same rows.
    :param scale: 1.0 means about 25,000 page rows and 50,000 log rows a day.
    :param timezone: IANA name of the zone whose midnights bound a day.
    """

    def __init__(self, *, seed: int = 1, scale: float = 1.0, timezone: str = "UTC") -> None:
        self._seed = seed
        self._population = Population(seed=seed, scale=scale)
        self._zone = ZoneInfo(timezone)

    def bounds_ms(self, day: date) -> tuple[int, int]:
        """First millisecond of the day and first one after it, since 1970-01-01 UTC."""
        span = _Day.of(day, self._zone)
        return span.start_ms, span.end_ms

    def page_flow(self, day: date) -> list[Columns]:
        """The day's rows of maxy_device_page_flow, as two deliveries to be inserted one after the other.

        The second one holds repeats only. The keys (page_start_tm, device_id, sum_mem_usage) of different events
        differ, also between days.
        """
        rng = np.random.default_rng([self._seed, _STREAM_PAGE_FLOW, day.toordinal()])
        columns = _page_flow_events(_Day.of(day, self._zone), self._population.active_on(day), rng)
        return _deliveries(columns, rng)

    def total_log(self, day: date) -> list[Columns]:
        """The day's rows of maxy_app_total_log, in deliveries as `page_flow`."""
        rng = np.random.default_rng([self._seed, _STREAM_TOTAL_LOG, day.toordinal()])
        columns = _total_log_events(_Day.of(day, self._zone), self._population.active_on(day), rng)
        return _deliveries(columns, rng)


def page_flow_rows(deliveries: Sequence[Columns]) -> Iterator[dict[str, Any]]:
    """The rows of `SampleData.page_flow`, repeats included, with page_start_tm_dt and reg_dt as datetimes in UTC."""
    for columns in deliveries:
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            row["page_start_tm_dt"] = datetime.fromtimestamp(row["page_start_tm_dt"], UTC)
            row["reg_dt"] = datetime.fromtimestamp(row["reg_dt"] / 1000, UTC)
            yield row


def arrived_between(columns: Columns, after_ms: int, until_ms: int) -> Columns:
    """The rows with after_ms < reg_dt <= until_ms."""
    kept = [index for index, reg_dt in enumerate(columns["reg_dt"]) if after_ms < reg_dt <= until_ms]
    if len(kept) == len(columns["reg_dt"]):
        return columns
    return _take(columns, kept)


def _take(columns: Columns, indexes: Sequence[int]) -> Columns:
    return {name: [values[index] for index in indexes] for name, values in columns.items()}


def _deliveries(columns: Columns, rng: np.random.Generator) -> list[Columns]:
    """Deliver some rows twice: half of these again in the same delivery, half in another one."""
    rows = len(columns["reg_dt"])
    repeated = np.flatnonzero(rng.random(rows) < 2 * _AWKWARD_SHARE)
    delays_ms = rng.integers(1_000, 600_000, len(repeated)).tolist()
    again = _take(columns, repeated.tolist())
    again["reg_dt"] = [reg_dt + delay for reg_dt, delay in zip(again["reg_dt"], delays_ms, strict=True)]
    half = len(repeated) // 2
    same = {name: [*values, *again[name][:half]] for name, values in columns.items()}
    later = {name: values[half:] for name, values in again.items()}
    return [same, later]


def _instants_ms(day: _Day, rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Instants spread by the day and night curve, stretched over the 23 to 25 hours of the day."""
    weights = np.array(_HOURLY_WEIGHTS, dtype=float)
    cumulated = np.concatenate([[0.0], np.cumsum(weights / weights.sum())])
    fraction = np.interp(rng.random(count), cumulated, np.linspace(0.0, 1.0, len(cumulated)))
    offsets: NDArray[np.int64] = (fraction * (day.end_ms - day.start_ms)).astype(np.int64)
    return day.start_ms + offsets


def _with_gaps(rng: np.random.Generator, values: NDArray[Any], share: float) -> list[Any]:
    """The values as a list, a share of them replaced by None."""
    result: list[Any] = values.tolist()
    for index in np.flatnonzero(rng.random(len(result)) < share).tolist():
        result[index] = None
    return result


def _choice(rng: np.random.Generator, options: Sequence[Any], count: int, share_of_gaps: float) -> list[Any]:
    chosen = np.array(options, dtype=object)[rng.integers(0, len(options), count)]
    return _with_gaps(rng, chosen, share_of_gaps)


def _log_normal(rng: np.random.Generator, median: float, sigma: float, count: int) -> NDArray[np.float64]:
    return rng.lognormal(np.log(median), sigma, count)


def _dimensions(rng: np.random.Generator, devices: ActiveDevices, device: NDArray[np.int64]) -> Columns:
    """The three dimensions of each row, some of them missing."""
    count = len(device)
    columns: Columns = {
        "package_nm": np.array(PACKAGES, dtype=object)[devices.package[device]].tolist(),
        "server_type": devices.server_type[device].tolist(),
        "os_type": np.array(SYSTEMS, dtype=object)[devices.system[device]].tolist(),
    }
    awkward = np.flatnonzero(rng.random(count) < _AWKWARD_SHARE).tolist()
    for index, row in enumerate(awkward):
        name = ("package_nm", "os_type", "server_type")[index % 3]
        columns[name][row] = None if name == "server_type" else _MISSING_NAMES[index // 3 % 3]
    return columns


def _device_traits(rng: np.random.Generator, device_ids: list[str]) -> Columns:
    """What a row says about its device and its network."""
    count = len(device_ids)
    return {
        "user_id": _with_gaps(rng, np.array([f"user-{name[:6]}" for name in device_ids], dtype=object), 0.6),
        "device_model": _choice(rng, _MODELS, count, 0.01),
        "app_ver": _choice(rng, _APP_VERSIONS, count, 0.01),
        "os_ver": _choice(rng, _OS_VERSIONS, count, 0.01),
        "com_type": _choice(rng, _NETWORKS, count, 0.05),
        "sim_operator_nm": _choice(rng, _OPERATORS, count, 0.3),
    }


@dataclass(frozen=True)
class _Visits:
    """The page views of a day, ordered by device and application start; one entry a view.

    :param device: index of the device.
    :param start_ms: when the page was opened.
    :param duration_ms: how long it stayed open.
    :param log_type: an install, an application start or a page.
    """

    device: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    duration_ms: NDArray[np.int64]
    log_type: NDArray[np.int64]


def _visits(day: _Day, devices: ActiveDevices, rng: np.random.Generator) -> _Visits:
    starts_per_device = 1 + rng.poisson(0.5, len(devices))
    device_of_start = np.repeat(np.arange(len(devices)), starts_per_device)
    views_per_start = 2 + rng.geometric(0.2, len(device_of_start))
    first_view = np.concatenate([[0], np.cumsum(views_per_start)[:-1]]).astype(np.int64)
    device = np.repeat(device_of_start, views_per_start)
    count = len(device)

    start_ms = _instants_ms(day, rng, len(device_of_start))
    edges = [day.start_ms + edge for edge in _EDGES_AFTER_START]
    edges += [day.end_ms - edge for edge in _EDGES_BEFORE_END]
    start_ms[: len(edges)] = edges[: len(start_ms)]

    duration_ms = _log_normal(rng, 8_000, 1.0, count).astype(np.int64)
    elapsed_ms = np.cumsum(duration_ms) - duration_ms
    elapsed_ms -= np.repeat(elapsed_ms[first_view], views_per_start)
    opened_ms = np.minimum(np.repeat(start_ms, views_per_start) + elapsed_ms, day.end_ms - 1)

    log_type = rng.choice((LOG_TYPE_PAGE, LOG_TYPE_PAGE_TROUBLE), count, p=(0.97, 0.03))
    log_type[first_view] = LOG_TYPE_APPLICATION_START
    # A new device begins with the install, and the application starts right after it.
    first_start = np.concatenate([[0], np.cumsum(starts_per_device)[:-1]]).astype(np.int64)
    install = first_view[first_start[devices.is_new]]
    log_type[install] = LOG_TYPE_INSTALL
    log_type[install + 1] = LOG_TYPE_APPLICATION_START
    return _Visits(device, opened_ms, duration_ms, log_type)


def _vitals(rng: np.random.Generator, on_web: NDArray[np.bool_]) -> Columns:
    """Web vitals: native applications have none, browsers leave some out."""
    medians: Mapping[str, float] = {"lcp": 1_800, "fcp": 900, "ttfb": 250, "inp": 120, "cls": 0.05}
    columns: Columns = {}
    for name, median in medians.items():
        values = np.round(_log_normal(rng, median, 0.6, len(on_web)), 4).tolist()
        missing = (~on_web | (rng.random(len(on_web)) < 0.2)).tolist()
        columns[name] = [None if gap else value for value, gap in zip(values, missing, strict=True)]
    return columns


def _page_flow_events(day: _Day, devices: ActiveDevices, rng: np.random.Generator) -> Columns:
    visits = _visits(day, devices, rng)
    count = len(visits.device)
    end_ms = visits.start_ms + visits.duration_ms
    device_id = devices.device_id[visits.device].tolist()
    page = rng.integers(0, len(_PAGES), count)
    slowness = 1.0 + devices.package[visits.device] / len(PACKAGES)
    loading_ms = (_log_normal(rng, 500, 0.9, count) * slowness).astype(np.int64)
    # The running number keeps the keys of events apart that share device and millisecond.
    memory = rng.integers(40_000, 400_000, count) * 1_000_000 + np.arange(count)
    return {
        "reg_dt": (end_ms + _delivery_delays_ms(rng, count)).tolist(),
        "device_id": device_id,
        "page_start_tm": visits.start_ms.tolist(),
        "page_start_tm_dt": (visits.start_ms // 1000).tolist(),
        "log_date": [day.local_date] * count,
        "sum_mem_usage": memory.tolist(),
        **_dimensions(rng, devices, visits.device),
        "page_end_tm": _with_gaps(rng, end_ms, 0.02),
        "intervaltime": _with_gaps(rng, visits.duration_ms, 0.05),
        "loading_time": _with_gaps(rng, loading_ms, 0.15),
        "response_time": _with_gaps(rng, loading_ms // 3, 0.3),
        "error_count": _with_gaps(rng, rng.poisson(0.03, count), 0.1),
        "js_error_count": _with_gaps(rng, rng.poisson(0.05, count), 0.1),
        "crash_count": _with_gaps(rng, rng.poisson(0.002, count), 0.1),
        "log_count": _with_gaps(rng, rng.poisson(12, count), 0.05),
        **_vitals(rng, devices.system[visits.device] == SYSTEMS.index("Web")),
        "log_type": _with_gaps(rng, visits.log_type, _AWKWARD_SHARE),
        "wtf_flag": _choice(rng, ("Y", "N", "N", "N"), count, 0.1),
        "page_id": [f"page-{number}" for number in page.tolist()],
        "page_name": np.array(_PAGES, dtype=object)[page].tolist(),
        "req_url": _with_gaps(rng, np.array([f"/pages/{number}?q=%20" for number in page.tolist()]), 0.2),
        **_device_traits(rng, device_id),
        "avg_com_sensitivity": _with_gaps(rng, rng.integers(1, 5, count), 0.1),
        "avg_cpu_usage": _with_gaps(rng, rng.integers(1, 100, count), 0.1),
    }


def _delivery_delays_ms(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """From the event's end to its arrival: seconds, for a few rows up to twenty minutes."""
    delays = rng.integers(1_000, 5_000, count)
    late = np.flatnonzero(rng.random(count) < _AWKWARD_SHARE)
    delays[late] = rng.integers(10_000, 1_200_000, len(late))
    return delays


def _total_log_events(day: _Day, devices: ActiveDevices, rng: np.random.Generator) -> Columns:
    device = np.repeat(np.arange(len(devices)), 1 + rng.poisson(20, len(devices)))
    count = len(device)
    log_ms = _instants_ms(day, rng, count)
    log_type = rng.choice(
        (LOG_TYPE_WEB_RESPONSE, LOG_TYPE_NATIVE_RESPONSE, LOG_TYPE_PAGE, LOG_TYPE_APPLICATION_START, LOG_TYPE_CRASH),
        count,
        p=(0.4, 0.2, 0.3, 0.09, 0.01),
    )
    responding = np.isin(log_type, (LOG_TYPE_WEB_RESPONSE, LOG_TYPE_NATIVE_RESPONSE)).tolist()
    times = _log_normal(rng, 220, 0.9, count).astype(np.int64)
    device_id = devices.device_id[device].tolist()
    wait = _with_gaps(rng, times // 2, 0.05)
    status = rng.choice((200, 304, 404, 500), count, p=(0.9, 0.05, 0.03, 0.02)).tolist()
    page = rng.integers(0, len(_PAGES), count).tolist()
    return {
        "reg_dt": (log_ms + _delivery_delays_ms(rng, count)).tolist(),
        "log_tm": log_ms.tolist(),
        "log_tm_dt": (log_ms // 1000).tolist(),
        "device_id": device_id,
        "log_type": log_type.tolist(),
        "mem_usage": (rng.integers(40_000, 400_000, count) * 1_000_000 + np.arange(count)).tolist(),
        **_dimensions(rng, devices, device),
        "intervaltime": [ms if yes else None for ms, yes in zip(times.tolist(), responding, strict=True)],
        "req_url": [f"/api/v1/{number}?q=%20" for number in page],
        "page_id": [f"page-{number}" for number in page],
        **_device_traits(rng, device_id),
        "com_sensitivity": _with_gaps(rng, rng.integers(1, 5, count), 0.1),
        "login_yn": _choice(rng, ("Y", "N"), count, 0.1),
        "cpu_usage": _with_gaps(rng, rng.integers(1, 100, count), 0.1),
        "status_code": [code if yes else None for code, yes in zip(status, responding, strict=True)],
        "response_size": _with_gaps(rng, rng.integers(200, 90_000, count), 0.1),
        "request_size": _with_gaps(rng, rng.integers(100, 3_000, count), 0.1),
        "wait_time": wait,
        "download_time": _with_gaps(rng, times - times // 2, 0.05),
    }
