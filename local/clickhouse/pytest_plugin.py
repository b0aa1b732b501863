"""The fixtures of ``embedded_clickhouse.pytest_plugin`` under their former names.

The present ones are ``embedded_clickhouse``, ``embedded_clickhouse_server``, ``embedded_clickhouse_own_server`` and
``embedded_clickhouse_options``, and need no ``pytest_plugins`` in conftest.py.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from embedded_clickhouse.fixtures import temporary_database, temporary_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.testing import Server, ServerArguments

warnings.warn(
    "local.clickhouse.pytest_plugin is now embedded_clickhouse.pytest_plugin, which pytest finds by itself; "
    "clickhouse_database is now embedded_clickhouse, clickhouse_server embedded_clickhouse_server, "
    "own_clickhouse_server embedded_clickhouse_own_server, clickhouse_options embedded_clickhouse_options",
    DeprecationWarning,
    stacklevel=2,
)


@pytest.fixture(scope="session")
def clickhouse_options() -> ServerArguments:
    """What servers are told."""
    return {}


@pytest.fixture(scope="session")
def clickhouse_server(clickhouse_options: ServerArguments) -> Iterator[Server]:
    """The server that the tests of this process share."""
    with temporary_server(clickhouse_options) as server:
        yield server


@pytest.fixture
def clickhouse_database(clickhouse_server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The shared server with an empty database of the test's own."""
    with temporary_database(clickhouse_server, request.node.name) as server:
        yield server


@pytest.fixture
def own_clickhouse_server(clickhouse_options: ServerArguments) -> Iterator[Server]:
    """A server of the test's own."""
    with temporary_server(clickhouse_options) as server:
        yield server
