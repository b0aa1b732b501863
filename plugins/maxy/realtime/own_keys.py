"""The former name of :mod:`maxy.valkey.own_keys`."""

from maxy._moved import warn_moved
from maxy.valkey.own_keys import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.valkey.own_keys")
