"""The former name of :mod:`maxy.loops.watch`."""

from maxy._moved import warn_moved
from maxy.loops.watch import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.loops.watch")
