"""The trigger with a real Valkey: what a cancelled copy leaves behind. ClickHouse is not needed for the watch."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from maxy.triggers.realtime import RealtimeLoopTrigger
from tests.realtime_support import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.base import TriggerEvent

    from tests.support import Valkey

pytestmark = pytest.mark.usefixtures("connections")

STATUS = f"{PREFIX}:loop:watch"
LEASE = f"{STATUS}:lease"


def watch(*, seconds: float = 3600) -> RealtimeLoopTrigger:
    return RealtimeLoopTrigger(
        loop="maxy.statistics.live.watch.Watch",
        deadline=(datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        settings={},
        prefix=PREFIX,
        timezone="Asia/Seoul",
    )


@asynccontextmanager
async def ticking(valkey: Valkey) -> AsyncIterator[asyncio.Task[list[TriggerEvent]]]:
    """A trigger that has ticked once; the next tick is due in a minute."""

    async def events() -> list[TriggerEvent]:
        return [event async for event in watch().run()]

    task = asyncio.ensure_future(events())
    try:
        async with asyncio.timeout(30):
            while not valkey.hget(STATUS, "last_success_at"):
                await asyncio.sleep(0.01)
                if task.done():
                    task.result()
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def all_keys(valkey: Valkey) -> dict[str, Any]:
    return {key: valkey.dump(key) for key in sorted(valkey.scan_iter())}


def test_a_cancelled_copy_gives_its_lease_back_and_leaves_everything_else(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with ticking(valkey) as task:
            before = all_keys(valkey)
            assert LEASE in before
            await cancelled(task)
            before.pop(LEASE)
            assert all_keys(valkey) == before

    asyncio.run(scenario())


def test_a_copy_that_is_cancelled_late_takes_nothing_away_from_its_successor(valkey: Valkey) -> None:
    async def scenario() -> None:
        async with ticking(valkey) as task:
            valkey.set(LEASE, "9999999999999:successor")
            before = all_keys(valkey)
            await cancelled(task)
            assert all_keys(valkey) == before

    asyncio.run(scenario())


def test_a_copy_without_the_lease_waits_quietly_and_ends_with_its_event(valkey: Valkey) -> None:
    async def scenario() -> list[Any]:
        valkey.set(LEASE, "9999999999999:other")
        return [event.payload async for event in watch(seconds=0.2).run()]

    assert asyncio.run(scenario()) == [{"status": "deadline", "ticks": 0, "failures": 0}]
    assert valkey.get(LEASE) == "9999999999999:other"
    assert list(valkey.scan_iter()) == [LEASE]


def test_its_clients_are_closed_when_it_is_cancelled(valkey: Valkey) -> None:
    def connections() -> set[str]:
        return {client["id"] for client in valkey.client_list()}

    async def scenario() -> None:
        # Some of these are of tests before, and may end meanwhile.
        before = connections()
        async with ticking(valkey) as task:
            own = connections() - before
            assert own
            await cancelled(task)
            # The server notices a closed connection a moment later.
            for _ in range(1000):
                if not own & connections():
                    break
                await asyncio.sleep(0.01)
            assert not own & connections()

    asyncio.run(scenario())
