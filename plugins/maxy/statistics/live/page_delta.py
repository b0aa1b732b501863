"""Page figures of a big day, at the cost of what is new."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from maxy.clock import from_ms, to_ms
from maxy.statistics.live.page_statements import Arrivals
from maxy.valkey.lease import LeaseLost

if TYPE_CHECKING:
    from datetime import date, datetime

    from maxy.clickhouse.client import Columns
    from maxy.clickhouse.parts import PartsSnapshot
    from maxy.days import CalendarDay
    from maxy.loops.loop import LoopEnvironment
    from maxy.statistics.live.page_statements import PageStatements

_log = logging.getLogger(__name__)

# Room for the generations of one tenure of the lease: fence numbers are microseconds since 1970 and take 51 bits of the
# 64. Should a tenure have more, they are still nobody else's, for no other tenure began in the microseconds after it.
GENERATION_BITS = 12
# A replicated table may commit its blocks out of order by so much.
_OUT_OF_ORDER = timedelta(seconds=60)


@dataclass(frozen=True)
class PageDeltaSizes:
    """How much is counted at once.

    :param recent_rows: the kept span moves on when a tick reads twice as many recent rows, and leaves so many (a FINAL
        of 80,000 rows takes about as long as moving it does).
    :param late_starts: instants of late rows in one statement: a form's field must not be longer than 128 KiB, and a
        number of milliseconds and its comma are 14 bytes.
    :param most_late_starts: with more of them, a rebuild is cheaper.
    :param slice_rows: about what a rebuild reads in one statement: bounds its memory, and how long the server is
        silent.
    """

    recent_rows: int = 80_000
    late_starts: int = 8_000
    most_late_starts: int = 400_000
    slice_rows: int = 1_000_000


DEFAULT_SIZES = PageDeltaSizes()


@dataclass
class _Kept:
    """What is kept of a day.

    :param fence: the tenure in which it was made; in another one, its tables may have been thrown away.
    :param generation: names it in the tables.
    :param day: the statistics day.
    :param kept_until_ms: rows with a lower page_start_tm are counted in the tables.
    :param built_at: when the whole day was read.
    :param snapshots: for each tick since, its instant and the source's parts before it read anything.
    :param recent_rows: how many rows from kept_until_ms on the last tick read.
    :param kept_rows: how many rows were kept then.
    """

    fence: int
    generation: int
    day: date
    kept_until_ms: int
    built_at: datetime
    snapshots: deque[tuple[datetime, PartsSnapshot]] = field(default_factory=deque)
    recent_rows: int = 0
    kept_rows: int = 0


class _StaleState(Exception):
    """What is kept cannot be relied on; the text says why."""


class PageDelta:
    """Computes the figures of a big day without reading it whole.

    The rows below one page_start_tm, which moves on some time behind the present, are counted in tables of the loop's
    own: their sums per key, and which rows they are, by 64 bits of a hash. What lies above is read from the source at
    each tick, with FINAL, as on a small day: a range of its primary key. A row that arrives below is looked up among
    those that were counted, and counted if it is not there. Most rows arrive within minutes of their page_start_tm, so
    few are ever looked up; the others enter in large sorted batches, which is what makes this cheaper than looking up
    all of them.

    How a row that arrived below is noticed: it is in a part with a newer block than those of the tick before. In parts
    that a merge has made in between, only rows with a recent reg_dt are looked at (setting ``insert_seconds``). So a
    row that was inserted with an explicit old reg_dt, and merged before a tick saw its part, is found at the next
    rebuild only. A repeat must be the same row as its original; the first one seen is counted.

    What is kept lives in a generation of its own, named after the lease's fence number, so two copies never mix. It is
    built anew, with one FINAL read of the day: for another day or tenure of the lease, after any failure while figures
    were computed (the two tables are not written in one step), when the source table was replaced or lost parts, and
    every ``rebuild_minutes`` as a check, which is logged if the two countings differ by more than what arrived
    meanwhile explains. Former generations are then dropped. It must fit into one tick: where a day has more than some
    100 million rows, raise ``tick_limit_seconds``.

    :param environment: clients and settings.
    :param statements: the page loop's.
    :param sizes: of what is counted at once.
    """

    def __init__(
        self, environment: LoopEnvironment, statements: PageStatements, sizes: PageDeltaSizes = DEFAULT_SIZES
    ) -> None:
        self._environment = environment
        self._statements = statements
        self._sizes = sizes
        self._recent = timedelta(seconds=environment.settings["recent_seconds"])
        self._rebuild_after = timedelta(minutes=environment.settings["rebuild_minutes"])
        self._insert_margin = timedelta(seconds=environment.settings["insert_seconds"])
        self._kept: _Kept | None = None
        self._builds = 0
        self._available: bool | None = None

    async def available(self) -> bool:
        """Whether there are tables to keep anything in."""
        if self._available is None:
            self._available = await self._statements.own_tables_exist()
            if not self._available:
                self._environment.log.log(
                    _log,
                    logging.WARNING,
                    "page: the day has become big, but the tables maxy_page_live_* are missing or old: each tick reads"
                    " the whole day until migrations 006 and 007 are applied and the loop has started anew",
                )
        return self._available

    async def figures(self, now: datetime, day: CalendarDay, parts: PartsSnapshot) -> Columns:
        """Compute the day's figures.

        :param now: the tick.
        :param parts: of the source, as they were before the call.
        :raises LeaseLost: when the lease is not held.
        """
        fence = self._environment.lease.fence
        if not fence:
            raise LeaseLost("the page loop's lease is not held")
        # Whatever ends this early leaves nothing to rely on.
        former, self._kept = self._kept, None
        kept = await self._continue(former, now, day, parts, fence) or await self._build(now, day, parts, fence)
        result = await self._read(kept, day)
        if _rows_kept(result) < kept.kept_rows:
            self._environment.log.log(
                _log,
                logging.WARNING,
                "page: what was counted is gone from the tables maxy_page_live_*; reading the whole day",
            )
            kept = await self._build(now, day, parts, fence)
            result = await self._read(kept, day)
        kept.recent_rows = sum(result["scanned"])
        kept.kept_rows = _rows_kept(result)
        self._kept = kept
        return result

    async def _read(self, kept: _Kept, day: CalendarDay) -> Columns:
        return await self._statements.figures(day, generation=kept.generation, kept_until_ms=kept.kept_until_ms)

    async def _continue(
        self, kept: _Kept | None, now: datetime, day: CalendarDay, parts: PartsSnapshot, fence: int
    ) -> _Kept | None:
        """Bring what is kept up to date; None if there is nothing, or nothing to rely on."""
        if kept is None or kept.fence != fence or kept.day != day.date:
            return None
        try:
            self._check(kept, now, parts)
            await self._count_late(kept, day)
        except _StaleState as error:
            self._environment.log.log(_log, logging.INFO, "page: reading the whole day: %s", error)
            return None
        kept.snapshots.append((now, parts))
        if now - kept.built_at >= self._rebuild_after:
            return await self._rebuild(kept, now, day, parts)
        await self._advance(kept, now, day)
        return kept

    def _check(self, kept: _Kept, now: datetime, parts: PartsSnapshot) -> None:
        """:raises _StaleState: the source is not what it was with something added."""
        looked_at, former = kept.snapshots[-1]
        if now < looked_at:
            raise _StaleState("the clock was set back")
        if reason := parts.loss_since(former):
            raise _StaleState(reason)

    async def _count_late(self, kept: _Kept, day: CalendarDay) -> None:
        """Count what has arrived below the kept span's end.

        :raises _StaleState: so many rows that a rebuild is cheaper.
        """
        arrivals = self._arrivals(kept)
        starts = await self._statements.late_starts(day, kept_until_ms=kept.kept_until_ms, arrivals=arrivals)
        if len(starts) > self._sizes.most_late_starts:
            raise _StaleState(f"rows arrived at {len(starts)} instants at once")
        length = self._sizes.late_starts
        for first in range(0, len(starts), length):
            await self._statements.count_late(
                day,
                starts[first : first + length],
                generation=kept.generation,
                kept_until_ms=kept.kept_until_ms,
                arrivals=arrivals,
            )

    def _arrivals(self, kept: _Kept) -> Arrivals:
        """Return what to look at: all that has become visible since the last tick, and a little more."""
        looked_at, parts = kept.snapshots[-1]
        since = looked_at - _overlap(parts)
        while len(kept.snapshots) > 1 and kept.snapshots[1][0] <= since:
            kept.snapshots.popleft()
        looked_at, parts = kept.snapshots[0]
        # Rows bear the server's clock; one that is ahead does no harm.
        return Arrivals(parts.blocks, min(looked_at, from_ms(parts.server_ms)) - self._insert_margin)

    async def _advance(self, kept: _Kept, now: datetime, day: CalendarDay) -> None:
        """Move the kept span on if reading what lies above it has become the larger cost."""
        if kept.recent_rows <= 2 * self._sizes.recent_rows:
            return
        now_ms = to_ms(now)
        share_ms = (now_ms - kept.kept_until_ms) * self._sizes.recent_rows // kept.recent_rows
        until_ms = min(now_ms - share_ms, self._latest_kept_until(now, kept.snapshots[-1][1]))
        if until_ms > kept.kept_until_ms:
            await self._statements.count(day, generation=kept.generation, from_ms=kept.kept_until_ms, until_ms=until_ms)
            kept.kept_until_ms = until_ms

    async def _build(self, now: datetime, day: CalendarDay, parts: PartsSnapshot, fence: int) -> _Kept:
        """Count the whole day up to a while ago, in a new generation."""
        kept = self._begin(now, day, parts, fence, self._latest_kept_until(now, parts))
        await self._count_all(kept, day)
        await self._statements.drop_generations_before(kept.generation)
        return kept

    async def _rebuild(self, former: _Kept, now: datetime, day: CalendarDay, parts: PartsSnapshot) -> _Kept:
        """Count the same span anew, and compare."""
        kept = self._begin(now, day, parts, former.fence, former.kept_until_ms)
        await self._count_all(kept, day)
        before, after, arrived = await self._statements.compare(
            former=former.generation, generation=kept.generation, blocks=parts.blocks
        )
        if not 0 <= after - before <= arrived:
            self._environment.log.log(
                _log,
                logging.WARNING,
                "page: %d rows were counted by and by, but there are %d, and at most %d have arrived meanwhile; the"
                " figures are right again",
                before,
                after,
                arrived,
            )
        await self._statements.drop_generations_before(kept.generation)
        return kept

    async def _count_all(self, kept: _Kept, day: CalendarDay) -> None:
        """Count the kept span, slice by slice: what arrives meanwhile is in newer parts, and found by the next tick."""
        start_ms = 0
        end_ms = to_ms(day.start)
        slices = kept.snapshots[-1][1].possible_rows // self._sizes.slice_rows + 1
        slice_ms = max(1, -((end_ms - kept.kept_until_ms) // slices))
        while start_ms < kept.kept_until_ms:
            end_ms = min(end_ms + slice_ms, kept.kept_until_ms)
            await self._statements.count(day, generation=kept.generation, from_ms=start_ms, until_ms=end_ms)
            start_ms = end_ms

    def _latest_kept_until(self, now: datetime, parts: PartsSnapshot) -> int:
        """Return the latest instant up to which rows are kept, as a page_start_tm."""
        # What is looked at twice would be looked up as late the second time.
        return max(0, to_ms(now - self._recent - _overlap(parts)))

    def _begin(self, now: datetime, day: CalendarDay, parts: PartsSnapshot, fence: int, until_ms: int) -> _Kept:
        self._builds += 1
        return _Kept(
            fence=fence,
            generation=(fence << GENERATION_BITS) + self._builds,
            day=day.date,
            kept_until_ms=until_ms,
            built_at=now,
            snapshots=deque([(now, parts)]),
        )


def _overlap(parts: PartsSnapshot) -> timedelta:
    return timedelta(0) if parts.in_order else _OUT_OF_ORDER


def _rows_kept(result: Columns) -> int:
    return int(sum(result["rows"])) - int(sum(result["scanned"]))
