"""The live loops of statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Import path of the class by name.
LIVE_LOOPS: Mapping[str, str] = {
    "log_meter": "maxy.statistics.live.log_meter.LogMeter",
    "loading_time": "maxy.statistics.live.loading_time.LoadingTime",
    "response_time": "maxy.statistics.live.response_time.ResponseTime",
    "device": "maxy.statistics.live.device.Device",
    "page": "maxy.statistics.live.page.Page",
    "watch": "maxy.statistics.live.watch.Watch",
}
