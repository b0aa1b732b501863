"""The pages with answers that are made up, for a real browser: no Airflow, no ClickHouse, no Valkey.

Files, headers and templates are the application's own; what the API says is the test's.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, StreamingResponse

from maxy.statistics.web.family import WEB
from maxy.web.access import MAY_SEE_PLUGINS
from maxy.web.headers import SecurityHeaders
from maxy.web.pages import make_router
from tests.ports import free_port
from tests.ui_support import MOUNT
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

#: An event of the stream: its name, and its data.
Event = tuple[str, "Mapping[str, Any]"]


@dataclass
class Answers:
    """What the API answers.

    :param gets: by path below ``api/``: the JSON.
    :param events: makes the stream's events, which it is asked for once per stream; the stream stays open after them.
    """

    gets: dict[str, Any] = field(default_factory=dict)
    events: Callable[[], AsyncIterator[Event]] | None = None


@contextmanager
def serving_pages(answers: Answers) -> Iterator[str]:
    """Serve the pages on a free port.

    :param answers: of the API; may be changed meanwhile.
    :return: the address of the application, without a slash at its end.
    """
    # Streams have no end: they are broken off, which would be told as an error.
    config = uvicorn.Config(
        _site(answers), port=free_port(), log_level="critical", lifespan="off", timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 20, "the pages are served")
        yield f"http://127.0.0.1:{config.port}{MOUNT}"
    finally:
        server.should_exit = True
        thread.join(20)


def _site(answers: Answers) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.add_middleware(SecurityHeaders)
    app.dependency_overrides[MAY_SEE_PLUGINS.dependency] = lambda: None

    @app.get("/api/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(_written(answers), media_type="text/event-stream")

    @app.get("/api/{path:path}")
    async def get(path: str) -> JSONResponse:
        known = path in answers.gets
        return JSONResponse(answers.gets[path] if known else {"detail": "made up"}, status_code=200 if known else 503)

    app.include_router(make_router({WEB.name: WEB.parts()}))
    outer = FastAPI(openapi_url=None)
    # As Airflow's API server does.
    outer.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    outer.mount(MOUNT, app)
    return outer


async def _written(answers: Answers) -> AsyncIterator[bytes]:
    if answers.events is not None:
        async for name, data in answers.events():
            yield b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data).encode())
    await asyncio.Event().wait()
