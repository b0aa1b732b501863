"""How live loops reach people. That metrics leave the process: tests/integration/loops/test_metrics.py."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from maxy.loops.status import LoopStatus
from maxy.triggers import announcer as module
from maxy.triggers.announcer import AirflowAnnouncer

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 21, 7, 36, 14, tzinfo=UTC)


class Backend:
    """A backend of Airflow's metrics that remembers what it was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any, Any]] = []
        self.broken = False

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: Any = None) -> None:
        self._remember("incr", stat, count, tags)

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: Any = None) -> None:
        self._remember("gauge", stat, value, tags)

    def timing(self, stat: str, dt: Any, *, tags: Any = None) -> None:
        self._remember("timing", stat, dt, tags)

    def _remember(self, *sent: Any) -> None:
        if self.broken:
            raise RuntimeError("the collector is gone")
        self.sent.append(sent)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    made = Backend()
    usual = stats_utils.get_stats_factory()
    monkeypatch.setattr(stats_utils, "get_stats_factory", lambda: lambda: made)
    module._initialize.cache_clear()
    yield made
    module._initialize.cache_clear()
    stats.initialize(factory=usual, export_legacy_names=True)


def status(**fields: Any) -> LoopStatus:
    return LoopStatus(5.0, last_success_at=NOW, duration_seconds=0.25, rows=1200, keys=33, **fields)


# --- Metrics


def test_a_gauge_is_sent_with_the_loop_as_tag_and_for_statsd_with_the_loop_in_its_name(backend: Backend) -> None:
    AirflowAnnouncer().gauge("age_seconds", 4.5, "log_meter")
    assert backend.sent == [
        ("gauge", "maxy.realtime.age_seconds", 4.5, {"loop": "log_meter"}),
        ("gauge", "maxy.realtime.log_meter.age_seconds", 4.5, None),
    ]


def test_a_gauge_of_the_service_is_sent_with_its_tag_and_for_statsd_with_it_in_its_name(backend: Backend) -> None:
    AirflowAnnouncer().service_gauge("disk_free_ratio", 0.25, disk="default")
    AirflowAnnouncer().service_gauge("days_not_cached", 2)
    assert backend.sent == [
        ("gauge", "maxy.service.disk_free_ratio", 0.25, {"disk": "default"}),
        ("gauge", "maxy.service.default.disk_free_ratio", 0.25, None),
        ("gauge", "maxy.service.days_not_cached", 2, None),
    ]
    backend.broken = True
    AirflowAnnouncer().service_gauge("days_not_cached", 2)


def test_names_without_tags_can_be_switched_off_as_airflows_own(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", "False")
    AirflowAnnouncer().gauge("age_seconds", 4.5, "log_meter")
    assert [name for _, name, *_ in backend.sent] == ["maxy.realtime.age_seconds"]


def with_tags(backend: Backend) -> list[tuple[str, str, Any]]:
    assert all(tags in (None, {"loop": "page"}) for *_, tags in backend.sent)
    return [(kind, name, value) for kind, name, value, tags in backend.sent if tags]


def test_a_good_tick_is_counted_timed_and_measured(backend: Backend) -> None:
    AirflowAnnouncer().observer("page").ticked(status())
    assert with_tags(backend) == [
        ("incr", "maxy.realtime.ticks", 1),
        ("timing", "maxy.realtime.tick", 250.0),
        ("gauge", "maxy.realtime.blocked_seconds", 0.0),
        ("gauge", "maxy.realtime.rows", 1200),
        ("gauge", "maxy.realtime.keys", 33),
    ]
    assert len(backend.sent) == 10


def test_a_failed_tick_is_counted_as_such_and_leaves_the_last_good_ones_figures(backend: Backend) -> None:
    AirflowAnnouncer().observer("page").ticked(status(consecutive_failures=1, blocked_seconds=4.5))
    assert with_tags(backend) == [
        ("incr", "maxy.realtime.failures", 1),
        ("timing", "maxy.realtime.tick", 250.0),
        ("gauge", "maxy.realtime.blocked_seconds", 4.5),
    ]


def test_metrics_are_set_up_once_in_the_process_that_sends_them(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(stats, "initialize", lambda **arguments: calls.append(arguments))
    for _ in range(3):
        AirflowAnnouncer().gauge("rows", 1, "page")
    (arguments,) = calls
    assert arguments["factory"]() is backend


def test_a_metric_that_cannot_be_sent_costs_no_tick(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    backend.broken = True
    announcer = AirflowAnnouncer()
    announcer.gauge("age_seconds", 1.0, "page")
    announcer.observer("page").ticked(status())
    assert "Metric age_seconds of page could not be sent" in caplog.text
    assert "Metric ticks of page could not be sent" in caplog.text
    backend.broken = False
    announcer.gauge("age_seconds", 2.0, "page")
    assert with_tags(backend) == [("gauge", "maxy.realtime.age_seconds", 2.0)]


# --- Alerts


class Messenger(BaseNotifier):
    """A notifier as an installation has it: its templates are its arguments."""

    template_fields = ("text", "channel")
    told: ClassVar[list[tuple[str, str]]] = []
    threads: ClassVar[list[int]] = []

    def __init__(self, text: str, channel: str = "") -> None:
        super().__init__()
        self.text = text
        self.channel = channel

    def notify(self, context: Any) -> None:
        if self.text == "broken":
            raise RuntimeError("no network")
        self.threads.append(threading.get_ident())
        self.told.append((self.channel, self.text))


def configure(monkeypatch: pytest.MonkeyPatch, **setting: Any) -> None:
    Messenger.told.clear()
    Messenger.threads.clear()
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", json.dumps(setting))


def alert(*, cleared: bool = False) -> None:
    asyncio.run(AirflowAnnouncer().alert("page", "realtime_page is in trouble: no good tick", cleared=cleared))


@pytest.mark.parametrize("cleared", [False, True])
def test_an_alert_reaches_the_configured_notifier_and_its_templates_render(
    monkeypatch: pytest.MonkeyPatch, cleared: bool
) -> None:
    text = (
        "{{ exception }} | {{ alert.loop }} {{ alert.cleared }} {{ alert.message }} | "
        "{{ dag.dag_id }} {{ ti.dag_id }}.{{ ti.task_id }} {{ ti.run_id }}{{ ti.try_number }}"
    )
    channel = "{{ 'good news' if alert.cleared else 'alarm' }}"
    configure(monkeypatch, **{"class": f"{__name__}.Messenger", "arguments": {"text": text, "channel": channel}})
    alert(cleared=cleared)
    message = "realtime_page is in trouble: no good tick"
    assert Messenger.told == [
        (
            "good news" if cleared else "alarm",
            f"{message} | page {cleared} {message} | realtime_page realtime_page.run_loop 1",
        )
    ]


def test_the_text_that_suits_a_failed_task_suits_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "{{ ti.task_id }} of {{ dag.dag_id }} failed: {{ exception }}"
    configure(monkeypatch, **{"class": f"{__name__}.Messenger", "arguments": {"text": text}})
    alert()
    assert Messenger.told == [("", "run_loop of realtime_page failed: realtime_page is in trouble: no good tick")]


def test_a_slow_notifier_does_not_hold_up_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, **{"class": f"{__name__}.Messenger", "arguments": {"text": "x"}})
    alert()
    assert Messenger.threads
    assert threading.get_ident() not in Messenger.threads


def test_a_notifier_that_fails_is_an_error_so_that_the_alert_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, **{"class": f"{__name__}.Messenger", "arguments": {"text": "broken"}})
    with pytest.raises(RuntimeError, match="no network"):
        alert()


@pytest.mark.parametrize("setting", [{"class": "no_such.Notifier"}, {"class": "pathlib.Path"}, {}, {"arguments": {}}])
def test_a_setting_that_names_no_notifier_is_an_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, setting: dict[str, Any]
) -> None:
    configure(monkeypatch, **setting)
    with pytest.raises(ValueError, match="Airflow variable maxy_failure_notifier"):
        alert()


def test_without_a_notifier_an_alert_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_FAILURE_NOTIFIER", "")
    alert()
