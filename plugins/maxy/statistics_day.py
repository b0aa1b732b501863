"""The former name of :class:`maxy.days.CalendarDay`, which was ``StatisticsDay``."""

from maxy._moved import warn_renamed
from maxy.days import CalendarDay as StatisticsDay

__all__ = ["StatisticsDay"]

warn_renamed(f"{__name__}.StatisticsDay", "maxy.days.CalendarDay", stacklevel=2)
