"""The watch, which also measures what the loops and the daily job stand on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from maxy.clock import SystemClock
from maxy.loops import watch
from maxy.statistics.live.service_observer import ServiceObserver
from maxy.statistics.settings import DEFAULT_DAILY_CACHE_DAYS, daily_cache_days

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from maxy.loops.observer import Observer


class Watch(watch.Watch):
    __doc__ = watch.Watch.__doc__

    async def observer(self, observer: Observer, resources: AsyncExitStack) -> Observer:
        """Measure whenever the watch has ticked, well or not."""
        observer = await super().observer(observer, resources)
        announcer = self.environment.announcer
        if announcer is None:
            return observer
        service = ServiceObserver(announcer, self.environment, observer, SystemClock(), cache_days=await _cache_days())
        resources.push_async_callback(service.close)
        return service


async def _cache_days() -> int:
    """Return how long Valkey keeps a day; the default where the setting is wrong, which the daily job tells."""
    try:
        # Airflow's variables may come from its database, which blocks.
        return await asyncio.to_thread(daily_cache_days)
    except ValueError:
        return DEFAULT_DAILY_CACHE_DAYS
