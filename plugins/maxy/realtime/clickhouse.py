"""The former name of :mod:`maxy.clickhouse.client`."""

from maxy._moved import warn_moved
from maxy.clickhouse.client import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.clickhouse.client")
