from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from maxy.operators.realtime import RealtimeLoopOperator

NOW = datetime(2026, 11, 21, 7, 36, 14, 102570, tzinfo=UTC)
SETTINGS = {"period_seconds": 5.0, "log_values": True, "leave_out_log_types": [65538]}


def operator(**arguments: Any) -> RealtimeLoopOperator:
    given: dict[str, Any] = {
        "task_id": "run_loop",
        "loop": "maxy.statistics.live.log_meter.LogMeter",
        "settings": SETTINGS,
        "duration": timedelta(hours=6),
        "clock": lambda: NOW,
    }
    return RealtimeLoopOperator(**{**given, **arguments})


def deferred(operator: RealtimeLoopOperator) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as raised:
        operator.execute({})
    return raised.value


def test_defers_to_the_trigger_with_all_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", "Asia/Seoul")
    monkeypatch.setenv("VALKEY_PREFIX", "other:prefix")
    deferral = deferred(operator(clickhouse_conn_id="their_clickhouse", valkey_conn_id="their_valkey"))
    assert deferral.trigger.serialize() == (
        "maxy.triggers.realtime.RealtimeLoopTrigger",
        {
            "loop": "maxy.statistics.live.log_meter.LogMeter",
            "deadline": "2026-11-21T13:36:14.102570+00:00",
            "settings": SETTINGS,
            "prefix": "other:prefix",
            "timezone": "Asia/Seoul",
            "clickhouse_conn_id": "their_clickhouse",
            "valkey_conn_id": "their_valkey",
        },
    )
    assert deferral.method_name == "execute_complete"
    assert deferral.kwargs is None


def test_connections_are_the_packages_unless_named() -> None:
    _, arguments = deferred(operator()).trigger.serialize()
    assert (arguments["clickhouse_conn_id"], arguments["valkey_conn_id"]) == ("clickhouse_http", "redis_default")


@pytest.mark.parametrize("duration", [timedelta(minutes=1), timedelta(hours=6), timedelta(days=30)])
def test_airflow_ends_a_trigger_that_misses_its_deadline_but_not_one_that_keeps_it(duration: timedelta) -> None:
    deferral = deferred(operator(duration=duration))
    deadline = datetime.fromisoformat(deferral.trigger.serialize()[1]["deadline"])
    assert deadline == NOW + duration
    # Airflow looks for overdue triggers every 15 s, and misses a killed triggerer after up to half a minute.
    assert timedelta(minutes=2) <= NOW + deferral.timeout - deadline <= timedelta(minutes=30)


def test_the_deadline_is_an_instant_whatever_the_clocks_zone() -> None:
    deferral = deferred(operator(clock=lambda: NOW.astimezone(ZoneInfo("Asia/Seoul"))))
    deadline = datetime.fromisoformat(deferral.trigger.serialize()[1]["deadline"])
    assert deadline.tzinfo is not None
    assert deadline == NOW + timedelta(hours=6)


def test_returns_what_the_copy_counted_that_came_to_the_deadline() -> None:
    event = {"status": "deadline", "ticks": 4320, "failures": 2}
    assert operator().execute_complete({}, event) == {"ticks": 4320, "failures": 2}


@pytest.mark.parametrize("event", [None, {}, {"status": "success"}, {"status": "error", "ticks": 1, "failures": 0}])
def test_any_other_event_is_an_error_that_shows_it(event: Any) -> None:
    with pytest.raises(ValueError, match=r"LogMeter: unknown event") as raised:
        operator().execute_complete({}, event)
    assert repr(event) in str(raised.value)


def test_survives_the_dags_serialisation() -> None:
    with DAG(dag_id="realtime_log_meter", schedule="@continuous", start_date=NOW, max_active_runs=1) as dag:
        operator()
    stored = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    assert DagSerialization.from_dict(stored).get_task("run_loop").task_type == "RealtimeLoopOperator"


def test_the_callers_settings_are_not_shared() -> None:
    settings = {"period_seconds": 5.0}
    made = operator(settings=settings)
    settings["period_seconds"] = 1.0
    assert deferred(made).trigger.serialize()[1]["settings"] == {"period_seconds": 5.0}
