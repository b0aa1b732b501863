"""Live sales of today per region, of the table `shop_sales`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from maxy.clickhouse.sql_files import read_statement
from maxy.clock import to_ms
from maxy.days import CalendarDay
from maxy.loops.hash_loop import HashLoop
from maxy.loops.options import Option, non_negative_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import LoopEnvironment, Tick


class SalesToday(HashLoop):
    """Keeps the orders and the revenue of the day that it is in the statistics time zone, per region.

    :param environment: clients and settings.
    """

    name = "shop_sales"
    period_seconds = 10.0
    key_template = "shop:{region}"
    metrics = ("orders", "revenue")
    options: ClassVar[Mapping[str, Option]] = {
        **HashLoop.options,
        "least_amount": Option(0.0, non_negative_number, "sales below this amount are left out"),
    }

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self._statement = read_statement("sales_today.sql", directory=Path(__file__).parent)

    async def figures(self, tick: Tick) -> Columns:
        """Compute today's figures."""
        zone = self.environment.timezone
        day = CalendarDay(tick.now.astimezone(zone).date(), zone)
        parameters = {
            "day_start_ms": to_ms(day.start),
            "day_end_ms": to_ms(day.end),
            "least_amount": self.environment.settings["least_amount"],
        }
        return await self.environment.clickhouse.select(self._statement, parameters)
