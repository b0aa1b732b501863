"""The former name of :mod:`maxy.statistics.live.device`."""

from maxy._moved import warn_moved
from maxy.statistics.live.device import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.statistics.live.device")
