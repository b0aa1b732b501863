"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress

from local.settings import LOOPBACK


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on.

    They are below those that systems give to outgoing connections, so that none takes one while its server restarts.
    """
    with ExitStack() as sockets:
        found: list[int] = []
        for port in random.sample(range(15_000, 32_000), 1_000):
            listener = sockets.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind((LOOPBACK, port))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"of a thousand ports, fewer than {count} are free")


def free_port() -> int:
    """Return one."""
    (port,) = free_ports(1)
    return port
