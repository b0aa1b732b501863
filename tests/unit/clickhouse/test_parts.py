"""When block numbers tell what is new, and how far back parts are read: one rule for every loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from maxy.clickhouse.parts import PartsSnapshot
from maxy.loops.options import LoopSettings
from maxy.loops.pruning import part_pruner
from maxy.statistics.live.loading_time import LoadingTime
from maxy.statistics.live.log_meter import LogMeter
from maxy.statistics.live.response_time import ResponseTime

HOUR_MS = 3_600_000
NOW_MS = 1_800_000_000_000
#: Of a server that has been up for an hour.
FORMER = PartsSnapshot("uuid", 3600, NOW_MS, {"20260101": 10, "20260102": 4})


def later(seconds: float, **changed: Any) -> PartsSnapshot:
    """Return what the same server says so many seconds later; its uptime is rounded down."""
    same = {"uptime": int(3600.9 + seconds), "server_ms": NOW_MS + int(seconds * 1000)}
    return replace(FORMER, **{**same, **changed})


@pytest.mark.parametrize("seconds", [0, 0.001, 0.2, 1, 5, 30, 86_400])
def test_a_server_that_goes_on_numbers_its_blocks_on(seconds: float) -> None:
    assert later(seconds).break_since(FORMER) is None
    assert later(seconds, blocks={"20260101": 11, "20260102": 4, "20260103": 1}).break_since(FORMER) is None


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (later(30, table_uuid="other"), "replaced"),
        (later(30, table_uuid=""), "replaced"),
        (later(30, uptime=5), "started again"),
        (later(30, uptime=3599), "started again"),
        # Up for longer by now than the former one was then, which the uptime alone does not tell.
        (later(7300, uptime=7200), "started again"),
        (later(7300, uptime=3601), "started again"),
        (later(30, server_ms=NOW_MS + 2 * HOUR_MS), "its clock was set"),
        (later(30, blocks={"20260101": 9, "20260102": 4}), "are gone"),
        (later(30, blocks={"20260101": 12}), "are gone"),
        (later(30, blocks={}), "are gone"),
    ],
)
def test_what_may_have_numbered_them_from_the_start_is_noticed(now: PartsSnapshot, reason: str) -> None:
    assert reason in (now.break_since(FORMER) or "")


BEFORE = replace(FORMER, first_blocks={"20260101": 3, "20260102": 0})


@pytest.mark.parametrize(
    ("first_blocks", "is_loss"),
    [
        ({"20260101": 3, "20260102": 0}, False),
        ({"20260101": 3, "20260102": 0, "20260103": 1}, False),
        # A replaced part may come back with a lower number; what grows has lost its first part.
        ({"20260101": 2, "20260102": 0}, False),
        ({"20260101": 4, "20260102": 0}, True),
        ({"20260101": 3}, True),
    ],
)
def test_parts_that_were_thrown_away_are_noticed_behind_newer_blocks(
    first_blocks: dict[str, int], is_loss: bool
) -> None:
    now = later(30, blocks={"20260101": 90, "20260102": 90}, first_blocks=first_blocks)
    assert now.break_since(BEFORE) is None
    assert bool(now.loss_since(BEFORE)) is is_loss


def test_blocks_that_were_numbered_anew_are_a_loss_too() -> None:
    assert later(30, table_uuid="other", first_blocks=BEFORE.first_blocks).loss_since(BEFORE) == (
        "the source table was replaced"
    )


@pytest.mark.parametrize("loop", [LogMeter, LoadingTime, ResponseTime])
@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        # lateness + limit + twice the largest skew of 30 s
        ({}, 10 + 30 + 60),
        ({"tick_limit_seconds": 600}, 10 + 600 + 60),
        ({"period_seconds": 20, "lateness_seconds": 100}, 100 + 80 + 60),
    ],
)
def test_parts_are_read_for_as_long_as_a_tick_may_look_late(loop: Any, given: dict[str, float], seconds: float) -> None:
    settings = LoopSettings.from_json(given, options=loop.options, period_seconds=5.0, where="loop")
    environment: Any = SimpleNamespace(clickhouse=None, settings=settings)
    assert part_pruner(environment, "t").margin == timedelta(seconds=seconds)
