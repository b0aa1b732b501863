"""The former name of :mod:`maxy.web.headers`."""

from maxy._moved import warn_moved
from maxy.web.headers import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.web.headers")
