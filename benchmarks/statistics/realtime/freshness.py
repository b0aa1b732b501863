"""How long a row takes from its insertion to Valkey, with the loops at their own pace on the machine's clock."""

from __future__ import annotations

import asyncio
import contextlib
import math
import multiprocessing
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import clickhouse_connect
import redis

from benchmarks.statistics.realtime.loops import NAMES, PREFIX, live_loop, write_logs_nowhere
from local.statistics.sample_data.bulk import insert_arrivals
from maxy.clock import SystemClock
from maxy.loops.loop import loop_key
from maxy.loops.runner import LoopRunner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.synchronize import Event

    from clickhouse_connect.driver.client import Client

    from benchmarks.statistics.realtime.measure import Ports

_PROBES_PER_SECOND = 4
_POLL_SECONDS = 0.02
_START_SECONDS = 120.0
_LAST_SECONDS = 75.0
_LEASE = timedelta(seconds=15)

# One package of its own, so that its figures in Valkey count the probes that have come through.
_PACKAGE = "com.maxy.probe"
_PROBE_PAGE = """
INSERT INTO maxy_device_page_flow
(
    reg_dt, device_id, page_start_tm, page_start_tm_dt, log_date, sum_mem_usage, package_nm, server_type, os_type,
    loading_time, log_type
)
SELECT
    fromUnixTimestamp64Milli({now_ms:Int64}), 'probe', {now_ms:Int64}, toDateTime(intDiv({now_ms:Int64}, 1000)),
    toDate(toDateTime(intDiv({now_ms:Int64}, 1000))), {number:UInt64}, {package:String}, 0, 'Web', 1600, 1048580
"""
_PROBE_LOG = """
INSERT INTO maxy_app_total_log
(reg_dt, log_tm, log_tm_dt, device_id, mem_usage, package_nm, server_type, os_type, intervaltime, log_type)
SELECT
    fromUnixTimestamp64Milli({now_ms:Int64}), {now_ms:Int64}, toDateTime(intDiv({now_ms:Int64}, 1000)), 'probe',
    {number:UInt64}, {package:String}, 0, 'Web', 1600, 8388612
"""


@dataclass
class _Seen:
    """How many probes each loop's keys count, and since when it has been so many."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    instants: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    window_end: str = ""

    def take(self, name: str, count: int, now: float) -> None:
        self.instants[name] += [now] * (count - self.counts[name])
        self.counts[name] = max(count, self.counts[name])


def run_loops(ports: Ports, ended: Event) -> None:
    """Run all loops until told to end; the target of a process."""
    write_logs_nowhere()
    asyncio.run(_run_loops(ports, ended))


async def _run_loops(ports: Ports, ended: Event) -> None:
    deadline = datetime.now(UTC) + timedelta(hours=1)
    async with contextlib.AsyncExitStack() as loops:
        runs = []
        for name in NAMES:
            loop = await loops.enter_async_context(live_loop(name, ports, lease_ttl=_LEASE))
            runs.append(asyncio.create_task(LoopRunner(loop, clock=SystemClock(), deadline=deadline).run()))
        await asyncio.to_thread(ended.wait)
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)


def measure_freshness(
    ports: Ports, *, rate: int, packages: int, devices: int, seconds: float
) -> Mapping[str, list[float]]:
    """Return, for each loop, the seconds of each probe row from its insertion to Valkey.

    :param seconds: for how long probes are inserted.
    :raises RuntimeError: a loop does not tick, or probes did not all come through.
    """
    with redis.Redis(port=ports.valkey_port, decode_responses=True) as valkey:
        valkey.flushall()
        with loops_and_traffic(ports, valkey, rate=rate, packages=packages, devices=devices):
            return _probe(ports, valkey, seconds)


@contextlib.contextmanager
def loops_and_traffic(ports: Ports, valkey: redis.Redis, *, rate: int, packages: int, devices: int) -> Iterator[None]:
    """Run the five loops and the traffic that they count, in a process and a thread of their own.

    :raises RuntimeError: a loop does not tick.
    """
    context = multiprocessing.get_context("spawn")
    ended, stop = context.Event(), threading.Event()
    process = context.Process(target=run_loops, args=(ports, ended))
    traffic = threading.Thread(target=feed_tables, args=(ports, rate, packages, devices, stop))
    process.start()
    traffic.start()
    try:
        wait_for_ticks(valkey)
        yield
    finally:
        stop.set()
        ended.set()
        traffic.join()
        process.join(30)
        if process.is_alive():
            process.kill()


def feed_tables(ports: Ports, rate: int, packages: int, devices: int, stop: threading.Event) -> None:
    """Insert each second what has arrived in it."""
    start = datetime.now(UTC).replace(microsecond=0)
    second = timedelta(seconds=1)
    with clickhouse_connect.get_client(**ports.http) as client:
        while not stop.wait(max(0.0, (start + second - datetime.now(UTC)).total_seconds())):
            insert_arrivals(client, start=start, length=second, rate=rate, packages=packages, devices_per_day=devices)
            start += second


def wait_for_ticks(valkey: redis.Redis) -> None:
    ends = time.monotonic() + _START_SECONDS
    while True:
        ticks = {name: int(valkey.hget(loop_key(PREFIX, name), "ticks") or 0) for name in NAMES}
        if all(ticks.values()):
            return
        if time.monotonic() > ends:
            raise RuntimeError(f"no tick of {', '.join(name for name in NAMES if not ticks[name])}")
        time.sleep(0.2)


def _probe(ports: Ports, valkey: redis.Redis, seconds: float) -> Mapping[str, list[float]]:
    seen, stamps, all_sent = _Seen(), [], threading.Event()
    total = int(seconds * _PROBES_PER_SECOND)
    poller = threading.Thread(target=_poll, args=(valkey, seen, total, all_sent))
    poller.start()
    began = time.time()
    with clickhouse_connect.get_client(**ports.http) as client:
        for number in range(total):
            time.sleep(max(0.0, began + number / _PROBES_PER_SECOND - time.time()))
            stamps.append(_insert_probe(client, number))
    all_sent.set()
    poller.join()
    missing = {name: total - count for name, count in seen.counts.items() if count != total}
    if missing:
        raise RuntimeError(f"of {total} rows these did not come through: {missing}")
    return {
        name: [instant - stamp for instant, stamp in zip(instants, stamps, strict=True)]
        for name, instants in seen.instants.items()
    }


def _insert_probe(client: Client, number: int) -> float:
    now_ms = time.time_ns() // 1_000_000
    parameters = {"now_ms": now_ms, "number": number, "package": _PACKAGE}
    for statement in (_PROBE_PAGE, _PROBE_LOG):
        client.command(statement, parameters=parameters)
    return now_ms / 1000


def _poll(valkey: redis.Redis, seen: _Seen, total: int, all_sent: threading.Event) -> None:
    ends = math.inf
    while time.monotonic() < ends and min(seen.counts.values()) < total:
        if all_sent.is_set() and ends == math.inf:
            ends = time.monotonic() + _LAST_SECONDS
        pipeline = valkey.pipeline(transaction=False)
        pipeline.hmget(f"{PREFIX}:totallog:{_PACKAGE}:0", ["log_count", "window_end"])
        pipeline.zcard(f"{PREFIX}:loadingtime:{_PACKAGE}:0")
        pipeline.zcard(f"{PREFIX}:responsetime:{_PACKAGE}:0")
        pipeline.hget(f"{PREFIX}:{_PACKAGE}:0:Web", "visit")
        pipeline.hget(f"{PREFIX}:page:{_PACKAGE}:0:Web", "pv")
        (logs, window_end), loading, response, visits, pages = pipeline.execute()
        now = time.time()
        if window_end and window_end != seen.window_end:
            seen.window_end = window_end
            seen.take("log_meter", seen.counts["log_meter"] + int(logs), now)
        for name, count in (
            ("loading_time", loading),
            ("response_time", response),
            ("device", visits),
            ("page", pages),
        ):
            seen.take(name, int(count or 0), now)
        time.sleep(_POLL_SECONDS)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, math.ceil(share * len(values)) - 1)]
