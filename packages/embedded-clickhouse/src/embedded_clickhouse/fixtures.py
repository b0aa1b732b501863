"""What the fixtures of the pytest plugin do; it is imported when the first of them is used."""

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

from embedded_clickhouse.quoting import quote_identifier
from embedded_clickhouse.testing import QueryError, Server, ServerArguments, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDING_SECONDS = 1.0
# The name of a database is that of a folder too.
_NAME_CHARACTERS = 80


@contextmanager
def temporary_server(options: ServerArguments) -> Iterator[Server]:
    """A server in a folder that goes with it."""
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


@contextmanager
def temporary_database(server: Server, test_name: str) -> Iterator[Server]:
    """The server with an empty database whose name is made of a test's, dropped afterwards."""
    readable = re.sub(r"\W+", "_", test_name, flags=re.ASCII).strip("_")[:_NAME_CHARACTERS]
    name = f"{readable}_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {quote_identifier(name)}", "before this test")
    yield dataclasses.replace(server, database=name)
    _execute(server, f"DROP DATABASE IF EXISTS {quote_identifier(name)} SYNC", "during this test")


def _execute(server: Server, sql: str, when: str) -> None:
    _check_alive(server, when)
    try:
        server.query(sql)
    except QueryError as error:
        pytest.fail(f"{sql}: {error}", pytrace=False)
    except (OSError, http.client.HTTPException) as error:
        # A process that was killed a moment ago may still have to end.
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(_ENDING_SECONDS)
        _check_alive(server, when)
        pytest.fail(f"{sql}: the ClickHouse server does not answer: {error!r}", pytrace=False)


def _check_alive(server: Server, when: str) -> None:
    if server.process.poll() is not None:
        pytest.fail(
            f"The ClickHouse server that the tests share (pid {server.pid}) ended {when}, with status "
            f"{server.process.returncode}. A test that ends its server needs one of its own, "
            f"embedded_clickhouse_own_server. The end of its log: {server.end_of_log()}",
            pytrace=False,
        )
