"""The former name of :mod:`maxy.statistics.day_sensor`."""

from maxy._moved import warn_moved
from maxy.statistics.day_sensor import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.statistics.day_sensor")
