"""What system.parts tells of a table without reading it: whether it has changed, how large it is, its newest blocks.

Blocks are numbered in the order in which they were inserted, so what is in a block above those of a former look is new.
That holds only as long as they were numbered on in between, see :meth:`BlockNumbers.break_since`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

from maxy.clock import to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.clickhouse.client import ClickHouseReader
    from maxy.days import CalendarDay

# A part's name never comes back, except in a table that is made anew; then its time of change differs.
# Where the partitions do not tell the time of their rows, min_time is 0 and all rows may be of the day.
_PARTS = """
SELECT
    partition_id,
    toInt64(min(min_block_number)) AS first_block,
    toInt64(max(max_block_number)) AS block,
    (
        SELECT (toString(any(uuid)), any(engine), toUnixTimestamp64Milli(now64(3)), toInt64(any(uptime())))
        FROM system.tables WHERE database = currentDatabase() AND name = {table:String}
    ) AS source,
    groupBitXor(cityHash64(name, modification_time, rows)) AS parts_hash,
    sumIf(rows, toUnixTimestamp(max_time) = 0
        OR max_time >= fromUnixTimestamp64Milli({day_start_ms:Int64}, 'UTC')
        AND min_time < fromUnixTimestamp64Milli({day_end_ms:Int64}, 'UTC')) AS day_rows
FROM system.parts
WHERE database = currentDatabase() AND table = {table:String} AND active
GROUP BY partition_id
"""


@dataclass(frozen=True)
class BlockNumbers:
    """The newest blocks of a MergeTree table at one instant.

    :param table_uuid: tells the table from another one that was put in its place; empty if there is none.
    :param uptime: seconds since the server's start, rounded down.
    :param server_ms: the server's clock, by which rows get their time of insertion.
    :param blocks: the newest block of each partition.
    """

    table_uuid: str
    uptime: int
    server_ms: int
    blocks: Mapping[str, int]

    def break_since(self, former: BlockNumbers) -> str | None:
        """Return why blocks may have been numbered from the start again since a former look; None if they were not.

        A server that starts goes on from the newest block it finds, which a TRUNCATE may have taken away. A start shows
        in the uptime; where the new server has been up for longer than the former one had, in that it began after the
        former look, by the server's clock.
        """
        if self.table_uuid != former.table_uuid:
            return "the source table was replaced"
        if self.uptime < former.uptime or self.server_ms - self.uptime * 1000 > former.server_ms:
            return "the server was started again, or its clock was set"
        if any(self.blocks.get(partition, -1) < block for partition, block in former.blocks.items()):
            return "blocks of the source table are gone"
        return None


@dataclass(frozen=True)
class TableParts:
    """The parts of a MergeTree table at one instant.

    :param numbers: the newest blocks.
    :param in_order: blocks become visible in the order of their numbers, which no replicated table promises.
    :param first_blocks: the oldest block of each partition; grows when parts were thrown away.
    :param fingerprint: as long as it is the same, the table's rows are.
    :param day_rows: rows of the day at the most, repeats included.
    """

    numbers: BlockNumbers
    in_order: bool
    first_blocks: Mapping[str, int]
    fingerprint: int
    day_rows: int

    @property
    def blocks(self) -> Mapping[str, int]:
        """The newest block of each partition."""
        return self.numbers.blocks


async def look_at_parts(clickhouse: ClickHouseReader, table: str, day: CalendarDay) -> TableParts | None:
    """Ask for a table's parts; None if it has none, such as a table of another kind.

    To be called before the rows are read: what is inserted in between then shows as a change at the next look.

    :param table: its name in the connection's database.
    :param day: for ``day_rows``.
    """
    result = await clickhouse.select(
        _PARTS, {"table": table, "day_start_ms": to_ms(day.start), "day_end_ms": to_ms(day.end)}
    )
    if not len(result):
        return None
    table_uuid, engine, server_ms, uptime = result["source"][0]
    return TableParts(
        numbers=BlockNumbers(
            table_uuid, uptime, server_ms, dict(zip(result["partition_id"], result["block"], strict=True))
        ),
        in_order=not engine.startswith(("Replicated", "Shared")),
        first_blocks=dict(zip(result["partition_id"], result["first_block"], strict=True)),
        fingerprint=hash((table_uuid, reduce(xor, result["parts_hash"]))),
        day_rows=sum(result["day_rows"]),
    )
