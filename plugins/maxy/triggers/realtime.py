"""Runs a live loop in the triggerer."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow.triggers.base import BaseTrigger, TriggerEvent

from maxy.clickhouse.client import ClickHouseReader
from maxy.clock import SystemClock
from maxy.families import loops_to_watch
from maxy.hooks.asynchronous import clickhouse_address, valkey_client
from maxy.hooks.environment import CLICKHOUSE_HTTP_CONN_ID, VALKEY_CONN_ID
from maxy.loops.loop import LoopEnvironment, loop_key
from maxy.loops.registry import loop_class, loop_settings
from maxy.loops.runner import LoopRunner
from maxy.loops.thread_use import SYSTEM_STOPWATCH, StepTimer
from maxy.triggers.announcer import AirflowAnnouncer
from maxy.valkey.lease import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from maxy.loops.loop import Loop
    from maxy.loops.options import LoopSettings

STATUS_DEADLINE = "deadline"


class RealtimeLoopTrigger(BaseTrigger):
    """Ticks until a deadline, then fires one event: ``{"status": "deadline", "ticks": …, "failures": …}``.

    A trigger is at-least-once, so it keeps nothing of its own: the loop's state is in Valkey, and every write checks
    the loop's lease. When it is cancelled, for whatever reason, it gives the lease back if it still has it, and does
    nothing else: the successor may be at work already. Outages of ClickHouse and Valkey do not end it.

    :param loop: import path of the loop's class.
    :param deadline: when to stop: an instant in ISO 8601 with its offset; absolute, so that a restart does not move it.
    :param settings: the loop's settings, as :meth:`maxy.loops.options.LoopSettings.to_json` gives them.
    :param prefix: of every key in Valkey.
    :param timezone: IANA name of the statistics time zone.
    :param clickhouse_conn_id: connection to ClickHouse's HTTP interface.
    :param valkey_conn_id: connection to Valkey.
    :raises ValueError: for a deadline without a zone.
    """

    def __init__(
        self,
        *,
        loop: str,
        deadline: str,
        settings: Mapping[str, Any],
        prefix: str,
        timezone: str,
        clickhouse_conn_id: str = CLICKHOUSE_HTTP_CONN_ID,
        valkey_conn_id: str = VALKEY_CONN_ID,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.loop = loop
        self.deadline = deadline
        self.settings = dict(settings)
        self.prefix = prefix
        self.timezone = timezone
        self.clickhouse_conn_id = clickhouse_conn_id
        self.valkey_conn_id = valkey_conn_id
        self._deadline = datetime.fromisoformat(deadline)
        if self._deadline.tzinfo is None:
            raise ValueError(f"deadline {deadline} carries no time zone")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every argument."""
        return (
            "maxy.triggers.realtime.RealtimeLoopTrigger",
            {
                "loop": self.loop,
                "deadline": self.deadline,
                "settings": self.settings,
                "prefix": self.prefix,
                "timezone": self.timezone,
                "clickhouse_conn_id": self.clickhouse_conn_id,
                "valkey_conn_id": self.valkey_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Tick until the deadline."""
        found = loop_class(self.loop)
        settings = loop_settings(found, self.settings, where=found.name)
        address = await clickhouse_address(self.clickhouse_conn_id)
        announcer = AirflowAnnouncer()
        async with AsyncExitStack() as clients:
            valkey = await valkey_client(self.valkey_conn_id)
            clients.push_async_callback(valkey.aclose)
            reader = ClickHouseReader(address, name=found.name, settings=_statement_settings(settings))
            clients.push_async_callback(reader.close)
            lease = Lease(
                valkey,
                f"{loop_key(self.prefix, found.name)}:lease",
                ttl=timedelta(seconds=settings["lease_seconds"]),
            )
            environment = LoopEnvironment(
                reader,
                valkey,
                lease,
                self.prefix,
                ZoneInfo(self.timezone),
                settings,
                announcer,
                # Airflow's variables may come from its database, which blocks.
                watched_loops=partial(asyncio.to_thread, loops_to_watch, found.name),
            )
            steps = StepTimer(found.name, SYSTEM_STOPWATCH)
            loop: Loop = steps.call(partial(found, environment))
            observer = await loop.observer(announcer.observer(found.name), clients)
            summary = await LoopRunner(
                loop,
                clock=SystemClock(),
                deadline=self._deadline,
                host=socket.gethostname(),
                observer=observer,
                logger=logging.getLogger(f"maxy.realtime.{found.name}"),
                steps=steps,
            ).run()
        event = {"status": STATUS_DEADLINE, "ticks": summary.ticks, "failures": summary.failures}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]


def _statement_settings(settings: LoopSettings) -> dict[str, Any]:
    """Return the ClickHouse settings of a loop's statements: bounded in threads, and in time as the tick is."""
    return {
        "max_threads": settings["max_threads"],
        "max_execution_time": max(1, int(settings.tick_limit_seconds)),
        # A statement whose client is gone need not go on.
        "cancel_http_readonly_queries_on_client_close": 1,
    }
