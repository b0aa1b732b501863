"""What the loops share with the daily job: which names make keys, and which values are plausible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maxy.loops.options import Option, int_from
from maxy.statistics.metric_ranges import DEFAULT_RANGES, checked_metric_ranges, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.loops.options import LoopSettings


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
