"""The feed of live traffic as a part of the stack that `up` leaves out: people start it, or `run` does."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from local.processes import Command, DetachedProcess
from local.services.part import NotReady, Part, clean_environment
from local.statistics.feed_options import GENTLE_RATE

if TYPE_CHECKING:
    from local.settings import Settings

# Seconds without a stored interval after which it is said not to work; ClickHouse may be busy for some.
_LONGEST_SILENCE = 30.0


class Feed(Part):
    """Sends GENTLE_RATE rows per second into each of the source tables until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._heartbeat = settings.local_dir / "run" / "feed.heartbeat"
        process = DetachedProcess(
            "feed", run_dir=settings.local_dir / "run", log=settings.local_dir / "logs" / "feed.log"
        )
        super().__init__(process, {})

    def command(self) -> Command:
        return Command(
            argv=[
                sys.executable,
                "-m",
                "local.statistics.feed",
                "--rate",
                f"{GENTLE_RATE:g}",
                "--heartbeat",
                self._heartbeat,
            ],
            environment=clean_environment() | self._settings.service_environment() | {"PYTHONUNBUFFERED": "1"},
            directory=self._settings.root,
        )

    def check(self) -> None:
        """:raises NotReady: this very process has not stored an interval of rows lately."""
        identity = self.process.identity()
        try:
            stored_at = self._heartbeat.stat().st_mtime
        except FileNotFoundError:
            raise NotReady("it has stored no rows yet") from None
        if identity is None or stored_at <= identity.started_at():
            raise NotReady("it has stored no rows since its start")
        if (silence := time.time() - stored_at) > _LONGEST_SILENCE:
            raise NotReady(f"it has stored no rows for {silence:,.0f} s; its log tells why")
