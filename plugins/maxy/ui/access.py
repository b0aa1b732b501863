"""The former name of :mod:`maxy.web.access`."""

from maxy._moved import warn_moved
from maxy.web.access import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.web.access")
