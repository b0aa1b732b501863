"""A result on its way to the client: header, blocks, progress, totals and extremes, what the client sums up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedded_clickhouse.blocks import header_block, read_block, retype_block, source_of
from embedded_clickhouse.native.protocol import Progress, ServerPacket, profile_info_packet, progress_packet

if TYPE_CHECKING:
    from embedded_clickhouse import ticket
    from embedded_clickhouse.native.compression import Method
    from embedded_clickhouse.native.transport import Transport

Columns = list[tuple[str, str]]


class ProgressReport:
    """Turns running totals into the differences a client adds up.

    :param transport: where they go. While a packet is under way or the client is slow none is sent: the next one
        has the rest.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sent = Progress()

    def running(self, totals: ticket.Progress) -> None:
        """From a thread of the engine, about ten times a second."""
        now = Progress(
            totals.read_rows,
            totals.read_bytes,
            totals.total_rows_to_read,
            totals.written_rows,
            totals.written_bytes,
        )
        if self._transport.try_send(progress_packet(now.since(self._sent))):
            self._sent = now

    def final(self, stats: ticket.Stats) -> bytes:
        """The packet with what is not told yet."""
        now = Progress(
            stats.read_rows,
            stats.read_bytes,
            self._sent.total_rows,
            stats.written_rows,
            stats.written_bytes,
        )
        return progress_packet(now.since(self._sent))


class Result:
    """The blocks of a result on their way to the client."""

    def __init__(self, transport: Transport, method: Method | None) -> None:
        self._transport = transport
        self._method = method
        self._columns: Columns | None = None
        self._retyped: dict[int, str] = {}
        self.rows = self.blocks = self.bytes = 0

    @property
    def started(self) -> bool:
        return self._columns is not None

    def start(self, columns: Columns) -> None:
        """Send the header: at once where names and types are known ahead, else with the first block."""
        self._columns = columns
        # The engine writes DateTime without its zone on the outermost level; clients of this revision expect it.
        self._retyped = {
            index: type_name for index, (_, type_name) in enumerate(columns) if type_name.startswith("DateTime(")
        }
        self._transport.send_block(header_block(columns), self._method)

    def send(self, body: bytes) -> None:
        """Send a block of rows."""
        if self._columns is None:
            block = read_block(source_of(body))
            self.start([(column.name, column.type_name) for column in block.columns])
        counts = source_of(body[:20])
        counts.varint()
        self.rows += counts.varint()
        self.blocks += 1
        self.bytes += len(body)
        self.send_beside(body, ServerPacket.DATA)

    def send_beside(self, body: bytes, packet: ServerPacket) -> None:
        """Send a block that is not among the result's rows, such as its totals."""
        if self._retyped:
            body = retype_block(body, self._retyped)
        self._transport.send_block(body, self._method, packet)

    def profile(self) -> bytes:
        """The packet with the sums."""
        return profile_info_packet(self.rows, self.blocks, self.bytes)
