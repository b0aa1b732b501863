"""A client's socket as packets: bytes in with time limits, data packets in and out, compressed or not."""

from __future__ import annotations

import select
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from embedded_clickhouse.blocks import BLOCK_INFO, Block, read_block, read_block_info
from embedded_clickhouse.native.compression import FrameSource, Method, compress
from embedded_clickhouse.native.protocol import ServerPacket
from embedded_clickhouse.wire import ByteSource, IncompleteInput, encode_string, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_RECEIVE_BYTES = 256 << 10
_KEEPALIVE_IDLE_SECONDS = 60
_LINGER_SECONDS = 5.0
# More milliseconds than this do not fit into a poll.
_LONGEST_POLL_MS = (1 << 31) - 1


class StalledInput(OSError):
    """The client sends nothing more, in the middle of a packet or of its data."""


def _prepare(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_SECONDS)


class Transport:
    """The packets of one connection.

    :param sock: the accepted socket; the transport owns it from here on.
    :param stalled_seconds: without a byte for so long in the middle of a packet, or without room for one in an answer,
        the client is given up.
    """

    def __init__(self, sock: socket.socket, *, stalled_seconds: float) -> None:
        _prepare(sock)
        sock.settimeout(stalled_seconds)
        self.sock = sock
        self.source = ByteSource(self._receive)
        self._stalled_seconds = stalled_seconds
        self._deadline: float | None = None
        self._frames = FrameSource(self.source)
        self._sending = threading.Lock()

    def _receive(self) -> bytes:
        if self._deadline is not None:
            # A socket takes no time-out of 0: it means something else there.
            self.sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        try:
            return self.sock.recv(_RECEIVE_BYTES)
        except TimeoutError as error:
            raise self.stalled() from error

    def stalled(self) -> StalledInput:
        """The error for a client that sends nothing more."""
        return StalledInput(f"the client sent nothing for {self._stalled_seconds:g} s in the middle of a request")

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Everything that is read in this block must come within the time of one pause: for clients not known yet."""
        self._deadline = time.monotonic() + self._stalled_seconds
        try:
            yield
        finally:
            self._deadline = None
            self.sock.settimeout(self._stalled_seconds)

    def start_statement(self) -> None:
        """Frames do not go over from one statement to the next."""
        self._frames = FrameSource(self.source)

    def wait(self, seconds: float) -> bool:
        """Wait for the next packet's first byte, or the connection's end. False: neither came in time."""
        if self.source.pending:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(min(seconds * 1000, _LONGEST_POLL_MS)))

    def first_byte(self) -> int | None:
        """The first byte of all without taking it; None: the client left without a word."""
        return None if self.source.exhausted() else self.source.window[self.source.position]

    def peek(self) -> int | None:
        """The type of the client's next packet without taking it; None: nothing has come.

        :raises IncompleteInput: the client has gone.
        """
        if self.source.pending:
            return self.source.window[self.source.position]
        if not self.wait(0):
            return None
        ahead = self.sock.recv(1, socket.MSG_PEEK)
        if not ahead:
            raise IncompleteInput("the client closed the connection")
        return ahead[0]

    def wait_for_packet(self) -> None:
        """Wait for the next packet of a statement's data.

        :raises StalledInput: it did not come in time.
        """
        if not self.wait(self._stalled_seconds):
            raise self.stalled()

    def read_packet_type(self) -> int:
        self.source.mark()
        return self.source.varint()

    def read_data(self, *, compressed: bool, limit: int) -> tuple[str, Block]:
        """A Data packet behind its type.

        :param limit: the bytes that its block may have.
        :returns: the name of its external table ("" for an INSERT's data), its block.
        """
        self.source.mark()
        table = self.source.string()
        source = self._frames if compressed else self.source
        source.mark()
        read_block_info(source)
        return table, read_block(source, limit)

    def send(self, data: bytes) -> None:
        """Send all of it, however slowly the client reads, so long as it reads.

        :raises OSError: the connection is broken, or the client reads nothing.
        """
        with self._sending, memoryview(data) as left:
            sent = 0
            # Not sendall: its time-out is one for everything.
            while sent < len(left):
                sent += self.sock.send(left[sent:])

    def try_send(self, data: bytes) -> bool:
        """Send a few bytes if that can be done at once. False: nothing was sent."""
        if not self._sending.acquire(blocking=False):
            return False
        try:
            poll = select.poll()
            poll.register(self.sock, select.POLLOUT)
            if poll.poll(0) != [(self.sock.fileno(), select.POLLOUT)]:
                return False
            self.sock.sendall(data)
            return True
        except OSError:
            # Whoever reads from the client or answers it will meet the same error.
            return False
        finally:
            self._sending.release()

    def send_block(self, body: bytes, method: Method | None, packet: ServerPacket = ServerPacket.DATA) -> None:
        """
        :param body: the block without block info.
        :param method: how to compress it; None sends it plain, outside of frames.
        """
        head = encode_varint(packet) + encode_string("")
        parts: Iterable[bytes] = (BLOCK_INFO, body) if method is None else compress(BLOCK_INFO + body, method)
        self.send(b"".join((head, *parts)))

    def shut_down(self) -> None:
        """Wake whatever waits on this connection, from any thread: it sees the end of the input."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def linger(self) -> None:
        """Close the sending side and let the client finish, so that what was sent last still reaches it.

        Closing with unread input resets the connection, and the client's system drops what it had not read yet.
        """
        self.sock.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            if not self.sock.recv(_RECEIVE_BYTES):
                return

    def close(self) -> None:
        self.sock.close()
