"""The former name of :class:`maxy.days.CalendarDay`, which was ``StatisticsDay``."""

import warnings

from maxy.days import CalendarDay as StatisticsDay

__all__ = ["StatisticsDay"]

warnings.warn(
    f"{__name__}.StatisticsDay has become maxy.days.CalendarDay; the former name goes with the next release",
    DeprecationWarning,
    stacklevel=2,
)
