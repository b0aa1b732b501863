"""Live traffic of both source tables at a fixed rate: what the collectors would send while people use the applications.

Every second an interval of rows is sent; one that is late is sent later, never left out. ``python -m local feed`` runs
it in the foreground, the embedded stack in the background.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.statistics.exact_insert import ClickHouseStore, Clock, Ledger, Sender, Totals, UnknownOutcome
from local.statistics.feed_options import FeedOptions, add_feed_options, feed_options
from local.statistics.sample_data.live import LiveTraffic
from local.statistics.sample_data.seeding import PAGE_FLOW, TOTAL_LOG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_INTERVAL_MS = 1000
_REPORT_EVERY_MS = 60_000
# A clock that is corrected by less is waited for; one that was set back by more, perhaps for hours, is not.
_LARGEST_WAIT_MS = 5_000


class Feed:
    """Sends an interval of traffic each second, one after the other.

    :param traffic: what arrives.
    :param sender: brings it into the tables.
    :param clock: the time.
    :param report: takes the line of each minute.
    :param heartbeat: touched after each interval that was stored as a whole, for others to see that the feed works.
    """

    def __init__(
        self,
        traffic: LiveTraffic,
        sender: Sender,
        clock: Clock,
        *,
        report: Callable[[str], None],
        heartbeat: Path | None = None,
    ) -> None:
        self._traffic = traffic
        self._sender = sender
        self._clock = clock
        self._report = report
        self._heartbeat = heartbeat

    def run(self, seconds: int | None = None) -> Totals:
        """Feed until told to end.

        :param seconds: end after so many intervals of a second.
        :return: what was stored.
        :raises UnknownOutcome: as `Sender.send`.
        """
        start_ms = reported_ms = self._clock.now_ms()
        reported = Totals()
        totals = self._sender.totals
        sent = 0
        while (seconds is None or sent < seconds) and (due_ms := self._wait_for_interval(start_ms)) is not None:
            if not self._send(due_ms):
                break
            start_ms = due_ms + _INTERVAL_MS
            sent += 1
            now_ms = self._clock.now_ms()
            reported_ms = min(reported_ms, now_ms)
            if now_ms - reported_ms >= _REPORT_EVERY_MS:
                self._report(_progress(totals, reported, (now_ms - reported_ms) / 1000))
                reported_ms, reported = now_ms, Totals(dict(totals.rows), totals.repeated)
        return totals

    def _send(self, start_ms: int) -> bool:
        """Send an interval. False when the feed was told to end before it was complete."""
        for delivery in self._traffic.batch(start_ms, start_ms + _INTERVAL_MS):
            if self._clock.pause(0):
                return False
            self._sender.send(delivery)
        if self._heartbeat is not None:
            self._heartbeat.touch()
        return True

    def _wait_for_interval(self, start_ms: int) -> int | None:
        """Wait for the end of the interval, if it is not past already.

        :return: the start of the interval to send, another one where the clock was set back; None when the feed was
            told to end.
        """
        while (left_ms := start_ms + _INTERVAL_MS - self._clock.now_ms()) > 0:
            ahead_ms = left_ms - _INTERVAL_MS
            if ahead_ms > _LARGEST_WAIT_MS:
                self._report(f"the clock was set back by {ahead_ms / 1000:,.0f} s: the feed goes on from there")
                start_ms -= ahead_ms
            elif self._clock.pause(left_ms / 1000):
                return None
        return None if self._clock.pause(0) else start_ms


def _progress(totals: Totals, before: Totals, seconds: float) -> str:
    pages, logs = (totals.rows[table] - before.rows[table] for table in (PAGE_FLOW, TOTAL_LOG))
    return (
        f"sent {pages:,} page rows and {logs:,} log rows in {seconds:.0f} s ({pages / seconds:,.1f} and"
        f" {logs / seconds:,.1f} rows/s), {totals.repeated - before.repeated} inserts had to be repeated"
    )


def run_feed(http: Mapping[str, Any], *, timezone: str, options: FeedOptions, report: Callable[[str], None]) -> int:
    """Feed until SIGTERM or SIGINT, or until the options' seconds are over. Called in the main thread of a process.

    :param http: arguments of clickhouse_connect.get_client.
    :param timezone: IANA name of the zone whose midnights bound a day.
    :return: 0, or 1 when it had to end without knowing what became of an insert.
    :raises OSError: the ledger cannot be written.
    :raises ValueError: the rate is too high.
    """
    # The feed says in one line what these would say in twenty.
    for name in ("clickhouse_connect", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    clock = Clock(now_ms=lambda: time.time_ns() // 1_000_000, pause=ended.wait)
    traffic = LiveTraffic(seed=options.seed, rate=options.rate, timezone=timezone, log_repeats=options.log_repeats)
    store = ClickHouseStore(http)
    sender = Sender(store, clock, Ledger(options.ledger), report)
    report(f"feeding {options.rate:g} rows/s into each of {PAGE_FLOW} and {TOTAL_LOG}")
    try:
        feed = Feed(traffic, sender, clock, report=report, heartbeat=options.heartbeat)
        feed.run(options.seconds)
    except UnknownOutcome as error:
        report(str(error))
        return 1
    finally:
        store.close()
        rows = sender.totals.rows
        report(f"ended after {rows[PAGE_FLOW]:,} page rows and {rows[TOTAL_LOG]:,} log rows")
    return 0


def main() -> int:
    """Feed the ClickHouse that CLICKHOUSE_* name; a day begins at midnight in MAXY_TIMEZONE."""
    parser = argparse.ArgumentParser(prog="python -m local.statistics.feed", description=main.__doc__)
    add_feed_options(parser)
    parser.add_argument("--heartbeat", type=Path, metavar="FILE", help="touched after each second's rows")
    http = {
        "host": os.environ["CLICKHOUSE_HOST"],
        "port": int(os.environ["CLICKHOUSE_PORT"]),
        "username": os.environ["CLICKHOUSE_USER"],
        "password": os.environ["CLICKHOUSE_PASSWORD"],
        "database": os.environ["CLICKHOUSE_DB"],
    }
    options = feed_options(parser.parse_args())
    return run_feed(http, timezone=os.environ["MAXY_TIMEZONE"], options=options, report=_log)


def _log(line: str) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
