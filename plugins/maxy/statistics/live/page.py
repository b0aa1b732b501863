"""Live page figures of today, per package, server type and system."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from maxy.clickhouse.parts import PartsSnapshot, take_snapshot
from maxy.days import CalendarDay
from maxy.loops.hash_loop import HashLoop
from maxy.loops.options import Option, Rule, number_from, positive_int
from maxy.statistics.live.page_delta import DEFAULT_SIZES, PageDelta, PageDeltaSizes
from maxy.statistics.live.page_statements import PAGE_FLOW, PageStatements
from maxy.statistics.row_rules import ROW_OPTIONS, row_structure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick


class Page(HashLoop):
    """Keeps the page figures of the day that it is in the statistics time zone, by the daily job's definitions.

    Two ways lead to the same figures. Up to ``scan_rows`` rows, a tick reads the whole day with FINAL, so they are a
    function of the table alone. On bigger days :class:`~maxy.statistics.live.page_delta.PageDelta` keeps what it has
    counted in tables of its own (migrations 006 and 007) and reads what is new. While no part of the source table has
    changed, which one look at system.parts tells, a tick does not read it at all.

    The second way, and the look, need a MergeTree table and always the same ClickHouse server: replicas number and name
    their parts each in their own way. With ``prune_parts`` set to false both are left out.

    :param environment: clients and settings.
    :param sizes: of what is counted at once on big days.
    """

    name = "page"
    period_seconds = 30.0
    key_template = "page:{package_nm}:{server_type}:{os_type}"
    metrics = (
        "crash_count",
        "error_count",
        "js_error_count",
        "log_count",
        "intervaltime_avg",
        "lcp_avg",
        "ttfb_avg",
        "fcp_avg",
        "inp_avg",
        "pv",
    )
    ranged_metrics = (
        "crash_count",
        "error_count",
        "js_error_count",
        "log_count",
        "intervaltime",
        "lcp",
        "ttfb",
        "fcp",
        "inp",
    )
    options: ClassVar[Mapping[str, Option]] = {
        **HashLoop.options,
        **ROW_OPTIONS,
        "scan_rows": Option(1_000_000, positive_int, "rows of a day up to which each tick reads the whole day"),
        "recent_seconds": Option(
            90.0,
            number_from(1, 86_400),
            "on bigger days: pages that began in the last so many seconds are read at each tick",
        ),
        "rebuild_minutes": Option(
            60.0, number_from(1, 1440), "on bigger days: minutes after which the whole day is read again, as a check"
        ),
        "insert_seconds": Option(
            30.0, number_from(1, 86_400), "on bigger days: seconds after its reg_dt in which a row may become visible"
        ),
    }
    rules: ClassVar[Sequence[Rule]] = (
        *HashLoop.rules,
        Rule(
            "rebuild_minutes",
            "period_seconds",
            lambda settings: settings["rebuild_minutes"] * 60 >= 2 * settings.period_seconds,
            "else each tick reads the whole day, and more",
        ),
    )

    def __init__(self, environment: LoopEnvironment, sizes: PageDeltaSizes = DEFAULT_SIZES) -> None:
        super().__init__(environment)
        self._statements = PageStatements(environment.clickhouse, row_structure(environment.settings))
        self._delta = PageDelta(environment, self._statements, sizes)
        self._big_day: date | None = None
        self._former: tuple[date, int, Columns] | None = None

    def reset(self) -> None:
        """Forget the former figures too. What was counted stays as long as nobody else can have changed it."""
        super().reset()
        self._big_day = None
        self._former = None

    async def figures(self, tick: Tick) -> Columns:
        """Compute today's figures, unless nothing has changed since they were computed."""
        day = CalendarDay(tick.now.astimezone(self.environment.timezone).date(), self.environment.timezone)
        parts = await self._look(day)
        # A table without parts may be of another kind, whose rows none of this tells of.
        if parts is None or not parts.blocks:
            return await self._statements.scan(day)
        if self._former is not None and self._former[:2] == (day.date, parts.fingerprint):
            return self._former[2]
        self._former = None
        if await self._is_big(day, parts):
            result = await self._delta.figures(tick.now, day, parts)
        else:
            result = await self._statements.scan(day)
        self._former = (day.date, parts.fingerprint, result)
        return result

    async def _look(self, day: CalendarDay) -> PartsSnapshot | None:
        if not self.environment.settings["prune_parts"]:
            return None
        return await take_snapshot(self.environment.clickhouse, PAGE_FLOW, day)

    async def _is_big(self, day: CalendarDay, parts: PartsSnapshot) -> bool:
        """Whether the day has become too big to be read at each tick; it stays so, whatever merges take away."""
        if self._big_day != day.date and parts.possible_rows > self.environment.settings["scan_rows"]:
            self._big_day = day.date
        return self._big_day == day.date and await self._delta.available()
