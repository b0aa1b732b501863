"""The former name of :mod:`maxy.loops.loop`."""

from maxy._moved import warn_moved
from maxy.loops.loop import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.loops.loop")
