"""`serve --config`: what the file changes in a running server, and what the command line says about it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from clickhouse_driver.errors import ErrorCodes, ServerException

from clickhouse_testkit.native_client import connected
from clickhouse_testkit.plain_http import Http
from clickhouse_testkit.source import SOURCE
from embedded_clickhouse.config import EngineConfig
from embedded_clickhouse.limits import Limits
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from pathlib import Path

_MEGABYTE = 1_000_000
# Its state takes more than 200 MB.
_HUNGRY = "SELECT length(groupArray(toString(number))) FROM numbers(20000000)"


def _serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embedded_clickhouse", "serve", *arguments],
        cwd=SOURCE,
        env={**os.environ, "CLICKHOUSE_PASSWORD": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_statement_that_needs_more_memory_than_it_may_fails_and_the_server_lives(tmp_path: Path) -> None:
    config = f"[engine]\nmax_statement_memory_bytes = {100 * _MEGABYTE}\n"
    with running_server(tmp_path, config=config) as server, connected(server) as client:
        for _ in range(2):
            with pytest.raises(ServerException) as caught:
                client.execute(_HUNGRY)
            assert caught.value.code == ErrorCodes.MEMORY_LIMIT_EXCEEDED
            assert client.execute("SELECT 42") == [(42,)]
        reply = Http(server).post(_HUNGRY)
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (500, "241")
        # It is a default: a statement may ask for more, and the next one is bounded again.
        assert client.execute(_HUNGRY, settings={"max_memory_usage": 0}) == [(20_000_000,)]
        assert client.execute("SELECT getSetting('max_memory_usage')") == [(100 * _MEGABYTE,)]


def test_all_statements_together_stay_within_the_servers_memory(tmp_path: Path) -> None:
    config = f"[engine]\nmax_server_memory_bytes = {600 * _MEGABYTE}\n"
    with running_server(tmp_path, config=config) as server, connected(server) as client:
        with pytest.raises(ServerException, match="total") as caught:
            client.execute(_HUNGRY.replace("20000000", "100000000"))
        assert caught.value.code == ErrorCodes.MEMORY_LIMIT_EXCEEDED
        assert client.execute("SELECT 42") == [(42,)]


def test_without_the_log_of_queries_there_is_none(tmp_path: Path) -> None:
    with running_server(tmp_path, config="[engine]\nquery_log = false\n") as server, connected(server) as client:
        client.execute("SYSTEM FLUSH LOGS")
        assert client.execute("EXISTS TABLE system.query_log") == [(0,)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\nmax_conections = 5\n", "[limits] has the unknown name 'max_conections'"),
        ("[limits]\nidle_seconds = -1\n", "[limits] idle_seconds must be above 0, not -1"),
        ("[engine\n", "this is no TOML"),
    ],
)
def test_a_wrong_file_ends_the_start_with_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    result = _serve(str(tmp_path / "data"), "--config", str(path))
    assert result.returncode == 1
    assert words in result.stderr
    assert str(path) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = _serve(str(tmp_path / "data"), "--config", str(tmp_path / "nope.toml"))
    assert result.returncode == 1
    assert "nope.toml" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_help_says_what_each_setting_does() -> None:
    result = _serve("--help")
    assert result.returncode == 0
    words = " ".join(result.stdout.split())
    for settings in (EngineConfig, Limits):
        for field in fields(settings):
            assert f"{field.name} = " in words
    assert "how long a statement waits for its turn before it is refused (code 202)." in words
    for option in ("--config FILE", "--timezone", "--ready-file", "--http-port", "CLICKHOUSE_PASSWORD", "SIGTERM"):
        assert option in words
