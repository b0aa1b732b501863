"""What the application works with, one per server process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maxy.web.cache import SharedAnswers
from maxy.web.hub import LiveHub
from maxy.web.shutdown import is_server_stopping

if TYPE_CHECKING:
    from maxy.statistics.web.models import Health, History, Keys, LogRate
    from maxy.statistics.web.sources import Sources

_LIVE_SECONDS = 2.0
_KEYS_SECONDS = 5.0
_HISTORY_SECONDS = 3.0


@dataclass
class Service:
    """Sources, what is remembered of their answers, and the reader for live pages.

    :param sources: where everything comes from.
    """

    sources: Sources
    keys: SharedAnswers[Keys] = field(init=False)
    log_rates: SharedAnswers[LogRate] = field(init=False)
    scatters: SharedAnswers[str] = field(init=False)
    histories: SharedAnswers[History] = field(init=False)
    health: SharedAnswers[Health] = field(init=False)
    hub: LiveHub = field(init=False)

    def __post_init__(self) -> None:
        monotonic = self.sources.clock.monotonic
        self.keys = SharedAnswers(_KEYS_SECONDS, monotonic)
        self.log_rates = SharedAnswers(_LIVE_SECONDS, monotonic)
        # Texts of half a megabyte each.
        self.scatters = SharedAnswers(_LIVE_SECONDS, monotonic, most=32)
        # Up to a megabyte each.
        self.histories = SharedAnswers(_HISTORY_SECONDS, monotonic, most=64)
        self.health = SharedAnswers(_LIVE_SECONDS, monotonic)
        self.hub = LiveHub(self.sources, is_stopping=is_server_stopping)
