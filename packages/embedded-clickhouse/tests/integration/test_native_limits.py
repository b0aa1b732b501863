"""What one client of the native protocol may take: turns, bytes and time."""

from __future__ import annotations

import socket
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clickhouse_driver.errors import ErrorCodes, ServerException
from clickhouse_driver.protocol import ServerPacketTypes

from clickhouse_testkit.native_client import DEADLINE_SECONDS, Packets, connected
from clickhouse_testkit.waiting import eventually
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_driver import Client

    from embedded_clickhouse.testing import Server

_ENDLESS = "SELECT number FROM system.numbers"
_MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for one statement at a time, which takes a mebibyte and waits for its clients."""
    config = f"[limits]\nmax_concurrent_statements = 1\nqueue_seconds = 1\nmax_request_bytes = {_MEBIBYTE}\n"
    with running_server(tmp_path_factory.mktemp("patient"), config=config) as running:
        yield running


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for one statement at a time, which gives its clients one second."""
    config = "[limits]\nmax_concurrent_statements = 1\nqueue_seconds = 60\nidle_seconds = 1.0\nstalled_seconds = 1\n"
    with running_server(tmp_path_factory.mktemp("strict"), config=config) as running:
        yield running


@pytest.fixture
def client(patient: Server) -> Iterator[Client]:
    with connected(patient) as driver:
        yield driver


@pytest.fixture
def table(client: Client) -> Iterator[str]:
    """The name of an empty table (a UInt32, s String) of this test's own."""
    name = f"t_{uuid.uuid4().hex}"
    client.execute(f"CREATE TABLE {name} (a UInt32, s String) ENGINE = MergeTree ORDER BY a")
    yield name
    client.execute(f"DROP TABLE {name} SYNC")


def test_a_statement_beyond_those_that_run_is_refused_in_time(patient: Server, client: Client) -> None:
    with connected(patient) as first:
        running = Packets(first)
        running.query(_ENDLESS)
        running.connection.receive_packet()
        waiting = Packets(client)
        waiting.query("SELECT 1")
        assert waiting.error() == ErrorCodes.TOO_MANY_SIMULTANEOUS_QUERIES
        running.connection.send_cancel()
        assert running.answer()[-1].type == ServerPacketTypes.END_OF_STREAM
    assert waiting.rows("SELECT 42") == [(42,)]


def test_a_statement_that_waits_may_be_cancelled(patient: Server, client: Client) -> None:
    with connected(patient) as first:
        running = Packets(first)
        running.query(_ENDLESS)
        running.connection.receive_packet()
        waiting = Packets(client)
        waiting.query("SELECT 1")
        waiting.connection.send_cancel()
        assert [packet.type for packet in waiting.answer()] == [ServerPacketTypes.END_OF_STREAM]
    assert waiting.rows("SELECT 42") == [(42,)]


def test_an_insert_whose_data_is_still_coming_takes_nobodys_turn(patient: Server, client: Client, table: str) -> None:
    with connected(patient) as slow:
        insert = Packets(slow)
        columns = insert.insert(f"INSERT INTO {table} VALUES")
        insert.data([(1, "x")], columns)
        assert client.execute(f"SELECT count() FROM {table}") == [(0,)]
        assert client.execute(f"INSERT INTO {table} VALUES", [(2, "y")]) == 1
        insert.end_of_data()
        assert insert.answer()[-1].type == ServerPacketTypes.END_OF_STREAM
    assert client.execute(f"SELECT a FROM {table} ORDER BY a") == [(1,), (2,)]


def test_a_complete_insert_waits_for_its_turn(patient: Server, client: Client, table: str) -> None:
    insert = Packets(client)
    columns = insert.insert(f"INSERT INTO {table} VALUES")
    insert.data([(1, "x")], columns)
    with connected(patient) as first:
        running = Packets(first)
        running.query(_ENDLESS)
        running.connection.receive_packet()
        insert.end_of_data()
        assert insert.error() == ErrorCodes.TOO_MANY_SIMULTANEOUS_QUERIES
    assert insert.rows(f"SELECT count() FROM {table}") == [(0,)]


def test_an_insert_of_more_bytes_stores_nothing_and_its_data_is_not_taken_for_packets(
    client: Client, table: str
) -> None:
    insert = Packets(client)
    columns = insert.insert(f"INSERT INTO {table} VALUES")
    for number in range(4):
        insert.data([(number, "x" * (_MEBIBYTE // 3))], columns)
    assert insert.error() == ErrorCodes.TOO_MANY_BYTES
    # What is sent behind the error belongs to the insert as well.
    insert.data([(9, "y" * 1000)], columns)
    insert.end_of_data()
    assert insert.rows(f"SELECT count() FROM {table}") == [(0,)]


def test_as_many_bytes_as_are_allowed_are_stored(client: Client, table: str) -> None:
    insert = Packets(client)
    columns = insert.insert(f"INSERT INTO {table} VALUES")
    for number in range(2):
        insert.data([(number, "x" * (_MEBIBYTE // 3))], columns)
    insert.end_of_data()
    assert insert.answer()[-1].type == ServerPacketTypes.END_OF_STREAM
    assert insert.rows(f"SELECT count(), sum(length(s)) FROM {table}") == [(2, _MEBIBYTE // 3 * 2)]


@pytest.mark.parametrize("compression", [False, "lz4"])
def test_a_block_of_more_bytes_stores_nothing_and_ends_the_connection(
    patient: Server, client: Client, table: str, compression: bool | str
) -> None:
    with connected(patient, compression=compression) as greedy, pytest.raises(ServerException) as caught:
        greedy.execute(f"INSERT INTO {table} VALUES", [(1, "x" * (2 * _MEBIBYTE))])
    assert caught.value.code == ErrorCodes.TOO_MANY_BYTES
    assert client.execute(f"SELECT count() FROM {table}") == [(0,)]


def test_more_bytes_in_the_text_of_an_insert_are_refused(client: Client, table: str) -> None:
    packets = Packets(client)
    packets.query(f"INSERT INTO {table} VALUES (1, '{'x' * _MEBIBYTE}')")
    assert packets.error() == ErrorCodes.TOO_MANY_BYTES
    assert packets.rows(f"SELECT count() FROM {table}") == [(0,)]


def test_tables_of_more_bytes_that_come_with_a_query_are_refused(client: Client) -> None:
    external = [
        {"name": f"ext{number}", "structure": [("s", "String")], "data": [{"s": "x" * (_MEBIBYTE // 3)}]}
        for number in range(4)
    ]
    with pytest.raises(ServerException) as caught:
        client.execute("SELECT count() FROM ext0", external_tables=external)
    assert caught.value.code == ErrorCodes.TOO_MANY_BYTES


def test_a_connection_without_a_statement_is_closed_and_one_with_a_long_statement_is_not(strict: Server) -> None:
    with connected(strict) as driver:
        packets = Packets(driver)
        assert packets.rows("SELECT sleep(2.0)") == [(0,)]
        # The server says nothing more.
        assert packets.connection.socket.recv(1) == b""


@pytest.mark.parametrize("words", [b"", b"\x00\x05ab"])
def test_who_does_not_say_hello_is_shown_out(strict: Server, words: bytes) -> None:
    with socket.create_connection((strict.host, strict.tcp_port), timeout=DEADLINE_SECONDS) as sock:
        sock.sendall(words)
        answer = sock.recv(4096)
    # An exception: its packet type and the code.
    assert answer.startswith(b"\x02" + (209).to_bytes(4, "little"))


def test_who_says_hello_letter_by_letter_is_shown_out(strict: Server) -> None:
    with socket.create_connection((strict.host, strict.tcp_port), timeout=0.1) as sock:

        def is_shown_out() -> bool:
            try:
                sock.sendall(b"\xff")
                return bool(sock.recv(1))
            except TimeoutError:
                return False

        sock.sendall(b"\x00\xff\xff\x03")
        eventually(is_shown_out, "the end of patience")


@pytest.mark.parametrize("piece", [b"", b"\x02\x00\x01\x00\x02\xff\xff\xff\xff\x00\x01\x01\x01a\x06UInt32\x07"])
def test_a_client_that_stalls_in_an_insert_is_given_up_and_leaves_nothing(strict: Server, piece: bytes) -> None:
    query_id = str(uuid.uuid4())
    with connected(strict) as driver:
        driver.execute("CREATE TABLE IF NOT EXISTS stalled (a UInt32) ENGINE = MergeTree ORDER BY a")
    before = _sockets(strict)
    with connected(strict) as driver:
        packets = Packets(driver)
        columns = packets.insert("INSERT INTO stalled VALUES", query_id)
        packets.data([(1,)], columns)
        packets.connection.socket.sendall(piece)
        assert packets.error() == ErrorCodes.SOCKET_TIMEOUT
        with pytest.raises(EOFError):
            packets.answer()
    with connected(strict) as driver:
        assert driver.execute("SELECT count() FROM stalled", query_id=query_id) == [(0,)]
    assert not [name for name in _open_files(strict) if "/spool/" in name]
    # Closed by its thread, last of all.
    eventually(lambda: _sockets(strict) <= before, "the end of its connection")


def test_a_client_that_does_not_read_its_result_is_given_up_and_its_turn_is_free(strict: Server) -> None:
    with connected(strict) as deaf, connected(strict) as other, ThreadPoolExecutor(1) as pool:
        query_id = str(uuid.uuid4())
        packets = Packets(deaf)
        packets.query(_ENDLESS, query_id)
        packets.connection.receive_packet()
        # One statement at a time: this one is answered because the other was given up.
        result = pool.submit(other.execute, "SELECT 42", query_id=query_id)
        assert result.result(DEADLINE_SECONDS) == [(42,)]


def _open_files(server: Server) -> list[str]:
    return [_target(link) for link in Path(f"/proc/{server.pid}/fd").iterdir()]


def _sockets(server: Server) -> int:
    return sum(name.startswith("socket:") for name in _open_files(server))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""
