"""The metrics and alerts of the family's days, against the code."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from maxy.days import CalendarDay
from maxy.statistics import daily_metrics
from maxy.statistics.live.service_observer import CHECKED_DAYS
from maxy.triggers import announcer
from tests.conftest import ROOT
from tests.monitoring import metrics, rule_named

if TYPE_CHECKING:
    import pytest


def test_every_metric_of_the_service_is_documented_and_no_other() -> None:
    path = ROOT / "plugins" / "maxy" / "statistics" / "live" / "service_observer.py"
    named = re.findall(r'service_gauge\("(\w+)"', path.read_text(encoding="utf-8"))
    # Those of the days are sent in a loop over their names.
    named += re.findall(r'\("(days_\w+)", ProblemKind', path.read_text(encoding="utf-8"))
    assert len(named) == 6
    sent = {f"{announcer.SERVICE_PREFIX}.{name}" for name in named}
    assert sent == {one.name for one in metrics() if one.name.startswith(announcer.SERVICE_PREFIX)}


def test_every_metric_of_the_daily_job_is_documented_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: set[str] = set()
    monkeypatch.setattr("maxy.statistics.daily_metrics.stats.gauge", lambda name, value: sent.add(name))
    daily_metrics.send_day(CalendarDay(date(2026, 11, 20), ZoneInfo("UTC")), 1)
    assert sent == {one.name for one in metrics() if one.name.startswith(daily_metrics.METRIC_PREFIX)}


def test_the_alerts_of_days_name_as_many_days_as_are_looked_at() -> None:
    for name in ("MaxyDayHasDuplicateRows", "MaxyDayNotCached"):
        assert f"of the last {CHECKED_DAYS} days" in rule_named(name).content["annotations"]["summary"]
