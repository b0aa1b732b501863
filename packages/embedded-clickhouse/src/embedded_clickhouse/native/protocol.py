"""The packets of ClickHouse's native protocol, revision 54453, as values and as bytes.

The revision is the last one at which a data packet is block info + plain Native: from 54454 on every column
carries a serialization byte, from 54456 there are profile events, from 54458 an addendum to Hello, from 54459
parameters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from embedded_clickhouse.wire import ByteSource, MalformedInput, encode_string, encode_varint

if TYPE_CHECKING:
    from embedded_clickhouse.errors import EngineError

REVISION = 54453
# The first one with settings as text (ClickHouse 20.1).
OLDEST_REVISION = 54429
SERVER_NAME = "ClickHouse"
SERVER_VERSION = (26, 9, 0)

_MAX_HELLO_BYTES = 64 << 10
_MAX_QUERY_BYTES = 256 << 20

# Revisions from which on a field is there (ClickHouse, src/Core/ProtocolDefines.h).
_WITH_INTERSERVER_SECRET = 54441
_WITH_OPENTELEMETRY = 54442
_WITH_DISTRIBUTED_DEPTH = 54448
_WITH_START_TIME = 54449
_WITH_PARALLEL_REPLICAS = 54453

_IMPORTANT = 1
_CUSTOM = 2


class ClientPacket(IntEnum):
    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4
    TABLES_STATUS_REQUEST = 5


class ServerPacket(IntEnum):
    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    PROFILE_INFO = 6
    TOTALS = 7
    EXTREMES = 8


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says first.

    :param revision: the protocol revision both sides speak: the lower of the two.
    """

    client_name: str
    revision: int
    database: str
    user: str
    password: str


@dataclass(frozen=True, slots=True)
class Query:
    """One statement as the client sent it.

    :param settings: settings for this statement, values as text.
    :param unimportant: those of them that a server passes over when it does not know them.
    :param compressed: blocks travel in compressed frames, both ways.
    """

    query_id: str
    settings: dict[str, str]
    unimportant: frozenset[str]
    compressed: bool
    sql: bytes


@dataclass(frozen=True, slots=True)
class Progress:
    """What a statement has done since the last such packet: the client adds them up."""

    read_rows: int = 0
    read_bytes: int = 0
    total_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0

    def since(self, earlier: Progress) -> Progress:
        """What was done after `earlier`; counters that the engine set back count as unchanged."""
        return Progress(
            max(0, self.read_rows - earlier.read_rows),
            max(0, self.read_bytes - earlier.read_bytes),
            max(0, self.total_rows - earlier.total_rows),
            max(0, self.written_rows - earlier.written_rows),
            max(0, self.written_bytes - earlier.written_bytes),
        )


def read_hello(source: ByteSource) -> ClientHello:
    """The client's first packet. As the client is unknown yet, little is taken in from it."""
    source.mark(_MAX_HELLO_BYTES)
    if (packet := source.varint()) != ClientPacket.HELLO:
        raise MalformedInput(f"the client starts with packet {packet} instead of Hello")
    client_name = source.string()
    for _ in range(2):
        source.varint()
    revision = min(source.varint(), REVISION)
    if revision < OLDEST_REVISION:
        raise MalformedInput(
            f"protocol revision {revision} is too old, {OLDEST_REVISION} is the oldest one spoken here"
        )
    database, user, password = source.string(), source.string(), source.string()
    return ClientHello(client_name, revision, database, user, password)


def speaks_http(first: int) -> bool:
    """Whether a client that begins with this byte speaks HTTP: methods are words, the first packet's type is 0."""
    return 0x41 <= first <= 0x5A


def wrong_port_reply(port: int, http_port: int) -> bytes:
    """What a client is told that speaks HTTP on the native port.

    :param port: the one it has come to.
    :param http_port: the one it should go to.
    """
    body = f"Port {port} is for clickhouse-client program.\r\nYou must use port {http_port} for HTTP.\r\n".encode()
    head = (
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=UTF-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def server_hello(timezone: str, display_name: str) -> bytes:
    major, minor, patch = SERVER_VERSION
    return b"".join(
        (
            encode_varint(ServerPacket.HELLO),
            encode_string(SERVER_NAME),
            encode_varint(major),
            encode_varint(minor),
            encode_varint(REVISION),
            encode_string(timezone),
            encode_string(display_name),
            encode_varint(patch),
        )
    )


def _skip_client_info(source: ByteSource, revision: int) -> None:
    if not source.byte():
        return
    source.skip_strings(3)  # initial user, query id and address
    if revision >= _WITH_START_TIME:
        source.skip(8)
    interface = source.byte()
    if interface != 1:
        raise MalformedInput(f"a query came with interface {interface} instead of TCP")
    source.skip_strings(3)  # operating system's user, host, client's name
    for _ in range(3):
        source.varint()  # client's version and revision
    source.skip_strings(1)  # quota key
    if revision >= _WITH_DISTRIBUTED_DEPTH:
        source.varint()
    source.varint()  # patch of the client's version
    if revision >= _WITH_OPENTELEMETRY and source.byte():
        source.skip(16 + 8)  # trace and span
        source.skip_strings(1)
        source.skip(1)
    if revision >= _WITH_PARALLEL_REPLICAS:
        for _ in range(3):
            source.varint()


def _read_settings(source: ByteSource) -> tuple[dict[str, str], frozenset[str]]:
    settings: dict[str, str] = {}
    unimportant = set()
    while name := source.string():
        if not source.varint() & (_IMPORTANT | _CUSTOM):
            unimportant.add(name)
        settings[name] = source.string()
    return settings, frozenset(unimportant)


def read_query(source: ByteSource, revision: int) -> Query:
    """The client's Query, behind its packet type."""
    source.mark(_MAX_QUERY_BYTES)
    query_id = source.string()
    _skip_client_info(source, revision)
    settings, unimportant = _read_settings(source)
    if revision >= _WITH_INTERSERVER_SECRET:
        source.skip_strings(1)
    source.varint()  # stage: a single server always completes the query
    compressed = bool(source.varint())
    return Query(query_id, settings, unimportant, compressed, source.string_bytes())


def exception_packet(error: EngineError) -> bytes:
    return b"".join(
        (
            encode_varint(ServerPacket.EXCEPTION),
            struct.pack("<i", error.code),
            encode_string("DB::Exception"),
            encode_string(f"DB::Exception: {error.message}"),
            encode_string(""),  # no stack trace
            b"\x00",  # no nested exception
        )
    )


def progress_packet(progress: Progress) -> bytes:
    return encode_varint(ServerPacket.PROGRESS) + b"".join(
        encode_varint(value)
        for value in (
            progress.read_rows,
            progress.read_bytes,
            progress.total_rows,
            progress.written_rows,
            progress.written_bytes,
        )
    )


def profile_info_packet(rows: int, blocks: int, size: int) -> bytes:
    """
    :param size: bytes of the result.
    """
    no_limit_known = b"\x00" + encode_varint(0) + b"\x00"
    counts = b"".join(encode_varint(value) for value in (ServerPacket.PROFILE_INFO, rows, blocks, size))
    return counts + no_limit_known


PONG = encode_varint(ServerPacket.PONG)
END_OF_STREAM = encode_varint(ServerPacket.END_OF_STREAM)
