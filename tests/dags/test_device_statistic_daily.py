from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import BaseOperator, CronDataIntervalTimetable
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped, TaskDeferred
from airflow.sdk.execution_time import macros

from maxy.settings import DEFAULT_TIMEZONE
from maxy.statistics import macros as package_macros
from maxy.statistics.assets import tell_stat_date
from maxy.statistics.day_sensor import StatisticsDaySensor
from tests.conftest import ROOT

if TYPE_CHECKING:
    from airflow.sdk import DAG, Context


@pytest.fixture
def dag(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["device_statistic_daily"]


def context(
    task: Any, params: dict[str, Any] | None = None, *, start: datetime | None = None, run_type: str = "manual"
) -> Context:
    """A task's context as the task runner makes it, as far as these templates look."""
    given: Any = {
        "task": task,
        "ti": SimpleNamespace(
            dag_id="device_statistic_daily", task_id=task.task_id, run_id="run:1", map_index=-1, try_number=2
        ),
        "dag_run": SimpleNamespace(
            conf=params or {},
            run_type=run_type,
            data_interval_start=start,
            data_interval_end=start and start + timedelta(days=1),
            logical_date=start and start + timedelta(days=2),
            run_after=datetime(2026, 11, 21, tzinfo=UTC),
        ),
        "params": {"stat_date": None, "allow_empty": False, "cache_only": False, **(params or {})},
        "macros": macros,
        "var": {"value": {}},
    }
    return given


@pytest.fixture(autouse=True)
def _macros(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the plugin manager does in a worker.
    monkeypatch.setattr(
        macros,
        "maxy",
        SimpleNamespace(**{name: getattr(package_macros, name) for name in package_macros.__all__}),
        raising=False,
    )


def test_tasks_depend_on_each_other_in_the_order_of_the_design(dag: DAG) -> None:
    assert dag.get_task("wait_until_settled").downstream_task_ids == {"rollup"}
    assert dag.get_task("rollup").downstream_task_ids == {"check_columns", "check_table"}
    assert dag.get_task("cache").upstream_task_ids == {"check_columns", "check_table"}


def test_runs_daily_at_midnight_of_the_statistics_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", "Asia/Seoul")
    dag = DagBag(dag_folder=str(ROOT / "dags")).dags["device_statistic_daily"]
    assert dag.timezone.name == "Asia/Seoul"
    assert isinstance(dag.schedule, CronDataIntervalTimetable)
    assert str(dag.schedule.timezone) == "Asia/Seoul"


def test_every_task_computes_the_same_day(dag: DAG) -> None:
    for params, start, expected in [
        ({"stat_date": "2026-11-01"}, datetime(2026, 11, 18, tzinfo=UTC), "2026-11-01"),
        ({}, datetime(2026, 11, 18, tzinfo=UTC), "2026-11-18"),
        ({}, None, "2026-11-20"),
    ]:
        rollup, cache = (rendered(dag, name, params, start) for name in ("rollup", "cache"))
        columns, table = (rendered(dag, name, params, start) for name in ("check_columns", "check_table"))
        assert rollup._parameters["stat_date"] == rollup.partition == cache._parameters["stat_date"] == expected
        assert rollup._parameters["day_start"] == f"{expected} 00:00:00"
        assert f"stat_date = '{expected}'" in columns.sql
        assert f"stat_date = '{expected}'" in table.sql
        assert cache.index_key == f"index:daily:{expected}"


def rendered(dag: DAG, task_id: str, params: dict[str, Any], start: datetime | None = None) -> Any:
    task = dag.get_task(task_id).prepare_for_execution()
    task.render_template_fields(context(task, params, start=start))
    return task


def test_a_task_that_is_cleared_alone_refuses_a_contradicting_day_without_retries(dag: DAG) -> None:
    for name in ("rollup", "check_columns", "check_table", "cache"):
        task = dag.get_task(name).prepare_for_execution()
        asked = context(task, {"stat_date": "2026-09-10"}, start=datetime(2026, 9, 1, tzinfo=UTC), run_type="backfill")
        with pytest.raises(AirflowFailException, match=r"2026-09-10 contradicts .* 2026-09-01"):
            task.render_template_fields(asked)


def test_rollup_writes_only_the_stage_table_of_its_own_try(dag: DAG) -> None:
    rollup = rendered(dag, "rollup", {})
    stage = rollup.stage_table(context(rollup))
    assert stage.startswith("max_device_statistic__stage_")
    assert stage.endswith("_2")
    assert f"INSERT INTO {stage}" in rollup._sql
    assert "{{" not in rollup._sql


def test_an_empty_day_passes_the_row_count_check_only_when_allowed(dag: DAG) -> None:
    assert "count() > 0 OR false" in rendered(dag, "check_table", {"allow_empty": False}).sql
    assert "count() > 0 OR true" in rendered(dag, "check_table", {"allow_empty": True}).sql


def test_cache_keys_and_expiry_are_the_documented_ones(dag: DAG, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALKEY_PREFIX", "my{1}")
    cache = rendered(dag, "cache", {})
    assert cache.key_prefix == "my{1}:"
    assert cache.key_template == "daily:{stat_date}:{package_nm}:{server_type}:{os_type}"
    assert int(cache.expire) == 93 * 86400


class TestWaiting:
    """The sensor in front of the rollup; the day 2026-11-20 ends at midnight UTC."""

    def sensor(self, now: datetime, minutes: str = "10") -> StatisticsDaySensor:
        return StatisticsDaySensor(task_id="wait", settling_minutes=minutes, clock=lambda: now)

    def execute(self, sensor: StatisticsDaySensor, stat_date: str | None = "2026-11-20", **options: Any) -> str:
        return sensor.execute(context(sensor, {"stat_date": stat_date}, **options))

    def test_old_days_do_not_wait(self) -> None:
        assert self.execute(self.sensor(datetime(2026, 11, 21, 0, 10, tzinfo=UTC))) == "2026-11-20"

    def test_a_day_that_has_just_ended_waits_deferred_until_it_has_settled(self) -> None:
        sensor = self.sensor(datetime(2026, 11, 21, 0, 9, 59, tzinfo=UTC))
        with pytest.raises(TaskDeferred) as deferred:
            self.execute(sensor)
        assert deferred.value.trigger.moment == datetime(2026, 11, 21, 0, 10, tzinfo=UTC)
        assert deferred.value.kwargs is not None
        assert sensor.execute_complete({}, event=None, **deferred.value.kwargs) == "2026-11-20"

    def test_today_waits_until_tomorrow(self) -> None:
        with pytest.raises(TaskDeferred) as deferred:
            self.execute(self.sensor(datetime(2026, 11, 20, 12, tzinfo=UTC), "0"))
        assert deferred.value.trigger.moment == datetime(2026, 11, 21, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("stat_date", "cause"),
        [
            ("2026-11-22", "future"),
            ("2026-13-01", "calendar"),
            ("text", "YYYY-MM-DD"),
            ("1969-12-31", "1970-01-30"),
            ("1970-01-29", "1970-01-30"),
            ("2149-05-31", "future"),
            ("2149-06-05", "2149-05-31"),
            ("2149-06-06", "2149-05-31"),
            ("9999-12-31", "2149-05-31"),
        ],
    )
    def test_a_day_that_cannot_be_computed_fails_without_retries(self, stat_date: str, cause: str) -> None:
        with pytest.raises(AirflowFailException, match=f"{stat_date}.*{cause}"):
            self.execute(self.sensor(datetime(2026, 11, 21, tzinfo=UTC)), stat_date)

    @pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
    def test_a_day_that_contradicts_the_runs_own_fails_without_retries_naming_both(self, run_type: str) -> None:
        sensor = self.sensor(datetime(2026, 11, 21, tzinfo=UTC))
        own = datetime(2026, 9, 1, tzinfo=UTC)
        with pytest.raises(AirflowFailException, match=r"2026-09-10 contradicts .* 2026-09-01"):
            self.execute(sensor, "2026-09-10", start=own, run_type=run_type)
        assert self.execute(sensor, "2026-09-01", start=own, run_type=run_type) == "2026-09-01"
        assert self.execute(sensor, "2026-09-10", start=own, run_type="manual") == "2026-09-10"

    def test_a_run_that_only_caches_waits_for_nothing_and_skips_what_computes(self, dag: DAG) -> None:
        assert rendered(dag, "wait_until_settled", {}).cache_only == "False"
        # A day that has not ended.
        today = {"stat_date": datetime.now(UTC).date().isoformat(), "cache_only": True}
        sensor = rendered(dag, "wait_until_settled", today)
        sensor.settling_minutes = "10"
        with pytest.raises(DownstreamTasksSkipped) as skipped:
            sensor.execute(context(sensor, today))
        assert skipped.value.tasks == ["rollup"]
        # rollup takes the checks with it, and the cache task takes no notice.
        assert dag.get_task("cache").trigger_rule == "none_failed"
        assert {dag.get_task(name).trigger_rule for name in ("check_columns", "check_table")} == {"all_success"}

    def test_how_to_compute_and_not_to_compute_contradict_each_other(self) -> None:
        sensor = StatisticsDaySensor(task_id="wait", settling_minutes=0, cache_only=True)
        with pytest.raises(AirflowFailException, match="cache_only contradicts allow_empty"):
            sensor.execute(context(sensor, {"stat_date": "2026-11-01", "cache_only": True, "allow_empty": True}))

    def test_tomorrow_is_told_in_the_statistics_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", "Asia/Seoul")
        now = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(hours=15)
        with pytest.raises(TaskDeferred):
            self.execute(self.sensor(now), "2026-11-21")
        with pytest.raises(AirflowFailException, match="today is 2026-11-21 in Asia/Seoul"):
            self.execute(self.sensor(now), "2026-11-22")

    @pytest.mark.parametrize("minutes", ["-1", "ten", "", "inf"])
    def test_a_settling_time_that_is_none_is_refused_by_name(self, minutes: str) -> None:
        with pytest.raises(AirflowFailException, match="settling_minutes"):
            self.execute(self.sensor(datetime(2026, 11, 21, tzinfo=UTC), minutes))


def test_the_dag_says_in_which_zone_its_days_are(monkeypatch: pytest.MonkeyPatch) -> None:
    # scripts/backfill.py reads it through the API, which shows a parameter's schema.
    monkeypatch.setenv("AIRFLOW_VAR_MAXY_TIMEZONE", "Asia/Seoul")
    dag = DagBag(dag_folder=str(ROOT / "dags")).dags["device_statistic_daily"]
    assert dag.params.get_param("stat_date").schema["timezone"] == "Asia/Seoul"


def test_the_event_of_the_asset_tells_its_day(dag: DAG) -> None:
    cache = dag.get_task("cache")
    (asset,) = cache.outlets
    assert asset.name == "max_device_statistic"
    events: Any = {asset: SimpleNamespace(extra={})}
    tell_stat_date({**context(cache, {"stat_date": "2026-11-01"}), "outlet_events": events}, None)
    assert events[asset].extra == {"stat_date": "2026-11-01"}
    assert isinstance(cache, BaseOperator)
    assert cache._post_execute_hook is tell_stat_date


def test_the_dag_and_the_settings_file_agree_on_the_defaults(dag: DAG) -> None:
    settings = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text(encoding="utf-8"))["airflow"]
    values = {variable["variable_name"]: variable["variable_value"] for variable in settings["variables"]}
    assert values["maxy_timezone"] == DEFAULT_TIMEZONE

    def as_stored(task_id: str, field: str) -> str:
        task = dag.get_task(task_id).prepare_for_execution()
        task.render_template_fields({**context(task), "var": {"value": values}})
        return str(getattr(task, field))

    for task_id, field in (("wait_until_settled", "settling_minutes"), ("cache", "expire"), ("cache", "log_values")):
        task = dag.get_task(task_id).prepare_for_execution()
        task.render_template_fields(context(task))
        assert str(getattr(task, field)) == as_stored(task_id, field)
