"""The former name of :mod:`maxy.clickhouse.sql_files`."""

from maxy._moved import warn_moved
from maxy.clickhouse.sql_files import *  # noqa: F403 - for type checkers

warn_moved(__name__, "maxy.clickhouse.sql_files")
