"""The former name of :mod:`maxy.valkey.lease`."""

from maxy._moved import warn_moved
from maxy.valkey.lease import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.valkey.lease")
