from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable
from airflow.timetables.trigger import CronTriggerTimetable, MultipleCronTriggerTimetable

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

    from airflow.timetables.base import Timetable

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SEOUL = ZoneInfo("Asia/Seoul")


class FakeAirflow:
    """Airflow's backfills as far as the script sees them: runs by a timetable of Airflow's own, finished in time.

    :param timezone: in which the DAG says its days are; None = it does not say.
    :param timetable: midnight of that zone unless given.
    :param existing: state of a day's first run, or of the run of a moment (UTC), by day or moment.
    :param failing: days or moments whose run fails whenever it is computed.
    :param busy: how often the creation is answered with 409.
    :param dag: what else Airflow says of the DAG.
    """

    def __init__(
        self,
        *,
        timezone: str | None = "UTC",
        timetable: Timetable | None = None,
        paused: bool = False,
        existing: Mapping[str, str] | None = None,
        failing: tuple[str, ...] = (),
        busy: int = 0,
        dag: Mapping[str, Any] | None = None,
    ) -> None:
        self.zone = ZoneInfo(timezone or "UTC")
        self.says_zone = timezone is not None
        self.timetable = timetable or CronDataIntervalTimetable("0 0 * * *", timezone=timezone or "UTC")
        self.paused = paused
        self.runs = {self._start(day): state for day, state in (existing or {}).items()}
        self.by_hand: set[datetime] = set()
        self.failing = {self._start(day) for day in failing}
        self.busy = busy
        self.dag = dict(dag or {})
        self.created: list[dict[str, Any]] = []
        self.pages = 0
        self.outages: Iterator[Exception | None] = iter(())
        # When the scheduler has yet to make a run: how often it is asked for before it has.
        self.due_run: str | None = None
        self.due_for = 0
        self.scheduler = "healthy"
        self.ends_at_a_time = 2

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        match method, path:
            case "GET", "/dags/daily/details":
                schema = {"timezone": self.zone.key} if self.says_zone else {}
                return {"timezone": "UTC", "params": {"stat_date": {"schema": schema}}}
            case "GET", "/dags/daily":
                return {"is_paused": self.paused, "next_dagrun_run_after": self._next_run().isoformat(), **self.dag}
            case "PATCH", "/dags/daily":
                assert body == {"is_paused": False}
                self.paused = False
                return {}
            case "GET", "/dags/daily/dagRuns":
                assert query
                return self._page(query)
            case "GET", "/monitor/health":
                return {"scheduler": {"status": self.scheduler}}
            case "POST", "/backfills/dry_run":
                assert body
                assert timeout
                return self._dry_run(dict(body))
            case "POST", "/backfills":
                assert body
                assert timeout
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
        """What happens while the script sleeps: the oldest unfinished runs end, if there is a scheduler."""
        if self.scheduler != "healthy" or self.paused:
            return
        unfinished = sorted(start for start, state in self.runs.items() if state in ("queued", "running"))
        for start in unfinished[: self.ends_at_a_time]:
            self.runs[start] = "failed" if start in self.failing else "success"

    def _start(self, day: str) -> datetime:
        moment = datetime.fromisoformat(day)
        return (moment if moment.tzinfo else moment.replace(tzinfo=self.zone)).astimezone(UTC)

    def _page(self, query: Mapping[str, object]) -> dict[str, Any]:
        if (outage := next(self.outages, None)) is not None:
            raise outage
        self.pages += 1
        first, last = (datetime.fromisoformat(str(query[f"logical_date_{end}"])) for end in ("gte", "lte"))
        # Not in the order of the days, as Airflow's are not in a backfill that runs backwards.
        chosen = [start for start in sorted(self.runs, reverse=True) if first <= start <= last]
        # Smaller pages than asked for, as a deployment's maximum_page_limit may make them.
        page = chosen[int(str(query["offset"])) :][:3]
        return {
            "dag_runs": [
                {
                    "logical_date": start.isoformat(),
                    "dag_run_id": f"backfill__{start:%F}",
                    "state": self.runs[start],
                    "run_type": "manual" if start in self.by_hand else "backfill",
                }
                for start in page
            ],
            "total_entries": len(chosen),
        }

    def _planned(self, body: Mapping[str, Any]) -> Iterator[datetime]:
        """Airflow's own reading: the runs with a logical date between the two, whose interval is over."""
        first, last = (datetime.fromisoformat(body[f"{end}_date"]) for end in ("from", "to"))
        restriction = TimeRestriction(pendulum.instance(first), pendulum.instance(last), catchup=True)
        info = None
        while (info := self.timetable.next_dagrun_info_v2(last_dagrun_info=info, restriction=restriction)) is not None:
            assert info.data_interval is not None
            assert info.logical_date is not None
            if info.data_interval.end < NOW:
                yield info.logical_date.astimezone(UTC)

    def _needed(self, body: Mapping[str, Any]) -> list[datetime]:
        wanted = {"none": (None,), "failed": (None, "failed"), "completed": (None, "failed", "success")}
        return [start for start in self._planned(body) if self.runs.get(start) in wanted[body["reprocess_behavior"]]]

    def _dry_run(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"backfills": [{"logical_date": start.isoformat()} for start in self._needed(body)]}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.busy:
            self.busy -= 1
            raise ApiError(HTTPStatus.CONFLICT, "POST /backfills: 409 There is already a running backfill")
        self.created.append(body)
        self.runs |= dict.fromkeys(self._needed(body), "queued")
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

    assert outcome.ok
    assert outcome.done == days("2026-10-28", 9)
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
    midnight = datetime(2026, 11, 2, tzinfo=UTC)
    assert outcome.failed == (DayRun(date(2026, 11, 2), midnight, "backfill__2026-11-02", "failed"),)
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
    assert mended.ok
    assert mended.done == days("2026-11-01", 3)


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

    assert outcome.missing == (datetime(2026, 11, 1, tzinfo=UTC),)
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


HOURLY = CronDataIntervalTimetable("0 * * * *", timezone="UTC")


@pytest.mark.parametrize(
    ("timetable", "zone", "day", "runs"),
    [
        (HOURLY, "UTC", "2026-11-10", 24),
        (HOURLY, "Asia/Kolkata", "2026-11-10", 24),
        # The clocks go back and forth: 25 hours and 23.
        (HOURLY, "America/New_York", "2026-11-01", 25),
        (HOURLY, "America/New_York", "2026-03-08", 23),
        (CronTriggerTimetable("*/20 * * * *", timezone="UTC"), "Europe/Berlin", "2026-10-25", 75),
        (CronTriggerTimetable("15 6,18 * * *", timezone="Asia/Seoul"), "Asia/Seoul", "2026-11-10", 2),
        (MultipleCronTriggerTimetable("0 6 * * *", "30 18 * * *", "0 21 * * *", timezone="UTC"), "UTC", "2026-11-9", 3),
        (CronDataIntervalTimetable("0 0 * * *", timezone="UTC"), "Asia/Seoul", "2026-11-10", 1),
    ],
)
def test_every_run_of_a_day_is_counted_whatever_the_schedule(
    timetable: Timetable, zone: str, day: str, runs: int
) -> None:
    day = date(*map(int, day.split("-"))).isoformat()
    airflow = FakeAirflow(timezone=zone, timetable=timetable)

    outcome, lines = run(airflow, day, day)

    assert outcome.ok
    assert [(result.done, result.total) for result in outcome.days] == [(runs, runs)]
    assert len(airflow.runs) == runs
    assert set(airflow.runs.values()) == {"success"}, "it waited for all of them"
    noun = "days" if runs == 1 else "runs"
    assert lines[-1] == f"{runs} of {runs} {noun} finished"


@pytest.mark.parametrize(
    ("timetable", "zone", "expected"),
    [
        # Due at 2 o'clock for the day before; at half past for the hour before.
        (
            CronTriggerTimetable("0 2 * * *", timezone="UTC", interval=timedelta(days=1)),
            "UTC",
            [datetime(2026, 11, day, 2, tzinfo=UTC) for day in (9, 10)],
        ),
        (
            CronTriggerTimetable("30 * * * *", timezone="UTC", interval=timedelta(hours=1)),
            "Asia/Seoul",
            [datetime(2026, 11, 8, 15, 30, tzinfo=UTC) + timedelta(hours=number) for number in range(48)],
        ),
    ],
)
def test_runs_that_are_due_later_than_their_logical_date_belong_to_its_day(
    timetable: CronTriggerTimetable, zone: str, expected: list[datetime]
) -> None:
    # Its newest run, as Airflow tells of it.
    due = pendulum.datetime(2026, 11, 21, 2, 30)
    logical = due - timetable._interval
    dag = {"next_dagrun_logical_date": logical.isoformat(), "next_dagrun_run_after": due.isoformat()}
    airflow = FakeAirflow(timezone=zone, timetable=timetable, dag=dag)

    outcome, _ = run(airflow, "2026-11-09", "2026-11-10")

    assert outcome.ok
    assert sorted(airflow.runs) == expected
    assert [result.total for result in outcome.days] == [len(expected) / 2] * 2


def test_a_schedule_of_which_no_range_holds_the_days_alone_is_refused() -> None:
    timetable = CronTriggerTimetable("0 2 * * *", timezone="UTC", interval=timedelta(days=1))
    for dag in (
        {},
        # Not by how much this timetable's are apart.
        {"next_dagrun_logical_date": "2026-11-14T02:00:00Z", "next_dagrun_run_after": "2026-11-21T02:00:00Z"},
    ):
        airflow = FakeAirflow(timetable=timetable, dag=dag)
        with pytest.raises(BackfillError, match="no range that holds the runs of these days alone"):
            run(airflow, "2026-11-09", "2026-11-10")
        assert airflow.created == []


def test_failed_hours_are_named_and_the_day_is_not_done() -> None:
    airflow = FakeAirflow(
        timezone="Asia/Seoul", timetable=HOURLY, failing=("2026-11-10T03:00+09:00", "2026-11-10T23:00+09:00")
    )

    outcome, lines = run(airflow, "2026-11-10", "2026-11-11")

    assert not outcome.ok
    assert outcome.done == (date(2026, 11, 11),)
    assert lines[0] == "daily: 2026-11-10 to 2026-11-11, 2 days in Asia/Seoul, 48 runs; 48 to compute"
    assert lines[-1] == "48 of 48 runs finished, failed: 2026-11-10T03:00+09:00, 2026-11-10T23:00+09:00"
    assert describe(outcome, dag_id="daily", url="http://airflow") == [
        "2026-11-10: 22 of 24 runs done",
        "  2026-11-10T03:00+09:00: FAILED, see http://airflow/dags/daily/runs/backfill__2026-11-09",
        "  2026-11-10T23:00+09:00: FAILED, see http://airflow/dags/daily/runs/backfill__2026-11-10",
        "1 of 2 days done (46 of 48 runs), 1 NOT",
    ]


def test_a_day_of_many_failures_names_the_first_and_counts_the_others() -> None:
    minutes = [f"2026-11-10T{hour:02}:{minute:02}+00:00" for hour in range(2) for minute in range(60)]
    airflow = FakeAirflow(timetable=CronTriggerTimetable("* * * * *", timezone="UTC"), failing=tuple(minutes))
    airflow.ends_at_a_time = 100

    outcome, lines = run(airflow, "2026-11-10", "2026-11-10")

    told = describe(outcome, dag_id="daily", url="u")
    assert told[0] == "2026-11-10: 1320 of 1440 runs done"
    assert told[-2:] == ["  … and 95 more", "0 of 1 days done (1320 of 1440 runs), 1 NOT"]
    assert len(told) == 28
    assert lines[-1].endswith("2026-11-10T00:04+00:00 and 115 more")


@pytest.mark.parametrize(
    ("reprocess", "computed", "done"),
    [
        # Of the four hours 0 to 3 one ended well, one failed, one is under way and one does not exist.
        (Reprocess.NONE, {3, *range(4, 24)}, 23),
        (Reprocess.FAILED, {1, 3, *range(4, 24)}, 24),
        (Reprocess.COMPLETED, {0, 1, 3, *range(4, 24)}, 24),
    ],
)
def test_a_day_of_which_only_some_runs_exist_gets_the_others(
    monkeypatch: pytest.MonkeyPatch, reprocess: Reprocess, computed: set[int], done: int
) -> None:
    states = {0: "success", 1: "failed", 2: "running"}
    airflow = FakeAirflow(
        timetable=HOURLY, existing={f"2026-11-10T{hour:02}:00+00:00": state for hour, state in states.items()}
    )
    made: list[datetime] = []

    def needed(body: Mapping[str, Any]) -> list[datetime]:
        chosen = FakeAirflow._needed(airflow, body)
        if body.get("max_active_runs"):
            made.extend(chosen)
        return chosen

    monkeypatch.setattr(airflow, "_needed", needed)
    outcome, lines = run(airflow, "2026-11-10", "2026-11-10", reprocess=reprocess)

    assert {start.hour for start in made} == computed
    assert lines[0].endswith(f"24 runs; {len(computed)} to compute")
    assert [(result.done, result.total) for result in outcome.days] == [(done, 24)]
    assert outcome.ok is (done == 24)


def test_one_run_at_midnight_does_not_make_a_day_of_hours_done() -> None:
    airflow = FakeAirflow(timetable=HOURLY, existing={"2026-11-10": "success"})
    _, lines = run(airflow, "2026-11-10", "2026-11-10", dry_run=True)
    assert lines == [
        "daily: 2026-11-10 to 2026-11-10, 1 day in UTC, 24 runs; 23 to compute",
        "  2026-11-10: 1 success, 23 no run yet; 23 would be computed",
    ]
    assert airflow.created == []


def test_runs_that_failed_before_are_counted_by_the_day() -> None:
    failed = {f"2026-11-10T{hour:02}:00+00:00": "failed" for hour in range(24)}
    outcome, lines = run(FakeAirflow(timetable=HOURLY, existing=failed), "2026-11-10", "2026-11-11")
    assert "  2026-11-10: 24 runs failed before and are not computed again; pass --reprocess failed" in lines
    assert outcome.done == (date(2026, 11, 11),)


def test_days_on_which_the_schedule_has_no_run_are_named_and_no_failure() -> None:
    airflow = FakeAirflow(timetable=CronDataIntervalTimetable("0 0 * * 1-5", timezone="UTC"))

    # Thursday to Tuesday. Friday's run has the interval until Monday.
    outcome, _ = run(airflow, "2026-11-05", "2026-11-10")

    assert outcome.ok
    assert describe(outcome, dag_id="daily", url="u") == [
        "no run by the schedule: 2026-11-07, 2026-11-08",
        "4 of 4 days done",
    ]
    with pytest.raises(BackfillError, match="none of them has a run by the DAG's schedule"):
        run(airflow, "2026-11-07", "2026-11-08")


@pytest.mark.parametrize(
    ("dag", "cause"),
    [
        ({"timetable_periodic": False, "timetable_summary": None}, "has no schedule in time .schedule: none"),
        ({"timetable_periodic": False, "timetable_summary": "Asset"}, "has no schedule in time .schedule: Asset"),
        ({"timetable_periodic": False, "timetable_summary": "@continuous"}, "no schedule in time .*@continuous"),
        ({"timetable_partitioned": True, "timetable_summary": "0 0 * * *"}, "runs by partition"),
        ({"is_backfillable": False, "allowed_run_types": ["manual"]}, "does not allow backfills .*manual"),
        (
            {"next_dagrun_logical_date": "2026-11-19T00:00:00Z", "next_dagrun_run_after": "2026-11-23T00:00:00Z"},
            r"the run of 2026-11-19T00:00\+00:00 belongs to that range and is not due before 2026-11-23",
        ),
    ],
)
def test_a_dag_whose_runs_cannot_be_followed_by_the_day_is_refused(dag: Mapping[str, Any], cause: str) -> None:
    airflow = FakeAirflow(dag=dag)
    with pytest.raises(BackfillError, match=cause):
        run(airflow, "2026-11-18", "2026-11-20")
    assert airflow.created == []


def test_what_airflow_itself_refuses_is_said_in_its_words() -> None:
    class Older(FakeAirflow):
        """One whose answers do not tell of the schedule."""

        def _dry_run(self, body: dict[str, Any]) -> dict[str, Any]:
            raise ApiError(HTTPStatus.UNPROCESSABLE_ENTITY, "422 a non-periodic schedule")

    class WithoutDates(FakeAirflow):
        def _dry_run(self, body: dict[str, Any]) -> dict[str, Any]:
            return {"backfills": [{"logical_date": None, "partition_key": "2026-11-18"}]}

    with pytest.raises(BackfillError, match="Airflow cannot backfill daily: 422 a non-periodic schedule"):
        run(Older(), "2026-11-18", "2026-11-20")
    with pytest.raises(BackfillError, match="runs without a logical date"):
        run(WithoutDates(), "2026-11-18", "2026-11-20")


def test_a_dag_that_does_not_say_its_zone_needs_one_to_be_named() -> None:
    airflow = FakeAirflow(timezone=None, timetable=HOURLY)
    with pytest.raises(BackfillError, match="pass --timezone"):
        run(airflow, "2026-11-10", "2026-11-10")
    outcome, _ = run(airflow, "2026-11-10", "2026-11-10", timezone="Asia/Tokyo")
    assert outcome.days[0].done == 24
    assert min(airflow.runs) == datetime(2026, 11, 9, 15, tzinfo=UTC)


def test_a_day_that_its_zone_left_out_is_refused() -> None:
    # Samoa went over the date line.
    with pytest.raises(BackfillError, match="there is no 2011-12-30 in Pacific/Apia"):
        run(FakeAirflow(timezone="Pacific/Apia"), "2011-12-30", "2011-12-30")
    outcome, _ = run(FakeAirflow(timezone="Pacific/Apia", timetable=HOURLY), "2011-12-29", "2011-12-31")
    assert [result.done for result in outcome.days] == [24, 0, 24]


def test_a_run_by_hand_with_a_date_of_the_schedule_is_waited_for_and_another_is_not_counted() -> None:
    on_schedule, other = "2026-11-10T05:00+00:00", "2026-11-10T05:17+00:00"
    airflow = FakeAirflow(timetable=HOURLY, existing={on_schedule: "running", other: "running"})
    airflow.by_hand = {datetime.fromisoformat(text) for text in (on_schedule, other)}

    outcome, _ = run(airflow, "2026-11-10", "2026-11-10")

    assert [(result.done, result.total) for result in outcome.days] == [(24, 24)]
    assert airflow.runs[datetime.fromisoformat(on_schedule)] == "success"


def test_a_run_that_is_cleared_and_one_that_is_removed_meanwhile_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = FakeAirflow(timetable=HOURLY)
    work, _, clock = make(airflow, "2026-11-10", "2026-11-10")
    first, second = datetime(2026, 11, 10, tzinfo=UTC), datetime(2026, 11, 10, 20, tzinfo=UTC)
    finish = airflow.finish_some

    def interfere(seconds: float) -> None:
        finish(seconds)
        if clock.seconds == 20:
            airflow.runs[first] = "queued"
            airflow.failing = {first}
            del airflow.runs[second]

    monkeypatch.setattr(airflow, "finish_some", interfere)
    outcome = work.run()
    assert [failed.logical_date for failed in outcome.failed] == [first]
    assert outcome.missing == (second,)


def test_many_runs_are_asked_for_less_and_less_and_told_of_in_few_lines() -> None:
    airflow = FakeAirflow(timetable=HOURLY)
    airflow.ends_at_a_time = 5
    work, lines, clock = make(airflow, "2026-10-01", "2026-10-20")

    outcome = work.run()

    runs = 20 * 24
    assert sum(result.done for result in outcome.days) == runs
    polls = runs / airflow.ends_at_a_time
    # Each asking for all would be twice as many pages of three.
    assert airflow.pages < polls * (runs / 3) * 0.55
    assert len(lines) < 120
    assert clock.seconds == pytest.approx(polls * 2, rel=0.01)
    # 5 runs in 2 s, halfway through.
    (halfway,) = [line for line in lines if line.startswith("240 of 480 runs finished")]
    assert halfway.endswith("; 150 a minute, about 2 minutes left")


def test_a_dag_that_is_paused_meanwhile_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    airflow = FakeAirflow(timetable=HOURLY)
    work, _, clock = make(airflow, "2026-11-10", "2026-11-10")
    finish = airflow.finish_some

    def pause(seconds: float) -> None:
        finish(seconds)
        airflow.paused = clock.seconds >= 6

    monkeypatch.setattr(airflow, "finish_some", pause)
    with pytest.raises(BackfillError, match="6 of 24 runs finished; daily has been paused meanwhile"):
        work.run()


def test_an_answer_to_the_creation_that_got_lost_is_not_asked_for_twice() -> None:
    class Loses(FakeAirflow):
        def _create(self, body: dict[str, Any]) -> dict[str, Any]:
            super()._create(body)
            raise ApiError(504, "the gateway has had enough")

    airflow = Loses(timetable=HOURLY)
    with pytest.raises(BackfillError, match=r"It may have made the runs all the same.*--reprocess none"):
        run(airflow, "2026-11-10", "2026-11-10", reprocess=Reprocess.COMPLETED)
    assert len(airflow.created) == 1
    outcome, lines = run(airflow, "2026-11-10", "2026-11-10")
    assert outcome.ok
    assert lines[0].endswith("0 to compute")


def test_a_due_run_of_another_day_is_not_waited_for() -> None:
    airflow = FakeAirflow(
        dag={"next_dagrun_logical_date": "2026-11-20T00:00:00Z", "next_dagrun_run_after": "2026-11-21T00:00:00Z"}
    )
    work, _, clock = make(airflow, "2026-11-01", "2026-11-02")
    assert work.run().ok
    assert clock.seconds < 10
