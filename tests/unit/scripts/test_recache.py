from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from scripts import recache
from scripts.airflow_api import AirflowApi, ApiError, ApiUnreachable, ScriptError
from scripts.recache import Recache, Recached, RecacheRequest, describe
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class FakeAirflow:
    """Airflow as far as the script sees it: a run by hand ends in time, as its day is.

    :param states: how the runs of days end, and the state of their cache task; success unless given.
    :param parameters: of the DAG.
    """

    def __init__(
        self,
        *,
        states: Mapping[str, tuple[str, str]] | None = None,
        timezone: str = "UTC",
        paused: bool = False,
        parameters: tuple[str, ...] = ("stat_date", "allow_empty", "cache_only"),
    ) -> None:
        self.states = dict(states or {})
        self.timezone = timezone
        self.paused = paused
        self.parameters = parameters
        self.scheduler = "healthy"
        #: Run id -> conf, in the order of their making, and the ids of those that have not ended.
        self.runs: dict[str, dict[str, Any]] = {}
        self.unfinished: list[str] = []
        self.most_at_once = 0
        #: What the requests that follow are answered with instead; None = answered well.
        self.outages: Iterator[Exception | None] = iter(())
        self.loses_answers = False
        self.finishes_at_once = False

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        if (outage := next(self.outages, None)) is not None:
            raise outage
        match [method, *path.split("/")[1:]]:
            case ["GET", "dags", "daily", "details"]:
                schema = {"schema": {"timezone": self.timezone}}
                return {"params": dict.fromkeys(self.parameters, schema)}
            case ["GET", "dags", "daily"]:
                return {"is_paused": self.paused}
            case ["PATCH", "dags", "daily"]:
                self.paused = False
                return {}
            case ["POST", "dags", "daily", "dagRuns"]:
                assert body is not None
                return self._make(body)
            case ["GET", "dags", "daily", "dagRuns", run_id]:
                return {"state": "running" if run_id in self.unfinished else self._end(run_id)[0]}
            case ["GET", "dags", "daily", "dagRuns", run_id, "taskInstances", "cache"]:
                return {"state": self._end(run_id)[1]}
            case ["GET", "monitor", "health"]:
                return {"scheduler": {"status": self.scheduler}}
        raise ApiError(HTTPStatus.NOT_FOUND, f"{method} {path}: 404")

    def _make(self, body: Mapping[str, Any]) -> dict[str, Any]:
        run_id = body["dag_run_id"]
        if run_id in self.runs:
            raise ApiError(HTTPStatus.CONFLICT, "409 exists already")
        # A logical date would have Airflow infer an interval, and Airflow has one run for each.
        assert body["logical_date"] is None
        self.runs[run_id] = body["conf"]
        if not self.finishes_at_once:
            self.unfinished.append(run_id)
        self.most_at_once = max(self.most_at_once, len(self.unfinished))
        if self.loses_answers:
            raise ApiUnreachable("the answer got lost")
        return {"dag_run_id": run_id}

    def _end(self, run_id: str) -> tuple[str, str]:
        return self.states.get(self.runs[run_id]["stat_date"], ("success", "success"))

    def finish_one(self) -> None:
        if self.unfinished and self.scheduler == "healthy":
            self.unfinished.pop()


def make(airflow: FakeAirflow, first: str, last: str, **options: Any) -> tuple[Recache, list[str]]:
    lines: list[str] = []
    seconds = [0.0]

    def sleep(duration: float) -> None:
        seconds[0] += duration
        airflow.finish_one()

    request = RecacheRequest(first=date.fromisoformat(first), last=date.fromisoformat(last), dag_id="daily", **options)
    work = Recache(airflow, request, now=lambda: NOW, sleep=sleep, monotonic=lambda: seconds[0], report=lines.append)
    return work, lines


def run(airflow: FakeAirflow, first: str, last: str, **options: Any) -> tuple[Recached, list[str]]:
    work, lines = make(airflow, first, last, **options)
    return work.run(), lines


def days(first: str, count: int) -> list[date]:
    return [date.fromisoformat(first) + timedelta(days=number) for number in range(count)]


def test_each_day_of_the_range_is_cached_once_both_ends_included_and_nothing_is_computed() -> None:
    airflow = FakeAirflow()
    result, _ = run(airflow, "2026-10-30", "2026-11-05")
    assert sorted(result.done) == days("2026-10-30", 7)
    assert (result.absent, result.failed) == ([], {})
    assert list(airflow.runs.values()) == [{"stat_date": str(day), "cache_only": True} for day in days("2026-10-30", 7)]


@pytest.mark.parametrize("at_once", [1, 2, 3, 10])
def test_no_more_days_at_a_time_than_asked_for(at_once: int) -> None:
    airflow = FakeAirflow()
    run(airflow, "2026-11-01", "2026-11-07", max_active_runs=at_once)
    assert airflow.most_at_once == min(at_once, 7)
    assert len(airflow.runs) == 7


def test_a_day_that_fails_does_not_keep_others_back_and_is_named_with_its_run() -> None:
    airflow = FakeAirflow(states={"2026-11-02": ("failed", "upstream_failed")})
    result, lines = run(airflow, "2026-11-01", "2026-11-03")
    assert sorted(result.done) == [date(2026, 11, 1), date(2026, 11, 3)]
    (run_id,) = [made for made, conf in airflow.runs.items() if conf["stat_date"] == "2026-11-02"]
    assert result.failed == {date(2026, 11, 2): run_id}
    assert lines[-1] == "3 of 3 days finished, failed: 2026-11-02"
    assert describe(result, dag_id="daily", url="http://airflow") == [
        f"2026-11-02: FAILED, see http://airflow/dags/daily/runs/{run_id}",
        "2 of 3 days cached, 1 FAILED",
    ]


def test_a_day_that_the_table_does_not_have_is_no_failure_and_named() -> None:
    airflow = FakeAirflow(states={"2026-11-03": ("success", "skipped")})
    result, _ = run(airflow, "2026-11-02", "2026-11-03")
    assert (result.done, result.absent) == ([date(2026, 11, 2)], [date(2026, 11, 3)])
    assert describe(result, dag_id="daily", url="u") == [
        "2026-11-03: the table has no row of it, so there is nothing to cache",
        "1 of 2 days cached, 1 not in the table",
    ]


def test_two_commands_at_once_make_runs_of_their_own() -> None:
    airflow = FakeAirflow()
    for _ in range(2):
        run(airflow, "2026-11-01", "2026-11-02")
    assert len(airflow.runs) == 4


def test_a_request_whose_answer_got_lost_is_not_made_twice() -> None:
    airflow = FakeAirflow()
    airflow.loses_answers = True
    result, _ = run(airflow, "2026-11-01", "2026-11-02")
    assert sorted(result.done) == days("2026-11-01", 2)
    assert len(airflow.runs) == 2


def test_a_restart_of_the_api_server_is_sat_out_and_a_long_outage_is_not() -> None:
    airflow = FakeAirflow()
    # Three requests before the first run is made.
    airflow.outages = iter(
        [None, None, None, ApiUnreachable("down"), ApiError(503, "starting"), None, ApiError(502, "")]
    )
    result, _ = run(airflow, "2026-11-01", "2026-11-02")
    assert sorted(result.done) == days("2026-11-01", 2)

    down = FakeAirflow()
    down.outages = iter([None, None, None, *[ApiUnreachable("does not answer")] * 100])
    with pytest.raises(ApiUnreachable):
        run(down, "2026-11-01", "2026-11-02", outage_timeout=30)

    forbidden = FakeAirflow()
    forbidden.outages = iter([None, None, None, ApiError(HTTPStatus.FORBIDDEN, "403")])
    with pytest.raises(ApiError, match="403"):
        run(forbidden, "2026-11-01", "2026-11-02")


def test_a_scheduler_that_has_died_ends_the_waiting() -> None:
    airflow = FakeAirflow()
    airflow.scheduler = "unhealthy"
    with pytest.raises(ScriptError, match="0 of 2 days finished; the scheduler has not been healthy for 120 s"):
        run(airflow, "2026-11-01", "2026-11-02")


@pytest.mark.parametrize(("zone", "last_full_day"), [("UTC", "2026-11-20"), ("Pacific/Kiritimati", "2026-11-21")])
def test_a_day_that_has_not_ended_in_the_dags_zone_is_refused(zone: str, last_full_day: str) -> None:
    to_come = (date.fromisoformat(last_full_day) + timedelta(days=1)).isoformat()
    airflow = FakeAirflow(timezone=zone)
    with pytest.raises(ScriptError, match=f"the last full day is {last_full_day}"):
        run(airflow, "2026-11-19", to_come)
    assert airflow.runs == {}
    assert run(airflow, "2026-11-19", last_full_day)[0].done


def test_what_cannot_work_is_refused_before_a_run_is_made() -> None:
    for airflow, options, cause in (
        (FakeAirflow(paused=True), {}, "daily is paused"),
        (FakeAirflow(parameters=("stat_date", "allow_empty")), {}, "no parameter cache_only.*older"),
        (FakeAirflow(), {"max_active_runs": 0}, "--max-active-runs 0"),
        (FakeAirflow(), {"timezone": "Asia/Soul"}, "Asia/Soul"),
    ):
        with pytest.raises(ScriptError, match=cause):
            run(airflow, "2026-11-01", "2026-11-02", **options)
        assert airflow.runs == {}
    with pytest.raises(ScriptError, match="--from 2026-11-03 is after --to 2026-11-01"):
        run(FakeAirflow(), "2026-11-03", "2026-11-01")


def test_a_paused_dag_is_unpaused_when_asked_and_a_dry_run_changes_nothing() -> None:
    airflow = FakeAirflow(paused=True)
    _, lines = run(airflow, "2026-11-01", "2026-11-02", dry_run=True)
    assert (airflow.paused, airflow.runs) == (True, {})
    assert lines[-1] == "daily: 2026-11-01 to 2026-11-02, 2 days in UTC to cache again"
    run(airflow, "2026-11-01", "2026-11-02", unpause=True)
    assert not airflow.paused
    assert len(airflow.runs) == 2


@pytest.mark.parametrize(
    ("states", "status"),
    [({}, 0), ({"2020-01-02": ("success", "skipped")}, 0), ({"2020-01-02": ("failed", "failed")}, 1)],
)
def test_the_exit_status_tells_whether_every_day_of_the_table_is_cached(
    monkeypatch: pytest.MonkeyPatch, states: Any, status: int
) -> None:
    airflow = FakeAirflow(states=states)
    monkeypatch.setattr(AirflowApi, "request", lambda _, *args, **kwargs: airflow.request(*args, **kwargs))
    airflow.finishes_at_once = True
    arguments = ["--url", "http://airflow", "--dag-id", "daily", "--from", "2020-01-01", "--to", "2020-01-02"]
    assert recache.main(arguments, {"AIRFLOW_TOKEN": "token"}) == status


def test_malformed_dates_and_missing_credentials_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, cause in (
        (["--from", "2026-11-31", "--to", "2026-12-01"], "--from 2026-11-31"),
        (["--from", "2026-11-01", "--to", "2026-11-02"], "AIRFLOW_TOKEN"),
    ):
        assert recache.main(["--url", "http://127.0.0.1:1", *arguments], {}) == 2
        assert cause in capsys.readouterr().err


@pytest.mark.parametrize("name", ["recache.py", "backfill.py"])
def test_the_script_runs_from_any_folder_with_python_alone(name: str, tmp_path: Any) -> None:
    # -I: neither this environment's variables nor the present folder; -S: no installed package.
    command = [sys.executable, "-I", "-S", str(ROOT / "scripts" / name), "--help"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--from DAY" in answer.stdout
