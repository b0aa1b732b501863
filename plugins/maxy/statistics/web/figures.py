"""Figures as readers are told them: what was not measured is not 0."""

from __future__ import annotations

import math

from maxy.statistics.web.models import AVERAGES


def measured(metric: str, value: float | None) -> float | int | None:
    """Return a figure; None for an average of nothing.

    The table and Valkey keep 0 where nothing was measured. No mean time is exactly 0, negative or not finite.

    :param metric: name of the table's column.
    :param value: as it is kept.
    """
    if value is None or metric not in AVERAGES:
        return value
    return value if math.isfinite(value) and value > 0 else None
