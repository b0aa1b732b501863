"""Live visits and devices of today, per package, server type and system."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from maxy.clickhouse.parts import take_snapshot
from maxy.clickhouse.sql_files import read_statement
from maxy.days import CalendarDay
from maxy.loops.hash_loop import HashLoop
from maxy.statistics.row_rules import ROW_OPTIONS, row_structure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick
    from maxy.loops.options import Option

_TABLE = "maxy_device_access_history"


class Device(HashLoop):
    """Keeps visit, install, login, dau, revisit_7d and mau of the day that it is in the statistics time zone.

    The same definitions as the daily job's, with today as the day; so the live mau is the same 30 days. Keys that were
    seen in these days but not today are there, with 0 visits.

    All figures come from one pass over 30 days of maxy_device_access_history, 0.4 CPU seconds for 2.4 million
    device-days. maxy_device_access_bitmap is not read: it holds hashes of the devices instead of their names, and to
    merge 31 days of it costs several times as much. While no part of the history has changed, which one look at
    system.parts tells, a tick does not read it at all (setting ``prune_parts``).

    :param environment: clients and settings.
    """

    name = "device"
    period_seconds = 30.0
    key_template = "{package_nm}:{server_type}:{os_type}"
    # With a number as its system, such a package would make a key of another loop.
    reserved = ("totallog", "loadingtime", "responsetime")
    metrics = ("visit", "install", "login", "dau", "revisit_7d", "mau")
    ranged_metrics = ("visit", "install", "login")
    options: ClassVar[Mapping[str, Option]] = {**HashLoop.options, **ROW_OPTIONS}

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self._statement = read_statement("statistics/live/device.sql", **row_structure(environment.settings))
        self._former: tuple[date, int, Columns] | None = None

    def reset(self) -> None:
        """Forget the former figures too."""
        super().reset()
        self._former = None

    async def figures(self, tick: Tick) -> Columns:
        """Compute today's figures, unless nothing has changed since they were computed."""
        day = CalendarDay(tick.now.astimezone(self.environment.timezone).date(), self.environment.timezone)
        clickhouse = self.environment.clickhouse
        parts = await take_snapshot(clickhouse, _TABLE) if self.environment.settings["prune_parts"] else None
        # A table without parts may be of another kind, whose rows none of this tells of.
        fingerprint = parts.fingerprint if parts and parts.blocks else None
        if fingerprint is not None and self._former is not None and self._former[:2] == (day.date, fingerprint):
            return self._former[2]
        # One thread needs the least CPU time: the devices are not counted twice and then merged.
        result = await clickhouse.select(self._statement, {"day": day.date}, settings={"max_threads": 1})
        self._former = None if fingerprint is None else (day.date, fingerprint, result)
        return result
