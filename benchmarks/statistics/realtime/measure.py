"""What a tick costs each of the three processes, and what it asks of ClickHouse and Valkey."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import redis
    from clickhouse_connect.driver.client import Client

_P = ParamSpec("_P")
_R = TypeVar("_R")
_CLEAR_PEAK = "5"
_AFTERMATH_SECONDS = 0.5


@dataclass(frozen=True)
class Cost:
    """Of one tick, or a middle of several.

    :param client: CPU seconds of this process.
    :param engine: CPU seconds of ClickHouse's process.
    :param valkey: CPU seconds of Valkey's process.
    :param wall: seconds.
    :param queries: ClickHouse statements, as the server's log has them, the client's own ones included.
    :param result_bytes: of their results, before they are packed for the wire.
    :param commands: commands that Valkey ran, those inside of scripts included.
    :param valkey_in: bytes to Valkey.
    :param valkey_out: bytes from Valkey.
    :param peak_mb: by how many megabytes this process held more at the worst moment than before.
    """

    client: float
    engine: float
    valkey: float
    wall: float
    queries: float = 0
    result_bytes: float = 0
    commands: float = 0
    valkey_in: float = 0
    valkey_out: float = 0
    peak_mb: float = 0

    @property
    def cpu(self) -> float:
        """CPU seconds of all three processes."""
        return self.client + self.engine + self.valkey

    @classmethod
    def median(cls, costs: Sequence[Cost]) -> Self:
        """Return the median of each figure."""
        return cls._middle(costs, statistics.median)

    @classmethod
    def mean(cls, costs: Sequence[Cost]) -> Self:
        """Return the mean of each figure: what comes only every few ticks is in it."""
        return cls._middle(costs, statistics.fmean)

    @classmethod
    def _middle(cls, costs: Sequence[Cost], middle: Callable[[Sequence[float]], float]) -> Self:
        return cls(**{field.name: middle([getattr(cost, field.name) for cost in costs]) for field in fields(cls)})


@dataclass(frozen=True)
class Ports:
    """The benchmark's servers, as a process of its own finds them.

    :param http: arguments of ``clickhouse_connect.get_client``.
    :param engine_pid: ClickHouse's process.
    :param valkey_port: on the loopback address.
    :param valkey_pid: Valkey's process.
    """

    http: Mapping[str, Any]
    engine_pid: int
    valkey_port: int
    valkey_pid: int


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far; to the nanosecond, where /proc has hundredths of a second."""
    # The number of a process's CPU clock, as clock_getcpuclockid(3) makes it.
    return time.clock_gettime((~pid << 3) | 2)


def memory_mb(field: str = "VmRSS") -> float:
    """Return what this process holds, or held at most since `forget_peak` (VmHWM)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/self/status has no {field}")


def in_own_process(function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call a function in a new process, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def forget_peak() -> None:
    """Let VmHWM count from here."""
    Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK, encoding="ascii")


@dataclass(frozen=True)
class _Reading:
    client: float
    engine: float
    valkey: float
    wall: float


class Meter:
    """Measures what happens between `start` and `stop`.

    The server's log is read later, for all at once: `costs`.

    :param ports: the servers.
    :param valkey: a client of the meter's own, which returns text.
    :param clickhouse: likewise.
    """

    def __init__(self, ports: Ports, valkey: redis.Redis, clickhouse: Client) -> None:
        self._ports = ports
        self._valkey = valkey
        self._clickhouse = clickhouse
        self._spans: list[tuple[int, int]] = []
        self._costs: list[Cost] = []
        #: The most megabytes that this process held in any tick.
        self.highest_mb = 0.0
        # What asking for the counters adds to them.
        first, second = self._counters(), self._counters()
        self._own = [after - before for before, after in zip(first, second, strict=True)]

    def start(self) -> None:
        """Begin with a tick."""
        forget_peak()
        self._memory = memory_mb()
        self._before = self._counters()
        self._began_us = time.time_ns() // 1000
        self._reading = self._read()

    def stop(self) -> int:
        """End it.

        :return: its number, for `costs`.
        """
        after, ended_us = self._read(), time.time_ns() // 1000
        counters = self._counters()
        commands, received, sent = (
            end - begin - own for begin, end, own in zip(self._before, counters, self._own, strict=True)
        )
        before, highest = self._reading, memory_mb("VmHWM")
        self.highest_mb = max(self.highest_mb, highest)
        self._spans.append((self._began_us, ended_us))
        self._costs.append(
            Cost(
                client=after.client - before.client,
                engine=after.engine - before.engine,
                valkey=after.valkey - before.valkey,
                wall=after.wall - before.wall,
                commands=commands,
                valkey_in=received,
                valkey_out=sent,
                peak_mb=highest - self._memory,
            )
        )
        return len(self._costs) - 1

    def costs(self) -> list[Cost]:
        """Return the costs of all ticks so far, with what the server's log says of each."""
        self._clickhouse.command("SYSTEM FLUSH LOGS query_log")
        rows = self._clickhouse.query(
            "SELECT toUnixTimestamp64Micro(query_start_time_microseconds), result_bytes FROM system.query_log"
            " WHERE type IN ('QueryFinish', 'ExceptionWhileProcessing', 'ExceptionBeforeStart')"
            " AND event_time >= fromUnixTimestamp64Micro({begin:Int64}) - 1",
            parameters={"begin": self._spans[0][0] if self._spans else 0},
        ).result_rows
        costs = []
        for (began, ended), cost in zip(self._spans, self._costs, strict=True):
            sizes = [size for started, size in rows if began <= started <= ended]
            costs.append(Cost(**{**_figures(cost), "queries": float(len(sizes)), "result_bytes": float(sum(sizes))}))
        return costs

    def _read(self) -> _Reading:
        return _Reading(
            client=time.process_time(),
            engine=cpu_seconds(self._ports.engine_pid),
            valkey=cpu_seconds(self._ports.valkey_pid),
            wall=time.perf_counter(),
        )

    def _counters(self) -> tuple[int, int, int]:
        counters: Any = self._valkey.info("stats")
        return (
            counters["total_commands_processed"],
            counters["total_net_input_bytes"],
            counters["total_net_output_bytes"],
        )


def wait_until_merged(clickhouse: Client, *, seconds: float = 20.0) -> None:
    """Wait until the engine does nothing in the background, so that a tick's CPU time is the tick's."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not clickhouse.command("SELECT count() FROM system.merges"):
            return
        time.sleep(0.05)


def aftermath(ports: Ports, clickhouse: Client) -> tuple[float, float]:
    """Wait for what the engine still does after a tick, such as merges of what that has inserted.

    :return: the engine's CPU seconds, and the seconds waited; its CPU time at rest is not taken off yet.
    """
    cpu, began = cpu_seconds(ports.engine_pid), time.monotonic()
    time.sleep(_AFTERMATH_SECONDS)
    while clickhouse.command("SELECT count() FROM system.merges"):
        time.sleep(_AFTERMATH_SECONDS)
    return cpu_seconds(ports.engine_pid) - cpu, time.monotonic() - began


def _figures(cost: Cost) -> dict[str, float]:
    return {field.name: getattr(cost, field.name) for field in fields(cost)}
