"""Where e-mails of tests arrive."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import EmailMessage


class Mailbox:
    """An SMTP server as simple as can be: no TLS, no login."""

    def __init__(self) -> None:
        self.port = 0
        self.mails: list[EmailMessage] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mailbox\r\n")
        while line := await reader.readline():
            command = line.split()[0].upper() if line.split() else b""
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                self._keep(await reader.readuntil(b"\r\n.\r\n"))
            elif command == b"QUIT":
                break
            writer.write(b"250 ok\r\n")
        writer.write(b"221 bye\r\n")
        writer.close()

    def _keep(self, data: bytes) -> None:
        self.mails.append(email.message_from_bytes(data.removesuffix(b".\r\n"), policy=email.policy.default))


@contextmanager
def serving(mailbox: Mailbox) -> Iterator[None]:
    ready, loop, over = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        async with await asyncio.start_server(mailbox.serve, "127.0.0.1", 0) as server:
            mailbox.port = server.sockets[0].getsockname()[1]
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
