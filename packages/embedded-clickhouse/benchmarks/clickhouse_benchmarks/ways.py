"""The ways to insert and to select over both protocols: plain bytes, and what Python's clients make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import clickhouse_connect
import clickhouse_driver

from clickhouse_benchmarks.data import COLUMNS, DATABASE, INSERT, SELECT, Rows
from clickhouse_benchmarks.latency import PlainHttp
from embedded_clickhouse.blocks import BLOCK_INFO, blocks_of
from embedded_clickhouse.native.protocol import ClientPacket, ServerPacket
from embedded_clickhouse.wire import encode_varint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from embedded_clickhouse.testing import Server

_RECEIVE_BYTES = 1 << 20
# Of a data packet: its type, the name of its table, and the information on its block.
_PACKET_HEAD = encode_varint(ServerPacket.DATA) + b"\0" + BLOCK_INFO


@dataclass(frozen=True)
class Way:
    """One way to insert or to select the rows.

    :param name: as printed.
    :param run: does it once.
    :param like: the format in which the engine gets or gives the same bytes in-process, where it does.
    """

    name: str
    run: Callable[[], object]
    like: str | None = None


class PlainNative:
    """The native protocol with blocks that are ready, so that a client's conversions cost nothing.

    The driver says hello and sends the query; the blocks are written and read past it.

    :param server: which.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def insert(self, packets: bytes) -> None:
        """Send the data packets of an insert, and wait until they are stored."""
        with clickhouse_driver.Client(**self._server.native_arguments(DATABASE)) as client:
            connection = self._sent(client, f"{INSERT} VALUES")
            while connection.receive_packet().type != ServerPacket.DATA:
                pass
            connection.socket.sendall(packets)
            connection.send_external_tables([])
            while (packet := connection.receive_packet()).type != ServerPacket.END_OF_STREAM:
                if packet.type == ServerPacket.EXCEPTION:
                    raise packet.exception

    def select(self, least: int) -> None:
        """Read a result and throw it away.

        :param least: bytes of its data packets, by which its end is found without reading any of them.
        """
        with clickhouse_driver.Client(**self._server.native_arguments(DATABASE)) as client:
            connection = self._sent(client, SELECT)
            buffer, size, last = bytearray(_RECEIVE_BYTES), 0, 0
            while size < least or last != ServerPacket.END_OF_STREAM:
                count = connection.socket.recv_into(buffer)
                if not count:
                    raise RuntimeError(f"The server closed the connection after {size:,} of {least:,} bytes")
                size, last = size + count, buffer[count - 1]

    @staticmethod
    def _sent(client: Any, sql: str) -> Any:
        connection = client.connection
        connection.force_connect()
        connection.send_query(sql)
        connection.send_external_tables([])
        return connection


def packets_of(native: bytes) -> bytes:
    """Return data packets with the blocks of a file in the format Native."""
    head = encode_varint(ClientPacket.DATA) + b"\0" + BLOCK_INFO
    return b"".join(head + block for block in blocks_of(native))


def size_in_packets(native: bytes) -> int:
    """Return the least number of bytes that a server sends for these blocks."""
    return len(native) + len(_PACKET_HEAD) * sum(1 for _ in blocks_of(native))


def inserts(server: Server, rows: Rows, bodies: Mapping[str, Path]) -> list[Way]:
    """Return the ways to insert.

    :param bodies: files with the same rows, by format.
    """
    plain, native = PlainHttp(server), PlainNative(server)
    client = clickhouse_connect.get_client(**server.http_arguments(DATABASE), send_receive_timeout=600)
    driver = clickhouse_driver.Client(**server.native_arguments(DATABASE))
    numpy_driver = clickhouse_driver.Client(**server.native_arguments(DATABASE), settings={"use_numpy": True})
    tuples, frame, table = rows.tuples(), rows.frame(), rows.arrow()
    packets = packets_of(bodies["Native"].read_bytes())

    def post(fmt: str) -> Callable[[], object]:
        body = bodies[fmt].read_bytes()
        url = "/?" + urlencode({"database": DATABASE, "query": f"{INSERT} FORMAT {fmt}"})
        return lambda: plain.post(body, url)

    def insert_driver_columns() -> None:
        numpy_driver.execute(f"{INSERT} VALUES", list(rows.arrays), columnar=True)

    return [
        *(Way(f"HTTP, plain {fmt}", post(fmt), fmt) for fmt in bodies),
        Way("HTTP, clickhouse_connect, Arrow", lambda: client.insert_arrow("target", table)),
        Way("HTTP, clickhouse_connect, numpy", lambda: client.insert_df("target", frame)),
        Way("HTTP, clickhouse_connect, lists", lambda: client.insert("target", tuples, column_names=COLUMNS)),
        Way("native, plain blocks", lambda: native.insert(packets), "Native"),
        Way("native, clickhouse_driver, numpy", insert_driver_columns),
        Way("native, clickhouse_driver, lists", lambda: driver.execute(f"{INSERT} VALUES", tuples)),
    ]


def selects(server: Server, bodies: Mapping[str, Path]) -> list[Way]:
    """Return the ways to select.

    :param bodies: files with the same rows, by format.
    """
    plain, native = PlainHttp(server), PlainNative(server)
    client = clickhouse_connect.get_client(**server.http_arguments(DATABASE), send_receive_timeout=600)
    driver = clickhouse_driver.Client(**server.native_arguments(DATABASE))
    numpy_driver = clickhouse_driver.Client(**server.native_arguments(DATABASE), settings={"use_numpy": True})
    least = size_in_packets(bodies["Native"].read_bytes())

    def read(fmt: str) -> Callable[[], object]:
        sql = f"{SELECT} FORMAT {fmt}".encode()
        return lambda: plain.read_through(sql)

    return [
        *(Way(f"HTTP, plain {fmt}", read(fmt), fmt) for fmt in bodies),
        Way("HTTP, clickhouse_connect, Arrow", lambda: client.query_arrow(SELECT)),
        Way("HTTP, clickhouse_connect, numpy", lambda: client.query_np(SELECT)),
        Way("HTTP, clickhouse_connect, lists", lambda: client.query(SELECT).result_rows),
        Way("native, plain blocks", lambda: native.select(least), "Native"),
        Way("native, clickhouse_driver, numpy", lambda: numpy_driver.execute(SELECT, columnar=True)),
        Way("native, clickhouse_driver, lists", lambda: driver.execute(SELECT)),
    ]
