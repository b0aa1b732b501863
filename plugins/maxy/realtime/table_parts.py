"""What system.parts tells of a table without reading it: whether it has changed, how large it is, its newest blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TYPE_CHECKING

from maxy.realtime.clock import to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.realtime.clickhouse import ClickHouseReader
    from maxy.statistics_day import StatisticsDay

# A part's name never comes back, except in a table that is made anew; then its time of change differs.
# Where the partitions do not tell the time of their rows, min_time is 0 and all rows may be of the day.
_PARTS = """
SELECT
    partition_id,
    toInt64(min(min_block_number)) AS first_block,
    toInt64(max(max_block_number)) AS block,
    (
        SELECT (toString(any(uuid)), any(engine), toUnixTimestamp64Milli(now64(3)))
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
class TableParts:
    """The parts of a MergeTree table at one instant.

    :param table_uuid: tells the table from another one that was put in its place.
    :param in_order: blocks become visible in the order of their numbers, which no replicated table promises.
    :param first_blocks: the oldest block of each partition; grows when parts were thrown away.
    :param server_ms: the server's clock, by which rows get their time of insertion.
    :param blocks: the newest block of each partition.
    :param fingerprint: as long as it is the same, the table's rows are.
    :param day_rows: rows of the day at the most, repeats included.
    """

    table_uuid: str
    in_order: bool
    server_ms: int
    first_blocks: Mapping[str, int]
    blocks: Mapping[str, int]
    fingerprint: int
    day_rows: int


async def look_at_parts(clickhouse: ClickHouseReader, table: str, day: StatisticsDay) -> TableParts | None:
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
    table_uuid, engine, server_ms = result["source"][0]
    return TableParts(
        table_uuid=table_uuid,
        in_order=not engine.startswith(("Replicated", "Shared")),
        server_ms=server_ms,
        first_blocks=dict(zip(result["partition_id"], result["first_block"], strict=True)),
        blocks=dict(zip(result["partition_id"], result["block"], strict=True)),
        fingerprint=hash((table_uuid, reduce(xor, result["parts_hash"]))),
        day_rows=sum(result["day_rows"]),
    )
