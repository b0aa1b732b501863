"""Notices that the client of a running statement cancelled it or went away."""

from __future__ import annotations

import logging
import select
import threading
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from embedded_clickhouse.native.protocol import ClientPacket
from embedded_clickhouse.wire import IncompleteInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from embedded_clickhouse.native.transport import Transport

logger = logging.getLogger(__name__)

_TICK_MS = 100


class Reason(Enum):
    """Why a statement is to end early."""

    CANCELLED = "the client cancelled it"
    GONE = "the client went away"


class Watch:
    """One running statement.

    :param transport: its client's connection; nobody reads from it meanwhile.
    :param kill: ends the statement in the engine. It is called again until the watch ends, for it may come before
        the engine knows the statement.
    """

    def __init__(self, transport: Transport, kill: Callable[[], object]) -> None:
        self.reason: Reason | None = None
        self._transport = transport
        self._kill = kill

    def look(self) -> bool:
        """Look at what the client sent. False: nothing more is to be seen."""
        try:
            packet = self._transport.peek()
        except (IncompleteInput, OSError):
            self.reason = Reason.GONE
            return False
        if packet == ClientPacket.CANCEL:
            self.reason = Reason.CANCELLED
        return packet is None

    def kill(self) -> None:
        try:
            self._kill()
        except Exception:
            logger.exception("A statement could not be cancelled")


class Watcher:
    """A thread that watches the clients of all running statements; between statements it sleeps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: dict[int, Watch] = {}
        self._settled: set[int] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="clickhouse-native-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @contextmanager
    def watching(self, transport: Transport, kill: Callable[[], object]) -> Iterator[Watch]:
        """Watch the client while a statement of its runs."""
        watch = Watch(transport, kill)
        key = transport.sock.fileno()
        # What the transport has already taken in would not wake the thread.
        open_ended = watch.look()
        with self._changed:
            self._watches[key] = watch
            if not open_ended:
                self._settled.add(key)
            self._changed.notify()
        try:
            yield watch
        finally:
            with self._changed:
                del self._watches[key]
                self._settled.discard(key)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._watches or self._stopping)
                if self._stopping:
                    return
                poll = select.poll()
                for key in self._watches.keys() - self._settled:
                    poll.register(key, select.POLLIN)
            ready = poll.poll(_TICK_MS)
            self._handle([key for key, _ in ready])

    def _handle(self, ready: list[int]) -> None:
        with self._changed:
            for key in ready:
                # The watch may have ended since the poll, and the number may be another socket's by now.
                if key in self._watches and not self._watches[key].look():
                    self._settled.add(key)
            ending = [watch for watch in self._watches.values() if watch.reason]
        for watch in ending:
            watch.kill()
