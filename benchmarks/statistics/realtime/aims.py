"""What the live loops are meant to cost, and whether they do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.statistics.realtime.freshness import percentile
from benchmarks.statistics.realtime.loops import FAST, NAMES, SLOW, five_seconds
from benchmarks.statistics.realtime.measure import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.statistics.realtime.loops import SegmentResult

_CORE_SHARE, _MEMORY_MB, _TICK_SECONDS, _FRESHNESS_SLACK = 0.05, 200, 1.0, 1.0
# "Nearly": what the machine's drift makes of equal costs, and some milliseconds.
_FLAT_FACTOR, _FLAT_SECONDS = 1.5, 0.010
_MAIN = (10_000_000, 100, 10_000)
_MANY_PACKAGES = (1000, 2_000)
_REBUILDS_PER_FIVE_SECONDS = 5 / 3600
_SLOW_TICKS_PER_FIVE_SECONDS = 1 / 6


@dataclass(frozen=True)
class Measured:
    """A point's figures.

    :param loops: of the loops.
    :param straightforward: of the ways that were measured beside them.
    """

    loops: SegmentResult
    straightforward: Mapping[str, Sequence[Cost]]


def show_aims(measured: Mapping[tuple[int, int, int], Measured], freshness: Mapping[str, Sequence[float]]) -> None:
    """Print each aim that was measured, as met or missed.

    :param measured: by rows, packages and rate.
    :param freshness: seconds by loop.
    """
    print("\nAims")
    for point, figures in measured.items():
        _show_sum(point, figures)
    if _MAIN in measured:
        _show_memory(measured[_MAIN].loops)
    _show_flat_in_rows(measured)
    for point, figures in measured.items():
        if figures.loops.idle_costs["page"]:
            _show_flat_in_keys(point, figures.loops)
    for point, figures in measured.items():
        if point[1:] == _MANY_PACKAGES:
            _show_wall(point[0], figures.loops)
    for name, seconds in freshness.items():
        _show_freshness(name, seconds)


def all_loops(result: SegmentResult) -> dict[str, float]:
    """Return CPU seconds of every five seconds, by loop and process, rare work included."""
    parts = {
        f"{name}, {process}": value
        for name, shares in five_seconds(result).items()
        for process, value in shares.items()
    }
    # Hourly, the page loop reads the whole day again, as its first tick does.
    rebuild = max(0.0, result.first["page"].cpu - Cost.mean(result.costs["page"]).cpu)
    parts["page, hourly check"] = rebuild * _REBUILDS_PER_FIVE_SECONDS
    parts["page, the engine afterwards"] = max(0.0, result.aftermath) * _SLOW_TICKS_PER_FIVE_SECONDS
    return parts


def _show_sum(point: tuple[int, int, int], figures: Measured) -> None:
    parts = all_loops(figures.loops)
    total = sum(parts.values())
    rows, packages, rate = point
    line = (
        f"all loops, N={rows:,} P={packages:,} R={rate:,}: {1000 * total:.0f} ms of CPU time in 5 s ="
        f" {100 * total / 5:.1f} % of one core"
    )
    if point == _MAIN:
        line += f" (aim: under {100 * _CORE_SHARE:.0f} %) {_verdict(total / 5 < _CORE_SHARE)}"
        largest = sorted(parts.items(), key=lambda part: -part[1])[:4]
        line += "; most: " + ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in largest)
    print(line)
    ways = figures.straightforward
    if point == _MAIN and ways:
        direct = sum(Cost.median(costs).cpu / (1 if name in FAST else 6) for name, costs in ways.items())
        print(
            f"  the straightforward ways of {', '.join(ways)}: {1000 * direct:.0f} ms in 5 s ="
            f" {100 * direct / 5:.0f} % of one core"
        )


def _show_memory(result: SegmentResult) -> None:
    grown = result.memory_peak_mb - result.memory_before_mb
    print(
        f"memory of the process with all loops: at most {result.memory_peak_mb:.0f} MB, {grown:.0f} of it the loops'"
        f" (aim: under {_MEMORY_MB}) {_verdict(result.memory_peak_mb < _MEMORY_MB)}"
    )


def _show_flat_in_rows(measured: Mapping[tuple[int, int, int], Measured]) -> None:
    """Compare points that differ in nothing but the day's size."""
    groups: dict[tuple[int, int], dict[int, SegmentResult]] = {}
    for (rows, packages, rate), figures in measured.items():
        groups.setdefault((packages, rate), {})[rows] = figures.loops
    for (packages, rate), results in groups.items():
        if len(results) < 2:
            continue
        for name in NAMES:
            costs = {rows: Cost.median(result.costs[name]).cpu for rows, result in sorted(results.items())}
            least, most = costs[min(costs)], costs[max(costs)]
            text = ", ".join(f"{1000 * cost:.1f} ms at N={rows:,}" for rows, cost in costs.items())
            print(f"flat in N, P={packages:,} R={rate:,}, {name}: {text} {_verdict(_is_flat(least, most))}")


def _show_flat_in_keys(point: tuple[int, int, int], result: SegmentResult) -> None:
    """Compare the loops' process and Valkey; what is in Valkey makes no difference to ClickHouse."""
    for name in NAMES:
        medians = [Cost.median(costs[name]) for costs in (result.costs, result.idle_costs)]
        without, with_idle = (cost.client + cost.valkey for cost in medians)
        print(
            f"flat in idle keys, N={point[0]:,} P={point[1]:,} R={point[2]:,}, {name}: {1000 * without:.1f} ms without,"
            f" {1000 * with_idle:.1f} ms with them {_verdict(_is_flat(without, with_idle))}"
        )


def _is_flat(least: float, most: float) -> bool:
    return most <= _FLAT_FACTOR * least + _FLAT_SECONDS


def _show_wall(rows: int, result: SegmentResult) -> None:
    walls = {name: max(cost.wall for cost in result.costs[name]) for name in FAST}
    text = ", ".join(f"{name} {wall:.2f} s" for name, wall in walls.items())
    print(
        f"longest 5 s tick, N={rows:,} P=1,000 R=2,000: {text} (aim: under {_TICK_SECONDS:g} s)"
        f" {_verdict(max(walls.values()) < _TICK_SECONDS)}"
    )


def _show_freshness(name: str, seconds: Sequence[float]) -> None:
    p50, p99 = (percentile(seconds, share) for share in (0.5, 0.99))
    aim = (30 if name in SLOW else 5) + _FRESHNESS_SLACK
    print(
        f"row to Valkey, P=100 R=2,000, {name}: p50 {p50:.1f} s, p99 {p99:.1f} s (aim: p99 under {aim:g} s)"
        f" {_verdict(p99 < aim)}"
    )


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"
