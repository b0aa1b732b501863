"""The slots of the log rate, from ticks of the log meter as it leaves them in Valkey."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxy.instants import utc_iso
from maxy.loops.status import LoopStatus
from maxy.statistics.web.log_rate import SHOWN, LogRateWindow
from maxy.statistics.web.models import Slot
from tests.realtime_support import examples

NOW = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=UTC)
PERIOD = 5.0


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def tick_of(seconds: float, *, period: float = PERIOD) -> LoopStatus:
    return LoopStatus(period, last_success_at=at(seconds))


def in_ms(moment: datetime) -> datetime:
    """As the log meter knows its ticks."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def answer(start: float, end: float, rows: int) -> dict[str, str]:
    return {
        "log_count": str(rows),
        "window_start": utc_iso(in_ms(at(start))),
        "window_end": utc_iso(in_ms(at(end))),
    }


def slot(start: float, end: float, rows: int = 0) -> Slot:
    return Slot(start=utc_iso(at(start)), end=utc_iso(at(end)), rows=rows)


def spans(slots: list[Slot]) -> list[tuple[float, float, int]]:
    """Return slots as seconds from NOW, to the hundredth."""
    return [
        (
            round((datetime.fromisoformat(one.start) - NOW).total_seconds(), 2),
            round((datetime.fromisoformat(one.end) - NOW).total_seconds(), 2),
            one.rows,
        )
        for one in slots
    ]


def test_each_tick_with_rows_is_the_slot_that_the_loop_says() -> None:
    window = LogRateWindow()
    assert window.tick(answer(-7.5, 0, 12), tick_of(0)) is not None
    assert window.tick(answer(0, 5, 3), tick_of(5)) is not None
    assert spans(window.slots()) == [(-7.5, 0, 12), (0, 5, 3)]


def test_a_tick_that_is_known_is_no_slot() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    assert window.tick(answer(-5, 0, 12), tick_of(0)) is None
    assert window.tick(answer(-10, -5, 3), tick_of(-5)) is None
    assert len(window.slots()) == 1


def test_a_key_that_is_idle_has_slots_without_rows() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    # Once it is written as 0, then not at all; at last it has expired.
    window.tick(answer(0, 5, 0), tick_of(5))
    window.tick(answer(0, 5, 0), tick_of(10))
    window.tick({}, tick_of(15))
    window.tick(answer(15, 20, 7), tick_of(20))
    assert spans(window.slots()) == [(-5, 0, 12), (0, 10, 0), (10, 15, 0), (15, 20, 7)]


@pytest.mark.parametrize("idle", [{}, answer(0, 5.2, 0), answer(-5, 0, 15)], ids=["no hash", "zero", "former hash"])
def test_rows_that_become_visible_a_tick_late_are_no_outage_and_no_peak(idle: dict[str, str]) -> None:
    """15 rows came in the first five seconds, and 13 in the next: all 28 were seen by the second tick."""
    window = LogRateWindow()
    window.tick(answer(-5, 0, 15), tick_of(0))
    assert window.tick(idle, tick_of(5.2)) is None
    # Read again at the same tick, as while ClickHouse is still being asked.
    assert window.tick(idle, tick_of(5.2)) is None
    added = window.tick(answer(5.2, 10, 28), tick_of(10))
    assert added is not None
    ((start, *rest),) = spans([added])
    assert start == pytest.approx(0, abs=0.21)
    assert rest == [10, 28]
    assert spans(window.slots())[:1] == [(-5, 0, 15)]
    window.tick(answer(10, 15, 14), tick_of(15))
    assert spans(window.slots())[2:] == [(10, 15, 14)]


def test_a_tick_without_rows_before_ticks_that_were_not_seen_is_part_of_the_gap() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    assert window.tick({}, tick_of(5)) is None
    window.tick(answer(55, 60, 4), tick_of(60))
    window.tick({}, tick_of(65))
    window.tick({}, tick_of(70))
    assert spans(window.slots()) == [(-5, 0, 12), (55, 60, 4), (60, 70, 0)]


def test_ticks_that_were_not_seen_leave_a_gap() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    window.tick({}, tick_of(60))
    window.tick({}, tick_of(65))
    assert spans(window.slots()) == [(-5, 0, 12), (55, 65, 0)]


def test_the_first_tick_after_an_outage_counts_all_of_it() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    window.tick(answer(0, 300, 900), tick_of(300))
    assert spans(window.slots()) == [(-5, 0, 12), (0, 300, 900)]


def test_a_hash_that_is_newer_than_the_status_is_no_second_slot() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    # The loop has ticked between the two reads.
    assert window.tick(answer(0, 5, 3), tick_of(0)) is not None
    assert window.tick(answer(0, 5, 3), tick_of(5)) is None
    assert spans(window.slots()) == [(-5, 0, 12), (0, 5, 3)]


def test_a_loop_that_never_ticked_has_no_slots() -> None:
    window = LogRateWindow()
    assert window.tick({}, LoopStatus(PERIOD)) is None
    assert window.slots() == []


@pytest.mark.parametrize(
    "hash_", [{"log_count": "x"}, {"window_start": "then"}, {"window_end": ""}, {"log_count": "1.5"}], ids=str
)
def test_a_hash_that_the_loop_has_not_written_counts_as_none(hash_: dict[str, str]) -> None:
    window = LogRateWindow()
    window.tick({**answer(-5, 0, 12), **hash_}, tick_of(0))
    assert spans(window.slots()) == [(-5, 0, 0)]


def test_slots_that_are_older_than_shown_are_dropped() -> None:
    window = LogRateWindow()
    for second in range(0, 1200, 5):
        window.tick(answer(second - 5, second, second), tick_of(second))
    newest = spans(window.slots())
    assert newest[-1] == (1190, 1195, 1195)
    assert newest[0][1] == pytest.approx(1195 - SHOWN.total_seconds(), abs=0.01)
    assert len(newest) in (120, 121)


def test_what_was_before_precedes_without_overlap() -> None:
    window = LogRateWindow()
    window.tick(answer(-5, 0, 12), tick_of(0))
    window.tick(answer(0, 5, 3), tick_of(5))
    window.precede([slot(-15.01, -10.01, 1), slot(-10.01, -5.01, 2), slot(-5.01, -0.01, 99)])
    assert spans(window.slots()) == [(-15.01, -10.01, 1), (-10.01, -5.01, 2), (-5, 0, 12), (0, 5, 3)]


def test_a_first_tick_begins_where_what_was_before_ends() -> None:
    window = LogRateWindow()
    window.precede([slot(-10, -5, 1), slot(-5, 0, 2)])
    window.tick(answer(-2, 3, 4), tick_of(3))
    assert spans(window.slots()) == [(-10, -5, 1), (-5, 0, 2), (0, 3, 4)]


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400_000), st.integers(0, 9), st.integers(0, 3)), max_size=30),
    st.lists(st.integers(1, 30), max_size=10),
)
def test_slots_never_overlap_and_keep_the_rows(ticks: list[tuple[int, int, int]], before: list[int]) -> None:
    """Ticks after so many milliseconds, with rows or without, some of them with the hash of the tick before."""
    window, now, known = LogRateWindow(), 0.0, {}
    seen: list[int] = []
    told: list[Slot] = []
    is_kept_back = False
    preceding: list[Any] = []
    first = -10.0
    for length in before:
        preceding.insert(0, slot(first - length, first, 1))
        first -= length
    window.precede(preceding)
    for passed, rows, kind in ticks:
        start, now = now, now + passed / 1000
        if kind != 0:
            known = answer(start, now, rows)
        seen.append(rows if kind != 0 else 0)
        added = window.tick(known, tick_of(now))
        if added is None:
            # No two ticks in a row are kept back, and none with rows.
            assert (seen[-1], is_kept_back) == (0, False)
        else:
            assert (added, added.rows) == (window.slots()[-1], seen[-1])
            told.append(added)
        is_kept_back = added is None
    slots = window.slots()
    ends = [(datetime.fromisoformat(one.start), datetime.fromisoformat(one.end)) for one in slots]
    assert all(start < end for start, end in ends)
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    assert slots[-len(told) :] == told[-len(slots) :] if told else slots == preceding
    assert [one.rows for one in told if one.rows] == [rows for rows in seen if rows]
