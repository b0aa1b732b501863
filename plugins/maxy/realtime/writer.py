"""The former name of :mod:`maxy.loops.tick_writer`."""

from maxy._moved import warn_moved
from maxy.loops.tick_writer import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.loops.tick_writer")
