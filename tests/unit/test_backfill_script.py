from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from scripts import backfill
from scripts.backfill import (
    AirflowApi,
    ApiError,
    ApiUnreachable,
    Backfill,
    BackfillError,
    BackfillRequest,
    DayRun,
    Outcome,
    Reprocess,
    describe,
    parse_day,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")


class FakeAirflow:
    """Airflow's backfills as far as the script sees them: a run per midnight of the DAG's zone, finished in time.

    :param failing: days whose run fails whenever it is computed.
    :param busy: how often the creation is answered with 409.
    """

    def __init__(
        self,
        *,
        timezone: str = "UTC",
        paused: bool = False,
        existing: Mapping[str, str] | None = None,
        failing: tuple[str, ...] = (),
        busy: int = 0,
    ) -> None:
        self.zone = ZoneInfo(timezone)
        self.paused = paused
        self.runs = {self._start(day): state for day, state in (existing or {}).items()}
        self.failing = {self._start(day) for day in failing}
        self.busy = busy
        self.created: list[dict[str, Any]] = []
        self.outages: Iterator[Exception | None] = iter(())
        # When the scheduler has yet to make a run: how often it is asked for before it has.
        self.due_run: str | None = None
        self.due_for = 0
        self.scheduler = "healthy"

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        match method, path:
            case "GET", "/dags/daily/details":
                return {"timezone": "UTC", "params": {"stat_date": {"schema": {"timezone": self.zone.key}}}}
            case "GET", "/dags/daily":
                return {"is_paused": self.paused, "next_dagrun_run_after": self._next_run().isoformat()}
            case "PATCH", "/dags/daily":
                assert body == {"is_paused": False}
                self.paused = False
                return {}
            case "GET", "/dags/daily/dagRuns":
                assert query
                return self._page(query)
            case "GET", "/monitor/health":
                return {"scheduler": {"status": self.scheduler}}
            case "POST", "/backfills":
                assert body
                return self._create(dict(body))
        raise ApiError(HTTPStatus.NOT_FOUND, f"{method} {path}: 404")

    def _next_run(self) -> datetime:
        if self.due_run is None:
            return datetime(2100, 1, 1, tzinfo=UTC)
        self.due_for -= 1
        if self.due_for < 0:
            self.runs[self._start(self.due_run)] = "queued"
            self.due_run = None
        return NOW - timedelta(hours=1)

    def finish_some(self, _seconds: float) -> None:
        """What happens while the script sleeps: the oldest two unfinished runs end, if there is a scheduler."""
        if self.scheduler != "healthy":
            return
        unfinished = sorted(start for start, state in self.runs.items() if state in ("queued", "running"))
        for start in unfinished[:2]:
            self.runs[start] = "failed" if start in self.failing else "success"

    def _start(self, day: str) -> datetime:
        parsed = date.fromisoformat(day)
        return datetime(parsed.year, parsed.month, parsed.day, tzinfo=self.zone).astimezone(UTC)

    def _page(self, query: Mapping[str, object]) -> dict[str, Any]:
        if (outage := next(self.outages, None)) is not None:
            raise outage
        first, last = (datetime.fromisoformat(str(query[f"logical_date_{end}"])) for end in ("gte", "lte"))
        # Not in the order of the days, as Airflow's are not in a backfill that runs backwards.
        chosen = [start for start in sorted(self.runs, reverse=True) if first <= start <= last]
        # Smaller pages than asked for, as a deployment's maximum_page_limit may make them.
        page = chosen[int(str(query["offset"])) :][:3]
        return {
            "dag_runs": [
                {"logical_date": start.isoformat(), "dag_run_id": f"backfill__{start:%F}", "state": self.runs[start]}
                for start in page
            ],
            "total_entries": len(chosen),
        }

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.busy:
            self.busy -= 1
            raise ApiError(HTTPStatus.CONFLICT, "POST /backfills: 409 There is already a running backfill")
        self.created.append(body)
        moment, last = (datetime.fromisoformat(body[f"{end}_date"]) for end in ("from", "to"))
        # Airflow's own reading: every interval that starts between the two moments.
        while moment <= last:
            start = moment.astimezone(UTC)
            state = self.runs.get(start)
            again = body["reprocess_behavior"] == "completed" or (
                body["reprocess_behavior"] == "failed" and state == "failed"
            )
            if state is None or again:
                self.runs[start] = "queued"
            day = moment.astimezone(self.zone).date() + timedelta(days=1)
            moment = self._start(day.isoformat())
        return {"id": 1}


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, airflow: FakeAirflow) -> None:
        self.seconds = 0.0
        self._airflow = airflow

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self._airflow.finish_some(seconds)


def make(
    airflow: FakeAirflow, first: str, last: str, *, now: datetime = NOW, **options: Any
) -> tuple[Backfill, list[str], Clock]:
    lines: list[str] = []
    clock = Clock(airflow)
    request = BackfillRequest(first=date.fromisoformat(first), last=date.fromisoformat(last), dag_id="daily", **options)
    return (
        Backfill(
            airflow,
            request,
            now=lambda: now,
            sleep=clock.sleep,
            monotonic=lambda: clock.seconds,
            report=lines.append,
        ),
        lines,
        clock,
    )


def run(airflow: FakeAirflow, first: str, last: str, **options: Any) -> tuple[Outcome, list[str]]:
    work, lines, _ = make(airflow, first, last, **options)
    return work.run(), lines


def days(first: str, count: int) -> tuple[date, ...]:
    return tuple(date.fromisoformat(first) + timedelta(days=number) for number in range(count))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York", "Pacific/Apia"])
def test_both_dates_are_included_in_the_dags_zone(zone: str) -> None:
    airflow = FakeAirflow(timezone=zone)

    outcome, _ = run(airflow, "2026-10-28", "2026-11-05")

    assert outcome == Outcome(done=days("2026-10-28", 9))
    assert len(airflow.runs) == 9


def test_dates_get_the_offset_of_their_own_day() -> None:
    airflow = FakeAirflow(timezone="America/New_York")

    run(airflow, "2026-10-31", "2026-11-01")

    [body] = airflow.created
    assert body["from_date"] == "2026-10-31T00:00:00-04:00"
    assert body["to_date"] == "2026-11-01T23:59:59-05:00", "the clocks went back on that day"


def test_a_given_zone_wins_over_the_dags() -> None:
    airflow = FakeAirflow(timezone="UTC")

    run(airflow, "2026-11-01", "2026-11-01", timezone="Asia/Seoul")
    assert airflow.created[0]["from_date"] == "2026-11-01T00:00:00+09:00"


def test_options_reach_airflow() -> None:
    airflow = FakeAirflow(existing={"2026-11-01": "success"})

    run(airflow, "2026-11-01", "2026-11-01", reprocess=Reprocess.COMPLETED, max_active_runs=7, run_backwards=True)

    [body] = airflow.created
    assert body["reprocess_behavior"] == "completed"
    assert body["max_active_runs"] == 7
    assert body["run_backwards"] is True


def test_progress_counts_the_days() -> None:
    _, lines = run(FakeAirflow(failing=("2026-11-02",)), "2026-11-01", "2026-11-03")

    assert lines == [
        "daily: 2026-11-01 to 2026-11-03, 3 days in UTC; 3 to compute",
        "0 of 3 days finished",
        "2 of 3 days finished, failed: 2026-11-02",
        "3 of 3 days finished, failed: 2026-11-02",
    ]


def test_a_failed_day_is_named_with_its_run() -> None:
    outcome, _ = run(FakeAirflow(failing=("2026-11-02",)), "2026-11-01", "2026-11-03")

    assert not outcome.ok
    assert outcome.failed == (DayRun(date(2026, 11, 2), "backfill__2026-11-02", "failed"),)
    assert describe(outcome, dag_id="daily", url="http://airflow") == [
        "2026-11-02: FAILED, see http://airflow/dags/daily/runs/backfill__2026-11-02",
        "2 of 3 days done, 1 NOT",
    ]


def test_days_that_are_done_are_not_computed_again() -> None:
    airflow = FakeAirflow(existing={"2026-11-01": "success", "2026-11-02": "success"})

    outcome, lines = run(airflow, "2026-11-01", "2026-11-02")

    assert outcome.ok
    assert airflow.created == []
    assert "0 to compute" in lines[0]


def test_a_day_that_failed_before_counts_as_failed_unless_it_is_reprocessed() -> None:
    before = {"2026-11-01": "success", "2026-11-02": "failed"}

    kept, lines = run(FakeAirflow(existing=before), "2026-11-01", "2026-11-03")
    assert [result.day for result in kept.failed] == [date(2026, 11, 2)]
    assert any("2026-11-02" in line and "--reprocess failed" in line for line in lines)

    mended, _ = run(FakeAirflow(existing=before), "2026-11-01", "2026-11-03", reprocess=Reprocess.FAILED)
    assert mended == Outcome(done=days("2026-11-01", 3))


def test_a_run_under_way_is_waited_for() -> None:
    airflow = FakeAirflow(existing={"2026-11-01": "running"})

    outcome, _ = run(airflow, "2026-11-01", "2026-11-01")
    assert outcome.ok
    assert airflow.created == []


def test_a_day_that_got_no_run_is_missing() -> None:
    class Forgetful(FakeAirflow):
        def _create(self, body: dict[str, Any]) -> dict[str, Any]:
            answer = super()._create(body)
            del self.runs[self._start("2026-11-01")]
            return answer

    outcome, _ = run(Forgetful(), "2026-11-01", "2026-11-02")

    assert outcome.missing == (date(2026, 11, 1),)
    assert not outcome.ok
    assert "2026-11-01: has NO RUN" in describe(outcome, dag_id="daily", url="http://airflow")[0]


def test_it_waits_its_turn_behind_another_backfill() -> None:
    outcome, lines = run(FakeAirflow(busy=5), "2026-11-01", "2026-11-02")

    assert outcome.ok
    assert len([line for line in lines if "another backfill" in line]) == 1


def test_it_does_not_wait_for_its_turn_for_ever() -> None:
    work, _, clock = make(FakeAirflow(busy=10_000), "2026-11-01", "2026-11-02", turn_timeout=60)

    with pytest.raises(BackfillError, match="still running after 60 s"):
        work.run()
    assert 60 <= clock.seconds < 65


def test_a_paused_dag_is_refused_or_unpaused() -> None:
    airflow = FakeAirflow(paused=True)
    with pytest.raises(BackfillError, match="is paused"):
        run(airflow, "2026-11-01", "2026-11-02")
    assert airflow.created == []

    outcome, _ = run(airflow, "2026-11-01", "2026-11-02", unpause=True)
    assert outcome.ok
    assert not airflow.paused


def test_a_dry_run_changes_nothing() -> None:
    airflow = FakeAirflow(paused=True, existing={"2026-11-01": "success"})

    _, lines = run(airflow, "2026-11-01", "2026-11-02", dry_run=True)

    assert airflow.created == []
    assert airflow.paused
    assert lines[-2:] == ["  2026-11-01: success", "  2026-11-02: no run yet, would be computed"]


@pytest.mark.parametrize(
    ("zone", "last_full_day"), [("UTC", "2026-11-20"), ("Asia/Seoul", "2026-11-21"), ("America/New_York", "2026-11-20")]
)
def test_a_day_that_has_not_ended_in_the_zone_is_refused(zone: str, last_full_day: str) -> None:
    evening = datetime(2026, 11, 21, 20, tzinfo=UTC)
    next_day = (date.fromisoformat(last_full_day) + timedelta(days=1)).isoformat()

    with pytest.raises(BackfillError, match=f"the last full day is {last_full_day}"):
        run(FakeAirflow(timezone=zone), "2026-11-19", next_day, now=evening)

    outcome, _ = run(FakeAirflow(timezone=zone), "2026-11-19", last_full_day, now=evening)
    assert outcome.ok


def test_reversed_dates_are_refused() -> None:
    with pytest.raises(BackfillError, match="--from 2026-11-03 is after --to 2026-11-01"):
        run(FakeAirflow(), "2026-11-03", "2026-11-01")


@pytest.mark.parametrize("text", ["2026-13-01", "2026-02-29", "yesterday", "20261101", "2026-W44-7", "2026-11-1", ""])
def test_malformed_dates_are_refused(text: str) -> None:
    with pytest.raises(BackfillError, match=r"--from .*expected an existing day"):
        parse_day(text, "--from")


def test_an_unknown_zone_and_an_unknown_dag_are_refused() -> None:
    with pytest.raises(BackfillError, match="Asia/Soul"):
        run(FakeAirflow(), "2026-11-01", "2026-11-02", timezone="Asia/Soul")

    request = BackfillRequest(first=date(2026, 11, 1), last=date(2026, 11, 1), dag_id="weekly")
    with pytest.raises(BackfillError, match="there is no DAG weekly"):
        Backfill(FakeAirflow(), request, now=lambda: NOW).run()


def test_a_restart_of_the_api_server_is_sat_out() -> None:
    airflow = FakeAirflow()
    airflow.outages = iter([None, ApiUnreachable("down"), ApiError(503, "starting"), ApiUnreachable("down")])

    outcome, _ = run(airflow, "2026-11-01", "2026-11-02")
    assert outcome.ok


def test_the_scheduled_run_that_is_due_is_made_before_the_backfills() -> None:
    airflow = FakeAirflow(paused=True)
    airflow.due_run, airflow.due_for = "2026-11-03", 3

    outcome, lines = run(airflow, "2026-11-01", "2026-11-03", unpause=True)
    assert outcome.done == days("2026-11-01", 3)
    # Two of the three days are left to the backfill.
    assert any("2 to compute" in line for line in lines)


def test_a_due_run_that_is_never_made_ends_the_waiting() -> None:
    airflow = FakeAirflow()
    airflow.due_run, airflow.due_for = "2026-11-03", 10_000
    with pytest.raises(BackfillError, match="does the scheduler run"):
        run(airflow, "2026-11-01", "2026-11-03")
    assert airflow.created == []


def test_a_scheduler_that_has_died_ends_the_waiting() -> None:
    airflow = FakeAirflow()
    airflow.scheduler = "unhealthy"
    with pytest.raises(BackfillError, match="0 of 2 days finished; the scheduler has not been healthy for 120 s"):
        run(airflow, "2026-11-01", "2026-11-02")


def test_a_long_outage_and_a_lost_permission_end_the_waiting() -> None:
    down = FakeAirflow()
    down.outages = iter([None, *[ApiUnreachable("does not answer")] * 100])
    with pytest.raises(ApiUnreachable):
        run(down, "2026-11-01", "2026-11-02", outage_timeout=30)

    forbidden = FakeAirflow()
    forbidden.outages = iter([None, ApiError(HTTPStatus.FORBIDDEN, "403")])
    with pytest.raises(ApiError):
        run(forbidden, "2026-11-01", "2026-11-02")


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://"])
def test_a_bad_address_is_refused(url: str) -> None:
    with pytest.raises(BackfillError, match="--url"):
        AirflowApi(url, token="token")


def test_missing_credentials_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--url", "http://127.0.0.1:1", "--from", "2026-11-01", "--to", "2026-11-02"]

    assert backfill.main(arguments, {"AIRFLOW_USERNAME": "admin"}) == 2
    assert "AIRFLOW_PASSWORD" in capsys.readouterr().err


@pytest.fixture
def airflow_behind_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeAirflow], None]:
    def use(airflow: FakeAirflow) -> None:
        monkeypatch.setattr(AirflowApi, "request", lambda _, *args, **kwargs: airflow.request(*args, **kwargs))

    return use


@pytest.mark.parametrize(("state", "status"), [("success", 0), ("failed", 1)])
def test_the_exit_status_tells_whether_every_day_is_done(
    airflow_behind_main: Callable[[FakeAirflow], None], capsys: pytest.CaptureFixture[str], state: str, status: int
) -> None:
    airflow_behind_main(FakeAirflow(existing={"2020-01-01": "success", "2020-01-02": state}))
    arguments = ["--url", "http://airflow", "--dag-id", "daily", "--from", "2020-01-01", "--to", "2020-01-02"]

    assert backfill.main(arguments, {"AIRFLOW_TOKEN": "token"}) == status
    assert ("2020-01-02: FAILED" in capsys.readouterr().out) is (state == "failed")
