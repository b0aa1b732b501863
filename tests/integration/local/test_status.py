"""`status` and `up` on servers that answer strangely: a line per part, in the server's own words, and no traceback."""

from __future__ import annotations

import json
import os
import re
import socket
import socketserver
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from local.__main__ import main
from local.clocks import measure_difference
from local.commands import status_lines
from local.process_identity import Identity
from local.settings import read_settings
from local.stack import PartStatus, Progress, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class AnswersAlike(socketserver.BaseRequestHandler):
    """Gives the same answer to every command, however many come, and then hangs up."""

    def handle(self) -> None:
        server: StrangeServer = self.server  # type: ignore[assignment]
        self.request.settimeout(5)
        try:
            while self.request.recv(65_536):
                self.request.sendall(server.answer)
                if server.hangs_up:
                    return
        except OSError:
            return


class StrangeServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    answer = b""
    hangs_up = False


class StrangeSocket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    answer = b""
    hangs_up = True


@contextmanager
def answering(server: StrangeServer | StrangeSocket, answer: bytes) -> Iterator[None]:
    server.answer = answer
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server() -> StrangeServer:
    return StrangeServer(("127.0.0.1", 0), AnswersAlike)


def stack_at(folder: Path, part: str, **variables: str) -> Stack:
    """A stack of which that part is a process that runs: this one."""
    settings = read_settings(folder, {"MAXY_ENV_FILE": os.devnull, **variables})
    (settings.local_dir / "run").mkdir(parents=True)
    record = json.dumps(asdict(Identity.of(os.getpid())))
    (settings.local_dir / "run" / f"{part}.pid").write_text(record)
    return Stack(settings, Progress(lambda line: None))


def status_of(stack: Stack, name: str) -> PartStatus:
    return next(part for part in stack.status() if part.name == name)


def assert_is_told(part: PartStatus, words: str) -> None:
    assert (part.pid, part.answers, part.in_order) == (os.getpid(), False, False)
    (line,) = status_lines([part])
    assert line.startswith(f"{part.name:<22} NOT ANSWERING: ")
    assert words in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            b"-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "NOT ANSWERING: MISCONF Errors writing to the AOF file: No space left on device",
        ),
        (b"-LOADING Valkey is loading the dataset in memory\r\n", "loading the dataset in memory"),
        (b"-NOAUTH Authentication required.\r\n", "another password than VALKEY_PASSWORD"),
        (
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
            "another password than VALKEY_PASSWORD",
        ),
        (b"-READONLY You can't write against a read only replica.\r\n", "read only replica"),
        (b"-ERR max number of clients reached\r\n", "max number of clients reached"),
        (b"-BUSY Valkey is busy running a script.\r\n", "busy running a script"),
        (b"-NOPERM User default has no permissions to run the 'ping' command\r\n", "no permissions"),
        (b"-\xff\xfe\xfd\r\n", ""),
        (b"*1\r\n$5\r\nslave\r\n", "READONLY: it is a slave of another server"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", ""),
        (b"", "Connection closed"),
        (b"-" + b"ERR long " * 1000 + b"\r\n", "ERR long"),
    ],
)
def test_whatever_valkey_answers_is_a_line(tmp_path: Path, server: StrangeServer, answer: bytes, words: str) -> None:
    server.hangs_up = not answer
    stack = stack_at(tmp_path, "valkey", VALKEY_PORT=str(server.server_address[1]))
    with answering(server, answer):
        assert_is_told(status_of(stack, "valkey"), words)
        assert stack.warnings() == [], "an unreadable clock is no difference"


def test_a_replica_is_no_store_for_the_results(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = read_settings(tmp_path, {"MAXY_ENV_FILE": os.devnull, "VALKEY_PORT": str(port)})
    stack = Stack(settings, Progress(lambda line: None))
    try:
        stack.valkey.start(threading.Event())
        assert stack.valkey.problem() is None
        assert abs(measure_difference(stack.valkey.read_clock)) < 1
        with stack.valkey.client() as client:
            client.replicaof("127.0.0.1", 1)
        (line,) = status_lines([status_of(stack, "valkey")])
        assert "NOT ANSWERING: READONLY: it is a slave of another server" in line
    finally:
        stack.valkey.process.stop()


def http(status: str, body: bytes, length: int | None = None) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body) if length is None else length}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


STRANGE_HTTP = [
    (
        http("500 Internal Server Error", b"Code: 243. DB::Exception: not enough\n  space. (NOT_ENOUGH_SPACE)"),
        "Code: 243",
    ),
    (http("500 Internal Server Error", b""), ""),
    (http("503 Service Unavailable", b"\xff\xfe not text"), "not text"),
    (http("200 OK", b"[]"), ""),
    (http("200 OK", b"null"), ""),
    (http("200 OK", b"\xff\xfe"), ""),
    (http("200 OK", b"{", length=100), ""),
    (http("404 Not Found", b"<html>\n<body>\nnothing here\n" + b"x" * 5000), "nothing here"),
    (http("302 Found\r\nLocation: ftp://elsewhere", b""), ""),
    (b"+PONG\r\n", ""),
    (b"", ""),
]


@pytest.mark.parametrize(("answer", "words"), STRANGE_HTTP)
def test_whatever_clickhouse_answers_is_a_line(
    tmp_path: Path, server: StrangeServer, answer: bytes, words: str
) -> None:
    server.hangs_up = True
    stack = stack_at(tmp_path, "clickhouse", CLICKHOUSE_PORT=str(server.server_address[1]))
    with answering(server, answer):
        assert_is_told(status_of(stack, "clickhouse"), words)
        assert stack.warnings() == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        *STRANGE_HTTP,
        (http("200 OK", b"{}"), "metadatabase is unknown"),
        (http("200 OK", b'{"metadatabase": {"status": "unhealthy"}}'), "metadatabase is unhealthy"),
        (http("200 OK", b'{"metadatabase": null}'), "metadatabase is unknown"),
        (http("200 OK", b'{"metadatabase": ["healthy"]}'), ""),
    ],
)
def test_whatever_airflow_answers_is_a_line(tmp_path: Path, server: StrangeServer, answer: bytes, words: str) -> None:
    server.hangs_up = True
    stack = stack_at(tmp_path, "airflow-api-server", AIRFLOW_PORT=str(server.server_address[1]))
    with answering(server, answer):
        assert_is_told(status_of(stack, "airflow-api-server"), words)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({}, "scheduler is unknown"),
        ({"status": "unhealthy", "latest_scheduler_heartbeat": "2026-11-28T10:00:00Z"}, "scheduler is unhealthy"),
        ({"status": "healthy"}, "no heartbeat since its start (the last one: none)"),
        ({"status": "healthy", "latest_scheduler_heartbeat": "2001-01-01T00:00:00Z"}, "(the last one: 2001-01-01T"),
        ({"status": "healthy", "latest_scheduler_heartbeat": "yesterday"}, "yesterday"),
    ],
)
def test_a_part_of_airflow_that_gives_no_sign_of_life_is_a_line(
    tmp_path: Path, server: StrangeServer, state: dict[str, str], words: str
) -> None:
    server.hangs_up = True
    stack = stack_at(tmp_path, "airflow-scheduler", AIRFLOW_PORT=str(server.server_address[1]))
    with answering(server, http("200 OK", json.dumps({"scheduler": state}).encode())):
        assert_is_told(status_of(stack, "airflow-scheduler"), words)


def postgres_error(code: str, message: str) -> bytes:
    fields = f"SFATAL\0VFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + struct.pack("!i", len(fields) + 4) + fields


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (postgres_error("57P03", "the database system is in recovery mode"), "the database system is in recovery mode"),
        (postgres_error("57P03", "the database system is starting up"), "the database system is starting up"),
        (postgres_error("53100", "could not write init file: No space left on device"), "No space left on device"),
        (postgres_error("53300", "sorry, too many clients already"), "too many clients"),
        (postgres_error("28P01", 'password authentication failed for user "airflow"'), "another password"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
        (b"\0\1\2\3", ""),
        (b"", ""),
    ],
)
def test_whatever_postgres_answers_is_a_line(tmp_path: Path, answer: bytes, words: str) -> None:
    stack = stack_at(tmp_path, "postgres")
    stack.postgres.socket_directory.mkdir(parents=True)
    try:
        with answering(StrangeSocket(stack.postgres.address, AnswersAlike), answer):
            assert_is_told(status_of(stack, "postgres"), words)
            assert stack.warnings() == []
    finally:
        stack.postgres.remove_socket_directory()


def test_an_error_that_no_part_expects_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_at(tmp_path, "feed")

    def fail() -> None:
        raise RecursionError("maximum depth\nexceeded")

    monkeypatch.setattr(stack.feeds[0], "check", fail)
    assert_is_told(status_of(stack, "feed"), "NOT ANSWERING: RecursionError: maximum depth exceeded")


def test_a_part_whose_clock_differs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_at(tmp_path, "valkey")
    monkeypatch.setattr(stack.valkey, "read_clock", lambda: time.time() - 3600)

    (warning,) = stack.warnings()
    assert re.fullmatch(r"the clock of valkey is 3,(59|60)\d\.\d s behind this machine's", warning)


def test_up_ends_with_the_parts_own_words(
    tmp_path: Path, server: StrangeServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part that runs and is in trouble is waited for, and then its words are the last ones."""
    port = str(server.server_address[1])
    stack = stack_at(tmp_path, "valkey", VALKEY_PORT=port)
    monkeypatch.setattr(stack.valkey, "start_timeout", 0.3)
    monkeypatch.setattr(stack, "parts", [stack.valkey])
    for name in ("_up_airflow", "_up_clickhouse"):
        monkeypatch.setattr(stack, name, lambda: None)
    monkeypatch.setattr("local.__main__.Stack", lambda *_, **__: stack)
    monkeypatch.setattr("local.__main__.read_settings", lambda root: stack.settings)
    with answering(server, b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"):
        assert main(["up"]) == 1

    said = capsys.readouterr().err
    assert said.startswith("local: valkey was not ready within 0 s: MISCONF Errors writing to the AOF file: No space")
    assert "Traceback" not in said
