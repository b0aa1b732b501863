"""The live loop of toys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maxy.clickhouse.sql_files import read_statement
from maxy.loops.hash_loop import HashLoop

if TYPE_CHECKING:
    from maxy.clickhouse.client import Columns
    from maxy.loops.loop import Tick


class ToyStock(HashLoop):
    """Keeps the number of toys of each kind.

    :param environment: clients and settings.
    """

    name = "toys"
    period_seconds = 5.0
    key_template = "toys:{kind}"
    metrics = ("stock",)

    async def figures(self, tick: Tick) -> Columns:
        """Count them."""
        return await self.environment.clickhouse.select(read_statement("toys/stock.sql"), {})
