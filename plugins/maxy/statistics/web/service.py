"""What the routes of the statistics work with, one per server process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maxy.web.cache import SharedAnswers

if TYPE_CHECKING:
    from maxy.statistics.web.live_store import LiveStore
    from maxy.statistics.web.models import Health, History, Keys, LogRate
    from maxy.statistics.web.sources import PageSettings, StatisticsSources
    from maxy.web.hub import LiveHub

_LIVE_SECONDS = 2.0
_KEYS_SECONDS = 5.0
_HISTORY_SECONDS = 3.0


@dataclass
class Service:
    """Sources, what is remembered of their answers, and the reader for live pages.

    :param sources: where everything comes from.
    :param hub: reads for live pages.
    """

    sources: StatisticsSources
    hub: LiveHub[PageSettings, LiveStore]
    keys: SharedAnswers[Keys] = field(init=False)
    log_rates: SharedAnswers[LogRate] = field(init=False)
    scatters: SharedAnswers[str] = field(init=False)
    histories: SharedAnswers[History] = field(init=False)
    health: SharedAnswers[Health] = field(init=False)

    def __post_init__(self) -> None:
        monotonic = self.sources.clock.monotonic
        self.keys = SharedAnswers(_KEYS_SECONDS, monotonic)
        self.log_rates = SharedAnswers(_LIVE_SECONDS, monotonic)
        # Texts of half a megabyte each.
        self.scatters = SharedAnswers(_LIVE_SECONDS, monotonic, most=32)
        # Up to a megabyte each.
        self.histories = SharedAnswers(_HISTORY_SECONDS, monotonic, most=64)
        self.health = SharedAnswers(_LIVE_SECONDS, monotonic)
