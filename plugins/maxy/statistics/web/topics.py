"""What the live page listens to: today's figures, the log rate and the points of a key."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from maxy.instants import utc_iso
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.web.live_store import SCATTERS, LiveStore
from maxy.statistics.web.log_rate import LogRateWindow, slots_from_clickhouse
from maxy.statistics.web.models import WRONG_KEY, Points, ScatterName, Slot, Today
from maxy.statistics.web.points import PointSet
from maxy.web.sources import SourceUnavailable
from maxy.web.topics import Look, Topic, event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maxy.statistics.web.live_store import Pair, Triple
    from maxy.statistics.web.sources import StatisticsSources
    from maxy.web.topics import Topics


class LogRateEvent(BaseModel):
    """Slots that are new, or all of them."""

    reset: bool
    slots: list[Slot]
    wrong_key: str | None = Field(default=None, description=WRONG_KEY)


class ScatterEvent(BaseModel):
    """Points that are new and numbers of those that are gone, or all points."""

    loop: ScatterName
    reset: bool
    added: Points
    removed: list[int]
    meta: dict[str, str] | None
    wrong_key: str | None = Field(default=None, description=WRONG_KEY)


class TodayTopic(Topic[LiveStore]):
    """Today's figures of a key.

    :param triple: package, server type and system.
    """

    loops = frozenset({"device", "page"})

    def __init__(self, triple: Triple) -> None:
        super().__init__()
        self._triple = triple
        self._today: Today | None = None

    async def read(self, look: Look[LiveStore]) -> bytes | None:
        """Read both loops' hashes."""
        ((device, page),) = await look.store.today([self._triple])
        package, server, system = self._triple
        self._today = Today(
            at=utc_iso(look.now), package_nm=package, server_type=server, os_type=system, device=device, page=page
        )
        self.changed()
        return self.snapshot()

    def everything(self) -> bytes:
        """Return the figures."""
        assert self._today is not None, "it was read before anybody listens"
        return event("today", self._today)


class LogRateTopic(Topic[LiveStore]):
    """The log rate of a package and server type.

    :param sources: where the time before the first tick is read from.
    :param pair: the two.
    """

    loops = frozenset({LogMeter.name})

    def __init__(self, sources: StatisticsSources, pair: Pair) -> None:
        super().__init__()
        self._sources = sources
        self._pair = pair
        self._window = LogRateWindow()
        self._before: asyncio.Task[list[Slot]] | None = None
        self._wrong_key: str | None = None

    async def read(self, look: Look[LiveStore]) -> bytes | None:
        """Read the newest tick. The time before the first one comes from ClickHouse, whenever it answers."""
        status = look.statuses.get(LogMeter.name)
        (answer,) = await look.store.log_rates([self._pair])
        # What a key of another type would have said is not known: no rows would be wrong.
        slot = self._window.tick(answer.fields, status) if status is not None and answer.wrong_key is None else None
        is_news = slot is not None or answer.wrong_key != self._wrong_key
        self._wrong_key = answer.wrong_key
        if self._before is None:
            until = datetime.fromisoformat(slot.start) if slot is not None else look.now
            self._before = asyncio.ensure_future(self._slots_before(until))
            self.is_incomplete = True
        if self.is_incomplete and self._before.done():
            self.is_incomplete = False
            self._window.precede(self._before.result())
            self.changed()
            return self.snapshot()
        if not is_news:
            return None
        self.changed()
        return self._event([slot] if slot is not None else [], reset=False)

    def everything(self) -> bytes:
        """Return all slots."""
        return self._event(self._window.slots(), reset=True)

    def _event(self, slots: list[Slot], *, reset: bool) -> bytes:
        return event("log_rate", LogRateEvent(reset=reset, slots=slots, wrong_key=self._wrong_key))

    async def _slots_before(self, until: datetime) -> list[Slot]:
        try:
            return await slots_from_clickhouse(self._sources, self._pair, until)
        except SourceUnavailable:
            # The health page tells; here the chart begins with the next tick.
            return []


class ScatterTopic(Topic[LiveStore]):
    """The points of a package and server type.

    :param loop: whose points they are.
    :param pair: package and server type.
    """

    def __init__(self, loop: ScatterName, pair: Pair) -> None:
        super().__init__()
        self.loops = frozenset({loop.value})
        self._loop = loop
        self._pair = pair
        self._points = PointSet(loop)
        self._meta: Mapping[str, str] | None = None
        self._wrong_key: str | None = None

    async def read(self, look: Look[LiveStore]) -> bytes | None:
        """Read all points, and tell those that have come and gone."""
        kept = await look.store.points(self._loop, self._pair)
        self._meta, self._wrong_key = kept.meta, kept.wrong_key
        added, removed = self._points.replace(kept.members)
        self.changed()
        return event("scatter", self._event(added, removed, reset=False))

    def everything(self) -> bytes:
        """Return all points."""
        return event("scatter", self._event(self._points.points(), [], reset=True))

    def _event(self, added: Points, removed: list[int], *, reset: bool) -> ScatterEvent:
        # Thousands of numbers, which this package has made itself.
        return ScatterEvent.model_construct(
            loop=self._loop, reset=reset, added=added, removed=removed, meta=self._meta, wrong_key=self._wrong_key
        )


def topics_of(sources: StatisticsSources, triple: Triple) -> Topics[LiveStore]:
    """Return what the live page of a key listens to.

    :param triple: package, server type and system.
    """
    pair = triple[:2]
    return {
        ("today", triple): lambda: TodayTopic(triple),
        ("log_rate", pair): lambda: LogRateTopic(sources, pair),
        **{("scatter", loop, pair): partial(ScatterTopic, loop, pair) for loop in SCATTERS},
    }
