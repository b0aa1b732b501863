"""The statements of the live page loop, with their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maxy.clickhouse.sql_files import read_statement
from maxy.clock import to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from maxy.clickhouse.client import ClickHouseReader, Columns
    from maxy.days import CalendarDay

PAGE_FLOW = "maxy_device_page_flow"
#: What migration 006 makes and a generation's rows are in.
KEPT_TABLES = ("maxy_page_live_seen", "maxy_page_live_figures")

# One part for each insert: two threads would write two, to be merged afterwards.
_INSERT_SETTINGS = {"max_insert_threads": 1}


@dataclass(frozen=True)
class Arrivals:
    """Which rows may have arrived since a former look at the table's parts.

    :param blocks: the newest block of each partition that was there then.
    :param inserted_from: no row that has arrived since has an earlier reg_dt.
    """

    blocks: Mapping[str, int]
    inserted_from: datetime

    def parameters(self) -> dict[str, Any]:
        """Return them as the statements name them."""
        return {
            "partitions": list(self.blocks),
            "blocks": list(self.blocks.values()),
            "inserted_from_ms": to_ms(self.inserted_from),
        }


class PageStatements:
    """Runs the statements of the page loop.

    A generation's rows whose ``page_start_tm`` (epoch ms) is below ``kept_until_ms`` are counted in own tables.

    :param clickhouse: the server.
    :param rules: which names make keys and which values are plausible, as the statements' templates take them.
    """

    def __init__(self, clickhouse: ClickHouseReader, rules: Mapping[str, Any]) -> None:
        self._clickhouse = clickhouse
        self._scan = read_statement("statistics/live/page.sql", kept=False, **rules)
        self._figures = read_statement("statistics/live/page.sql", kept=True, **rules)
        self._count = read_statement("statistics/live/page_count.sql", **rules)
        self._late_starts = read_statement("statistics/live/page_late_starts.sql")
        self._count_late = read_statement("statistics/live/page_count_late.sql", **rules)
        self._generations = read_statement("statistics/live/page_generations.sql")
        self._own_tables = read_statement("statistics/live/page_own_tables.sql")
        self._former_generations = read_statement("statistics/live/page_former_generations.sql")
        self._drop = {
            name: read_statement("statistics/live/page_drop_generation.sql", table=name) for name in KEPT_TABLES
        }

    async def scan(self, day: CalendarDay) -> Columns:
        """Compute the day's figures from the source alone."""
        return await self._clickhouse.select(self._scan, _day(day))

    async def figures(self, day: CalendarDay, *, generation: int, kept_until_ms: int) -> Columns:
        """Compute the day's figures from what is kept below ``kept_until_ms`` and from the source above."""
        return await self._clickhouse.select(
            self._figures, {**_day(day), "generation": generation, "kept_until": kept_until_ms}
        )

    async def count(self, day: CalendarDay, *, generation: int, from_ms: int, until_ms: int) -> None:
        """Count all rows whose ``page_start_tm`` is from ``from_ms`` to below ``until_ms``."""
        await self._clickhouse.execute(
            self._count,
            {
                **_day(day),
                "day": day.date,
                "generation": generation,
                "kept_until": from_ms,
                "keep_until": until_ms,
            },
            settings=_INSERT_SETTINGS,
        )

    async def late_starts(self, day: CalendarDay, *, kept_until_ms: int, arrivals: Arrivals) -> Sequence[int]:
        """Return the values of ``page_start_tm`` below ``kept_until_ms`` at which rows may have arrived, in order."""
        result = await self._clickhouse.select(
            self._late_starts, {**_day(day), **arrivals.parameters(), "kept_until": kept_until_ms}
        )
        return result["page_start_tm"]

    async def count_late(
        self, day: CalendarDay, starts: Sequence[int], *, generation: int, kept_until_ms: int, arrivals: Arrivals
    ) -> None:
        """Count the rows with these values of ``page_start_tm`` that were not counted before."""
        await self._clickhouse.execute(
            self._count_late,
            {
                **_day(day),
                **arrivals.parameters(),
                "day": day.date,
                "generation": generation,
                "kept_until": kept_until_ms,
                "starts": list(starts),
            },
            settings=_INSERT_SETTINGS,
        )

    async def compare(self, *, former: int, generation: int, blocks: Mapping[str, int]) -> tuple[int, int, int]:
        """Return the rows of two generations, and the rows of the source in parts with blocks above these."""
        result = await self._clickhouse.select(
            self._generations,
            {
                "former": former,
                "generation": generation,
                "partitions": list(blocks),
                "blocks": list(blocks.values()),
            },
        )
        return int(result["former_pages"][0] or 0), int(result["pages"][0] or 0), int(result["arrived"][0])

    async def own_tables_exist(self) -> bool:
        """Whether migrations 006 and 007 were applied."""
        names = [f"maxy_page_live_{name}" for name in ("counted", "seen", "figures", "seen_mv", "figures_mv")]
        result = await self._clickhouse.select(self._own_tables, {"names": names})
        # The Null table, the figures and the view that joins them.
        return int(result["tables"][0]) == len(names) and int(result["columns"][0]) >= 2

    async def drop_generations_before(self, generation: int) -> None:
        """Throw away what former copies, and this one before, have kept."""
        result = await self._clickhouse.select(
            self._former_generations, {"names": list(KEPT_TABLES), "generation": generation}
        )
        for table, partition in zip(result["table"], result["partition_id"], strict=True):
            await self._clickhouse.execute(self._drop[table], {"partition_id": partition})


def _day(day: CalendarDay) -> dict[str, int]:
    return {"day_start_ms": to_ms(day.start), "day_end_ms": to_ms(day.end)}
