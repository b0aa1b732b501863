"""When a connection is given up, with a clock and a client of the test's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from embedded_clickhouse.http.connection import BoundedProtocol
from embedded_clickhouse.http.protocol import Connections
from embedded_clickhouse.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_IDLE = 100.0
_STALLED = 10.0
_REQUEST = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
_REPLY: list[dict[str, Any]] = [
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]},
    {"type": "http.response.body", "body": b"Ok\n"},
]


class Timer:
    def __init__(self, at: float, call: Callable[[], object]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class Task:
    """A task that never ends."""

    def add_done_callback(self, _call: object) -> None: ...


class Loop:
    """An event loop whose time goes on when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []
        self.tasks: list[Coroutine[Any, Any, None]] = []

    def call_later(self, delay: float, call: Callable[..., object], *arguments: object) -> Timer:
        timer = Timer(self.now + delay, lambda: call(*arguments))
        self.timers.append(timer)
        return timer

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> Task:
        self.tasks.append(coroutine)
        return Task()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.at <= self.now]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()


class Transport(asyncio.Transport):
    """A client that reads nothing: what is written stays in the buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.unread = 0
        self.state = "open"

    def write(self, data: bytes) -> None:
        self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closing"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connection:
    """One connection of a server with these limits."""

    def __init__(self, limits: Limits, others: Connections | None = None) -> None:
        self.loop, self.transport = Loop(), Transport()
        loop: Any = self.loop
        self.protocol = BoundedProtocol(_never_called, limits, others or Connections(), loop)
        self.protocol.connection_made(self.transport)

    def reply(self) -> None:
        """Answer the request that came."""

        async def send() -> None:
            for event in _REPLY:
                await self.protocol.call.send(event)

        asyncio.run(send())

    def end(self) -> None:
        for coroutine in self.loop.tasks:
            coroutine.close()


async def _never_called(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("no test runs an application")


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection(Limits(idle_seconds=_IDLE, stalled_seconds=_STALLED))
    yield made
    made.end()


def test_without_a_byte_it_may_be_idle(connection: Connection) -> None:
    connection.loop.advance(_IDLE - 1)
    assert connection.transport.state == "open"
    connection.loop.advance(1)
    assert connection.transport.state == "aborted"


def test_a_head_has_one_deadline_however_it_drips(connection: Connection) -> None:
    for byte in b"GET / HTT":
        connection.protocol.data_received(bytes([byte]))
        connection.loop.advance(1)
    assert connection.transport.state == "open"
    connection.protocol.data_received(b"P")
    connection.loop.advance(1)
    assert connection.transport.state == "aborted"


def test_a_request_has_none(connection: Connection) -> None:
    connection.protocol.data_received(_REQUEST)
    connection.loop.advance(100 * _IDLE)
    assert connection.transport.state == "open"


def test_after_a_reply_it_may_be_idle_again(connection: Connection) -> None:
    for _ in range(3):
        connection.protocol.data_received(_REQUEST)
        connection.loop.advance(2 * _IDLE)
        connection.reply()
        connection.loop.advance(_IDLE - 1)
        assert connection.transport.state == "open"
    connection.loop.advance(1)
    assert connection.transport.state == "aborted"


def test_the_rest_of_an_unwanted_body_has_one_deadline(connection: Connection) -> None:
    connection.protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    connection.reply()
    for _ in range(int(_STALLED) - 1):
        connection.protocol.data_received(b"x")
        connection.loop.advance(1)
    assert connection.transport.state == "open"
    connection.loop.advance(1)
    assert connection.transport.state == "aborted"


def test_once_that_rest_is_there_the_connection_is_kept(connection: Connection) -> None:
    connection.protocol.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    connection.reply()
    connection.protocol.data_received(b"x" * 100)
    connection.loop.advance(_IDLE - 1)
    assert connection.transport.state == "open"
    connection.protocol.data_received(_REQUEST)
    assert len(connection.loop.tasks) == 2


def test_a_client_that_reads_nothing_is_given_up(connection: Connection) -> None:
    connection.protocol.data_received(_REQUEST)
    connection.transport.write(b"x" * 1000)
    connection.protocol.pause_writing()
    connection.loop.advance(_STALLED)
    assert connection.transport.state == "aborted"


def test_a_client_that_reads_slowly_is_not(connection: Connection) -> None:
    connection.protocol.data_received(_REQUEST)
    connection.transport.write(b"x" * 1000)
    connection.protocol.pause_writing()
    for _ in range(100):
        connection.transport.unread -= 1
        connection.loop.advance(_STALLED)
    assert connection.transport.state == "open"
    connection.protocol.resume_writing()
    connection.loop.advance(100 * _STALLED)
    assert connection.transport.state == "open"


def test_the_last_reply_is_not_waited_for_without_end(connection: Connection) -> None:
    connection.protocol.data_received(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    connection.reply()
    assert connection.transport.state == "closing"
    connection.transport.unread -= 1
    connection.loop.advance(_STALLED)
    assert connection.transport.state == "closing"
    connection.loop.advance(_STALLED)
    assert connection.transport.state == "aborted"


def test_a_lost_connection_leaves_no_timer(connection: Connection) -> None:
    connection.protocol.pause_writing()
    connection.protocol.connection_lost(None)
    assert [timer for timer in connection.loop.timers if not timer.cancelled] == []


def test_refused_clients_do_not_pile_up() -> None:
    connections = Connections()
    limits = Limits(max_connections=2, idle_seconds=_IDLE, stalled_seconds=_STALLED)
    made = [Connection(limits, connections) for _ in range(6)]
    assert [one.protocol.is_refused for one in made] == [False, False, True, True, True, True]
    assert [one.transport.state for one in made] == ["open"] * 5 + ["aborted"]
    made[2].loop.advance(5)
    assert made[2].transport.state == "aborted"
