"""The stream over HTTP, by the server that Airflow's API server uses."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from maxy.web.headers import CONTENT_SECURITY_POLICY
from tests.integration.statistics.web.listener import LivePage, soon
from tests.integration.statistics.web.site import asked
from tests.realtime_support import FakeClock
from tests.ui_support import MOUNT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.integration.statistics.web.site import Loops, Serve, Site
    from tests.ui_support import Login

    Story = Callable[["Served"], Awaitable[None]]
    Tell = Callable[[Story], None]

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
TRIPLE = ("a b&c", 1, "x:%")


class Served:
    """A site behind a real server, in the test's own event loop.

    :param site: the application.
    :param server: told to end by ``should_exit``, as its handler of SIGTERM does.
    :param task: ends with the server.
    :param client: of somebody who may see plugins.
    """

    def __init__(self, site: Site, server: uvicorn.Server, task: asyncio.Task[None], client: httpx.AsyncClient) -> None:
        self.site = site
        self.server = server
        self.task = task
        self.client = client

    @asynccontextmanager
    async def stream(self, page: LivePage) -> AsyncIterator[httpx.Response]:
        """Open the stream; ``page`` takes over what comes, in the background."""
        async with self.client.stream("GET", "api/stream", params=asked(TRIPLE)) as answer:
            task = asyncio.ensure_future(_take_all(page, answer))
            try:
                yield answer
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def _take_all(page: LivePage, answer: httpx.Response) -> None:
    if answer.status_code != 200:
        return
    rest = b""
    async for chunk in answer.aiter_bytes():
        *pieces, rest = (rest + chunk).split(b"\n\n")
        for piece in pieces:
            page.take(piece + b"\n\n")
    assert rest == b"", "the last event is a whole one"
    page.has_ended = True


@pytest.fixture
def tell(site: Serve, login: Login) -> Tell:
    async def telling(story: Story) -> None:
        async with site(FakeClock(NOW)) as running:
            outer = FastAPI()
            outer.mount(MOUNT, running.app)
            server = uvicorn.Server(uvicorn.Config(outer, port=0, lifespan="off", log_level="warning"))
            task = asyncio.ensure_future(server.serve())
            await soon(lambda: server.started, "the server starts")
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}{MOUNT}/"
            async with httpx.AsyncClient(base_url=url, headers=login.headers("viewer"), timeout=60) as client:
                await story(Served(running, server, task, client))
            server.should_exit = True
            await task

    return lambda story: asyncio.run(telling(story))


def test_events_come_as_they_happen(tell: Tell, loops: Loops) -> None:
    loops.figures("device", TRIPLE, NOW, visit=1)
    loops.all_ticked(NOW)

    async def story(served: Served) -> None:
        page = LivePage()
        async with served.stream(page) as answer:
            assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
            await page.until(page.knows_all)
            assert page.today["device"]["figures"]["visit"] == 1
            loops.figures("device", TRIPLE, NOW, visit=2)
            loops.ticked("device", NOW.replace(second=5))
            await page.until(lambda: page.today["device"]["figures"]["visit"] == 2)

    tell(story)


def test_a_page_that_goes_is_forgotten(tell: Tell) -> None:
    async def story(served: Served) -> None:
        for _ in range(3):
            page = LivePage()
            async with served.stream(page):
                await page.until(page.knows_all)
                assert len(served.site.hub._pages) == 1
            await soon(lambda: not served.site.hub._pages, "the page is forgotten")

    tell(story)


def test_streams_do_not_hold_up_the_server_when_it_is_told_to_end(tell: Tell) -> None:
    async def story(served: Served) -> None:
        pages = [LivePage() for _ in range(5)]
        async with AsyncExitStack() as stack:
            for page in pages:
                await stack.enter_async_context(served.stream(page))
            for page in pages:
                await page.until(page.knows_all)
            served.server.should_exit = True
            async with asyncio.timeout(15):
                await served.task
            for page in pages:
                await page.until_ended()

    tell(story)


def test_one_page_too_many_is_told_to_come_again(tell: Tell) -> None:
    async def story(served: Served) -> None:
        served.site.hub._limit.most = 1
        page = LivePage()
        async with served.stream(page):
            await page.until(page.knows_all)
            answer = await served.client.get("api/stream", params=asked(TRIPLE))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
            assert answer.json() == {"detail": "1 live pages are open already"}
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY

    tell(story)


def test_nobody_listens_without_a_login(tell: Tell, login: Login) -> None:
    async def story(served: Served) -> None:
        for headers, status in (({"Authorization": ""}, 401), (login.headers(None), 403)):
            answer = await served.client.get("api/stream", params=asked(TRIPLE), headers=headers)
            assert answer.status_code == status
        assert not served.site.hub._pages
        assert served.site.hub._reader is None

    tell(story)
