"""The former name of :mod:`maxy.clock`."""

from maxy._moved import warn_moved
from maxy.clock import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.clock")
