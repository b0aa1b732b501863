"""HTTP/1.1 in front of an application, with a client that is a list of what was written to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from embedded_clickhouse.http.protocol import Connections, HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from embedded_clickhouse.http.exchange import Receive, Send

    Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

_GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n%b\r\n"


class Client(asyncio.Transport):
    """What a client sees of its connection."""

    def __init__(self) -> None:
        super().__init__()
        self.received = b""
        self.state = "open"
        self.is_paused = False

    def write(self, data: Any) -> None:
        self.received += data

    def is_closing(self) -> bool:
        return self.state != "open"

    def close(self) -> None:
        self.state = "closed"

    def abort(self) -> None:
        self.state = "aborted"

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Talk:
    """A connection to an application, inside of a running loop."""

    def __init__(self, application: Application) -> None:
        self.client, self.connections = Client(), Connections()
        self.protocol = HttpProtocol(application, self.connections, asyncio.get_running_loop())
        self.protocol.connection_made(self.client)

    async def say(self, data: bytes) -> bytes:
        """Send something, let the application do what it can, and return what is new."""
        before = len(self.client.received)
        self.protocol.data_received(data)
        await self.settle()
        return self.client.received[before:]

    async def settle(self) -> None:
        """Let everything run that waits for nothing from outside."""
        for _ in range(20):
            await asyncio.sleep(0)


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer with the path and the body."""
    body = b""
    while (event := await receive()).get("more_body"):
        body += event["body"]
    body = scope["path"].encode() + b" " + body + event.get("body", b"")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def test_requests_that_come_at_once_are_answered_one_after_the_other() -> None:
    async def talk() -> bytes:
        return await Talk(echo).say(_GET % b"one" + _GET % b"two%C3%A9" + _GET % b"three")

    replies = asyncio.run(talk()).split(b"HTTP/1.1 200 OK\r\n")
    assert [reply.partition(b"\r\n\r\n")[2] for reply in replies[1:]] == [b"/one ", "/twoé ".encode(), b"/three "]


def test_a_body_comes_in_pieces() -> None:
    async def talk() -> bytes:
        one = Talk(echo)
        assert await one.say(_POST % b"") == b""
        assert await one.say(b"abc") == b""
        return await one.say(b"def" + _GET % b"next")

    received = asyncio.run(talk())
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"/ abcdef" in received


def test_a_client_that_waits_for_the_word_gets_it_when_its_body_is_read() -> None:
    async def talk() -> bytes:
        return await Talk(echo).say(_POST % b"Expect: 100-continue\r\n")

    assert asyncio.run(talk()) == b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_client_whose_body_nobody_wants_does_not_get_it() -> None:
    async def refuse(_scope: dict[str, Any], _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def talk() -> bytes:
        return await Talk(refuse).say(_POST % b"Expect: 100-continue\r\n")

    assert asyncio.run(talk()).startswith(b"HTTP/1.1 413 ")


def test_a_large_body_waits_in_the_socket_until_somebody_reads() -> None:
    async def slow(_scope: dict[str, Any], receive: Receive, _send: Send) -> None:
        await go_on.wait()
        await receive()
        await asyncio.Event().wait()

    async def talk() -> None:
        nonlocal go_on
        go_on = asyncio.Event()
        one = Talk(slow)
        await one.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        assert one.client.is_paused
        go_on.set()
        await one.settle()
        assert not one.client.is_paused

    go_on: asyncio.Event
    asyncio.run(talk())


def test_what_is_no_http_is_refused() -> None:
    async def talk() -> Talk:
        one = Talk(echo)
        await one.say(b"\x00\x01 nonsense\r\n\r\n")
        return one

    one = asyncio.run(talk())
    assert one.client.received.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert one.client.state == "closed"


def test_a_body_that_is_no_http_ends_the_request() -> None:
    async def talk() -> Talk:
        one = Talk(echo)
        await one.say(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert not one.connections.tasks
        return one

    one = asyncio.run(talk())
    assert one.client.received.count(b"HTTP/1.1 ") == 1
    assert one.client.state == "closed"


@pytest.mark.parametrize("events", [0, 1, 2])
def test_an_application_that_fails_leaves_no_half_reply_that_looks_whole(events: int) -> None:
    async def fail(_scope: dict[str, Any], _receive: Receive, send: Send) -> None:
        for event in [
            {"type": "http.response.start", "status": 200, "headers": []},
            {"type": "http.response.body", "body": b"half", "more_body": True},
        ][:events]:
            await send(event)
        raise ValueError("on purpose")

    async def talk() -> Talk:
        one = Talk(fail)
        await one.say(_GET % b"")
        return one

    one = asyncio.run(talk())
    assert one.client.state == "closed"
    if events == 2:
        assert one.client.received.startswith(b"HTTP/1.1 200 ")
        assert not one.client.received.endswith(b"0\r\n\r\n")
    else:
        assert one.client.received[:13] == (b"" if events else b"HTTP/1.1 500 ")


def test_a_client_that_reads_nothing_holds_the_reply_up_and_leaving_ends_it() -> None:
    async def talk() -> None:
        one = Talk(echo)
        one.protocol.pause_writing()
        assert await one.say(_GET % b"") == b""
        assert len(one.connections.tasks) == 1
        one.protocol.connection_lost(None)
        await one.settle()
        assert not one.connections.tasks
        assert one.client.received == b""

    asyncio.run(talk())


def test_closing_waits_for_replies_and_cuts_who_does_not_read() -> None:
    async def talk() -> list[str]:
        connections = Connections()
        loop = asyncio.get_running_loop()
        states = []
        for request in (b"", _GET % b""):
            client, protocol = Client(), HttpProtocol(echo, connections, loop)
            protocol.connection_made(client)
            if request:
                protocol.pause_writing()
                protocol.data_received(request)
            states.append(client)
        await connections.close(0.01)
        assert not connections.tasks
        return [client.state for client in states]

    assert asyncio.run(talk()) == ["aborted", "aborted"]


def test_closing_lets_a_reply_end() -> None:
    async def talk() -> Talk:
        one = Talk(echo)
        await one.say(_POST % b"")
        closing = asyncio.create_task(one.connections.close(60))
        await one.settle()
        assert one.client.state == "open"
        await one.say(b"abcdef")
        assert one.client.state == "closed"
        one.protocol.connection_lost(None)
        await closing
        return one

    assert asyncio.run(talk()).client.received.endswith(b"/ abcdef")
