"""Fixtures for tests that need ClickHouse: ``pytest_plugins = ["local.clickhouse.pytest_plugin"]`` in conftest.py.

==========================  ==========================================================================
``clickhouse_database``     an empty database of the test's own, on the server that the tests share
``clickhouse_server``       that server; one for each process of pytest-xdist
``own_clickhouse_server``   a server of the test's own, which it may stop, kill or fill as it likes
``clickhouse_options``      what servers are told; a fixture of the same name in conftest.py replaces it
==========================  ==========================================================================

The first three are a :class:`~local.clickhouse.testing.Server`::

    def test_counts(clickhouse_database):
        with clickhouse_connect.get_client(**clickhouse_database.http_arguments()) as client:
            assert client.command("SELECT count() FROM system.one") == 1
"""

from __future__ import annotations

import dataclasses
import http.client
import re
import subprocess
import tempfile
import uuid
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.clickhouse.quoting import quote_identifier
from local.clickhouse.testing import Server, ServerArguments, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATEMENT_SECONDS = 30.0
_ENDING_SECONDS = 1.0
# The name of a database is that of a folder too.
_NAME_CHARACTERS = 80


@pytest.fixture(scope="session")
def clickhouse_options() -> ServerArguments:
    """What servers are told, see :class:`~local.clickhouse.testing.ServerArguments`: nothing but the defaults."""
    return {}


@pytest.fixture(scope="session")
def clickhouse_server(clickhouse_options: ServerArguments) -> Iterator[Server]:
    """The server that the tests of this process share."""
    with _temporary_server(clickhouse_options) as server:
        yield server


@pytest.fixture
def clickhouse_database(clickhouse_server: Server, request: pytest.FixtureRequest) -> Iterator[Server]:
    """The shared server with an empty database of the test's own, which is dropped afterwards.

    Its name, ``clickhouse_database.database``, is made of the test's.
    """
    readable = re.sub(r"\W+", "_", request.node.name, flags=re.ASCII).strip("_")[:_NAME_CHARACTERS]
    name = f"{readable}_{uuid.uuid4().hex[:12]}"
    _execute(clickhouse_server, f"CREATE DATABASE {quote_identifier(name)}", "before this test")
    yield dataclasses.replace(clickhouse_server, database=name)
    _execute(clickhouse_server, f"DROP DATABASE IF EXISTS {quote_identifier(name)} SYNC", "during this test")


@pytest.fixture
def own_clickhouse_server(clickhouse_options: ServerArguments) -> Iterator[Server]:
    """A server of the test's own, and its data with it."""
    with _temporary_server(clickhouse_options) as server:
        yield server


@contextmanager
def _temporary_server(options: ServerArguments) -> Iterator[Server]:
    # Not in tmp_path: pytest keeps the folders of the last runs.
    with (
        tempfile.TemporaryDirectory(prefix="clickhouse-test-", ignore_cleanup_errors=True) as folder,
        ExitStack() as stack,
    ):
        try:
            server = stack.enter_context(running_server(Path(folder) / "server", **options))
        except (RuntimeError, OSError) as error:
            # The way here is of no interest: what the server said is.
            pytest.fail(str(error), pytrace=False)
        yield server


def _check_alive(server: Server, when: str) -> None:
    if server.process.poll() is not None:
        pytest.fail(
            f"The ClickHouse server that the tests share (pid {server.pid}) ended {when}, with status "
            f"{server.process.returncode}. A test that ends its server needs own_clickhouse_server. "
            f"The end of its log: {server.end_of_log()}",
            pytrace=False,
        )


def _execute(server: Server, sql: str, when: str) -> None:
    _check_alive(server, when)
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=_STATEMENT_SECONDS)
    try:
        headers = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}
        connection.request("POST", "/", sql.encode(), headers)
        reply = connection.getresponse()
        text = reply.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        # A process that was killed a moment ago may still have to end.
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(_ENDING_SECONDS)
        _check_alive(server, when)
        pytest.fail(f"{sql}: the ClickHouse server does not answer: {error!r}", pytrace=False)
    finally:
        connection.close()
    if reply.status != http.HTTPStatus.OK:
        pytest.fail(f"{sql}: {text}", pytrace=False)
