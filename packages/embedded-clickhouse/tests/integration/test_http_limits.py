"""What one HTTP client may take: sizes, times, connections, turns."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import select
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import lz4.frame
import pytest
import zstandard

from clickhouse_testkit.plain_http import Http, Reply, basic
from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.native.compression import Method, compress
from embedded_clickhouse.testing import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedded_clickhouse.testing import Server

_MIB = 1024 * 1024
_LONG = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
_BIG = "SELECT repeat('x', 1000) FROM numbers(200000)"
_BOMB_BYTES = 256 * _MIB


def spooled(server: Server) -> list[str]:
    return os.listdir(server.log_path.parent / "spool")


def peak_memory(server: Server) -> int:
    """The most memory the process ever had, in bytes."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextlib.contextmanager
def bounded_server(directory: Path, **limits: float) -> Iterator[Server]:
    lines = [f"{name} = {value}" for name, value in limits.items()]
    with running_server(directory, config="\n".join(["[limits]", *lines])) as server:
        yield server
    assert server.process.returncode == 0
    assert "Traceback" not in server.log_path.read_text()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with little patience."""
    with bounded_server(
        tmp_path_factory.mktemp("small"),
        max_connections=6,
        max_concurrent_statements=1,
        queue_seconds=0.5,
        max_request_bytes=_MIB,
        idle_seconds=1.0,
        stalled_seconds=1.0,
    ) as running:
        Http(running).ask("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
        yield running


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A patient server that runs one statement at a time."""
    with bounded_server(tmp_path_factory.mktemp("narrow"), max_concurrent_statements=1) as running:
        Http(running).ask("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a")
        yield running


def connect(server: Server) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(server.host, server.http_port, timeout=20)


def begin(server: Server, sql: str, **params: str) -> http.client.HTTPConnection:
    """Send a statement, and do not read its reply."""
    connection = connect(server)
    url = "/?" + "&".join(f"{name}={value}" for name, value in {"database": server.database, **params}.items())
    connection.request("POST", url, sql.encode(), basic(server.user, server.password))
    return connection


def begin_insert(server: Server, table: str = "t", **params: str) -> http.client.HTTPConnection:
    """Send the first part of an insert in chunks, without its end."""
    connection = connect(server)
    url = "/?" + "&".join(f"{name}={value}" for name, value in {"database": server.database, **params}.items())
    connection.putrequest("POST", url)
    for name, value in basic(server.user, server.password).items():
        connection.putheader(name, value)
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    send_chunk(connection, f"INSERT INTO {table} FORMAT TSV\n".encode() + b"1\n" * 200_000)
    return connection


def send_chunk(connection: http.client.HTTPConnection, data: bytes) -> None:
    connection.send(b"%x\r\n%s\r\n" % (len(data), data))


def running(server: Server, query_id: str) -> bool:
    sql = "SELECT count() FROM system.processes WHERE Settings['log_comment'] = {id:String}"
    return Http(server).ask(sql, param_id=query_id) == "1"


def kill(server: Server, query_id: str) -> None:
    Http(server).ask("KILL QUERY WHERE query_id = {id:String} SYNC", param_id=query_id)


@contextlib.contextmanager
def long_query(server: Server) -> Iterator[None]:
    """Something that runs until the end of the block."""
    query_id = str(uuid.uuid4())
    connection = begin(server, _LONG, query_id=query_id)
    eventually(lambda: running(server, query_id))
    yield
    kill(server, query_id)
    assert b"394" in connection.getresponse().read()
    connection.close()


class TestSize:
    def test_a_body_over_the_limit_is_refused_and_the_connection_goes_on(self, small: Server) -> None:
        connection = connect(small)
        account = basic(small.user, small.password)
        connection.request("POST", "/?query=INSERT+INTO+test.t+FORMAT+TSV", b"x\n" * _MIB, account)
        response = connection.getresponse()
        assert (response.status, response.getheader("X-ClickHouse-Exception-Code")) == (413, "307")
        assert b"TOO_MANY_BYTES" in response.read()
        connection.request("POST", "/", b"SELECT count() FROM test.t", account)
        assert connection.getresponse().read() == b"0\n"
        connection.close()
        assert spooled(small) == []

    def test_a_body_of_the_limit_is_taken(self, small: Server) -> None:
        table = "exact"
        Http(small).ask(f"CREATE TABLE {table} (a String) ENGINE = Memory")
        body = b"x" * (_MIB - 1) + b"\n"
        reply = Http(small).request(query=f"INSERT INTO test.{table} FORMAT TSV", body=body)
        assert reply.status == 200, reply.text
        assert Http(small).ask(f"SELECT length(a) FROM {table}") == str(_MIB - 1)

    @pytest.mark.parametrize(
        ("coding", "compressed"),
        [
            ("gzip", gzip.compress),
            ("lz4", lz4.frame.compress),
            ("zstd", zstandard.compress),
        ],
    )
    def test_a_decompression_bomb_fills_neither_memory_nor_disk(
        self, small: Server, coding: str, compressed: Callable[[bytes], bytes]
    ) -> None:
        before = peak_memory(small)
        reply = Http(small).request(
            query="INSERT INTO test.t FORMAT RawBLOB",
            body=compressed(bytes(_BOMB_BYTES)),
            headers={**basic(small.user, small.password), "Content-Encoding": coding},
        )
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (413, "307")
        assert peak_memory(small) - before < 100 * _MIB
        assert spooled(small) == []
        assert Http(small).ask("SELECT count() FROM t") == "0"

    def test_nor_does_one_in_clickhouses_own_frames(self, small: Server) -> None:
        before = peak_memory(small)
        plain = zstandard.compress(bytes(_BOMB_BYTES))
        frame = next(compress(plain[:10], Method.ZSTD))
        # A frame that announces what the bomb holds. Its checksum is wrong, but that is not even looked at.
        announced = frame[:17] + (9 + len(plain)).to_bytes(4, "little") + (200 * _MIB).to_bytes(4, "little") + plain
        reply = Http(small).request(query="INSERT INTO test.t FORMAT RawBLOB", body=announced, decompress="1")
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (413, "307")
        assert peak_memory(small) - before < 100 * _MIB

    def test_the_files_of_a_form_count_as_well(self, small: Server) -> None:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n' + b"1\n" * _MIB + b"\r\n--b--\r\n"
        )
        headers = {**basic(small.user, small.password), "Content-Type": "multipart/form-data; boundary=b"}
        reply = Http(small).request(query="SELECT 1", body=body, headers=headers, x_types="UInt8")
        assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (413, "307")
        assert spooled(small) == []


class TestTimes:
    def test_a_client_that_stalls_amid_its_body_is_given_up(self, small: Server) -> None:
        query_id, session = str(uuid.uuid4()), str(uuid.uuid4())
        connection = begin_insert(small, query_id=query_id, session_id=session)
        eventually(lambda: running(small, query_id))
        response = connection.getresponse()
        assert (response.status, response.getheader("X-ClickHouse-Exception-Code")) == (503, "209")
        assert b"sent nothing for 1 s" in response.read()
        assert response.getheader("Connection") == "close"
        connection.close()
        eventually(lambda: not running(small, query_id))
        assert spooled(small) == []
        assert Http(small).ask("SELECT count() FROM t", session_id=session, session_check="1") == "0"

    def test_its_thread_serves_others_again(self, small: Server) -> None:
        # More clients, one after the other, than the server has threads.
        for _ in range(2):
            stalled = [begin_insert(small) for _ in range(5)]
            assert [connection.getresponse().status for connection in stalled] == [503] * 5
            for connection in stalled:
                connection.close()
        assert Http(small).ask("SELECT 1") == "1"

    @pytest.mark.parametrize("settings", [{}, {"wait_end_of_query": "1"}, {"default_format": "JSON"}])
    def test_a_client_that_does_not_read_its_reply_is_given_up(self, small: Server, settings: dict[str, str]) -> None:
        query_id, session = str(uuid.uuid4()), str(uuid.uuid4())
        connection = begin(small, _BIG, query_id=query_id, session_id=session, **settings)
        asked = {"session_id": session, "session_check": "1"}
        # Locked until the reply is given up.
        eventually(lambda: Http(small).post("SELECT 1", **asked).status == 500)
        eventually(lambda: Http(small).post("SELECT 1", **asked).status == 200)
        assert not running(small, query_id)
        assert spooled(small) == []
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            connection.getresponse().read()
        connection.close()

    @pytest.mark.parametrize("sent", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\n"])
    def test_a_connection_without_a_whole_head_is_closed(self, small: Server, sent: bytes) -> None:
        with socket.create_connection((small.host, small.http_port), timeout=10) as sock:
            sock.sendall(sent)
            assert sock.recv(100) == b""

    def test_nor_does_sending_it_drop_by_drop_help(self, small: Server) -> None:
        with socket.create_connection((small.host, small.http_port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
            deadline = time.monotonic() + 10
            # The pause between two drops ends early when the server has closed.
            while not select.select([sock], [], [], 0.1)[0]:
                assert time.monotonic() < deadline
                sock.sendall(b"x")
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""

    def test_a_connection_is_closed_when_no_request_follows(self, small: Server) -> None:
        with socket.create_connection((small.host, small.http_port), timeout=10) as sock:
            sock.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while piece := sock.recv(1000):
                received += piece
        assert received.endswith(b"Ok.\n")

    def test_a_statement_may_take_longer_than_that(self, small: Server) -> None:
        sql = "SELECT sum(sleepEachRow(0.5)) FROM numbers(5) SETTINGS max_block_size = 1"
        assert Http(small).ask(sql) == "0"


class TestConnections:
    def test_one_too_many_is_told_so_and_others_go_on(self, small: Server) -> None:
        account = basic(small.user, small.password)

        def select_one(connection: http.client.HTTPConnection) -> int:
            connection.request("POST", "/", b"SELECT 1", account)
            response = connection.getresponse()
            response.read()
            return response.status

        # Those of earlier tests are closed a moment after the client's end.
        eventually(lambda: Http(small).request("GET", "/ping").status == 200)
        with contextlib.ExitStack() as opened:
            kept = [opened.enter_context(contextlib.closing(connect(small))) for _ in range(6)]
            eventually(lambda: [select_one(connection) for connection in kept] == [200] * 6)
            reply = Http(small).post("SELECT 1")
            assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (503, "202")
            assert "6 are open" in reply.text
            assert reply.headers["connection"] == "close"
            kept[0].close()
            eventually(lambda: Http(small).post("SELECT 1").status == 200)

    def test_stalled_inserts_stop_nobody(self, server: Server, table: str) -> None:
        stalled = [begin_insert(server, table, query_id=f"stalled-{number}") for number in range(100)]
        asked = "SELECT count() FROM system.processes WHERE startsWith(Settings['log_comment'], 'stalled-')"
        eventually(lambda: Http(server).ask(asked) == "100")
        assert Http(server).post(f"INSERT INTO {table} VALUES (1, 'a')").status == 200
        assert Http(server).ask(f"SELECT count() FROM {table}") == "1"
        for connection in stalled:
            connection.close()
        eventually(lambda: Http(server).ask(asked) == "0")


class TestTurns:
    def test_who_waits_too_long_is_refused(self, small: Server) -> None:
        with long_query(small):
            for sql in ("SELECT 1", "INSERT INTO t VALUES ('x')"):
                reply = Http(small).post(sql)
                assert (reply.status, reply.headers["x-clickhouse-exception-code"]) == (503, "202")
        assert Http(small).ask("SELECT count() FROM t") == "0"

    def test_a_statement_waits_for_its_turn(self, narrow: Server) -> None:
        replies: list[Reply] = []
        waiting = threading.Thread(target=lambda: replies.append(Http(narrow).post("SELECT 1")))
        with long_query(narrow):
            waiting.start()
            assert "1" not in [reply.text for reply in replies]
        waiting.join(10)
        assert [reply.body for reply in replies] == [b"1\n"]

    def test_inserts_hold_no_turn_while_their_client_sends(self, narrow: Server) -> None:
        ids = [str(uuid.uuid4()) for _ in range(3)]
        connections = [begin_insert(narrow, query_id=query_id) for query_id in ids]
        eventually(lambda: all(running(narrow, query_id) for query_id in ids))
        assert Http(narrow).ask("SELECT 1") == "1"
        for connection in connections:
            connection.close()
        eventually(lambda: not any(running(narrow, query_id) for query_id in ids))
        assert spooled(narrow) == []

    def test_an_insert_whose_client_leaves_the_queue_is_not_stored(self, narrow: Server) -> None:
        query_id = str(uuid.uuid4())
        connection = begin_insert(narrow, query_id=query_id)
        eventually(lambda: running(narrow, query_id))
        with long_query(narrow):
            connection.send(b"0\r\n\r\n")
            assert select.select([connection.sock], [], [], 0.3)[0] == []
            connection.close()
            eventually(lambda: spooled(narrow) == [])
        assert Http(narrow).ask("SELECT count() FROM t") == "0"

    def test_a_client_that_leaves_the_queue_frees_its_session(self, narrow: Server) -> None:
        session = str(uuid.uuid4())
        asked = {"session_id": session, "query": "SELECT 1 FROM system.processes LIMIT 1"}
        with long_query(narrow):
            connection = begin(narrow, "SELECT 2", session_id=session)
            assert select.select([connection.sock], [], [], 0.3)[0] == []
            assert Http(narrow).request(**asked).headers["x-clickhouse-exception-code"] == "373"
            connection.close()
            eventually(lambda: Http(narrow).request(**asked).status == 200)

    @pytest.mark.parametrize("settings", [{"default_format": "JSON"}, {"wait_end_of_query": "1"}])
    def test_a_result_that_is_complete_holds_no_turn(self, narrow: Server, settings: dict[str, str]) -> None:
        connection = begin(narrow, _BIG, **settings)
        # Its reply has begun, so the engine is done with it; the rest is not read.
        response = connection.getresponse()
        assert response.status == 200
        assert Http(narrow).ask("SELECT 1") == "1"
        connection.close()

    def test_a_statement_that_asks_for_types_itself_does_not_wait_for_itself(self, narrow: Server) -> None:
        sql = "SELECT toDateTime(0, 'Europe/Paris') AS d"
        reply = Http(narrow).post(sql, default_format="Native", client_protocol_version="54405")
        assert b"DateTime('Europe/Paris')" in reply.body

    def test_an_insert_that_is_killed_before_its_data_is_complete_is_not_stored(self, narrow: Server) -> None:
        query_id = str(uuid.uuid4())
        connection = begin_insert(narrow, query_id=query_id)
        eventually(lambda: running(narrow, query_id))
        Http(narrow).ask("KILL QUERY WHERE query_id = {id:String}", param_id=query_id)
        connection.send(b"0\r\n\r\n")
        response = connection.getresponse()
        assert response.getheader("X-ClickHouse-Exception-Code") == "394"
        connection.close()
        assert Http(narrow).ask("SELECT count() FROM t") == "0"
