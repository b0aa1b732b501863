"""The former name of :mod:`maxy.statistics.assets`."""

from maxy._moved import warn_moved
from maxy.statistics.assets import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.statistics.assets")
