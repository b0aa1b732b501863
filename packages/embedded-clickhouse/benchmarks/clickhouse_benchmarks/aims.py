"""What the server is meant to cost, and whether it does."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_benchmarks.latency import Ones
    from clickhouse_benchmarks.measure import Memory, Sample

_INSERT_SHARE, _SELECT_SHARE, _ONE_SECONDS, _IDLE_MB, _START_SECONDS = 0.6, 0.5, 0.0015, 300, 1.0


@dataclass(frozen=True)
class Pair:
    """The same bytes over a protocol and in-process.

    :param served: median over the protocol.
    :param direct: median in-process.
    """

    served: Sample
    direct: Sample

    @property
    def share(self) -> float:
        """Return the rows per second over the protocol as a share of those in-process."""
        return self.direct.wall / self.served.wall

    def bound(self) -> str:
        """Say in words what the time goes into."""
        both = self.served.client + self.served.engine
        more = self.served.engine - self.direct.engine
        waiting = max(0.0, self.served.wall - both)
        return (
            f"{1000 * self.served.wall:.0f} ms for {1000 * self.direct.wall:.0f}: CPU of the client"
            f" {1000 * self.served.client:.0f}, of the server {1000 * self.served.engine:.0f} ({1000 * more:+.0f} to"
            f" in-process), neither {1000 * waiting:.0f}"
        )


@dataclass(frozen=True)
class Figures:
    """What has aims.

    :param inserts: by way.
    :param selects: by way.
    :param ones: `SELECT 1` by way; only those of a protocol without much of a client have an aim.
    :param direct_one: `SELECT 1` in-process.
    :param idle: memory of a server that has answered and rests.
    :param start: seconds from nothing to ready.
    """

    inserts: Mapping[str, Pair]
    selects: Mapping[str, Pair]
    ones: Mapping[str, Ones]
    direct_one: Ones
    idle: Memory
    start: float


def show_aims(figures: Figures) -> None:
    """Print each aim, as met or missed, with what bounds it."""
    print("\nAims")
    for verb, pairs, aim in (("insert", figures.inserts, _INSERT_SHARE), ("select", figures.selects, _SELECT_SHARE)):
        for name, pair in pairs.items():
            print(
                f"{verb}, {name}: {100 * pair.share:.0f} % of in-process (aim: at least {100 * aim:.0f} %)"
                f" {_verdict(pair.share >= aim)}; {pair.bound()}"
            )
    direct = figures.direct_one
    for name, ones in figures.ones.items():
        p50 = ones.percentile(0.5)
        print(
            f"SELECT 1, {name}: p50 {1000 * p50:.2f} ms (aim: under {1000 * _ONE_SECONDS:g} ms)"
            f" {_verdict(p50 < _ONE_SECONDS)}; in-process {1000 * direct.percentile(0.5):.2f} ms; CPU of the server"
            f" {1000 * statistics.median(ones.engine):.2f} ms, in-process {1000 * statistics.median(direct.engine):.2f}"
        )
    idle = figures.idle
    print(
        f"idle memory: {idle.resident:.0f} MB (aim: under {_IDLE_MB} MB) {_verdict(idle.resident < _IDLE_MB)};"
        f" {idle.resident - idle.private:.0f} MB of it are pages of files, the engine's library above all"
    )
    print(f"start: {figures.start:.2f} s (aim: under {_START_SECONDS:g} s) {_verdict(figures.start < _START_SECONDS)}")


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"
