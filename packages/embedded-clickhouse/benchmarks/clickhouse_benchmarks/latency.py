"""Many small queries: `SELECT 1` over kept connections, and twenty clients at once."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clickhouse_benchmarks.data import DATABASE
from clickhouse_benchmarks.measure import cpu_seconds

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from embedded_clickhouse.testing import Server

_TIMEOUT_SECONDS = 120.0
_SPAN = 10_000


def small_query(chance: random.Random, rows: int) -> str:
    """Return a query of some thousand rows, as a dashboard asks it."""
    first = chance.randrange(max(1, rows - _SPAN))
    return (
        f"SELECT country, count(), avg(price) FROM source WHERE id BETWEEN {first} AND {first + _SPAN}"
        " GROUP BY country ORDER BY country"
    )


class PlainHttp:
    """A kept connection over HTTP without a client's library.

    :param server: which.
    """

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.http_port, timeout=_TIMEOUT_SECONDS)
        self._headers = {"X-ClickHouse-User": server.user, "X-ClickHouse-Key": server.password}

    def post(self, body: bytes, url: str = f"/?database={DATABASE}") -> bytes:
        """Send a statement or data, and return the whole reply.

        :raises RuntimeError: the server refused it.
        """
        self._connection.request("POST", url, body, self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        if reply.status != http.HTTPStatus.OK:
            raise RuntimeError(text.decode(errors="replace"))
        return text

    def ask(self, sql: str) -> bytes:
        """Send a statement, and return its result."""
        return self.post(sql.encode())

    def read_through(self, sql: bytes, piece: int = 1 << 20) -> int:
        """Send a statement, and read its result without keeping it. Returns its size."""
        self._connection.request("POST", f"/?database={DATABASE}", sql, self._headers)
        reply = self._connection.getresponse()
        buffer, size = bytearray(piece), 0
        while count := reply.readinto(buffer):
            size += count
        return size

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


@dataclass
class Ones:
    """Seconds of each `SELECT 1` in one way.

    :param engine: CPU seconds of the engine's process, for each batch the mean of a query.
    """

    walls: list[float] = field(default_factory=list)
    engine: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return the seconds that so many of them stayed below."""
        return sorted(self.walls)[int(share * (len(self.walls) - 1))]


def ask_ones(ask: Callable[[], object], engine_pid: int, count: int, ones: Ones) -> None:
    """Add a batch."""
    cpu = cpu_seconds(engine_pid)
    for _ in range(count):
        began = time.perf_counter()
        ask()
        ones.walls.append(time.perf_counter() - began)
    ones.engine.append((cpu_seconds(engine_pid) - cpu) / count)


def ask_together(asks: Sequence[Callable[[], object]], seconds: float) -> int:
    """Let each of these be called in a thread of its own again and again. Returns how often they were."""
    done = [0] * len(asks)
    ends = time.perf_counter() + seconds

    def work(number: int) -> None:
        while time.perf_counter() < ends:
            asks[number]()
            done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done)
