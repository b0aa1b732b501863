"""The former name of :mod:`maxy.loops.options`."""

from maxy._moved import warn_moved
from maxy.loops.options import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.loops.options")
