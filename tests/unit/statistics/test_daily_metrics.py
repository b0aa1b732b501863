"""The daily job's own metrics."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from maxy.days import CalendarDay
from maxy.statistics.assets import MAX_DEVICE_STATISTIC, tell_stat_date
from maxy.statistics.daily_metrics import send_day

SEOUL = CalendarDay(date(2026, 11, 20), ZoneInfo("Asia/Seoul"))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    gauges: dict[str, float] = {}
    monkeypatch.setattr("maxy.statistics.daily_metrics.stats.gauge", gauges.__setitem__)
    return gauges


def test_the_end_of_the_day_is_its_midnight_in_the_statistics_zone(sent: dict[str, float]) -> None:
    send_day(SEOUL, 72)
    assert sent == {
        "maxy.daily.day_end_seconds": datetime(2026, 11, 20, 15, tzinfo=UTC).timestamp(),
        "maxy.daily.keys": 72,
        "maxy.daily.keys_replaced": 0,
        "maxy.daily.superseded": 0,
    }


def test_a_number_of_keys_that_is_not_known_is_not_sent(sent: dict[str, float]) -> None:
    send_day(SEOUL, None)
    assert "maxy.daily.keys" not in sent
    assert sent["maxy.daily.day_end_seconds"] == datetime(2026, 11, 20, 15, tzinfo=UTC).timestamp()


def test_metrics_that_cannot_be_sent_do_not_fail_the_day(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(name: str, value: float) -> None:
        raise RuntimeError("the collector is gone")

    monkeypatch.setattr("maxy.statistics.daily_metrics.stats.gauge", refuse)
    send_day(SEOUL, 72)
    assert "The metrics of 2026-11-20 could not be sent" in caplog.text


@pytest.mark.parametrize(
    ("result", "keys", "superseded", "replaced"),
    [
        ({"keys_written": 72, "keys_replaced": 0, "superseded": False}, 72, 0, 0),
        ({"keys_written": 3, "keys_replaced": 2, "superseded": False}, 3, 0, 2),
        ({"keys_written": 0, "superseded": False}, 0, 0, 0),
        ({"keys_written": 0, "keys_replaced": 0, "superseded": True}, None, 1, 0),
        (None, None, 0, 0),
    ],
)
def test_the_last_task_sends_the_keys_it_wrote_unless_a_newer_result_was_there(
    sent: dict[str, float], result: Any, keys: int | None, superseded: int, replaced: int
) -> None:
    context: Any = {
        "dag_run": SimpleNamespace(data_interval_start=datetime(2026, 11, 20, tzinfo=UTC), run_type="scheduled"),
        "params": {},
        "task": SimpleNamespace(outlets=[MAX_DEVICE_STATISTIC]),
        "outlet_events": {MAX_DEVICE_STATISTIC: SimpleNamespace(extra={})},
    }
    tell_stat_date(context, result)
    assert sent["maxy.daily.day_end_seconds"] == datetime(2026, 11, 21, tzinfo=UTC).timestamp()
    assert sent.get("maxy.daily.keys") == keys
    assert (sent["maxy.daily.superseded"], sent["maxy.daily.keys_replaced"]) == (superseded, replaced)
