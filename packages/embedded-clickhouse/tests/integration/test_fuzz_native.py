"""A broken native protocol at a real server's socket: the right kind of error, nothing stored, and it goes on."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clickhouse_testkit.fuzz_target import Target, fuzzed
from clickhouse_testkit.fuzzing import BLOCKS, any_of, block_message, effort, query_message, sealed
from embedded_clickhouse.blocks import BLOCK_INFO, read_block, read_block_info, source_of
from embedded_clickhouse.native.compression import FrameSource, Method, compress
from embedded_clickhouse.native.protocol import REVISION
from embedded_clickhouse.testing import running_server
from embedded_clickhouse.wire import encode_string, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNKNOWN_EXCEPTION = 1002


_BLOCK = block_message([("a", "UInt32", bytes(8)), ("b", "String", b"\x01x\x01y")], 2)
_END_OF_DATA = b"\x00\x00"
_PING = b"\x04"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("clickhouse")
    with running_server(directory) as server:
        target = Target(server, directory / "server.log")
        yield target
        target.close()


def _hello(user: str = "tester", database: str = "test") -> bytes:
    texts = (encode_string(text) for text in (database, user, "local-test"))
    numbers = (encode_varint(number) for number in (21, 12, REVISION))
    return b"\x00" + encode_string("fuzz") + b"".join((*numbers, *texts))


def _data(block: bytes, method: Method | None = None) -> bytes:
    body = BLOCK_INFO + block
    return b"\x02\x00" + (body if method is None else b"".join(compress(body, method)))


def _insert(method: Method | None = None, blocks: int = 2) -> bytes:
    """A whole conversation: an insert of two rows a block, and a ping."""
    query = b"\x01" + query_message("INSERT INTO t VALUES", compressed=method is not None, query_id="")
    parts = [_data(_END_OF_DATA, method), *[_data(_BLOCK, method)] * blocks, _data(_END_OF_DATA, method), _PING]
    return _hello() + query + b"".join(parts)


def _ask(sql: str, **changes: str) -> bytes:
    return _hello() + b"\x01" + query_message(sql, query_id="", **changes) + _data(_END_OF_DATA) + _PING


_INSERTS = [_insert(), _insert(Method.LZ4), _insert(Method.ZSTD), _insert(Method.NONE)]
_ASKS = [_ask("SELECT 1 AS a, 'x' AS b"), _ask("INSERT INTO t VALUES (1, 'a')"), _ask("SELECT nope")]


@dataclass
class _Answers:
    """What the server said on a connection.

    :param codes: of the exceptions.
    :param written: rows of inserts that were acknowledged.
    :param pongs: how many.
    """

    codes: list[int] = field(default_factory=list)
    written: int = 0
    pongs: int = 0


class _Reader:
    """Reads the server's packets to the last byte: nothing in between, nothing left over.

    :param received: all that came on a connection.
    :param compressed: whether blocks are in frames.
    """

    def __init__(self, received: bytes, *, compressed: bool) -> None:
        self._source = source_of(received)
        self._compressed = compressed
        self._written = 0
        self._answers = _Answers()

    def read(self) -> _Answers:
        packets = [self._hello, self._block, self._exception, self._progress, self._pong, self._end, self._profile]
        while not self._source.exhausted():
            self._source.mark()
            packets[self._source.varint()]()
        return self._answers

    def _varints(self, count: int) -> list[int]:
        return [self._source.varint() for _ in range(count)]

    def _hello(self) -> None:
        self._source.skip_strings(1)
        self._varints(3)
        self._source.skip_strings(2)
        self._varints(1)

    def _block(self) -> None:
        self._source.skip_strings(1)
        block = FrameSource(self._source) if self._compressed else self._source
        block.mark()
        read_block_info(block)
        read_block(block)

    def _exception(self) -> None:
        (code,) = struct.unpack("<i", self._source.take(4))
        self._source.skip_strings(3)
        assert self._source.byte() == 0
        self._answers.codes.append(code)
        self._written = 0

    def _progress(self) -> None:
        _, _, _, rows, _ = self._varints(5)
        self._written += rows

    def _pong(self) -> None:
        self._answers.pongs += 1

    def _end(self) -> None:
        self._answers.written += self._written
        self._written = 0

    def _profile(self) -> None:
        self._varints(3)
        self._source.skip(1)
        self._varints(1)
        self._source.skip(1)


def _answers(received: bytes, *, compressed: bool) -> _Answers:
    return _Reader(received, compressed=compressed).read()


def _converse(target: Target, message: bytes, *, drop: int = 0) -> bytes:
    """Send a message, in drops of so many bytes if asked, say that it is the end, and what comes back."""
    with target.connect(target.server.tcp_port) as sock:
        try:
            for start in range(0, len(message), drop or len(message) or 1):
                sock.sendall(message[start : start + (drop or len(message))])
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            # Refused before it was sent whole.
            pass
        received = b""
        try:
            while data := sock.recv(1 << 16):
                received += data
        except ConnectionResetError:
            pass
        return received


def _attack(target: Target, message: bytes, *, compressed: bool = False) -> _Answers:
    """Send a broken conversation; what was acknowledged is stored, and nothing else."""
    received = _converse(target, message)
    if message[:1].isupper():
        # It begins as a request of HTTP does, and is answered in HTTP, whatever comes then.
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.endswith(f"You must use port {target.server.http_port} for HTTP.\r\n".encode())
        received = b""
    answers = _answers(received, compressed=compressed)
    assert _UNKNOWN_EXCEPTION not in answers.codes
    assert target.stored() == answers.written
    target.check()
    return answers


@given(message=any_of([_INSERTS[0], *_ASKS]))
@example(_hello(user="test\udcff"))
@example(b"H" + _INSERTS[0][1:])
@fuzzed
def test_a_damaged_conversation_gets_an_error_and_stores_nothing_that_is_not_acknowledged(
    target: Target, message: bytes
) -> None:
    _attack(target, message)


_FRAMES_START = _INSERTS[1].index(b"INSERT INTO t VALUES") + len("INSERT INTO t VALUES")


@given(method=st.sampled_from(Method), data=st.data())
@fuzzed
def test_damaged_frames_store_nothing(target: Target, method: Method, data: st.DataObject) -> None:
    message = _insert(method)
    frames = data.draw(any_of([message[_FRAMES_START:]]).filter(lambda frames: frames != message[_FRAMES_START:]))
    # Behind the second frame of rows, damage comes too late for the first insert.
    answers = _attack(target, message[:_FRAMES_START] + frames, compressed=True)
    assert answers.written in {0, 2, 4, 6, 8}
    assert answers.written == 0 or not answers.codes or answers.codes[-1] in {99, 271, 307}


@pytest.mark.parametrize("message", _INSERTS)
def test_a_conversation_cut_before_its_end_stores_nothing(target: Target, message: bytes) -> None:
    compressed = message != _INSERTS[0]
    end_of_data = len(message) - 2
    for end in [*range(1, end_of_data, 29), end_of_data]:
        assert _answers(_converse(target, message[:end]), compressed=compressed).written == 0
    assert target.stored() == 0
    target.check()


@given(message=st.sampled_from(_INSERTS), drop=st.integers(1, 9))
@settings(fuzzed, max_examples=effort(10))
def test_a_conversation_that_comes_in_drops_is_as_good_as_any(target: Target, message: bytes, drop: int) -> None:
    answers = _answers(_converse(target, message, drop=drop), compressed=message != _INSERTS[0])
    assert (answers.codes, answers.written, answers.pongs) == ([], 4, 1)
    assert target.stored() == 4
    target.check()


@given(block=any_of(BLOCKS), rows=st.integers(0, 3))
@fuzzed
def test_a_block_of_anything_gets_an_error_and_stores_nothing_in_part(target: Target, block: bytes, rows: int) -> None:
    query = b"\x01" + query_message("INSERT INTO t VALUES", query_id="")
    message = _hello() + query + _data(_END_OF_DATA) + _data(_BLOCK) * rows + _data(block) + _data(_END_OF_DATA) + _PING
    _attack(target, message)


_HEAD = _hello() + b"\x01" + query_message("INSERT INTO t VALUES", query_id="") + _data(_END_OF_DATA)
_PACKED_HEAD = (
    _hello()
    + b"\x01"
    + query_message("INSERT INTO t VALUES", query_id="", compressed=True)
    + _data(_END_OF_DATA, Method.LZ4)
)
_HUGE = encode_varint(1 << 60)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param(b"\x00" + _HUGE, 307, id="a client of an endless name"),
        pytest.param(b"\x80" * 11, 99, id="a first number that never ends"),
        pytest.param(_hello() + b"\x01" + _HUGE, 307, id="an endless query id"),
        pytest.param(_hello() + b"\x09", 99, id="an unknown packet"),
        pytest.param(_hello() + b"\x02", 99, id="data without a query"),
        pytest.param(_hello() + _hello(), 99, id="a second greeting"),
        pytest.param(_HEAD + b"\x01", 99, id="a query amid data"),
        pytest.param(_HEAD + _data(b"\x01" + _HUGE + b"\x01a\x06UInt32"), 307, id="endless rows"),
        pytest.param(_HEAD + _data(_HUGE + b"\x01"), 99, id="endless columns"),
        pytest.param(_HEAD + _data(b"\x00\x05"), 99, id="rows without columns"),
        pytest.param(_HEAD + _data(b"\x01\x01\x01a\x04JSON"), 48, id="a type without an end"),
        pytest.param(_HEAD + _data(b"\x01\x01\x01a" + encode_string("Array(" * 500)), 99, id="a type of open brackets"),
        pytest.param(_HEAD + b"\x02\x00\x09", 99, id="an unknown field in a block's head"),
        pytest.param(_PACKED_HEAD + b"\x02\x00" + bytes(40), 271, id="a frame of nothing"),
        pytest.param(
            _PACKED_HEAD + b"\x02\x00" + sealed(struct.pack("<BII", 0x82, 9, 0xFFFFFFFF)), 271, id="a frame too large"
        ),
        pytest.param(
            _PACKED_HEAD + b"\x02\x00" + sealed(struct.pack("<BII", 0x55, 12, 3) + b"abc"), 271, id="an unknown method"
        ),
        pytest.param(
            _PACKED_HEAD + b"\x02\x00" + sealed(struct.pack("<BII", 0x82, 10, 1 << 29) + b"a"), 271, id="a hollow frame"
        ),
        pytest.param(
            _hello(user="test\udcff"),
            516,
            id="a user that is no text",
        ),
        pytest.param(
            _hello(database="test\udcff"),
            36,
            id="a database that is no text",
        ),
        pytest.param(
            _ask("SELECT 1", setting="\udcff"),
            36,
            id="a setting that is no text",
        ),
        pytest.param(
            _hello() + b"\x01" + query_message("SELECT 1", query_id="\udcff") + _data(_END_OF_DATA),
            36,
            id="a query id that is no text",
        ),
        pytest.param(
            _HEAD + _data(b"\x01\x01\x01a" + encode_string("SimpleAggregateFunction()")),
            99,
            id="an aggregate of nothing",
        ),
        pytest.param(
            _HEAD + _data(b"\x01\x01\x01a" + encode_string("FixedString(" + "9" * 5000 + ")")),
            99,
            id="a width of 5,000 digits",
        ),
    ],
)
def test_what_cannot_be_gets_its_error_and_stores_nothing(target: Target, message: bytes, code: int) -> None:
    answers = _attack(target, message, compressed=message.startswith(_PACKED_HEAD))
    assert answers.codes == [code]
    assert answers.written == 0
