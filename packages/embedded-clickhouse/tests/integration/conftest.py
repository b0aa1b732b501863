"""One server for the tests that only read it or use names of their own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.native_client import connected
from clickhouse_testkit.plain_http import Http
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_driver import Client


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose time zone is not that of the tests."""
    with running_server(tmp_path_factory.mktemp("clickhouse"), timezone="Asia/Seoul") as running:
        yield running


@pytest.fixture
def http_client(server: Server) -> Http:
    return Http(server)


@pytest.fixture
def table(http_client: Http, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an empty table (a UInt32, b String) of this test's own."""
    name = "t_" + "".join(character if character.isalnum() else "_" for character in request.node.name)
    http_client.ask(f"CREATE TABLE {name} (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    yield name
    http_client.ask(f"DROP TABLE {name} SYNC")


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Connected over the native protocol."""
    with connected(server) as driver:
        yield driver


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """The name of a table that is not there yet, dropped at the end."""
    free = f"t_{uuid.uuid4().hex}"
    yield free
    client.execute(f"DROP TABLE IF EXISTS {free} SYNC")
