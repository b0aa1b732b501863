"""The family of statistics, as the parts that all families share know it."""

from __future__ import annotations

from maxy.family import Family, LiveLoops
from maxy.statistics.live_loops import LIVE_LOOPS
from maxy.statistics.settings import realtime_settings, row_rules

FAMILY = Family(
    name="statistics",
    domain="device-statistic",
    loops=LiveLoops(LIVE_LOOPS, realtime_settings, row_rules),
    macros=(
        "maxy.statistics.macros.statistics_day",
        "maxy.statistics.macros.valkey_prefix",
        "maxy.statistics.macros.metric_ranges",
        "maxy.statistics.macros.max_name_length",
        "maxy.statistics.macros.settling_minutes",
        "maxy.statistics.macros.daily_cache_days",
        "maxy.statistics.macros.log_cache_values",
    ),
    web="maxy.statistics.web.family.WEB",
)
