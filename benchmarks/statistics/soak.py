"""The live loops for a long time: traffic, random kills and stalls of every part, and exact figures in the end.

Starts a stack of its own on free ports, with the loops at their usual periods. Every some seconds something is done at
random: a triggerer is stopped, killed or joined by another, ClickHouse or Valkey hang or die, somebody clears, marks or
deletes a loop. Then the figures are compared with an independent computation, and memory, open files and keys with
what they were in the beginning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.conftest import UNCAPPED, RunningStack, own_environment
from tests.e2e.live import LOOPS, Feed, Live, WindowReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

# A hand-over now and then, too.
_REALTIME = {
    "deadline_minutes": 10,
    "loops": {
        # As long as the stalls that a row may have to wait through; and caps that are not reached.
        "log_meter": {"lateness_seconds": 120},
        **{name: {"lateness_seconds": 120} | UNCAPPED for name in ("loading_time", "response_time")},
        "watch": {},
    },
}
_IDLE_SECONDS = 60.0
_LOOKS = 20


@dataclass
class Usage:
    """What the parts hold: megabytes of memory and open files by part, and keys in Valkey."""

    memory: dict[str, float]
    files: dict[str, int]
    keys: int
    kinds: dict[str, Counter[str]]

    @classmethod
    def at_rest(cls, live: Live) -> Usage:
        """Look for some seconds, and take the least: a merge holds hundreds of files, but not for long."""
        looks = [cls._of(live)]
        while len(looks) < _LOOKS:
            time.sleep(1.0)
            looks.append(cls._of(live))
        return min(looks, key=lambda look: look.files["clickhouse"])

    @classmethod
    def _of(cls, live: Live) -> Usage:
        memory, files, kinds = {}, {}, {}
        for name in ("airflow-triggerer", "clickhouse", "valkey"):
            part = live.part(name)
            family = [part, *part.children(recursive=True)]
            memory[name] = sum(process.memory_full_info().pss for process in family) / 2**20
            kinds[name] = Counter(chain.from_iterable(map(_open_kinds, family)))
            files[name] = kinds[name].total()
        with live.valkey() as client:
            return cls(memory, files, int(client.dbsize()), kinds)

    def show(self, title: str) -> None:
        parts = ", ".join(f"{name} {self.memory[name]:.0f} MB {self.files[name]} files" for name in self.memory)
        print(f"{title}: {parts}, {self.keys} keys in Valkey", flush=True)


class Disturber:
    """Does something to the stack, now and then.

    :param live: the loops.
    :param random: decides what.
    """

    def __init__(self, live: Live, random: random.Random) -> None:
        self._live = live
        self._random = random
        self.done: Counter[str] = Counter()
        self._ways: list[Callable[[], None]] = [
            self.stall_triggerer,
            self.kill_triggerer,
            self.stall_and_take_over,
            self.stall_clickhouse,
            self.kill_clickhouse,
            self.stall_valkey,
            self.kill_valkey,
            self.clear,
            self.mark,
            self.delete,
        ]

    def disturb(self) -> None:
        way = self._random.choice(self._ways)
        self.done[way.__name__] += 1
        print(f"{time.strftime('%H:%M:%S')}  {way.__name__}", flush=True)
        way()

    def stall_triggerer(self) -> None:
        with self._live.stopped(self._live.triggerer()):
            self._pause(5, 40)

    def kill_triggerer(self) -> None:
        self._kill("airflow-triggerer")

    def stall_and_take_over(self) -> None:
        with self._live.stopped(self._live.triggerer()):
            self._live.start_triggerer()
            self._pause(25, 45)
        self._pause(5, 15)
        self._live.stop_triggerers()

    def stall_clickhouse(self) -> None:
        with self._live.stopped(self._live.part("clickhouse")):
            self._pause(5, 70)

    def kill_clickhouse(self) -> None:
        self._kill("clickhouse")

    def stall_valkey(self) -> None:
        with self._live.stopped(self._live.part("valkey")):
            self._pause(5, 70)

    def kill_valkey(self) -> None:
        self._kill("valkey")

    def clear(self) -> None:
        self._live.clear(self._random.choice(LOOPS))

    def mark(self) -> None:
        self._live.mark(self._random.choice(LOOPS), self._random.choice(["success", "failed"]))

    def delete(self) -> None:
        name = self._random.choice(LOOPS)
        self._live.delete(name)
        self._live.unpause(name)

    def _kill(self, part: str) -> None:
        self._live.signal(self._live.part(part), signal.SIGKILL)
        self._pause(0, 20)
        self._live.restart_killed()

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self._random.uniform(least, most))


def soak(live: Live, *, minutes: float, rate: int, seed: int, ledger: Path) -> bool:
    """Disturb for so long, then compare. True if everything is exact and nothing has grown."""
    live.unpause()
    live.wait_for_ticks(ticks=2)
    print(f"idle: {idle_queries(live)} ClickHouse queries a minute (aim: under 70)")
    disturber = Disturber(live, random.Random(seed))
    feed = Feed(dict(live.stack.environment), ledger, rate=rate)
    with WindowReader(live.valkey, live.prefix) as reader:
        try:
            live.wait_for_ticks()
            before = Usage.at_rest(live)
            before.show("at the start")
            ends = time.monotonic() + minutes * 60
            while time.monotonic() < ends:
                disturber.disturb()
                time.sleep(disturber._random.uniform(5, 40))
        finally:
            live.stop_triggerers()
            feed.stop()
        live.wait_for_ticks(ticks=3)
    after = Usage.at_rest(live)
    after.show("at the end  ")
    print("done:", ", ".join(f"{count} x {name}" for name, count in sorted(disturber.done.items())))
    return all([compare(live, feed, reader), not_grown(before, after)])


def compare(live: Live, feed: Feed, reader: WindowReader) -> bool:
    """Print each comparison."""
    stored, counted = feed.stored("maxy_app_total_log"), reader.windows.totals()
    wrong = {key: (stored[key], counted[key]) for key in stored | counted if stored[key] != counted[key]}
    print(
        f"log meter: {sum(stored.values()):,} rows arrived, {sum(counted.values()):,} counted, {len(wrong)} keys differ"
    )
    for key, (rows, count) in list(wrong.items())[:10]:
        print(f"  {key}: {rows:,} arrived, {count:,} counted")
    good = [not wrong]
    checks: list[tuple[str, Callable[[], int]]] = [
        ("page and device figures, keys", live.check_pages_and_devices),
        ("loading-time points", lambda: live.check_points("loading_time")),
        ("response-time points", lambda: live.check_points("response_time")),
    ]
    for what, check in checks:
        try:
            print(f"{what}: {check():,} as computed independently")
            good.append(True)
        except AssertionError as error:
            print(f"{what}: WRONG: {str(error)[:2000]}")
            good.append(False)
    return all(good)


def not_grown(before: Usage, after: Usage) -> bool:
    """Whether memory and files are about what they were; the first minutes fill caches, so with some allowance."""
    grown = [
        name
        for name in before.memory
        if after.memory[name] > 1.5 * before.memory[name] + 100 or after.files[name] > 1.5 * before.files[name] + 50
    ]
    print(f"growth: {', '.join(grown) + ' HAS GROWN' if grown else 'none'}")
    for name in grown:
        print(f"  {name} has more of: {(after.kinds[name] - before.kinds[name]).most_common(10)}")
    return not grown


def _open_kinds(process: psutil.Process) -> Iterator[str]:
    """Yield for each open file what it is: sockets and pipes by their kind, files by their ending."""
    for entry in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = os.readlink(entry)
            # The engine has three of these open for each of its threads, and keeps as many threads as it ever needed.
            if not target.startswith("/proc/"):
                yield Path(target).suffix or Path(target).name if target.startswith("/") else target.partition(":")[0]


def idle_queries(live: Live) -> str:
    """Count what ClickHouse is asked in a minute without traffic, and how many of these are handshakes."""
    with live.clickhouse() as client:
        since = client.command("SELECT toString(now64(6))")
        time.sleep(_IDLE_SECONDS)
        client.command("SYSTEM FLUSH LOGS")
        count, handshakes = client.query(
            """
            SELECT
                countIf(startsWith(log_comment, 'maxy_')),
                countIf(query ILIKE '%version()%' OR query ILIKE '%system.settings%')
            FROM system.query_log
            WHERE type = 'QueryStart' AND query_kind != 'Set' AND event_time_microseconds >= {since:String}
                AND query NOT ILIKE '%query_log%' AND query NOT ILIKE '%FLUSH LOGS%'
            """,
            parameters={"since": since},
        ).result_rows[0]
    return f"{count}, and {handshakes} handshakes"


def main() -> int:
    """Run from the command line; status 0 if all is exact."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to disturb (default 30)")
    parser.add_argument("--rate", type=int, default=200, help="rows per second into each table (default 200)")
    parser.add_argument("--seed", type=int, default=None, help="decides what is done (default: another each time)")
    parser.add_argument("--keep", action="store_true", help="leave logs and data where they are")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="maxy-soak-"))
    running = RunningStack.of(
        own_environment(folder / "local", MAXY_TIMEZONE="Asia/Seoul", MAXY_REALTIME=json.dumps(_REALTIME))
    )
    print(
        f"seed {seed}, {arguments.minutes:g} minutes, {arguments.rate} rows/s into each table, in {folder}", flush=True
    )
    try:
        up = running.run_command("up")
        if up.returncode:
            print(up.stdout + up.stderr)
            return 1
        live = Live(running)
        try:
            good = soak(live, minutes=arguments.minutes, rate=arguments.rate, seed=seed, ledger=folder / "ledger.jsonl")
        finally:
            live.stop_triggerers()
        print("all exact" if good else "NOT EXACT", flush=True)
        return 0 if good else 1
    finally:
        running.run_command("down" if arguments.keep else "clean")
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
