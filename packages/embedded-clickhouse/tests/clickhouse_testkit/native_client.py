"""clickhouse-driver's connection one level below its client, for what the client never does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clickhouse_driver import Client
from clickhouse_driver.block import RowOrientedBlock
from clickhouse_driver.protocol import ServerPacketTypes
from clickhouse_driver.result import QueryInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from embedded_clickhouse.testing import Server

DEADLINE_SECONDS = 20.0


@contextmanager
def connected(server: Server, **changes: Any) -> Iterator[Client]:
    arguments = {"user": server.user, "password": server.password, "database": server.database, **changes}
    with Client(server.host, server.tcp_port, **arguments) as client:
        yield client


class Packets:
    """A connection below the driver's client, which disconnects on each error.

    :param client: connected by the first packet sent.
    """

    def __init__(self, client: Client) -> None:
        client.establish_connection({})
        client.last_query = QueryInfo()
        self.connection = client.connection

    def query(self, sql: str, query_id: str | None = None) -> None:
        self.connection.send_query(sql, query_id=query_id)
        self.connection.send_external_tables(None)

    def insert(self, sql: str, query_id: str | None = None) -> list[tuple[str, str]]:
        """Begin an insert, and return the columns that the server asks for."""
        self.query(sql, query_id)
        packet = self.connection.receive_packet()
        assert packet.type == ServerPacketTypes.DATA, packet.exception
        columns: list[tuple[str, str]] = packet.block.columns_with_types
        return columns

    def data(self, rows: list[tuple[Any, ...]], columns: list[tuple[str, str]]) -> None:
        self.connection.send_data(RowOrientedBlock(columns, rows))

    def end_of_data(self) -> None:
        self.connection.send_data(RowOrientedBlock())

    def answer(self) -> list[Any]:
        """The packets up to the one that ends the answer."""
        packets = [self.connection.receive_packet()]
        while packets[-1].type not in (ServerPacketTypes.EXCEPTION, ServerPacketTypes.END_OF_STREAM):
            packets.append(self.connection.receive_packet())
        return packets

    def error(self) -> int:
        """The code of the error that ends the answer."""
        last = self.answer()[-1]
        assert last.type == ServerPacketTypes.EXCEPTION
        code: int = last.exception.code
        return code

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        self.query(sql)
        packets = self.answer()
        assert packets[-1].type == ServerPacketTypes.END_OF_STREAM, packets[-1].exception
        return [row for packet in packets if packet.block for row in packet.block.get_rows()]


def is_running(client: Client, query_id: str) -> bool:
    ((count,),) = client.execute(
        "SELECT count() FROM system.processes WHERE Settings['log_comment'] = %(id)s", {"id": query_id}
    )
    return bool(count)
