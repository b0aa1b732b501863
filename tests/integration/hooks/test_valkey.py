"""A Valkey that hangs is an error soon, for tasks and for the triggerer alike."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as ValkeyConnectionError
from redis.exceptions import TimeoutError as ValkeyTimeoutError

from maxy.hooks import asynchronous, valkey_limits
from maxy.hooks.asynchronous import valkey_client
from maxy.hooks.valkey import ValkeyHook

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 0.1


class Hanging:
    """Accepts connections, as the kernel does for a process that is stopped, and never answers.

    :param listener: already listens.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def connections(self) -> int:
        """Return how many have come."""
        self._listener.setblocking(False)
        count = 0
        try:
            while True:
                self._listener.accept()[0].close()
                count += 1
        except BlockingIOError:
            return count


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv(
            "AIRFLOW_CONN_HANGING", json.dumps({"conn_type": "redis", "host": "127.0.0.1", "port": port})
        )
        yield Hanging(listener)


def test_a_task_is_told_after_one_more_try(hanging: Hanging) -> None:
    began = time.monotonic()
    with (
        pytest.raises((ValkeyTimeoutError, ValkeyConnectionError)),
        ValkeyHook("hanging", timeout=TIMEOUT).client() as client,
    ):
        client.ping()
    # ten retries of redis-py's own would make more than a hundred waits of it
    assert time.monotonic() - began < 15 * TIMEOUT
    assert 1 <= hanging.connections() <= 4


def test_the_triggerer_is_told_after_one_more_try(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        asynchronous, "connection_limits", lambda retry: valkey_limits.connection_limits(retry, TIMEOUT)
    )

    async def story() -> None:
        client = await valkey_client("hanging")
        try:
            with pytest.raises((ValkeyTimeoutError, ValkeyConnectionError)):
                await client.ping()
        finally:
            await client.aclose()

    began = time.monotonic()
    asyncio.run(story())
    assert time.monotonic() - began < 15 * TIMEOUT
    assert 1 <= hanging.connections() <= 4


def test_both_wait_equally_long(hanging: Hanging) -> None:
    limits = ("socket_timeout", "socket_connect_timeout")

    async def asynchronous_limits() -> tuple[list[float], int]:
        client = await valkey_client("hanging")
        settings = client.connection_pool.connection_kwargs
        await client.aclose()
        return [settings[name] for name in limits], settings["retry"].get_retries()

    with ValkeyHook("hanging").client() as client:
        settings = client.connection_pool.connection_kwargs
        found = [settings[name] for name in limits], settings["retry"].get_retries()
        connection = client.connection_pool.make_connection()
        assert isinstance(connection, AbstractConnection)
        assert connection.retry.get_retries() == 1
        assert client.get_retry() is settings["retry"]
    assert found == ([5.0, 5.0], 1) == asyncio.run(asynchronous_limits())
