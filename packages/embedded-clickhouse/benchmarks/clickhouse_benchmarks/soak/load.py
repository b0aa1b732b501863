"""Many clients at once over both protocols; then nothing may be wrong, stuck or left behind."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clickhouse_benchmarks.soak.clients import HttpClient, NativeClient
from clickhouse_benchmarks.soak.usage import Usage
from clickhouse_benchmarks.soak.visitor import TABLES, Visitor
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from embedded_clickhouse.testing import Server

# Until then statements of clients that left have ended, and connections are closed.
_QUIET_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_JOIN_SECONDS = 120.0
_STOP_SECONDS = 5.0
# What a process may keep that it did not have before the load: caches of the engine, and its arenas.
_MEMORY_FACTOR = 1.5
_MEMORY_MB = 150.0
_ANY_TRACEBACK = "Traceback"


@dataclass
class LoadResult:
    """Figures of a run.

    :param done: how often each thing was done.
    :param before: the process after a warm-up by the same clients, and a pause.
    :param peak: the process in the middle of the load.
    :param after: the process when they had left, and after a pause.
    """

    seconds: float
    clients: int
    done: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    before: Usage | None = None
    peak: Usage | None = None
    after: Usage | None = None
    faults: list[str] = field(default_factory=list)
    exit_status: int | None = None

    def __str__(self) -> str:
        done = ", ".join(f"{count:,} x {name}" for name, count in sorted(self.done.items()))
        return (
            f"{self.clients} clients for {self.seconds:.0f} s: {done}; {self.rows:,} rows acknowledged\n"
            f"before: {self.before}\nduring: {self.peak}\nafter:  {self.after}\n"
            f"{len(self.faults)} faults, exit status {self.exit_status}"
        )


class Load:
    """The load.

    :param directory: of the server.
    :param seed: decides what each client does; how they come in each other's way is up to the machine.
    :param clients: how many.
    :param report: takes lines on what is going on.
    :param rest: seconds to leave the server alone before each look: the engine gives memory back some ten seconds late.
    """

    def __init__(
        self, directory: Path, *, seed: int, clients: int, report: Callable[[str], None], rest: float = 0.0
    ) -> None:
        self._directory = directory
        self._seed = seed
        self._clients = clients
        self._report = report
        self._rest = rest

    def run(self, seconds: float) -> LoadResult:
        """Run so long."""
        result = LoadResult(seconds, self._clients)
        with running_server(self._directory) as server:
            client = HttpClient(server)
            for sql in TABLES:
                client.rows(sql)
            client.close()
            visitors = [
                Visitor(name, server, random.Random(f"{self._seed} {name}")) for name in range(1, self._clients + 1)
            ]
            # Pools of threads and caches fill as far as so many clients fill them.
            self._together(visitors, Visitor.try_everything)
            self._together(visitors, _rest)
            result.before = self._settled(server, None, result)
            self._report(f"warm: {result.before}")
            self._loaded(server, visitors, seconds, result)
            self._together(visitors, Visitor.finish)
            result.after = self._settled(server, result.before, result)
            for visitor in visitors:
                result.done += visitor.done
                result.faults += visitor.faults
                result.rows += visitor.model.totals[0]
            result.faults += [*self._answers(server), *growth(result.before, result.after)]
            result.exit_status = self._stopped(server, result)
        result.faults += self._complaints()
        return result

    def _loaded(self, server: Server, visitors: Sequence[Visitor], seconds: float, result: LoadResult) -> None:
        ends = time.monotonic() + seconds

        def work(visitor: Visitor) -> None:
            while time.monotonic() < ends:
                visitor.step()

        watch = threading.Timer(seconds / 2, lambda: setattr(result, "peak", Usage.of(server.pid)))
        watch.start()
        self._together(visitors, work)
        watch.join()

    def _together(self, visitors: Sequence[Visitor], work: Callable[[Visitor], None]) -> None:
        threads = [
            threading.Thread(target=work, args=(visitor,), name=f"client {visitor.name}", daemon=True)
            for visitor in visitors
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [thread.name for thread in threads if thread.is_alive()]
        if stuck:
            raise TimeoutError(f"stuck: {', '.join(stuck)}")

    def _settled(self, server: Server, before: Usage | None, result: LoadResult) -> Usage:
        """What the process holds once nothing runs any more."""
        time.sleep(self._rest)
        deadline = time.monotonic() + _QUIET_SECONDS
        while True:
            running, usage = self._running(server), Usage.of(server.pid)
            quiet = not running and not usage.spooled and (before is None or not growth(before, usage))
            if quiet or time.monotonic() > deadline:
                result.faults += [f"still running: {sql}" for sql in running]
                return usage
            time.sleep(_LOOK_SECONDS)

    def _running(self, server: Server) -> list[str]:
        client = HttpClient(server)
        try:
            rows = client.rows("SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%'")
        finally:
            client.close()
        return [str(sql) for (sql,) in rows]

    def _answers(self, server: Server) -> list[str]:
        faults = []
        for client in (HttpClient(server), NativeClient(server)):
            if client.rows("SELECT 1") != [[1]]:
                faults.append(f"{type(client).__name__} gets no answer")
            client.close()
        return faults

    def _stopped(self, server: Server, result: LoadResult) -> int:
        """Stop it in good order: that waits for every session that was not closed."""
        began = time.monotonic()
        server.process.terminate()
        status = server.process.wait(60)
        took = time.monotonic() - began
        if status or took > _STOP_SECONDS:
            result.faults.append(f"the server took {took:.1f} s to end, with status {status}")
        return status

    def _complaints(self) -> list[str]:
        log = (self._directory / "server.log").read_text(encoding="utf-8", errors="replace")
        return [f"the log has {log.count(_ANY_TRACEBACK)} tracebacks"] if _ANY_TRACEBACK in log else []


def _rest(visitor: Visitor) -> None:
    """Leave nothing open for the first look."""
    visitor.attempt(visitor.end_a_stall)
    visitor.client.close()
    visitor.other.close()


def growth(before: Usage, after: Usage) -> list[str]:
    """What there is more of than before the load."""
    grown = []
    for name in ("python_threads", "sockets", "spooled"):
        was, now = getattr(before, name), getattr(after, name)
        if now > was:
            grown.append(f"{name} grew from {was} to {now}")
    if after.memory_mb > _MEMORY_FACTOR * before.memory_mb + _MEMORY_MB:
        grown.append(f"memory grew from {before.memory_mb:.0f} to {after.memory_mb:.0f} MB")
    return grown
