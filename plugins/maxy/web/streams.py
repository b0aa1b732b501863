"""Streams of server-sent events as answers."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

#: After that a stream ends and the page asks again, so that who has logged out does not go on listening.
STREAM_SECONDS = 900.0


async def answer_stream(events: AsyncGenerator[bytes, None]) -> StreamingResponse:
    """Answer with events, from the first one on, so that a refusal is still an answer of its own.

    :param events: of :meth:`maxy.web.hub.LiveHub.listen`.
    :raises maxy.web.hub.TooManyPages: no further page can be served.
    """
    # None at all where the server is about to end.
    first = await anext(events, b"")

    async def every() -> AsyncIterator[bytes]:
        # Whoever has gone is not to be counted as a page any more.
        async with aclosing(events):
            yield first
            async for event in events:
                yield event

    # A proxy must not collect the events.
    return StreamingResponse(every(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
