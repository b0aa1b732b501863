"""One reader of Valkey for all live pages of a server process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from maxy.instants import utc_iso
from maxy.statistics.web.live_store import SCATTERS, LiveStore, reports
from maxy.statistics.web.models import Loops
from maxy.statistics.web.sources import SourceUnavailable
from maxy.statistics.web.topics import LogRateTopic, ScatterTopic, TodayTopic, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Mapping
    from datetime import datetime

    from maxy.loops.status import LoopStatus
    from maxy.statistics.web.live_store import Triple
    from maxy.statistics.web.sources import Sources
    from maxy.statistics.web.topics import Topic

_log = logging.getLogger(__name__)

# How soon a tick is noticed. One look is one pipeline, however many pages are open.
_LOOK_SECONDS = 1.0
# How often pages hear of the loops although nothing has changed.
_LOOPS_SECONDS = 5.0
# How long what was read is kept when nobody listens: pages are reloaded, and streams renewed.
_LINGER_SECONDS = 30.0
# After so long without news, a stream says that it is still there.
_HEARTBEAT_SECONDS = 15.0
# Events that wait for a slow page before it is told everything anew.
_MOST_WAITING = 50


class TooManyPages(Exception):
    """No further page can be served."""


class LiveHub:
    """Looks at the loops once a second as long as pages are open, and reads what has changed at their ticks.

    Belongs to one event loop.

    :param sources: where it is read from.
    :param is_stopping: whether the server is about to end; then streams end too.
    :param most_pages: that are served at a time.
    """

    def __init__(
        self, sources: Sources, *, is_stopping: Callable[[], bool] = lambda: False, most_pages: int = 500
    ) -> None:
        self._sources = sources
        self._is_stopping = is_stopping
        self._most_pages = most_pages
        self._topics: dict[Hashable, Topic] = {}
        self._pages: set[_Page] = set()
        self._reader: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # What of the loops is worth telling at once when it changes, and when it was told.
        self._loops_state: object = None
        self._loops_told = float("-inf")
        self._ticks: dict[str, datetime | None] = {}

    async def listen(self, triple: Triple, *, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield events for a page: everything at once, then what changes.

        :param triple: package, server type and system.
        :param seconds: after which the stream ends; the page then asks again, and is checked again.
        :raises TooManyPages: before the first event.
        """
        if len(self._pages) >= self._most_pages:
            raise TooManyPages(f"{self._most_pages} live pages are open already")
        page = _Page(self._topics_of(triple))
        self._pages.add(page)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.ensure_future(self._read())
        self._wake.set()
        ends = self._sources.clock.monotonic() + seconds
        try:
            while not page.has_ended and self._sources.clock.monotonic() < ends:
                for piece in await page.news():
                    yield piece
        finally:
            self._pages.discard(page)

    def _topics_of(self, triple: Triple) -> list[Topic]:
        package, server, _ = triple
        pair = (package, server)
        made: dict[Hashable, Callable[[], Topic]] = {
            ("today", triple): lambda: TodayTopic(self._sources, triple),
            ("log_rate", pair): lambda: LogRateTopic(self._sources, pair),
            **{
                ("scatter", loop, pair): lambda loop=loop: ScatterTopic(self._sources, loop, pair)  # type: ignore[misc]
                for loop in SCATTERS
            },
        }
        return [self._topics.get(name) or self._topics.setdefault(name, make()) for name, make in made.items()]

    async def _read(self) -> None:
        """Read until nobody has listened for a while."""
        monotonic = self._sources.clock.monotonic
        last_page = monotonic()
        ready: set[Topic] = set()
        task = asyncio.current_task()
        assert task is not None, "it runs as a task"
        try:
            # Python 3.11's wait_for, which Valkey's client uses, now and then swallows a cancellation.
            while not self._is_stopping() and not task.cancelling():
                now = monotonic()
                last_page = now if self._pages else last_page
                if now - last_page > _LINGER_SECONDS:
                    return
                await self._look(ready)
                await self._pause()
        except Exception:
            # Streams end, and pages ask again; a defect must not go by unseen.
            _log.exception("The live pages' reader has failed")
            raise
        finally:
            self._topics.clear()
            self._ticks.clear()
            for page in self._pages:
                page.end()

    async def _look(self, ready: set[Topic]) -> None:
        """Look at the loops once, and read the topics whose loop has ticked, or that are new."""
        now = self._sources.clock.now()
        try:
            settings = await self._sources.settings()
        except SourceUnavailable as error:
            self._tell_loops(Loops(at=utc_iso(now), error=str(error), loops=[]))
            return
        try:
            async with self._sources.valkey() as valkey:
                store = LiveStore(valkey, settings)
                statuses = await store.statuses()
                await self._read_topics(store, statuses, ready, now)
        except SourceUnavailable as error:
            # After an outage everything is read, whatever has ticked since.
            ready.clear()
            self._tell_loops(Loops(at=utc_iso(now), error=str(error), loops=reports(None, settings, now)))
            return
        self._tell_loops(Loops(at=utc_iso(now), error=None, loops=reports(statuses, settings, now)))

    async def _read_topics(
        self, store: LiveStore, statuses: Mapping[str, LoopStatus | None], ready: set[Topic], now: datetime
    ) -> None:
        ticks = {name: status.last_success_at if status is not None else None for name, status in statuses.items()}
        ticked = {name for name, tick in ticks.items() if tick != self._ticks.get(name)}
        listened = {topic for page in self._pages for topic in page.topics}
        for name, topic in list(self._topics.items()):
            if topic not in listened:
                # Nobody listens: it would go on growing older unseen.
                del self._topics[name]
                ready.discard(topic)
        for topic in listened:
            if topic not in ready or topic.is_incomplete or topic.loops & ticked:
                change = await topic.read(store, statuses, now)
                ready.add(topic)
                for page in self._pages:
                    if topic in page.topics:
                        page.tell(topic, change)
        for page in self._pages:
            page.begin(ready)
        self._ticks = ticks

    def _tell_loops(self, loops: Loops) -> None:
        state = (loops.error, [(report.name, report.state) for report in loops.loops])
        now = self._sources.clock.monotonic()
        is_news = state != self._loops_state or now - self._loops_told >= _LOOPS_SECONDS
        if is_news:
            self._loops_state, self._loops_told = state, now
        told = event("loops", loops)
        for page in self._pages:
            if is_news or not page.knows_loops:
                page.put(told)

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._wake.wait()
        self._wake.clear()


class _Page:
    """One open page.

    :param topics: what it listens to.
    """

    def __init__(self, topics: list[Topic]) -> None:
        self.topics = frozenset(topics)
        self.knows_loops = False
        self._known: set[Topic] = set()
        self._waiting: list[bytes] = []
        self._news = asyncio.Event()
        self.has_ended = False

    def put(self, piece: bytes) -> None:
        """Send something of no topic."""
        self.knows_loops = True
        self._append(piece)

    def tell(self, topic: Topic, change: bytes | None) -> None:
        """Send what has changed of a topic, to one who knows what there was before."""
        if change is not None and topic in self._known:
            self._append(change)

    def begin(self, ready: set[Topic]) -> None:
        """Send all there is of the topics that the page knows nothing of."""
        for topic in (self.topics & ready) - self._known:
            self._known.add(topic)
            self._append(topic.snapshot())

    def end(self) -> None:
        """Let the page's stream end."""
        self.has_ended = True
        self._news.set()

    async def news(self) -> list[bytes]:
        """Wait for news and return them; after a while without any, a comment that keeps the connection open."""
        try:
            async with asyncio.timeout(_HEARTBEAT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return [b": still here\n\n"]
        self._news.clear()
        news, self._waiting = self._waiting, []
        return news

    def _append(self, piece: bytes) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            # Too slow, or asleep: it is told everything anew instead.
            self._waiting.clear()
            self._known.clear()
            self.knows_loops = False
            return
        self._waiting.append(piece)
        self._news.set()
