"""The live loops on the whole stack: real triggerers, and everything that happens to them in production.

One story, for each part of it needs minutes: traffic flows all the while, one thing after the other is done to the
loops and to what they need, and in the end every figure must be right, as if nothing had happened.
"""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.e2e.live import Feed, Live, WindowReader
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import RunningStack

RATE = 50
# The stack's loops hand over every two minutes, and that takes its time.
DEADLINE_SECONDS = 240.0


@pytest.fixture
def live(stack: RunningStack) -> Iterator[Live]:
    live = Live(stack)
    try:
        yield live
    finally:
        live.stop_triggerers()
        live.restart_killed()
        live.end()


def test_figures_stay_exact_whatever_is_done_to_the_loops(live: Live, tmp_path: Path) -> None:
    live.unpause()
    live.wait_for_ticks()
    feed = Feed(dict(live.stack.environment), tmp_path / "ledger.jsonl", rate=RATE)
    with WindowReader(live.valkey, live.prefix) as reader:
        try:
            live.wait_for_ticks()
            done_by_people(live)
            done_to_triggerers(live)
            done_to_servers(live)
        finally:
            feed.stop()
        live.wait_for_ticks(ticks=2)
    # Nobody has marked these runs: they come to their deadline, and others take over.
    wait_until(
        lambda: live.runs("watch", "success") > 0, DEADLINE_SECONDS, "a run of the watch has come to its deadline"
    )
    stored = feed.stored("maxy_app_total_log")
    assert sum(stored.values()) > 1000
    assert reader.windows.totals() == stored
    assert live.check_pages_and_devices() > 10
    assert live.check_points("loading_time") > 100
    assert live.check_points("response_time") > 100
    check_windows(reader)

    # An emptied Valkey: the figures are there again, and the meter does not count the past once more.
    with live.valkey() as client:
        client.flushdb()
    live.wait_for_ticks(ticks=2)
    live.check_pages_and_devices()
    live.check_points("loading_time")
    live.check_points("response_time")
    with live.valkey() as client:
        counts = [client.hgetall(key) for key in client.scan_iter(match=f"{live.prefix}:totallog:*:*")]
    assert sum(int(count["log_count"]) for count in counts) == 0


def done_by_people(live: Live) -> None:
    """Clear, mark success and failed, pause, delete."""
    live.clear("log_meter")
    live.clear("page")
    live.mark("loading_time", "success")
    live.mark("device", "failed")
    live.pause("response_time")
    live.wait_for_ticks()
    live.unpause("response_time")
    live.delete("log_meter")
    live.unpause("log_meter")
    live.wait_for_ticks()


def done_to_triggerers(live: Live) -> None:
    """Stop one and have another take over, wake the first, kill both."""
    first = live.triggerer()
    with live.stopped(first):
        second = live.start_triggerer()
        live.wait_for_ticks()
    # Both run now: the first one's copies must stay quiet, whatever they had begun.
    live.wait_for_ticks()
    live.signal(second, signal.SIGKILL)
    live.signal(first, signal.SIGKILL)
    live.stop_triggerers()
    live.restart_killed()
    live.wait_for_ticks()


def done_to_servers(live: Live) -> None:
    """ClickHouse and Valkey hang, and die."""
    for name in ("clickhouse", "valkey"):
        with live.stopped(live.part(name)):
            time.sleep(12)
        live.wait_for_ticks()
        live.signal(live.part(name), signal.SIGKILL)
        live.restart_killed()
        live.wait_for_ticks()


def check_windows(reader: WindowReader) -> None:
    """Every window begins where another one has ended: exactly one copy has written at any time."""
    spans = reader.windows.spans
    first = min(spans.values())
    strangers = {start for start in spans.values() if start not in spans and start != first}
    # A window without rows writes nothing, and one may come between two looks of the reader.
    assert len(strangers) <= len(spans) / 5
    ordered = sorted((start, end) for end, start in spans.items())
    for (_, end), (start, _) in pairwise(ordered):
        assert start >= end, "two windows overlap"
