"""What the parts of a MergeTree table tell with no row read: whether it has changed, how large it is, what is new.

Every part's name tells the blocks that it holds (``<partition>_<first>_<last>_<level>``), and blocks are numbered in
the order in which they were inserted. So what is in a block above those of a former snapshot is new, and a part whose
last block is in a snapshot that is old enough holds nothing new. Both hold as long as the blocks were numbered on in
between: :meth:`PartsSnapshot.break_since` is the one rule for that.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, reduce
from operator import xor
from typing import TYPE_CHECKING

from maxy.clickhouse.sql_files import read_statement
from maxy.clock import to_ms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from maxy.clickhouse.client import ClickHouseReader
    from maxy.days import CalendarDay


@dataclass(frozen=True)
class PartsSnapshot:
    """The parts of a MergeTree table at one instant.

    :param table_uuid: tells the table from another one that was put in its place; empty if there is none.
    :param uptime: seconds since the server's start, rounded down.
    :param server_ms: the server's clock, by which rows get their time of insertion, in milliseconds since 1970.
    :param blocks: the newest block of each partition; empty for a table without parts, such as one of another kind.
    :param first_blocks: the oldest block of each partition; grows when parts were thrown away.
    :param in_order: blocks become visible in the order of their numbers, which no replicated table promises.
    :param fingerprint: as long as it is the same, the table's rows are.
    :param possible_rows: rows at the most, repeats included: of the day that was asked for, or of the table.
    """

    table_uuid: str
    uptime: int
    server_ms: int
    blocks: Mapping[str, int]
    first_blocks: Mapping[str, int] = field(default_factory=dict)
    in_order: bool = True
    fingerprint: int = 0
    possible_rows: int = 0

    def break_since(self, former: PartsSnapshot) -> str | None:
        """Return why blocks may have been numbered from the start again since a former snapshot; None if they were not.

        A server that starts goes on from the newest block it finds, which a TRUNCATE may have taken away. A start shows
        in the uptime; where the new server has been up for longer than the former one had, in that it began after the
        former snapshot, by the server's clock.
        """
        if self.table_uuid != former.table_uuid:
            return "the source table was replaced"
        if self.uptime < former.uptime or self.server_ms - self.uptime * 1000 > former.server_ms:
            return "the server was started again, or its clock was set"
        if any(self.blocks.get(partition, -1) < block for partition, block in former.blocks.items()):
            return "blocks of the source table are gone"
        return None

    def loss_since(self, former: PartsSnapshot) -> str | None:
        """Return why the table may be more than that of a former snapshot with something added; None if it is no more.

        Stricter than :meth:`break_since`: rows may be gone although blocks were numbered on.
        """
        if reason := self.break_since(former):
            return reason
        # A merge keeps the oldest block of what it merges, so no partition's may grow.
        if any(self.first_blocks.get(partition, block + 1) > block for partition, block in former.first_blocks.items()):
            return "parts of the source table were thrown away"
        return None


async def take_snapshot(clickhouse: ClickHouseReader, table: str, day: CalendarDay | None = None) -> PartsSnapshot:
    """Ask for a table's parts.

    To be called before the rows are read: what is inserted in between then shows as a change in the next snapshot.

    :param clickhouse: the server; one table's snapshots must come from one server, since others number their blocks
        differently.
    :param table: its name in the connection's database.
    :param day: for ``possible_rows``; all rows unless given.
    """
    parameters: dict[str, str | int] = {"table": table}
    if day is not None:
        parameters |= {"day_start_ms": to_ms(day.start), "day_end_ms": to_ms(day.end)}
    result = await clickhouse.select(_snapshot_statement(of_a_day=day is not None), parameters)
    first_blocks = dict(zip(result["partition"], result["first_block"], strict=True))
    blocks = dict(zip(result["partition"], result["newest_block"], strict=True))
    # The row of the table itself.
    first_blocks.pop("", None)
    blocks.pop("", None)
    # All other rows have nothing there.
    table_uuid = max(result["table_uuid"], default="")
    return PartsSnapshot(
        table_uuid,
        max(result["uptime"], default=0),
        max(result["server_ms"], default=0),
        blocks,
        first_blocks,
        in_order=not max(result["table_engine"], default="").startswith(("Replicated", "Shared")),
        fingerprint=hash((table_uuid, reduce(xor, result["parts_hash"], 0))),
        possible_rows=sum(result["possible_rows"]),
    )


@cache
def _snapshot_statement(*, of_a_day: bool) -> str:
    return read_statement("shared/parts_snapshot.sql", of_a_day=of_a_day)


class PartPruner:
    """Skips the parts of a table that a tick need not read: knows which blocks were there at which time.

    The source tables belong to others, so no index or projection on the time of insertion can be counted on, and
    reading that column of four days for some seconds of rows costs 0.1 to 0.3 CPU seconds. But a part whose last block
    was there long before the rows in question were inserted holds none of them. This only ever leaves out rows that the
    statement's own condition on time leaves out too, as long as rows are not inserted with a time of insertion that
    lies further in the future than ``margin``.

    A statement asks with ``shared/unseen_parts.sql``. The pruner knows nothing at first and so leaves nothing out; and
    what it knows is never too new, whatever the clocks of this machine and of the server say, since it remembers what
    it saw at the instants that the ticks themselves count by.

    :param clickhouse: the server; must always be the same one.
    :param table: the table's name in the connection's database.
    :param margin: how long after a row's time of insertion it may still become visible. On top of that it must make up
        for how far the server's clock may be ahead, and for how long a tick may be under way when it looks.
    :param refresh: how often to look.
    """

    def __init__(
        self,
        clickhouse: ClickHouseReader,
        table: str,
        *,
        margin: timedelta = timedelta(seconds=60),
        refresh: timedelta = timedelta(seconds=30),
    ) -> None:
        self._clickhouse = clickhouse
        self._table = table
        self._margin = margin
        self._refresh = refresh
        self._seen: deque[tuple[datetime, PartsSnapshot]] = deque()

    @property
    def margin(self) -> timedelta:
        """How old a snapshot must be, by the rows that are wanted, to tell what need not be read."""
        return self._margin

    async def look(self, now: datetime) -> None:
        """Remember the newest blocks, unless that was done a moment ago. To be called before the rows are read."""
        if self._seen and timedelta(0) <= now - self._seen[-1][0] < self._refresh:
            return
        snapshot = await take_snapshot(self._clickhouse, self._table)
        if self._seen:
            at, former = self._seen[-1]
            if now < at or snapshot.break_since(former):
                # Nothing that was seen before says anything of the parts that are there now.
                self._seen.clear()
        self._seen.append((now, snapshot))

    def parameters(self, since: datetime) -> dict[str, list[str] | list[int] | str]:
        """Return the parameters of ``shared/unseen_parts.sql``.

        :param since: only rows inserted at or after this instant are wanted.
        """
        latest = since - self._margin
        while len(self._seen) > 1 and self._seen[1][0] <= latest:
            self._seen.popleft()
        snapshot = self._seen[0][1] if self._seen and self._seen[0][0] <= latest else None
        return {
            "partitions": list(snapshot.blocks) if snapshot else [],
            "blocks": list(snapshot.blocks.values()) if snapshot else [],
            "pruned_table": self._table,
            "pruned_uuid": snapshot.table_uuid if snapshot else "",
        }

    def forget(self) -> None:
        """Forget what was seen, such as after an error: another server may answer now, with other block numbers."""
        self._seen.clear()
