"""Rows of both source tables as they come in while people use the applications, made interval by interval.

Where `generator` makes whole days, this makes the next second: cheap enough for thousands of rows a second. Values are
drawn from pools that are filled once, so an interval costs a few vectorised picks per column. What disturbs careless
readers is in it: missing and strange names, repeats of what was sent minutes ago, rows that are committed seconds after
the reg_dt they carry, pages that were opened long before they arrive, bursts and rows that share a millisecond.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from local.statistics.sample_data.generator import (
    LOG_TYPE_APPLICATION_START,
    LOG_TYPE_CRASH,
    LOG_TYPE_INSTALL,
    LOG_TYPE_NATIVE_RESPONSE,
    LOG_TYPE_PAGE,
    LOG_TYPE_PAGE_TROUBLE,
    LOG_TYPE_WEB_RESPONSE,
)
from local.statistics.sample_data.population import PACKAGES, SYSTEMS, Population
from local.statistics.sample_data.seeding import PAGE_FLOW, TOTAL_LOG

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from local.statistics.sample_data.generator import Columns

#: What makes a row one event: the ORDER BY of each table (an instant, the device, a number).
KEY_COLUMNS: Mapping[str, tuple[str, str, str]] = {
    PAGE_FLOW: ("page_start_tm", "device_id", "sum_mem_usage"),
    TOTAL_LOG: ("log_tm", "device_id", "mem_usage"),
}
Key = tuple[int, str, int]

#: The longest interval that is made at once.
LONGEST_MS = 10_000
#: Rows per second and table; a burst of the longest interval still has a number for each row.
HIGHEST_RATE = 30_000.0
#: How far before its sending the reg_dt of a row lies at most.
LATEST_COMMIT_MS = 9_000

# The running number of a row within its interval; above it, the key's number holds the interval's start.
_NUMBER_BITS = 20
_POOL = 4096

_STREAM_POOLS, _STREAM_PAGE_FLOW, _STREAM_TOTAL_LOG = 5, 6, 7

_BURST_SHARE = 0.05
_BURST_FACTOR = 3
_SAME_INSTANT_SHARE = 0.05
_LATE_EVENT_SHARE = 0.005
_LATEST_EVENT_MS = 1_200_000
_LONGEST_VISIT_MS = 600_000
_MISSING_DIMENSION_SHARE = 0.005
_REPEAT_SHARE = 0.01
_LATE_COMMIT_SHARE = 0.02
_INSTALL_SHARE_OF_NEW = 0.3
# Rows with a reg_dt of their own need an insert of their own, and small inserts are what costs the engine most.
_STAMPED_EVERY = 3

_MISSING_NAMES = (None, "", "  ")
_PAGES = ("홈", "main", "search", "product", "cart", "order", "my page", "event: [sale]", 'a "quoted" page', "100%")
_MODELS = ("SM-S928N", "SM-A546S", "iPhone16,2", "iPhone14,7", "Chrome", "Pixel 9", "갤럭시 \\ S24")
_APP_VERSIONS = ("3.2.0", "3.2.1", "3.3.0-beta")
_OS_VERSIONS = ("14", "15", "18.2")
_NETWORKS = ("WIFI", "LTE", "5G")
_OPERATORS = ("SKTelecom", "KT", "LG U+")
_URLS = ("/api/v1/items?q=%20", "/pages/1?name=홈", "/search?q='or'1'='1", "/cart#{total}", 'https://m.example/"a"')
_LOG_TYPE_TROUBLE = 65538

# A loading time's groups, as readers tell them apart: share, first, last (in ms, both included).
_LOADING_TIMES = (
    (0.03, 0, 9),
    (0.01, 10, 10),
    (0.10, 11, 99),
    (0.01, 100, 100),
    (0.64, 101, 1_499),
    (0.01, 1_500, 1_500),
    (0.10, 1_501, 20_000),
)
_RESPONSE_TIMES = ((0.03, 0, 0), (0.01, 1, 1), (0.20, 2, 99), (0.66, 100, 1_500), (0.07, 1_501, 20_000))


@dataclass(frozen=True)
class Delivery:
    """The rows of one insert; no two of them have the same key, which the engine would make one row.

    :param table: PAGE_FLOW or TOTAL_LOG.
    :param columns: parallel lists of values as JSON has them, without reg_dt. Instants are numbers as the table stores
        them (page_start_tm, page_end_tm, log_tm in ms since 1970-01-01 UTC, *_dt in seconds), log_date is an ISO date.
    :param late_ms: per row, how far before its sending its reg_dt lies; None leaves reg_dt to the server.
    """

    table: str
    columns: Columns
    late_ms: list[int] | None = None

    def __len__(self) -> int:
        return len(self.columns["device_id"])

    def event_keys(self) -> list[Key]:
        return list(zip(*(self.columns[name] for name in KEY_COLUMNS[self.table]), strict=True))

    def counts(self) -> list[tuple[str | None, int | None, int]]:
        """Rows per package name and server type, missing and blank ones included."""
        pairs = Counter(zip(self.columns["package_nm"], self.columns["server_type"], strict=True))
        return [(package, server_type, rows) for (package, server_type), rows in pairs.items()]

    def rows(self) -> list[tuple[Any, ...]]:
        """The rows with their values in the columns' order."""
        return list(zip(*self.columns.values(), strict=True))

    def take(self, indexes: Sequence[int]) -> Delivery:
        """The rows at these places alone."""
        late_ms = None if self.late_ms is None else [self.late_ms[index] for index in indexes]
        columns = {name: [values[index] for index in indexes] for name, values in self.columns.items()}
        return Delivery(self.table, columns, late_ms)


class LiveTraffic:
    """What arrives in each interval, the same for the same arguments and the same sequence of intervals.

    The keys of different events differ, also between instances whose seeds, rates or intervals differ.

    :param seed: of the devices and of the rows. The seed of the sample data continues with its devices.
    :param rate: rows per second of EACH of the two tables, repeats included; holds over minutes, not in each second.
    :param timezone: IANA name of the zone whose midnights bound a day.
    :param scale: of the population, see `Population`.
    :param log_repeats: whether maxy_app_total_log gets repeats too. A repeat that is merged away before anybody has
        read it cannot be counted, so what compares counts of that table to the row leaves them out.
    :raises ValueError: rate is not positive, or above HIGHEST_RATE.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        rate: float = 2000.0,
        timezone: str = "UTC",
        scale: float = 1.0,
        log_repeats: bool = True,
    ) -> None:
        if not 0 < rate <= HIGHEST_RATE:
            raise ValueError(f"rate must be above 0 and at most {HIGHEST_RATE:,.0f} rows per second, not {rate}")
        self._rate = rate
        self._seed = seed
        self._zone = ZoneInfo(timezone)
        self._population = Population(seed=seed, scale=scale)
        self._today: _Today | None = None
        self._intervals = 0
        rng = np.random.default_rng([seed, _STREAM_POOLS])
        self._streams = (
            _Stream(PAGE_FLOW, _STREAM_PAGE_FLOW, _PageFlow(rng), _REPEAT_SHARE),
            _Stream(TOTAL_LOG, _STREAM_TOTAL_LOG, _TotalLog(rng), _REPEAT_SHARE if log_repeats else 0.0),
        )

    def batch(self, start_ms: int, end_ms: int) -> list[Delivery]:
        """The inserts of an interval, to be sent at its end or later, in this order.

        :param start_ms: since 1970-01-01 UTC; not before the end of the interval that was asked for last, except where
            the clock was set back: a row of which the repeat is due then waits for it.
        :param end_ms: the first millisecond after it.
        :raises ValueError: it is empty or longer than LONGEST_MS.
        """
        if not 0 < end_ms - start_ms <= LONGEST_MS:
            raise ValueError(f"an interval has 1 to {LONGEST_MS} ms, not {end_ms - start_ms}")
        interval = _Interval(start_ms, end_ms, self._day_of(end_ms - 1), self._intervals % _STAMPED_EVERY == 0)
        self._intervals += 1
        return [*chain.from_iterable(self._deliveries(stream, interval) for stream in self._streams)]

    def _day_of(self, instant_ms: int) -> _Today:
        day = datetime.fromtimestamp(instant_ms / 1000, self._zone).date()
        if self._today is None or self._today.day != day:
            self._today = _Today.of(day, self._zone, self._population)
        return self._today

    def _deliveries(self, stream: _Stream, interval: _Interval) -> Iterable[Delivery]:
        start_ms, end_ms = interval.start_ms, interval.end_ms
        # The rate is part of it, so that two feeds of one seed that run at once send different rows.
        rng = np.random.default_rng([self._seed, stream.number, round(self._rate * 1000), start_ms, end_ms - start_ms])
        repeats = stream.due_repeats(end_ms) if interval.stamped else []
        count = stream.take_turn(rng, self._rate * (end_ms - start_ms) / 1000, len(repeats))
        late_ms = _late_commits(rng, count) if interval.stamped else np.zeros(count, np.int64)
        columns = stream.maker.columns(rng, interval, _instants(rng, interval, count) - late_ms)
        everything = Delivery(stream.table, columns)
        stream.remember_repeats(rng, everything, end_ms)
        prompt = np.flatnonzero(late_ms == 0).tolist()
        if prompt:
            yield everything if len(prompt) == count else everything.take(prompt)
        late = np.flatnonzero(late_ms).tolist()
        if late or repeats:
            rows = [*everything.take(late).rows(), *repeats] if late else repeats
            yield _delivery(stream.table, columns, rows, [*late_ms[late].tolist(), *[0] * len(repeats)])


@dataclass(frozen=True)
class _Today:
    """A day's devices, as what the rows say about each; all arrays are parallel.

    :param midnight_ms: its start, since 1970-01-01 UTC.
    """

    day: date
    midnight_ms: int
    device_id: NDArray[np.object_]
    user_id: NDArray[np.object_]
    package_nm: NDArray[np.object_]
    server_type: NDArray[np.object_]
    os_type: NDArray[np.object_]
    is_new: NDArray[np.bool_]

    @classmethod
    def of(cls, day: date, zone: ZoneInfo, population: Population) -> _Today:
        devices = population.active_on(day)
        return cls(
            day=day,
            midnight_ms=int(datetime.combine(day, time(), zone).timestamp()) * 1000,
            device_id=devices.device_id,
            user_id=_objects([f"user-{name[:6]}" if int(name[0], 16) < 6 else None for name in devices.device_id]),
            package_nm=np.array(PACKAGES, dtype=object)[devices.package],
            server_type=devices.server_type.astype(object),
            os_type=np.array(SYSTEMS, dtype=object)[devices.system],
            is_new=devices.is_new,
        )


@dataclass(frozen=True)
class _Interval:
    """:param stamped: whether rows with a reg_dt of their own are sent with it."""

    start_ms: int
    end_ms: int
    today: _Today
    stamped: bool


class _Columns:
    """Makes the columns of one table.

    :param pools: values to pick from, by column.
    """

    def __init__(self, pools: Mapping[str, NDArray[np.object_]]) -> None:
        self._pools = pools

    def columns(self, rng: np.random.Generator, interval: _Interval, instants_ms: NDArray[np.int64]) -> Columns:
        """:param instants_ms: when each row's event ended."""
        raise NotImplementedError

    def _shared(
        self, rng: np.random.Generator, interval: _Interval, device: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], dict[str, NDArray[np.object_]]]:
        """The keys' numbers, and the columns that follow from the device or come from a pool."""
        count, today = len(device), interval.today
        numbers = (interval.start_ms << _NUMBER_BITS) + np.arange(count, dtype=np.int64)
        picks = rng.integers(0, _POOL, (len(self._pools), count))
        columns = {name: pool[pick] for (name, pool), pick in zip(self._pools.items(), picks, strict=True)}
        columns["device_id"] = today.device_id[device]
        columns["user_id"] = today.user_id[device]
        for name, values in (
            ("package_nm", today.package_nm),
            ("os_type", today.os_type),
            ("server_type", today.server_type),
        ):
            columns[name] = values[device]
        for row in np.flatnonzero(rng.random(count) < _MISSING_DIMENSION_SHARE).tolist():
            name = ("package_nm", "os_type", "server_type")[rng.integers(3)]
            columns[name][row] = None if name == "server_type" else _MISSING_NAMES[rng.integers(3)]
        return numbers, columns


class _PageFlow(_Columns):
    def __init__(self, rng: np.random.Generator) -> None:
        vitals = {"lcp": 1_800.0, "fcp": 900.0, "ttfb": 250.0, "inp": 120.0, "cls": 0.05}
        super().__init__(
            {
                "loading_time": _grouped(rng, _LOADING_TIMES),
                "response_time": _with_gaps(rng, _log_normal(rng, 160, 0.9).astype(np.int64), 0.3),
                "error_count": _with_gaps(rng, rng.poisson(0.03, _POOL), 0.1),
                "js_error_count": _with_gaps(rng, rng.poisson(0.05, _POOL), 0.1),
                "crash_count": _with_gaps(rng, rng.poisson(0.002, _POOL), 0.1),
                "log_count": _with_gaps(rng, rng.poisson(12, _POOL), 0.05),
                **{
                    name: _with_gaps(rng, np.round(_log_normal(rng, median, 0.6), 4), 0.2)
                    for name, median in vitals.items()
                },
                "log_type": _shares(
                    rng,
                    {
                        LOG_TYPE_APPLICATION_START: 0.1,
                        LOG_TYPE_PAGE: 0.86,
                        LOG_TYPE_PAGE_TROUBLE: 0.03,
                        None: 0.01,
                    },
                ),
                "wtf_flag": _shares(rng, {"Y": 0.3, "N": 0.6, None: 0.1}),
                "page_id": _choice(rng, [f"page-{number}" for number in range(10)], 0.01),
                "page_name": _choice(rng, _PAGES, 0.05),
                "req_url": _choice(rng, _URLS, 0.2),
                "avg_com_sensitivity": _with_gaps(rng, rng.integers(1, 5, _POOL), 0.1),
                "avg_cpu_usage": _with_gaps(rng, rng.integers(1, 100, _POOL), 0.1),
                **_device_traits(rng),
            }
        )
        self._visit_ms = np.minimum(_log_normal(rng, 8_000, 1.0), _LONGEST_VISIT_MS).astype(np.int64)

    def columns(self, rng: np.random.Generator, interval: _Interval, instants_ms: NDArray[np.int64]) -> Columns:
        today, count = interval.today, len(instants_ms)
        device = rng.integers(0, len(today.device_id), count)
        numbers, columns = self._shared(rng, interval, device)
        install = today.is_new[device] & (rng.random(count) < _INSTALL_SHARE_OF_NEW)
        columns["log_type"][install] = LOG_TYPE_INSTALL
        native = today.os_type[device] != "Web"
        for name in ("lcp", "fcp", "ttfb", "inp", "cls"):
            columns[name][native] = None
        visit_ms = self._visit_ms[rng.integers(0, _POOL, count)]
        start_ms = instants_ms - visit_ms
        # No page is open for longer than until yesterday.
        days = _objects([(today.day - timedelta(days=1)).isoformat(), today.day.isoformat()])
        return {
            "page_start_tm": start_ms.tolist(),
            "page_start_tm_dt": (start_ms // 1000).tolist(),
            "log_date": days[(start_ms >= today.midnight_ms).astype(np.int64)].tolist(),
            "sum_mem_usage": numbers.tolist(),
            "page_end_tm": _with_gaps(rng, instants_ms, 0.02).tolist(),
            "intervaltime": _with_gaps(rng, visit_ms, 0.05).tolist(),
            **{name: values.tolist() for name, values in columns.items()},
        }


class _TotalLog(_Columns):
    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(
            {
                "log_type": _shares(
                    rng,
                    {
                        LOG_TYPE_WEB_RESPONSE: 0.4,
                        LOG_TYPE_NATIVE_RESPONSE: 0.2,
                        LOG_TYPE_PAGE: 0.3,
                        LOG_TYPE_APPLICATION_START: 0.08,
                        LOG_TYPE_CRASH: 0.01,
                        _LOG_TYPE_TROUBLE: 0.01,
                    },
                ),
                "intervaltime": _grouped(rng, _RESPONSE_TIMES),
                "status_code": _shares(rng, {200: 0.9, 304: 0.05, 404: 0.03, 500: 0.02}),
                "req_url": _choice(rng, _URLS, 0.1),
                "page_id": _choice(rng, [f"page-{number}" for number in range(10)], 0.01),
                "com_sensitivity": _with_gaps(rng, rng.integers(1, 5, _POOL), 0.1),
                "login_yn": _choice(rng, ("Y", "N"), 0.1),
                "cpu_usage": _with_gaps(rng, rng.integers(1, 100, _POOL), 0.1),
                "response_size": _with_gaps(rng, rng.integers(200, 90_000, _POOL), 0.1),
                "request_size": _with_gaps(rng, rng.integers(100, 3_000, _POOL), 0.1),
                "wait_time": _with_gaps(rng, _log_normal(rng, 110, 0.9).astype(np.int64), 0.05),
                "download_time": _with_gaps(rng, _log_normal(rng, 110, 0.9).astype(np.int64), 0.05),
                **_device_traits(rng),
            }
        )

    def columns(self, rng: np.random.Generator, interval: _Interval, instants_ms: NDArray[np.int64]) -> Columns:
        device = rng.integers(0, len(interval.today.device_id), len(instants_ms))
        numbers, columns = self._shared(rng, interval, device)
        silent = (columns["log_type"] != LOG_TYPE_WEB_RESPONSE) & (columns["log_type"] != LOG_TYPE_NATIVE_RESPONSE)
        for name in ("intervaltime", "status_code"):
            columns[name][silent] = None
        return {
            "log_tm": instants_ms.tolist(),
            "log_tm_dt": (instants_ms // 1000).tolist(),
            "mem_usage": numbers.tolist(),
            **{name: values.tolist() for name, values in columns.items()},
        }


@dataclass
class _Stream:
    """One table's traffic and what it remembers from interval to interval.

    :param number: keeps its random numbers apart from the other table's.
    :param repeat_share: of the rows, that are delivered again.
    """

    table: str
    number: int
    maker: _Columns
    repeat_share: float
    _owed: float = 0.0
    _remembered: int = 0
    _repeats: list[tuple[int, int, tuple[Any, ...]]] = field(default_factory=list)

    def take_turn(self, rng: np.random.Generator, rows: float, repeats: int) -> int:
        """How many new rows come. A burst sends threefold, and the next intervals less until the rate holds again.

        :param rows: what the rate allows for the interval.
        """
        self._owed += rows
        due = rows * _BURST_FACTOR if rng.random() < _BURST_SHARE else self._owed
        count = max(int(due), repeats)
        self._owed -= count
        return count - repeats

    def remember_repeats(self, rng: np.random.Generator, delivery: Delivery, end_ms: int) -> None:
        """Choose the rows that are delivered again: half of them within seconds, half within ten minutes."""
        chosen = np.flatnonzero(rng.random(len(delivery)) < self.repeat_share)
        soon = rng.random(len(chosen)) < 0.5
        wait_ms = np.where(soon, rng.integers(0, 10_000, len(chosen)), rng.integers(10_000, 600_000, len(chosen)))
        for wait, row in zip(wait_ms.tolist(), delivery.take(chosen.tolist()).rows(), strict=True):
            # The number decides between equal instants: rows hold None, which does not compare.
            self._remembered += 1
            heapq.heappush(self._repeats, (end_ms + wait, self._remembered, row))

    def due_repeats(self, end_ms: int) -> list[tuple[Any, ...]]:
        rows = []
        while self._repeats and self._repeats[0][0] < end_ms:
            rows.append(heapq.heappop(self._repeats)[2])
        return rows


def _delivery(table: str, names: Iterable[str], rows: Sequence[tuple[Any, ...]], late_ms: list[int]) -> Delivery:
    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return Delivery(table, columns, late_ms)


def _instants(rng: np.random.Generator, interval: _Interval, count: int) -> NDArray[np.int64]:
    """When the rows' events ended: in the interval, some at one instant of it, a few long before."""
    length_ms = interval.end_ms - interval.start_ms
    offsets = rng.integers(0, length_ms, count)
    offsets[rng.random(count) < _SAME_INSTANT_SHARE] = rng.integers(0, length_ms)
    late = np.flatnonzero(rng.random(count) < _LATE_EVENT_SHARE)
    offsets[late] -= rng.integers(10_000, _LATEST_EVENT_MS, len(late))
    instants: NDArray[np.int64] = interval.start_ms + offsets
    return instants


def _late_commits(rng: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Per row, how long after its reg_dt it is committed; 0 for most. Half of the late ones share one reg_dt."""
    late_ms = np.zeros(count, dtype=np.int64)
    late = np.flatnonzero(rng.random(count) < _LATE_COMMIT_SHARE * _STAMPED_EVERY)
    late_ms[late] = rng.integers(1, LATEST_COMMIT_MS + 1, len(late))
    late_ms[late[: len(late) // 2]] = rng.integers(1, LATEST_COMMIT_MS + 1)
    return late_ms


def _objects(values: Sequence[Any]) -> NDArray[np.object_]:
    """The values as they are: numpy's own types have no place in a row."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _with_gaps(rng: np.random.Generator, values: NDArray[Any], share: float) -> NDArray[np.object_]:
    result = _objects(values.tolist())
    result[rng.random(len(result)) < share] = None
    return result


def _choice(rng: np.random.Generator, options: Sequence[str], missing: float) -> NDArray[np.object_]:
    return _with_gaps(rng, _objects(options)[rng.integers(0, len(options), _POOL)], missing)


def _shares(rng: np.random.Generator, shares: Mapping[Any, float]) -> NDArray[np.object_]:
    """A pool with each value's share of it, to the entry: a rare value is never missing by chance."""
    options = list(shares)
    bounds = np.round(np.cumsum(list(shares.values())) * _POOL).astype(np.int64)
    return _shuffled(rng, _objects(options)[np.searchsorted(bounds, np.arange(_POOL), side="right")])


def _grouped(rng: np.random.Generator, groups: Sequence[tuple[float, int, int]]) -> NDArray[np.object_]:
    """A pool of times with each group's share; small ones are more frequent in a wide group; the rest is missing."""
    pool = np.full(_POOL, None, dtype=object)
    filled = 0
    for share, first, last in groups:
        count = round(share * _POOL)
        times = first + ((last - first + 1) * rng.random(count) ** 2).astype(np.int64)
        pool[filled : filled + count] = _objects(times.tolist())
        filled += count
    return _shuffled(rng, pool)


def _shuffled(rng: np.random.Generator, pool: NDArray[np.object_]) -> NDArray[np.object_]:
    return pool[rng.permutation(len(pool))]


def _log_normal(rng: np.random.Generator, median: float, sigma: float) -> NDArray[np.float64]:
    return rng.lognormal(np.log(median), sigma, _POOL)


def _device_traits(rng: np.random.Generator) -> dict[str, NDArray[np.object_]]:
    return {
        "device_model": _choice(rng, _MODELS, 0.01),
        "app_ver": _choice(rng, _APP_VERSIONS, 0.01),
        "os_ver": _choice(rng, _OS_VERSIONS, 0.01),
        "com_type": _choice(rng, _NETWORKS, 0.05),
        "sim_operator_nm": _choice(rng, _OPERATORS, 0.3),
    }
