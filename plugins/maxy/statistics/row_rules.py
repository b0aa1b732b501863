"""What the loops share with the daily job: which names make keys, and which values are plausible."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from maxy.loops.options import Option, int_from
from maxy.statistics.metric_ranges import DEFAULT_RANGES, checked_metric_ranges, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from maxy.loops.options import LoopSettings

_log = logging.getLogger(__name__)

_WARN_EVERY = timedelta(minutes=1)
_NAMED_KEYS = 5


def _ranges(value: Any) -> dict[str, list[float]]:
    return to_json(checked_metric_ranges(value, where="ranges"))


#: Set for all loops and the daily job at once, by the Airflow variables of the same names with ``maxy_`` before them.
ROW_OPTIONS: Mapping[str, Option] = {
    "max_name_length": Option(300, int_from(1, 10_000), "characters that a package's or system's name may have"),
    "metric_ranges": Option(to_json(DEFAULT_RANGES), _ranges, "the lowest and highest plausible value of each metric"),
}


def row_structure(settings: LoopSettings) -> dict[str, Any]:
    """Return what the statements' templates need to know of the rules (``shared/names.sql``, ``shared/ranges.sql``)."""
    return {
        "max_name_length": settings["max_name_length"],
        "metric_ranges": checked_metric_ranges(settings["metric_ranges"], where="metric_ranges"),
    }


class OutOfRangeLog:
    """Warns of values out of range: when there are more than at the last warning, and once a minute at the most.

    :param loop: the loop's name.
    """

    def __init__(self, loop: str) -> None:
        self._loop = loop
        self._told: Counter[str] = Counter()
        self._told_at: datetime | None = None

    def report(self, counts: Mapping[str, int], worst: Iterable[tuple[Sequence[Any], int]], now: datetime) -> None:
        """Hear of a tick.

        :param counts: by metric: all that is out of range now.
        :param worst: by key: how much is out of range there.
        :param now: the tick.
        """
        # A new day begins with less.
        self._told = Counter({metric: min(told, counts.get(metric, 0)) for metric, told in self._told.items()})
        grown = any(count > self._told[metric] for metric, count in counts.items())
        if not grown or (self._told_at is not None and timedelta(0) <= now - self._told_at < _WARN_EVERY):
            return
        self._told, self._told_at = Counter(counts), now
        keys = sorted(worst, key=lambda item: item[1], reverse=True)[:_NAMED_KEYS]
        _log.warning(
            "%s: values out of range are left out: %s; most of them at %s",
            self._loop,
            ", ".join(f"{metric} {count}" for metric, count in sorted(counts.items()) if count),
            ", ".join(f"{' '.join(map(str, key))!r} {count}" for key, count in keys if count),
        )
