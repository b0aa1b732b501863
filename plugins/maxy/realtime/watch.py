"""The former name of :mod:`maxy.statistics.live.watch`."""

from maxy._moved import warn_moved
from maxy.statistics.live.watch import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.statistics.live.watch")
