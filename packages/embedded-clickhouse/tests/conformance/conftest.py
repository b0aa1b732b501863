"""What ClickHouse promises to its clients, asked of a server over both of its protocols.

Without more the server is the embedded one of this package, started for the tests::

    pytest tests/conformance

The same tests run unchanged against any ClickHouse server. The account must be one that may make databases; the suite
makes one of its own with a name that nobody has, works in nothing else, and drops it at the end::

    CONFORMANCE_CLICKHOUSE_URL=http://default:password@localhost:8123 \\
    CONFORMANCE_CLICKHOUSE_NATIVE=localhost:9000 pytest tests/conformance

The answers are those of the version that the engine is pinned to; another version may have other codes for some errors.
Where the embedded server and another one differ for a known reason, ``differences.py`` says so, and nothing else does.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest

from clickhouse_testkit.differences import Server, difference
from clickhouse_testkit.suite import Suite
from clickhouse_testkit.target import (
    HTTP_VARIABLE,
    NATIVE_VARIABLE,
    ConnectClient,
    NativeClient,
    PlainHttp,
    Target,
)
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect the failures that are listed, and only those."""
    which = Server.OTHER if os.environ.get(HTTP_VARIABLE) else Server.EMBEDDED
    for item in items:
        if "tests/conformance/" in item.nodeid and (entry := difference(item.nodeid, which)):
            item.add_marker(pytest.mark.xfail(strict=True, reason=entry.reason))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test. The embedded one has a zone that is not that of the tests."""
    url, native = os.environ.get(HTTP_VARIABLE), os.environ.get(NATIVE_VARIABLE)
    if url and native:
        yield Target.of_addresses(url, native)
    elif url or native:
        raise pytest.UsageError(f"{HTTP_VARIABLE} and {NATIVE_VARIABLE} must both be set, or neither")
    else:
        with running_server(tmp_path_factory.mktemp("conformance"), timezone="Asia/Seoul") as running:
            yield Target.of_server(running)


@pytest.fixture(scope="session")
def target(server: Target) -> Iterator[Target]:
    """The server with a database of the suite's own."""
    owner = PlainHttp(server)
    database = f"conformance_{secrets.token_hex(8)}"
    owner.ask(f"CREATE DATABASE {database}")
    try:
        yield server.with_database(database)
    finally:
        owner.ask(f"DROP DATABASE {database} SYNC")


@pytest.fixture(scope="session")
def suite(target: Target) -> Iterator[Suite]:
    plain, connect, native = PlainHttp(target), ConnectClient(target), NativeClient(target)
    yield Suite(target, plain, connect, native, plain.ask("SELECT timezone()"))
    for client in (plain, connect, native):
        client.close()
