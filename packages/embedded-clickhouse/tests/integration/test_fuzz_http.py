"""Broken HTTP at a real server's socket: the right kind of error, nothing stored, and it goes on answering."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from clickhouse_testkit.fuzz_target import END_SECONDS, Target, fuzzed
from clickhouse_testkit.fuzzing import FORM, FORM_TYPE, any_of, block_message, effort
from embedded_clickhouse.testing import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator


_PATIENCE_SECONDS = 0.1
_UNKNOWN_EXCEPTION = 1002
_ROWS = b"1\tabc\n2\tdef\n"
_BLOCK = block_message([("a", "UInt32", bytes(8)), ("b", "String", b"\x01x\x01y")], 2)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("clickhouse")
    with running_server(directory) as server:
        target = Target(server, directory / "server.log")
        yield target
        target.close()


def _post(query: bytes, body: bytes, *, head: bytes = b"", chunks: int = 0) -> bytes:
    """A request, with its body in so many chunks, or as one with its length."""
    lines = b"X-ClickHouse-User: tester\r\nX-ClickHouse-Key: local-test\r\nConnection: close\r\n" + head
    if chunks:
        lines += b"Transfer-Encoding: chunked\r\n"
        size = -(-len(body) // chunks)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    else:
        lines += b"Content-Length: %d\r\n" % len(body)
    return b"POST /?database=test%b HTTP/1.1\r\nHost: x\r\n%b\r\n%b" % (query, lines, body)


def _encoded(encoding: bytes, body: bytes) -> bytes:
    head = b"Content-Encoding: " + encoding + b"\r\n"
    return _post(_INSERT, body, head=head, chunks=2)


_INSERT = b"&query=" + quote("INSERT INTO t FORMAT TSV").encode()
_INSERTS = [
    _post(_INSERT, _ROWS),
    _post(_INSERT, _ROWS, chunks=3),
    _post(b"", b"INSERT INTO t VALUES (1, 'a'), (2, 'b')"),
    _post(b"&query=" + quote("INSERT INTO t FORMAT Native").encode(), _BLOCK, chunks=2),
    _encoded(b"gzip", gzip.compress(_ROWS)),
    _encoded(b"lz4", lz4.frame.compress(_ROWS, content_checksum=True)),
    _encoded(b"zstd", zstandard.ZstdCompressor(write_checksum=True).compress(_ROWS)),
]
_SELECTS = [
    _post(b"&param_a=1", b"SELECT {a:UInt8}, 'x' FORMAT JSON"),
    _post(b"", FORM, head=b"Content-Type: " + FORM_TYPE + b"\r\n", chunks=2),
    _post(b"&session_id=s&session_timeout=1&max_threads=1&query_id=fuzz&default_format=CSV", b"SELECT 1"),
    _post(
        b"&query=SELECT+1&client_protocol_version=54453&enable_http_compression=1", b"", head=b"Accept-Encoding: *\r\n"
    ),
    b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


def _exchange(target: Target, message: bytes, *, drop: int = 0) -> bytes:
    """Send a message, in drops of so many bytes if asked, and all that comes back."""
    with target.connect(target.server.http_port) as sock:
        try:
            for start in range(0, len(message), drop or len(message) or 1):
                sock.sendall(message[start : start + (drop or len(message))])
        except OSError:
            # Refused before it was sent whole.
            pass
        # Who sends in drops sends a whole message, and is answered however slow the machine is.
        return _received(sock, END_SECONDS if drop else _PATIENCE_SECONDS)


def _received(sock: socket.socket, patience: float) -> bytes:
    received = b""
    sock.settimeout(patience)
    told = False
    while True:
        try:
            data = sock.recv(1 << 16)
        except TimeoutError:
            # The server waits for more, or is slow: either way it must come to an end from here on.
            assert not told, "the connection hangs"
            if not received:
                sock.shutdown(socket.SHUT_WR)
            told = True
            sock.settimeout(END_SECONDS)
            continue
        except ConnectionResetError:
            return received
        if not data:
            return received
        received += data


def _replies(received: bytes) -> list[tuple[http.client.HTTPResponse, bytes]]:
    """The replies on a connection, one after the other."""
    stream = io.BytesIO(received)
    replies = []
    while stream.tell() < len(received):

        class _Socket:
            def makefile(self, *_: Any, **__: Any) -> Any:
                return io.BufferedReader(_Unclosed(stream))

        response = http.client.HTTPResponse(_Socket())  # type: ignore[arg-type]
        response.begin()
        replies.append((response, response.read()))
    return replies


class _Unclosed(io.RawIOBase):
    """Reads byte by byte, so that what belongs to the next reply stays where it is."""

    def __init__(self, stream: io.BytesIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(1)
        buffer[: len(data)] = data
        return len(data)


def _check_replies(received: bytes) -> int:
    """Rows that the replies say are stored. An error is one of ClickHouse's, or of the HTTP parser."""
    rows = 0
    for response, body in _replies(received):
        code = response.headers.get("X-ClickHouse-Exception-Code")
        if response.status == 200:
            rows += int(json.loads(response.headers.get("X-ClickHouse-Summary", "{}")).get("written_rows", 0))
        elif code is None:
            assert 400 <= response.status < 500, (response.status, body)
        else:
            assert int(code) != _UNKNOWN_EXCEPTION, body
            assert body.startswith(b"Code: " + code.encode()), body
    return rows


@given(message=any_of(_INSERTS + _SELECTS))
@fuzzed
def test_a_damaged_request_gets_an_error_and_stores_nothing_that_is_not_acknowledged(
    target: Target, message: bytes
) -> None:
    received = _exchange(target, message)
    acknowledged = _check_replies(received)
    stored = target.stored()
    # Whoever closes before the answer is not told of an insert that was complete.
    assert stored == acknowledged or (not received and message in _INSERTS)
    target.check()


@pytest.mark.parametrize("message", _INSERTS)
def test_a_request_cut_anywhere_stores_nothing(target: Target, message: bytes) -> None:
    for end in range(1, len(message), 23):
        with target.connect(target.server.http_port) as sock:
            sock.sendall(message[:end])
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(END_SECONDS)
            received = b""
            while data := sock.recv(1 << 16):
                received += data
        assert _check_replies(received) == 0
    assert target.stored() == 0
    target.check()


@given(message=st.sampled_from(_INSERTS), drop=st.integers(1, 9))
@settings(fuzzed, max_examples=effort(10))
def test_a_request_that_comes_in_drops_is_as_good_as_any(target: Target, message: bytes, drop: int) -> None:
    received = _exchange(target, message, drop=drop)
    assert _check_replies(received) == 2
    assert target.stored() == 2
    target.check()


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(_INSERTS[0].replace(b"Content-Length: ", b"Content-Length: 9"), id="a body that never comes"),
        pytest.param(_INSERTS[0].replace(b"Content-Length: ", b"Content-Length: -"), id="a negative length"),
        pytest.param(
            _INSERTS[0].replace(b"Content-Length: ", b"Content-Length: 99999999999999999999"), id="any length"
        ),
        pytest.param(_INSERTS[1].replace(b"\r\n\r\n", b"\r\n\r\nffffffffffffffff\r\n", 1), id="a chunk of 16 exabytes"),
        pytest.param(_INSERTS[1].replace(b"\r\n\r\n", b"\r\n\r\nnumber\r\n", 1), id="a chunk of no size"),
        pytest.param(_post(b"&x=" + b"a" * (2 << 20), b""), id="a URL of two megabytes"),
        pytest.param(_post(b"", b"", head=b"X: " + b"a" * (2 << 20) + b"\r\n"), id="a header of two megabytes"),
        pytest.param(_post(b"", b"", head=b"X: y\r\n" * 200_000), id="200,000 headers"),
        pytest.param(_encoded(b"zstd", zstandard.compress(_ROWS)[:-3]), id="a ZSTD body that ends early"),
        pytest.param(_encoded(b"gzip", gzip.compress(_ROWS)[:-8] + bytes(8)), id="a gzip body with a wrong checksum"),
        pytest.param(
            _encoded(b"lz4", lz4.frame.compress(_ROWS, content_checksum=True)[:-4] + bytes(4)),
            id="an LZ4 body with a wrong checksum",
        ),
        pytest.param(_encoded(b"rot13", _ROWS), id="an unknown encoding"),
        pytest.param(_post(_INSERT, _BLOCK), id="data of another format"),
    ],
)
def test_a_request_that_cannot_be_is_refused(target: Target, message: bytes) -> None:
    assert _check_replies(_exchange(target, message)) == 0
    assert target.stored() == 0
    target.check()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(
            b"GET /?query=SELECT+1 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic \xff\xff\r\nConnection: close\r\n\r\n",
            516,
            id="an account that is no base64",
        ),
        pytest.param(
            b"GET /?query=SELECT+1&query_id=a%0D%0Ab HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            36,
            id="a query id of two lines from a stranger",
        ),
        pytest.param(
            _post(b"&client_protocol_version=" + b"9" * 5000 + b"&default_format=Native", b"SELECT 1"),
            36,
            id="a revision of 5,000 digits",
        ),
        pytest.param(
            _post(b"&param_%FF=1", b"SELECT 1"),
            36,
            id="a parameter's name that is no text",
        ),
        pytest.param(
            _post(b"&%FF=1", b"SELECT 1"),
            36,
            id="a setting's name that is no text",
        ),
    ],
)
def test_strange_values_get_their_error(target: Target, message: bytes, code: int) -> None:
    ((response, _),) = _replies(_exchange(target, message))
    assert response.headers.get("X-ClickHouse-Exception-Code") == str(code)
    target.check()
