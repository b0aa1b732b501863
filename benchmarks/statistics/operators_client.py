"""Another client of Valkey, in a process of its own, that notes how long it waits."""

from __future__ import annotations

import multiprocessing
import time
from typing import TYPE_CHECKING, Any, Self

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.synchronize import Event

_PAUSE_SECONDS = 0.005
_START_SECONDS = 180.0


def ask(port: int, begun: Event, ended: Event, waits: Any) -> None:
    """Send PING and GET every few milliseconds until told to end; the target of a process.

    :param waits: takes what each command took: (when it was sent, milliseconds).
    """
    taken: list[tuple[float, float]] = []
    with redis.Redis(port=port) as client:
        client.set("asked", "x")
        begun.set()
        while not ended.is_set():
            for command in (client.ping, lambda: client.get("asked")):
                sent = time.monotonic()
                command()
                taken.append((sent, 1000 * (time.monotonic() - sent)))
            time.sleep(_PAUSE_SECONDS)
    waits.send(taken)


class OtherClient:
    """The client that asks meanwhile, from the beginning of a block until its waits are asked for.

    :param port: of Valkey on the loopback address.
    """

    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._begun, self._ended = context.Event(), context.Event()
        self._answers, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=ask, args=(port, self._begun, self._ended, sender))

    def __enter__(self) -> Self:
        self._process.start()
        if not self._begun.wait(_START_SECONDS):
            raise RuntimeError("the other client does not start")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def waits(self) -> Sequence[tuple[float, float]]:
        """End the client, and return when it has sent each command and how many milliseconds it has waited."""
        self._ended.set()
        taken: list[tuple[float, float]] = self._answers.recv()
        self._process.join(_START_SECONDS)
        return taken
