"""What the server in front of the engine costs, beside the engine called in-process, in one run on the same bytes.

Rows go in and out over both protocols: as bytes that are ready, so that only the server is measured, and by Python's
clients as their users call them (clickhouse_connect compresses then). After that `SELECT 1` over kept connections,
small queries of twenty clients at once, the start, and memory. The rounds of all ways are interleaved, and what is
printed are medians: rows per second by the clock, and CPU seconds of this process and of the engine's for a million
rows. Where the bytes are the same in-process, the last columns have both as a share of it: rows per second, and the
engine's CPU seconds.

In-process is embedded_clickhouse/engine.py, which the server calls too, in a process that does nothing else. "Bare" is
the engine's own streaming insert without that layer: it stores what a client that vanishes has sent so far.

The machine's speed drifts, and other work on it takes its share: compare within one run, and where others worked,
trust the CPU seconds more than the clock.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import clickhouse_connect
import clickhouse_driver

from clickhouse_benchmarks.aims import Figures, Pair, show_aims
from clickhouse_benchmarks.data import COUNT, DATABASE, EMPTY, PREPARE, Rows, fill
from clickhouse_benchmarks.inprocess import InProcess, inprocess
from clickhouse_benchmarks.latency import Ones, PlainHttp, ask_ones, ask_together, small_query
from clickhouse_benchmarks.measure import Memory, Sample, cpu_seconds, timed
from clickhouse_benchmarks.ways import Way, inserts, selects
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FORMATS = ("Native", "RowBinary")
_BARE = "bare Native"
_STARTS = 5
_BATCHES = 10
_CLIENTS = 20
_REST_SECONDS = 2.0
_ONE = "SELECT 1"


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    :param rows: of one insert or select.
    :param rounds: of each way.
    :param ones: `SELECT 1` of each way.
    :param seconds: that the twenty clients ask, in each way.
    """

    rows: int
    rounds: int
    ones: int
    seconds: float


class _Bench:
    """One server and one engine in-process, with the same tables.

    :param server: the server.
    :param local: the engine.
    :param folder: for files.
    :param plan: how much is measured.
    """

    def __init__(self, server: Server, local: InProcess, folder: Path, plan: Plan) -> None:
        self._server = server
        self._local = local
        self._plan = plan
        self._plain = PlainHttp(server)
        self._bodies = {fmt: folder / fmt for fmt in _FORMATS}

    def prepare(self) -> None:
        """Make and fill the tables, and write the bytes that are inserted."""
        self._plain.post(f"CREATE DATABASE {DATABASE}".encode(), "/")
        for sql in (*PREPARE, fill(self._plan.rows), "OPTIMIZE TABLE source FINAL"):
            self._plain.post(sql.encode())
        self._local.call("prepare", fill=fill(self._plan.rows))
        for fmt, path in self._bodies.items():
            self._local.call("write", path=str(path), fmt=fmt)

    def inserts(self) -> dict[str, Pair]:
        """Measure and print every way to insert."""
        rows = Rows.make(self._plan.rows)
        ways = inserts(self._server, rows, self._bodies)
        runs = {fmt: self._insert_in_process(fmt) for fmt in self._bodies}
        runs[_BARE] = self._insert_in_process("Native", bare=True)
        runs |= {way.name: self._insert(way) for way in ways}
        return self._measure("rows in", runs, ways)

    def selects(self) -> dict[str, Pair]:
        """Measure and print every way to select."""
        ways = selects(self._server, self._bodies)
        runs = {fmt: self._select_in_process(fmt) for fmt in self._bodies}
        runs |= {way.name: self._timed(way) for way in ways}
        return self._measure("rows out", runs, ways)

    def ones(self) -> tuple[dict[str, Ones], Ones]:
        """Measure and print `SELECT 1`. Returns the ways over a protocol, and in-process."""
        client = clickhouse_connect.get_client(**self._server.http_arguments(DATABASE))
        driver = clickhouse_driver.Client(**self._server.native_arguments(DATABASE))
        asks: dict[str, Callable[[], object]] = {
            "HTTP, plain": lambda: self._plain.ask(_ONE),
            "HTTP, clickhouse_connect": lambda: client.query(_ONE),
            "native, clickhouse_driver": lambda: driver.execute(_ONE),
        }
        measured, direct = {name: Ones() for name in asks}, Ones()
        for ask in asks.values():
            ask()
        count = max(1, self._plan.ones // _BATCHES)
        for _ in range(_BATCHES):
            answer = self._local.call("ones", count=count)
            direct.walls += answer["walls"]
            direct.engine.append(answer["cpu"])
            for name, ask in asks.items():
                ask_ones(ask, self._server.pid, count, measured[name])
        client.close()
        driver.disconnect()
        print(f"\n{'SELECT 1, kept connection':38}{'p50 ms':>9}{'p99 ms':>9}{'engine ms':>11}")
        for name, ones in {"in-process": direct, **measured}.items():
            print(
                f"{name:38}{1000 * ones.percentile(0.5):9.2f}{1000 * ones.percentile(0.99):9.2f}"
                f"{1000 * statistics.median(ones.engine):11.2f}"
            )
        return measured, direct

    def together(self) -> None:
        """Measure and print twenty clients at once."""
        rows, seconds, server = self._plan.rows, self._plan.seconds, self._server
        print(f"\n{f'{_CLIENTS} clients, {seconds:g} s':38}{'queries/s':>10}{'engine ms':>11}")
        answer = self._local.call("clients", count=_CLIENTS, seconds=seconds, rows=rows)
        _show_together("in-process", answer["queries"] / seconds, answer["cpu"])
        chances = [random.Random(number) for number in range(_CLIENTS)]
        plains = [PlainHttp(server) for _ in chances]
        drivers = [clickhouse_driver.Client(**server.native_arguments(DATABASE)) for _ in chances]
        ways: dict[str, Sequence[Callable[[str], object]]] = {
            "HTTP, plain": [plain.ask for plain in plains],
            "native, clickhouse_driver": [driver.execute for driver in drivers],
        }
        for name, sends in ways.items():
            asks = [_small(send, chance, rows) for send, chance in zip(sends, chances, strict=True)]
            cpu = cpu_seconds(server.pid)
            done = ask_together(asks, seconds)
            _show_together(name, done / seconds, (cpu_seconds(server.pid) - cpu) / done)
        for plain in plains:
            plain.close()
        for driver in drivers:
            driver.disconnect()

    def _insert(self, way: Way) -> Callable[[], Sample]:
        def run() -> Sample:
            sample = timed(self._server.pid, way.run)
            self._check(way.name, int(self._plain.post(COUNT.encode())))
            self._plain.post(EMPTY.encode())
            return sample

        return run

    def _insert_in_process(self, fmt: str, *, bare: bool = False) -> Callable[[], Sample]:
        def run() -> Sample:
            answer = self._local.call("insert", path=str(self._bodies[fmt]), fmt=fmt, bare=bare)
            self._check(f"in-process {fmt}", answer["rows"])
            return Sample(answer["wall"], 0.0, answer["cpu"])

        return run

    def _select_in_process(self, fmt: str) -> Callable[[], Sample]:
        def run() -> Sample:
            answer = self._local.call("select", fmt=fmt)
            if answer["size"] != self._bodies[fmt].stat().st_size:
                raise RuntimeError(f"in-process {fmt}: {answer['size']:,} bytes came")
            return Sample(answer["wall"], 0.0, answer["cpu"])

        return run

    def _timed(self, way: Way) -> Callable[[], Sample]:
        return lambda: timed(self._server.pid, way.run)

    def _check(self, name: str, stored: int) -> None:
        if stored != self._plan.rows:
            raise RuntimeError(f"{name}: {stored:,} rows were stored instead of {self._plan.rows:,}")

    def _measure(self, title: str, runs: Mapping[str, Callable[[], Sample]], ways: Sequence[Way]) -> dict[str, Pair]:
        samples: dict[str, list[Sample]] = {name: [] for name in runs}
        # The first round warms everything up.
        for number in range(self._plan.rounds + 1):
            for name, run in runs.items():
                sample = run()
                if number:
                    samples[name].append(sample)
        medians = {name: Sample.median(taken) for name, taken in samples.items()}
        pairs = {way.name: Pair(medians[way.name], medians[way.like]) for way in ways if way.like is not None}
        print(f"\n{f'{self._plan.rows:,} {title}':38}{'rows/s':>12}{'client s/M':>12}{'engine s/M':>12}", end="")
        print(f"{'rows/s':>10}{'engine':>8}")
        for name, sample in medians.items():
            shown = name if name in {way.name for way in ways} else f"in-process, {name}"
            _show_sample(shown, sample, self._plan.rows, pairs.get(name))
        print(f"memory: server {Memory.of(self._server.pid)}, in-process {Memory.of(self._local.pid)}", flush=True)
        return pairs


def run(plan: Plan) -> None:
    """Measure and print."""
    began = time.perf_counter()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clickhouse-bench-")))
        start = median_start(folder)
        server = stack.enter_context(running_server(folder / "server"))
        idle = rest(server)
        print(f"start: {start:.2f} s; idle memory: {idle}", flush=True)
        bench = _Bench(server, stack.enter_context(inprocess(folder / "in-process")), folder, plan)
        bench.prepare()
        ones, direct_one = bench.ones()
        pairs_in, pairs_out = bench.inserts(), bench.selects()
        bench.together()
        print(f"memory in the end: server {Memory.of(server.pid)}")
        # A client's library has its own price; the one of the driver is part of the only way there is.
        plain = {name: taken for name, taken in ones.items() if "clickhouse_connect" not in name}
        show_aims(Figures(pairs_in, pairs_out, plain, direct_one, idle, start))
    load = os.getloadavg()[0]
    print(f"\nthe whole run took {time.perf_counter() - began:.0f} s; load of the machine in the end {load:.1f}")


def median_start(folder: Path) -> float:
    """Return the seconds from nothing until both ports answer, each time with a new folder."""
    seconds = []
    for number in range(_STARTS):
        began = time.perf_counter()
        with running_server(folder / f"start-{number}"):
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def rest(server: Server) -> Memory:
    """Return the memory of a server that has answered over both protocols and then had nothing to do."""
    plain = PlainHttp(server)
    plain.post(_ONE.encode(), "/")
    plain.close()
    with clickhouse_driver.Client(**server.native_arguments()) as client:
        client.execute(_ONE)
    time.sleep(_REST_SECONDS)
    return Memory.of(server.pid)


def _small(send: Callable[[str], object], chance: random.Random, rows: int) -> Callable[[], object]:
    return lambda: send(small_query(chance, rows))


def _show_sample(name: str, sample: Sample, rows: int, pair: Pair | None) -> None:
    millions = rows / 1e6
    shares = f"{100 * pair.share:9.0f}%{100 * sample.engine / pair.direct.engine:7.0f}%" if pair else ""
    print(
        f"{name:38}{rows / sample.wall:12,.0f}{sample.client / millions:12.3f}{sample.engine / millions:12.3f}{shares}",
        flush=True,
    )


def _show_together(name: str, rate: float, engine: float) -> None:
    print(f"{name:38}{rate:10.0f}{1000 * engine:11.2f}", flush=True)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of one insert or select (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=5, help="of each way (default 5)")
    parser.add_argument("--ones", type=int, default=2000, help="SELECT 1 in each way (default 2,000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="that twenty clients ask, in each way (default 5)")
    parser.add_argument("--quick", action="store_true", help="a small one, to see that it works")
    arguments = parser.parse_args()
    if arguments.quick:
        run(Plan(rows=100_000, rounds=1, ones=200, seconds=1.0))
    else:
        run(Plan(arguments.rows, arguments.rounds, arguments.ones, arguments.seconds))


if __name__ == "__main__":
    main()
