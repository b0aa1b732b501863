"""The former name of :mod:`maxy.statistics.live.page`."""

from maxy._moved import warn_moved
from maxy.statistics.live.page import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.statistics.live.page")
