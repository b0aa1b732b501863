"""The plausible range of every metric that phones and browsers send: what lies outside is not a measurement.

One table for the daily rollup, the live loops and the scatters (``include/sql/shared/ranges.sql`` applies it). A value
outside its range is left out, its row stays, and what was left out is counted.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: No bound may be higher: a thousand million rows of such counts still fit into 64 bits.
LARGEST_BOUND = 10**9
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


@dataclass(frozen=True)
class MetricRange:
    """The values of a metric that are taken for measurements, both ends included.

    :param low: 0 or more.
    :param high: not below ``low``, and at most ``LARGEST_BOUND``.
    """

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        """Whether a value is plausible; NaN never is."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high


#: What holds unless it is set, by metric: counts of one row (or of one device's day), milliseconds, and cls, which has
#: no unit. The vitals end at 10 minutes: a browser that reports more has slept in between.
DEFAULT_RANGES: Mapping[str, MetricRange] = {
    # Of one device on one day, maxy_device_access_history.
    "visit": MetricRange(0, 1_000_000),
    "install": MetricRange(0, 1_000_000),
    "login": MetricRange(0, 1_000_000),
    # Of one page view, maxy_device_page_flow.
    "crash_count": MetricRange(0, 1_000_000),
    "error_count": MetricRange(0, 1_000_000),
    "js_error_count": MetricRange(0, 1_000_000),
    "log_count": MetricRange(0, 1_000_000),
    "intervaltime": MetricRange(0, _DAY_MS),
    "lcp": MetricRange(0, 600_000),
    "ttfb": MetricRange(0, 600_000),
    "fcp": MetricRange(0, 600_000),
    "inp": MetricRange(0, 600_000),
    "cls": MetricRange(0, 100),
    # Of one point of the scatters.
    "loading_time": MetricRange(0, _HOUR_MS),
    "response_time": MetricRange(0, _HOUR_MS),
}


def parse_metric_ranges(text: str, *, where: str) -> dict[str, MetricRange]:
    """Read ranges from a JSON text; metrics that are not named keep their default.

    :param text: an object such as ``{"lcp": [0, 60000]}``: the lowest and the highest plausible value.
    :param where: what the text is called, for errors.
    :raises ValueError: naming the metric that is wrong.
    """
    try:
        given = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not valid JSON: {error}") from None
    return checked_metric_ranges(given, where=where)


def checked_metric_ranges(given: Any, *, where: str) -> dict[str, MetricRange]:
    """Check ranges and fill in the defaults.

    :param given: two numbers by metric.
    :param where: the ranges' place, for errors.
    :raises ValueError: naming the metric that is wrong.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected a JSON object")
    unknown = sorted(given.keys() - DEFAULT_RANGES.keys())
    if unknown:
        raise ValueError(
            f"{where}: there is no metric {', '.join(unknown)}; there are {', '.join(sorted(DEFAULT_RANGES))}"
        )
    return {
        name: _range(given[name], f"{where}.{name}") if name in given else default
        for name, default in DEFAULT_RANGES.items()
    }


def to_json(ranges: Mapping[str, MetricRange]) -> dict[str, list[float]]:
    """Return what :func:`checked_metric_ranges` takes: plain JSON, for a trigger's arguments."""
    return {name: [known.low, known.high] for name, known in ranges.items()}


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        every = [name for name, _ in pairs]
        raise ValueError(f"{where}: {next(name for name in every if every.count(name) > 1)} is given twice")
    return content


def _range(value: Any, where: str) -> MetricRange:
    if isinstance(value, list) and len(value) == 2 and all(map(_is_bound, value)) and value[0] <= value[1]:
        return MetricRange(*value)
    raise ValueError(
        f"{where}: {value!r} is not a list of two numbers from 0 to {LARGEST_BOUND}, the lowest and the highest value"
    )


def _is_bound(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= LARGEST_BOUND
