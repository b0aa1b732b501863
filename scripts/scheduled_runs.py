"""The runs that days have by a DAG's schedule, whatever that is, and what has become of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scripts.airflow_api import ApiError, ScriptError
from scripts.day_range import last_second_of, start_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from zoneinfo import ZoneInfo

    from scripts.airflow_api import Api, Dag
    from scripts.day_range import DaysRequest

#: Seconds for a request in which Airflow makes, or looks for, all runs of the range, which may be a year of hours.
LONG_REQUEST = 900.0

_PAGE = 100
_FINISHED = frozenset({"success", "failed"})
# Those that the schedule has made; one by hand may have any logical date.
_BY_SCHEDULE = frozenset({"scheduled", "backfill"})
# Statuses of an answer that says what is wrong with the question.
_REFUSED = frozenset({400, 422})


@dataclass(frozen=True)
class DayRun:
    """One run of a day.

    :param day: in the zone of the days.
    :param logical_date: with the zone of the days.
    :param state: Airflow's word: queued, running, success, failed.
    """

    day: date
    logical_date: datetime
    run_id: str
    state: str

    @property
    def has_finished(self) -> bool:
        return self.state in _FINISHED


@dataclass(frozen=True)
class DayResult:
    """What became of one day.

    :param done: how many of its runs succeeded.
    :param failed: the runs that failed.
    :param missing: the logical dates that have no run, with the zone of the days.
    """

    day: date
    done: int = 0
    failed: tuple[DayRun, ...] = ()
    missing: tuple[datetime, ...] = ()

    @property
    def total(self) -> int:
        return self.done + len(self.failed) + len(self.missing)

    @property
    def ok(self) -> bool:
        return self.done == self.total


@dataclass(frozen=True)
class Look:
    """What there was at one moment.

    :param plan: the logical dates (UTC) of all runs that the days have by the schedule, sorted.
    :param runs: the runs that exist, by logical date.
    """

    plan: tuple[datetime, ...]
    runs: Mapping[datetime, DayRun]

    @property
    def waiting(self) -> list[datetime]:
        """The logical dates whose runs have not finished, sorted."""
        return [moment for moment in self.plan if moment in self.runs and not self.runs[moment].has_finished]

    @property
    def failed(self) -> list[DayRun]:
        return [run for moment in self.plan if (run := self.runs.get(moment)) and run.state == "failed"]

    @property
    def finished(self) -> int:
        return sum(moment in self.runs and self.runs[moment].has_finished for moment in self.plan)


class ScheduledRuns:
    """Asks Airflow for the runs of a range of days.

    A run belongs to the day in which its logical date lies: the start of its data interval, or the moment itself where
    the schedule has none. Which runs there are to be, Airflow tells by a backfill's dry run, so any schedule will do.

    :param api: Airflow.
    :param dag: the DAG.
    :param request: has the days.
    :param zone: in which a day begins at midnight.
    """

    def __init__(self, api: Api, dag: Dag, request: DaysRequest, zone: ZoneInfo) -> None:
        self._api = api
        self._dag = dag
        self._request = request
        self._zone = zone
        self._first = start_of(request.first, zone)
        self._last = last_second_of(request.last, zone)
        # What Airflow is asked for: it compares with the logical date, or with the moment when a run is due.
        self._window: tuple[datetime, datetime] | None = None

    def refuse_other_schedules(self, now: datetime) -> None:
        """:param now: with a zone.

        :raises ScriptError: the DAG's runs are not those of days, or one of these days is not over for it.
        """
        name, dag = self._dag.dag_id, self._dag.read()
        if self._first.astimezone(UTC) > self._last.astimezone(UTC):
            raise ScriptError(f"there is no {self._request.first} in {self._zone.key}: the zone left that day out")
        if dag.get("timetable_partitioned"):
            raise ScriptError(f"{name} runs by partition, not by day ({_schedule(dag)}): use `airflow backfill create`")
        if not dag.get("timetable_periodic", True):
            raise ScriptError(
                f"{name} has no schedule in time ({_schedule(dag)}), so its days have no runs that could be made up"
                " for: trigger runs by hand, or update its assets"
            )
        if not dag.get("is_backfillable", True):
            raise ScriptError(f"{name} does not allow backfills (allowed_run_types: {dag.get('allowed_run_types')})")
        upcoming = moment_of(dag.get("next_dagrun_logical_date"))
        due = moment_of(dag.get("next_dagrun_run_after"))
        if upcoming is not None and due is not None and self.includes(upcoming) and due > now:
            raise ScriptError(
                f"--to {self._request.last}: the run of {self.name(upcoming)} belongs to that range and is not due"
                f" before {due.astimezone(self._zone).isoformat()}"
            )

    def due_run(self, now: datetime) -> datetime | None:
        """Return when the scheduler's next run was due, if it is and belongs to the days.

        :param now: with a zone.
        """
        dag = self._dag.read()
        due, upcoming = moment_of(dag.get("next_dagrun_run_after")), moment_of(dag.get("next_dagrun_logical_date"))
        if due is None or due > now or (upcoming is not None and not self.includes(upcoming)):
            return None
        return due

    def includes(self, moment: datetime) -> bool:
        return self._first.astimezone(UTC) <= moment.astimezone(UTC) <= self._last.astimezone(UTC)

    def look(self, plan: Collection[datetime] | None = None) -> Look:
        """Read all runs of the days.

        :param plan: the logical dates that are known already; Airflow takes a minute to tell those of some years.
        :raises ScriptError: Airflow does not answer, or cannot backfill this DAG.
        """
        # Runs under way are not in Airflow's dry run. Asked for first: one that ends in between is then in both.
        runs, by_schedule = self._read(self._first, self._last)
        if plan is None:
            plan = self._plan() | {moment for moment in by_schedule if not runs[moment].has_finished}
        return Look(tuple(sorted(plan)), _only(runs, plan))

    def look_again(self, before: Look) -> Look:
        """Ask for those that had not finished only; the plan stays."""
        waiting = before.waiting
        if not waiting:
            return before
        asked, _ = self._read(waiting[0], waiting[-1])
        kept = {moment: run for moment, run in before.runs.items() if not waiting[0] <= moment <= waiting[-1]}
        return Look(before.plan, kept | _only(asked, before.plan))

    def create(self, *, reprocess: str, run_backwards: bool) -> None:
        """Have Airflow make the runs that are needed, all in one step.

        :raises ApiError: it refuses; 409 while another backfill of the DAG runs.
        """
        assert self._window is not None, "look first"
        body = self._body(*self._window, reprocess) | {
            "max_active_runs": self._request.max_active_runs,
            "run_backwards": run_backwards,
        }
        self._api.request("POST", "/backfills", body=body, timeout=LONG_REQUEST)

    def results(self, look: Look) -> list[DayResult]:
        """Return what became of each day, in the order of the days."""
        done: dict[date, int] = defaultdict(int)
        failed: dict[date, list[DayRun]] = defaultdict(list)
        missing: dict[date, list[datetime]] = defaultdict(list)
        for moment in look.plan:
            local = moment.astimezone(self._zone)
            run = look.runs.get(moment)
            if run is None:
                missing[local.date()].append(local)
            elif run.state == "failed":
                failed[local.date()].append(run)
            elif run.state == "success":
                done[local.date()] += 1
        return [DayResult(day, done[day], tuple(failed[day]), tuple(missing[day])) for day in self._request.days]

    def day_of(self, moment: datetime) -> date:
        return moment.astimezone(self._zone).date()

    def name(self, moment: datetime) -> str:
        """A logical date for people."""
        return moment.astimezone(self._zone).isoformat(timespec="minutes")

    def _plan(self) -> set[datetime]:
        """Return the logical dates of the days' runs, without those under way.

        Airflow compares with the logical date, except for a trigger timetable that has an interval: there with the
        interval's end, so that the runs of a day are those due between a day's length later, or whatever it is.

        :raises ScriptError: no two moments have the runs of these days, and no others, between them.
        """
        window = self._window or (self._first, self._last)
        found = self._dry_run(*window)
        if all(map(self.includes, found)):
            self._window = window
            return found
        dag = self._dag.read()
        upcoming, due = moment_of(dag.get("next_dagrun_logical_date")), moment_of(dag.get("next_dagrun_run_after"))
        if upcoming is not None and due is not None:
            later = due - upcoming
            wanted = set(filter(self.includes, self._dry_run(self._first, self._later(self._last, 2 * later))))
            window = (self._later(self._first, later), self._later(self._last, later))
            found = self._dry_run(*window)
            if wanted <= found and all(map(self.includes, found)):
                self._window = window
                return found
        raise ScriptError(
            f"{self._dag.dag_id}: the logical dates of its runs and the moments when they are due lie apart"
            f" ({_schedule(dag)}), and Airflow has no range that holds the runs of these days alone. Backfill it by"
            " `airflow backfill create`, which takes the moments"
        )

    def _later(self, moment: datetime, by: timedelta) -> datetime:
        """A moment by the clock on the wall: as days go, also where one has 23 or 25 hours."""
        return (moment.replace(tzinfo=None) + by).replace(tzinfo=self._zone)

    def _body(self, first: datetime, last: datetime, reprocess: str) -> dict[str, Any]:
        return {
            "dag_id": self._dag.dag_id,
            "from_date": first.isoformat(),
            # The day's last second: "to" is a moment, so midnight of that day is right by luck at best.
            "to_date": last.isoformat(),
            "reprocess_behavior": reprocess,
        }

    def _dry_run(self, first: datetime, last: datetime) -> set[datetime]:
        """Return the logical dates that a backfill over everything would make a run for."""
        try:
            answer = self._api.request(
                "POST", "/backfills/dry_run", body=self._body(first, last, "completed"), timeout=LONG_REQUEST
            )
        except ApiError as error:
            if error.status in _REFUSED:
                raise ScriptError(f"Airflow cannot backfill {self._dag.dag_id}: {error}") from None
            raise
        moments = [moment_of(entry["logical_date"]) for entry in answer["backfills"]]
        if None in moments:
            raise ScriptError(f"{self._dag.dag_id} has runs without a logical date, which belong to no day")
        return {moment for moment in moments if moment is not None}

    def _read(self, first: datetime, last: datetime) -> tuple[dict[datetime, DayRun], list[datetime]]:
        """Read the runs between two moments, both included.

        :return: all of them by logical date, and the logical dates of those that the schedule has made.
        """
        query = {
            "logical_date_gte": first.isoformat(),
            "logical_date_lte": last.isoformat(),
            "limit": _PAGE,
            "order_by": "id",
        }
        runs: dict[datetime, DayRun] = {}
        by_schedule: list[datetime] = []
        seen = 0
        while True:
            page = self._api.request("GET", f"{self._dag.path}/dagRuns", query={**query, "offset": seen})
            for run in page["dag_runs"]:
                moment = moment_of(run["logical_date"])
                if moment is None:
                    continue
                local = moment.astimezone(self._zone)
                runs[moment] = DayRun(local.date(), local, run["dag_run_id"], run["state"])
                if run.get("run_type") in _BY_SCHEDULE:
                    by_schedule.append(moment)
            seen += len(page["dag_runs"])
            # As many as a deployment's own limit allows may come in a page, which can be fewer than were asked for.
            if not page["dag_runs"] or seen >= page["total_entries"]:
                return runs, by_schedule


def moment_of(text: str | None) -> datetime | None:
    """Return a moment of Airflow's API in UTC; None if there is none."""
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _only(runs: Mapping[datetime, DayRun], plan: Collection[datetime]) -> dict[datetime, DayRun]:
    planned = frozenset(plan)
    return {moment: run for moment, run in runs.items() if moment in planned}


def _schedule(dag: Mapping[str, Any]) -> str:
    return f"schedule: {dag.get('timetable_summary') or dag.get('timetable_description') or 'none'}"
