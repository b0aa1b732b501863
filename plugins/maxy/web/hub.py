"""One reader of Valkey for all live pages of a family in a server process."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from maxy.instants import utc_iso
from maxy.web.models import Loops
from maxy.web.shown_loops import read_statuses, reports
from maxy.web.sources import SourceUnavailable
from maxy.web.topics import Look, event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable
    from datetime import datetime

    from redis.asyncio import Redis

    from maxy.web.shown_loops import ShownLoops
    from maxy.web.sources import Sources
    from maxy.web.topics import Topic, Topics

Live = TypeVar("Live", bound="ShownLoops")
Store = TypeVar("Store")

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


@dataclass
class StreamLimit:
    """How many streams a server process serves at a time, whatever they are of.

    :param most: that are served.
    :param open: that are served now.
    """

    most: int = 500
    open: int = 0


class LiveHub(Generic[Live, Store]):
    """Looks at a family's loops once a second as long as pages are open, and reads what has changed at their ticks.

    Belongs to one event loop.

    :param sources: where it is read from; the settings say which loops there are.
    :param open_store: makes what topics read from.
    :param is_stopping: whether the server is about to end; then streams end too.
    :param limit: on the streams of all hubs.
    """

    def __init__(
        self,
        sources: Sources[Live],
        open_store: Callable[[Redis, Live], Store],
        *,
        is_stopping: Callable[[], bool] = lambda: False,
        limit: StreamLimit | None = None,
    ) -> None:
        self._sources = sources
        self._open_store = open_store
        self._is_stopping = is_stopping
        self._limit = limit or StreamLimit()
        self._topics: dict[Hashable, Topic[Store]] = {}
        self._pages: set[_Page] = set()
        self._reader: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # What of the loops is worth telling at once when it changes, and when it was told.
        self._loops_state: object = None
        self._loops_told = float("-inf")
        self._ticks: dict[str, datetime | None] = {}

    async def listen(self, topics: Topics[Store], *, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield events for a page: everything at once, then what changes, and the status of the loops.

        :param topics: what the page listens to. A topic that another page listens to already is not made again.
        :param seconds: after which the stream ends; the page then asks again, and is checked again.
        :raises TooManyPages: before the first event.
        """
        if self._limit.open >= self._limit.most:
            raise TooManyPages(f"{self._limit.most} live pages are open already")
        page = _Page([self._topics.get(name) or self._topics.setdefault(name, make()) for name, make in topics.items()])
        self._pages.add(page)
        self._limit.open += 1
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
            self._limit.open -= 1

    async def _read(self) -> None:
        """Read until nobody has listened for a while."""
        monotonic = self._sources.clock.monotonic
        last_page = monotonic()
        ready: set[Topic[Store]] = set()
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

    async def _look(self, ready: set[Topic[Store]]) -> None:
        """Look at the loops once, and read the topics whose loop has ticked, or that are new."""
        now = self._sources.clock.now()
        try:
            settings = await self._sources.settings()
        except SourceUnavailable as error:
            self._tell_loops(Loops(at=utc_iso(now), error=str(error), loops=[]))
            return
        try:
            async with self._sources.valkey() as valkey:
                look = Look(self._open_store(valkey, settings), await read_statuses(valkey, settings), now)
                await self._read_topics(look, ready)
        except SourceUnavailable as error:
            # After an outage everything is read, whatever has ticked since.
            ready.clear()
            self._tell_loops(Loops(at=utc_iso(now), error=str(error), loops=reports(None, settings, now)))
            return
        self._tell_loops(Loops(at=utc_iso(now), error=None, loops=reports(look.statuses, settings, now)))

    async def _read_topics(self, look: Look[Store], ready: set[Topic[Store]]) -> None:
        ticks = {name: status.last_success_at if status is not None else None for name, status in look.statuses.items()}
        ticked = {name for name, tick in ticks.items() if tick != self._ticks.get(name)}
        listened = {topic for page in self._pages for topic in page.topics}
        for name, topic in list(self._topics.items()):
            if topic not in listened:
                # Nobody listens: it would go on growing older unseen.
                del self._topics[name]
                ready.discard(topic)
        for topic in listened:
            if topic not in ready or topic.is_incomplete or topic.loops & ticked:
                change = await topic.read(look)
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

    def __init__(self, topics: list[Topic[Any]]) -> None:
        self.topics = frozenset(topics)
        self.knows_loops = False
        self._known: set[Topic[Any]] = set()
        self._waiting: list[bytes] = []
        self._news = asyncio.Event()
        self.has_ended = False

    def put(self, piece: bytes) -> None:
        """Send something of no topic."""
        self.knows_loops = True
        self._append(piece)

    def tell(self, topic: Topic[Any], change: bytes | None) -> None:
        """Send what has changed of a topic, to one who knows what there was before."""
        if change is not None and topic in self._known:
            self._append(change)

    def begin(self, ready: set[Topic[Any]]) -> None:
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
