"""Where the figures of the statistics come from, and the settings that their pages need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maxy.loops.health import HealthLimits
from maxy.loops.registry import enabled_loops, loop_settings
from maxy.loops.watch import Watch
from maxy.settings import statistics_timezone, valkey_prefix
from maxy.statistics.live.device import Device
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live.page import Page
from maxy.statistics.live.response_time import ResponseTime
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.settings import (
    DEFAULT_DAILY_CACHE_DAYS,
    DEFAULT_MAX_NAME_LENGTH,
    daily_cache_days,
    max_name_length,
    realtime_settings,
    row_rules,
)
from maxy.web.models import RowsAre
from maxy.web.shown_loops import ShownLoops
from maxy.web.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from zoneinfo import ZoneInfo

    from maxy.loops.registry import RefusedLoop

#: What the rows of a tick are; other loops may count anything.
_ROWS_ARE: Mapping[str, RowsAre] = {
    **{loop.name: RowsAre.NEW for loop in (LogMeter, LoadingTime, ResponseTime)},
    **{loop.name: RowsAre.READ for loop in (Device, Page)},
}


@dataclass(frozen=True, kw_only=True)
class PageSettings(ShownLoops):
    """The settings of the statistics, as far as the pages need them.

    :param timezone: the statistics time zone.
    :param daily_cache_days: days until a daily hash in Valkey expires.
    :param max_name_length: characters that a name may have.
    """

    timezone: ZoneInfo
    rows_are: Mapping[str, RowsAre] = field(default_factory=lambda: _ROWS_ARE)
    daily_cache_days: int = DEFAULT_DAILY_CACHE_DAYS
    max_name_length: int = DEFAULT_MAX_NAME_LENGTH


class StatisticsSources(Sources[PageSettings]):
    """Valkey, ClickHouse and the settings of the statistics."""

    async def today(self) -> date:
        """Return the day that it is in the statistics zone.

        :raises maxy.web.sources.SourceUnavailable: the zone cannot be read.
        """
        return self.clock.now().astimezone((await self.settings()).timezone).date()


def read_page_settings() -> PageSettings:
    """Read them from Airflow's variables.

    :raises ValueError: one of them is wrong, and is not one of a single loop's.
    """
    realtime = realtime_settings()
    refused: list[RefusedLoop] = []
    loops = tuple(enabled_loops(realtime, LIVE_LOOPS, row_rules(), refuse=refused.append))
    loops += tuple(loop for one in refused if (loop := one.with_defaults()) is not None)
    watch = next((loop.settings for loop in loops if loop.name == Watch.name), None)
    if watch is None:
        # The watch is switched off; its defaults still tell what is trouble.
        watch = loop_settings(Watch, {}, where="watch")
    return PageSettings(
        timezone=statistics_timezone(),
        prefix=valkey_prefix(),
        loops=loops,
        limits=HealthLimits.from_settings(watch),
        refused={one.name: one.reason for one in refused},
        daily_cache_days=daily_cache_days(),
        max_name_length=max_name_length(),
    )
