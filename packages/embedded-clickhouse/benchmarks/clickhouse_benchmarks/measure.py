"""What one insert, one select or one moment costs: seconds, CPU seconds on both sides, memory."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Sample:
    """Of one insert or select, or a median of several.

    :param wall: seconds.
    :param client: CPU seconds of this process.
    :param engine: CPU seconds of the engine's process.
    """

    wall: float
    client: float
    engine: float

    @classmethod
    def median(cls, samples: Sequence[Sample]) -> Sample:
        """Return the median of each figure."""
        walls, clients, engines = zip(*((sample.wall, sample.client, sample.engine) for sample in samples), strict=True)
        return cls(statistics.median(walls), statistics.median(clients), statistics.median(engines))


@dataclass(frozen=True)
class Memory:
    """What a process holds, in megabytes.

    :param resident: all of it, the engine's library (a mapped file) included.
    :param private: what is in no file.
    :param peak: the most that was resident so far.
    """

    resident: float
    private: float
    peak: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Read it of a process."""
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        values = {
            name: int(rest.split()[0]) / 1024 for name, _, rest in map(_field, lines) if name.startswith(("Vm", "Rss"))
        }
        return cls(values["VmRSS"], values["RssAnon"], values["VmHWM"])

    def __str__(self) -> str:
        return f"{self.resident:.0f} MB ({self.private:.0f} private, at most {self.peak:.0f})"


def timed(engine_pid: int, action: Callable[[], object]) -> Sample:
    """Run something of this process that makes the engine of another one work."""
    engine, client, wall = cpu_seconds(engine_pid), time.process_time(), time.perf_counter()
    action()
    wall, client = time.perf_counter() - wall, time.process_time() - client
    return Sample(wall, client, cpu_seconds(engine_pid) - engine)


def cpu_seconds(pid: int) -> float:
    """Return what a process has used so far; to the nanosecond, where /proc has hundredths of a second."""
    # The number of a process's CPU clock, as clock_getcpuclockid(3) makes it.
    return time.clock_gettime((~pid << 3) | 2)


def _field(line: str) -> tuple[str, str, str]:
    return line.partition(":")
