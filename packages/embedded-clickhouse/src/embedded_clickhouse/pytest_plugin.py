"""Fixtures for tests that need ClickHouse. Pytest finds them once the package is installed, without a conftest.py.

==================================  ====================================================================================
``embedded_clickhouse``             an empty database of the test's own, on the server that the tests share
``embedded_clickhouse_server``      that server; one for each process of pytest-xdist
``embedded_clickhouse_own_server``  a server of the test's own, which it may stop, kill or fill as it likes
``embedded_clickhouse_options``     what servers are told; a fixture of the same name in conftest.py replaces it
==================================  ====================================================================================

The first three are a :class:`~embedded_clickhouse.testing.Server`::

    def test_counts(embedded_clickhouse):
        embedded_clickhouse.query("CREATE TABLE visits (user UInt32) ENGINE = Memory")
        assert embedded_clickhouse.query("SELECT count() FROM visits") == "0"

Pytest imports this module in every project of an environment. So it imports nothing, and starts nothing, before a
test asks for a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.testing import Server, ServerArguments


@pytest.fixture(scope="session")
def embedded_clickhouse_options() -> ServerArguments:
    """What servers are told, see :class:`~embedded_clickhouse.testing.ServerArguments`: nothing but the defaults."""
    return {}


@pytest.fixture(scope="session")
def embedded_clickhouse_server(embedded_clickhouse_options: ServerArguments) -> Iterator[Server]:
    """The ClickHouse server that the tests of this process share."""
    from embedded_clickhouse.fixtures import temporary_server

    with temporary_server(embedded_clickhouse_options) as server:
        yield server


@pytest.fixture
def embedded_clickhouse(embedded_clickhouse_server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The shared ClickHouse server with an empty database of the test's own, which is dropped afterwards.

    Its name, ``embedded_clickhouse.database``, is made of the test's.
    """
    from embedded_clickhouse.fixtures import temporary_database

    with temporary_database(embedded_clickhouse_server, request.node.name) as server:
        yield server


@pytest.fixture
def embedded_clickhouse_own_server(embedded_clickhouse_options: ServerArguments) -> Iterator[Server]:
    """A ClickHouse server of the test's own, and its data with it."""
    from embedded_clickhouse.fixtures import temporary_server

    with temporary_server(embedded_clickhouse_options) as server:
        yield server
