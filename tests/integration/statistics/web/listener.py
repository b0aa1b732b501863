"""A live page without a browser: it takes over what the stream tells it, as the real one does."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from tests.integration.statistics.web.site import Site, Triple

_SECONDS = 20.0


def parsed(piece: bytes) -> tuple[str, dict[str, Any]] | None:
    """Return an event's name and data; None for a comment, which only keeps the connection open."""
    if piece.startswith(b":"):
        return None
    head, data, *rest = piece.decode().split("\n")
    assert rest == ["", ""], "an event ends with one empty line, and has no other"
    assert (head[:7], data[:6]) == ("event: ", "data: ")
    return head[7:], json.loads(data[6:])


class LivePage:
    """What a page shows.

    :param events: those that came, in their order.
    :param points: of each scatter, by number: every column but the number.
    :param slots: of the log rate.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._today: dict[str, Any] | None = None
        self._loops: dict[str, Any] | None = None
        self.slots: list[dict[str, Any]] = []
        self.points: dict[str, dict[int, tuple[Any, ...]]] = {}
        self.has_ended = False

    @property
    def today(self) -> dict[str, Any]:
        """The figures of today as they were told last."""
        assert self._today is not None, "today has not been told"
        return self._today

    @property
    def loops(self) -> dict[str, Any]:
        """What was told of the loops last."""
        assert self._loops is not None, "the loops have not been told"
        return self._loops

    def take(self, piece: bytes) -> None:
        """Take over a piece of the stream."""
        event = parsed(piece)
        if event is None:
            return
        self.events.append(event)
        name, data = event
        getattr(self, f"_take_{name}")(data)

    def _take_today(self, data: dict[str, Any]) -> None:
        self._today = data

    def _take_loops(self, data: dict[str, Any]) -> None:
        self._loops = data

    def _take_log_rate(self, data: dict[str, Any]) -> None:
        self.slots = [*([] if data["reset"] else self.slots), *data["slots"]]

    def _take_scatter(self, data: dict[str, Any]) -> None:
        shown = self.points.setdefault(data["loop"], {})
        if data["reset"]:
            shown.clear()
        for number in data["removed"]:
            shown.pop(number, None)
        numbers, *columns = data["added"].values()
        for number, *point in zip(numbers, *columns, strict=True):
            assert number not in shown, "a number is used twice"
            shown[number] = tuple(point)

    def names(self) -> list[str]:
        """Return the names of the events."""
        return [name if name != "scatter" else data["loop"] for name, data in self.events]

    def times(self, name: str) -> int:
        """Return how often something was told."""
        return self.names().count(name)

    def knows_all(self) -> bool:
        """Whether everything was told at least once."""
        return {"loops", "today", "log_rate", "loading_time", "response_time"} <= set(self.names())

    async def until(self, condition: Callable[[], Any], what: str = "it is told") -> None:
        """Wait for something to be told."""
        await soon(condition, what)

    async def until_told(self, name: str, times: int) -> None:
        """Wait until something has been told so many times, neither fewer nor more."""
        await soon(lambda: self.times(name) == times, f"{name} is told {times} times")

    async def until_ended(self) -> None:
        """Wait for the end of the stream."""
        await soon(lambda: self.has_ended, "the stream ends")


async def soon(condition: Callable[[], Any], what: str) -> None:
    """Wait for what other tasks do."""
    try:
        async with asyncio.timeout(_SECONDS):
            while not condition():  # noqa: ASYNC110 - other tasks know of no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {_SECONDS:g} s") from None


@asynccontextmanager
async def listening(site: Site, triple: Triple, *, seconds: float = 900.0) -> AsyncIterator[LivePage]:
    """Listen as one page, until the end of the block."""
    page = LivePage()
    stream = site.listen(triple, seconds=seconds)
    task = asyncio.ensure_future(_listen(page, stream))
    try:
        yield page
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _listen(page: LivePage, stream: AsyncGenerator[bytes, None]) -> None:
    async for piece in stream:
        page.take(piece)
    page.has_ended = True
