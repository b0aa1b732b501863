"""The server as a process: readiness, one owner of a folder, an end in good order, a kill."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import clickhouse_connect
import clickhouse_driver
import pytest
from clickhouse_driver.errors import ServerException

from clickhouse_testkit.plain_http import Http, Reply, basic
from clickhouse_testkit.source import SOURCE
from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def command(*arguments: str, password: str | None = "secret-word") -> subprocess.CompletedProcess[str]:
    """Run the gateway's command line to its end."""
    others = {name: value for name, value in os.environ.items() if name != "CLICKHOUSE_PASSWORD"}
    return subprocess.run(
        [sys.executable, "-m", "embedded_clickhouse", *arguments],
        cwd=SOURCE,
        env=others if password is None else {**others, "CLICKHOUSE_PASSWORD": password},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_both_protocols_answer_once_it_is_ready_and_share_the_data(tmp_path: Path) -> None:
    with running_server(tmp_path, timezone="America/New_York", user="u", password="p w'", database="d b") as server:
        ready = json.loads((tmp_path / "ready.json").read_text())
        assert ready == {"pid": server.pid, "http_port": server.http_port, "tcp_port": server.tcp_port}
        http_client = Http(server)
        http_client.ask("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
        with clickhouse_driver.Client(
            server.host, server.tcp_port, user="u", password="p w'", database="d b"
        ) as native:
            native.execute("INSERT INTO t VALUES", [(1,), (2,)])
            assert native.execute("SELECT timezone()") == [("America/New_York",)]
        assert http_client.ask("SELECT sum(a), timezone() FROM t") == "3\tAmerica/New_York"
    assert server.process.returncode == 0
    assert not (tmp_path / "ready.json").exists()
    log = (tmp_path / "server.log").read_text()
    assert "p w'" not in log
    ports = f"HTTP {server.http_port}, native {server.tcp_port}"
    assert re.fullmatch(
        rf"ClickHouse answers on 127\.0\.0\.1: {ports} \(pid {server.pid}, [\d.]+ s\)", log.split("\n")[0]
    )


def test_a_second_server_on_the_folder_is_refused_with_words(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        second = command("serve", str(tmp_path), "--http-port", "0", "--tcp-port", "0")
        assert second.returncode == 1
        assert second.stderr == f"{tmp_path} is in use by another ClickHouse gateway (pid {server.pid}).\n"
        assert Http(server).ask("SELECT 1") == "1"


@pytest.mark.parametrize("option", ["--http-port", "--tcp-port"])
def test_a_port_that_is_taken_is_named(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ports = {"--http-port": "0", "--tcp-port": "0", option: port}
        result = command("serve", str(tmp_path), *(word for pair in ports.items() for word in pair))
    assert result.returncode == 1
    assert port in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "password", "words"),
    [
        ([], None, "CLICKHOUSE_PASSWORD is not set"),
        (["--host", "0.0.0.0"], "", "not an IPv4 loopback address"),
        (["--timezone", "Mars/Base"], "x", "Unknown time zone 'Mars/Base'"),
        (["--host", "0.0.0.0"], "x", "not an IPv4 loopback address"),
        (["--http-port", "70000"], "x", "not a port"),
    ],
)
def test_a_wrong_start_says_why(tmp_path: Path, arguments: list[str], password: str | None, words: str) -> None:
    result = command("serve", str(tmp_path), *arguments, password=password)
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose account is that of a new ClickHouse: default, without a password."""
    with running_server(tmp_path_factory.mktemp("open"), user="default", password="") as server:
        yield server


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({}, {}),
        ({"X-ClickHouse-User": "default"}, {}),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": ""}, {}),
        (basic("default", ""), {}),
        ({}, {"user": "default"}),
        ({}, {"user": "default", "password": ""}),
        ({"Origin": "http://localhost:3000"}, {}),
    ],
)
def test_an_account_without_a_password_is_whoever_does_not_say(
    open_server: Server, headers: dict[str, str], params: dict[str, str]
) -> None:
    http_client = Http(open_server)
    reply = http_client.request(body="SELECT 1", headers=headers, **params)
    assert (reply.status, reply.text) == (200, "1\n")
    # A page elsewhere is told nothing that a browser would let it read.
    assert "access-control-allow-origin" not in reply.headers
    assert http_client.request("GET", headers=headers, query="SELECT 2", **params).text == "2\n"


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"X-ClickHouse-User": "other"}, {}),
        ({"X-ClickHouse-Key": "x"}, {}),
        (basic("default", "x"), {}),
        (basic("other", ""), {}),
        ({}, {"password": "x"}),
        ({}, {"user": "other"}),
        ({"Origin": "http://example.com"}, {}),
        ({"Origin": "null"}, {"user": "default"}),
    ],
)
def test_an_account_without_a_password_is_still_one_account(
    open_server: Server, headers: dict[str, str], params: dict[str, str]
) -> None:
    reply = Http(open_server).request(body="SELECT 1", headers=headers, **params)
    assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (403, "516")


def test_native_clients_need_no_password_either(open_server: Server) -> None:
    for account in ({}, {"user": "default"}, {"user": ""}, {"user": "default", "password": ""}):
        with clickhouse_driver.Client(open_server.host, open_server.tcp_port, **account) as client:
            assert client.execute("SELECT 1") == [(1,)]
    for account in ({"user": "other"}, {"password": "x"}):
        with (
            clickhouse_driver.Client(open_server.host, open_server.tcp_port, **account) as client,
            pytest.raises(ServerException) as caught,
        ):
            client.execute("SELECT 1")
        assert caught.value.code == 516


def test_clients_reach_it_with_their_own_defaults(open_server: Server) -> None:
    with clickhouse_connect.get_client(host=open_server.host, port=open_server.http_port) as client:
        assert client.command("SELECT 1") == 1
    assert "The account 'default' has no password" in open_server.end_of_log()


def test_status_and_stop(tmp_path: Path) -> None:
    assert command("status", str(tmp_path)).returncode == 1
    with running_server(tmp_path) as server:
        status = command("status", str(tmp_path))
        assert (status.returncode, str(server.http_port) in status.stdout) == (0, True)
        assert command("stop", str(tmp_path)).returncode == 0
        assert server.process.wait(5) == 0
    assert command("stop", str(tmp_path)).stdout == f"Nobody serves {tmp_path}.\n"


def test_a_running_statement_ends_before_the_server_does(tmp_path: Path) -> None:
    replies: list[Reply] = []
    with running_server(tmp_path) as server:
        http_client = Http(server)
        sql = "SELECT sleepEachRow(0.5) + number FROM numbers(3) SETTINGS max_block_size = 1"
        thread = threading.Thread(target=lambda: replies.append(http_client.post(sql, query_id="last")))
        thread.start()
        asked = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = 'last'"
        eventually(lambda: http_client.ask(asked) == "1")
        server.process.terminate()
        assert server.process.wait(60) == 0
        thread.join(5)
    assert [reply.body for reply in replies] == [b"0\n1\n2\n"]


def test_acknowledged_inserts_survive_a_kill(tmp_path: Path) -> None:
    acknowledged: list[int] = []
    with running_server(tmp_path) as server:
        http_client = Http(server)
        http_client.ask("CREATE TABLE t (a UInt32) ENGINE = MergeTree ORDER BY a")

        def write() -> None:
            while True:
                number = len(acknowledged)
                try:
                    reply = http_client.post(f"INSERT INTO t VALUES ({number})")
                except (OSError, http.client.HTTPException):
                    return
                assert reply.status == 200
                acknowledged.append(number)

        thread = threading.Thread(target=write)
        thread.start()
        eventually(lambda: len(acknowledged) >= 50)
        os.kill(server.pid, signal.SIGKILL)
        thread.join(10)
    with running_server(tmp_path) as server:
        stored = int(Http(server).ask("SELECT count() FROM t"))
    # The one that was on its way may have been stored without its reply.
    assert stored - len(acknowledged) in {0, 1}


def test_a_killed_server_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        os.kill(server.pid, signal.SIGKILL)
        server.process.wait()
        assert command("status", str(tmp_path)).returncode == 1
    again: Server
    with running_server(tmp_path) as again:
        assert Http(again).ask("SELECT 1") == "1"
