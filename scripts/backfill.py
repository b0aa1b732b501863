"""Recompute a range of days of a daily DAG through Airflow's REST API, wait, and fail when a day failed.

    python scripts/backfill.py --url http://127.0.0.1:8080 --from 2026-11-01 --to 2026-11-10

Both dates are days of the statistics time zone and both are included: `airflow backfill create` takes bare dates for
midnight in UTC and so silently loses a day. Works against any Airflow 3; needs Python alone. Credentials come from
AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD. Exit status: 0 every day is done, 1 a day is not, 2 the
backfill could not be started or followed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if not __package__:
    # Run as a file: only the file's own folder can be imported from.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.airflow_api import (
    DEFAULT_DAG_ID,
    AirflowApi,
    Api,
    ApiError,
    ApiUnreachable,
    DailyDag,
    ScriptError,
    api_from,
    days_from,
    is_passing,
    parse_day,
    refuse_days_to_come,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from zoneinfo import ZoneInfo

# Names that others know from here.
__all__ = [
    "DEFAULT_DAG_ID",
    "AirflowApi",
    "Api",
    "ApiError",
    "ApiUnreachable",
    "Backfill",
    "BackfillError",
    "BackfillRequest",
    "DayRun",
    "Outcome",
    "Reprocess",
    "add_backfill_options",
    "describe",
    "parse_day",
    "request_from",
    "run_and_describe",
    "start_of",
]

#: What a backfill raises.
BackfillError = ScriptError

_FINISHED = frozenset({"success", "failed"})
_PAGE = 100


class Reprocess(StrEnum):
    """What becomes of a day that has a finished run already."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class BackfillRequest:
    """:param first: the first day, included.

    :param last: the last day, included.
    :param timezone: the IANA zone in which a day begins at midnight; None = ask the deployment.
    :param max_active_runs: days computed at the same time.
    :param unpause: unpause the DAG instead of refusing a paused one.
    :param turn_timeout: seconds to wait for another backfill of the DAG to end, or for its scheduled run to be made.
    :param outage_timeout: seconds without an answer from Airflow, or without its scheduler, that are tolerated.
    :param poll_interval: seconds between two questions.
    """

    first: date
    last: date
    dag_id: str = DEFAULT_DAG_ID
    timezone: str | None = None
    reprocess: Reprocess = Reprocess.NONE
    max_active_runs: int = 3
    run_backwards: bool = False
    dry_run: bool = False
    unpause: bool = False
    turn_timeout: float = 600.0
    outage_timeout: float = 120.0
    poll_interval: float = 2.0


@dataclass(frozen=True)
class DayRun:
    """The run of one day.

    :param state: Airflow's word: queued, running, success, failed.
    """

    day: date
    run_id: str
    state: str


@dataclass(frozen=True)
class Outcome:
    """:param done: days whose run succeeded.

    :param failed: the runs of the days whose run failed.
    :param missing: days that have no run.
    """

    done: tuple[date, ...]
    failed: tuple[DayRun, ...] = ()
    missing: tuple[date, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.failed and not self.missing


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Midnight of the day in the zone, with the offset that is valid on that day."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


class Backfill:
    """One backfill from its checks to its outcome.

    :param api: Airflow.
    :param request: what to do.
    :param now: tells the time, with a zone.
    :param sleep: waits for seconds.
    :param monotonic: seconds that only grow, for time limits.
    :param report: takes one line of progress.
    """

    def __init__(
        self,
        api: Api,
        request: BackfillRequest,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = print,
    ) -> None:
        self._days = days_from(request.first, request.last)
        if request.max_active_runs < 1:
            raise BackfillError(f"--max-active-runs {request.max_active_runs}: expected at least 1")
        self._api = api
        self._request = request
        self._now = now
        self._sleep = sleep
        self._monotonic = monotonic
        self._report = report
        self._dag = DailyDag(api, request.dag_id)

    def run(self) -> Outcome:
        """Create the runs that are needed, and wait until every requested day's run has finished.

        :raises BackfillError: before anything is changed, the request makes no sense; later, Airflow is out of reach.
        """
        request = self._request
        zone = self._dag.zone(request.timezone)
        refuse_days_to_come(request.last, zone, self._now())
        self._dag.require_unpaused(unpause=request.unpause, dry_run=request.dry_run, report=self._report)
        if not self._request.dry_run:
            self._wait_for_due_run()
        runs = self._runs(zone)
        needed = [day for day in self._days if self._needs_run(runs.get(day))]
        self._announce(zone, runs, needed)
        if self._request.dry_run:
            return Outcome(done=tuple(self._days))
        if needed:
            self._create(zone)
        return self._follow(zone)

    def _wait_for_due_run(self) -> None:
        """Let the scheduler make the run that is due first, which may be for one of the days.

        Made by the backfill at the same moment, the two runs of one date would collide, and Airflow 3.3.2's scheduler
        does not survive that. A DAG that was unpaused just now, and any DAG just after midnight, has such a run.
        """
        deadline = self._monotonic() + self._request.turn_timeout
        while True:
            due = self._dag.read().get("next_dagrun_run_after")
            if due is None or datetime.fromisoformat(due) > self._now():
                return
            if self._monotonic() >= deadline:
                raise BackfillError(
                    f"the run of {self._request.dag_id} that was due at {due} has not been made after"
                    f" {self._request.turn_timeout:.0f} s: does the scheduler run, has the DAG reached max_active_runs?"
                )
            self._sleep(self._request.poll_interval)

    def _runs(self, zone: ZoneInfo) -> dict[date, DayRun]:
        """The runs of the requested days. A run belongs to a day when its interval begins with the day."""
        starts = {start_of(day, zone).astimezone(UTC): day for day in self._days}
        runs: dict[date, DayRun] = {}
        query = {
            "logical_date_gte": start_of(self._request.first, zone).isoformat(),
            "logical_date_lte": start_of(self._request.last, zone).isoformat(),
            "limit": _PAGE,
            "order_by": "id",
        }
        seen = 0
        while True:
            page = self._api.request("GET", f"{self._dag.path}/dagRuns", query={**query, "offset": seen})
            for run in page["dag_runs"]:
                day = starts.get(datetime.fromisoformat(run["logical_date"]).astimezone(UTC))
                if day is not None:
                    runs[day] = DayRun(day, run["dag_run_id"], run["state"])
            seen += len(page["dag_runs"])
            if not page["dag_runs"] or seen >= page["total_entries"]:
                return runs

    def _needs_run(self, run: DayRun | None) -> bool:
        if run is None:
            return True
        if run.state not in _FINISHED:
            return False
        return self._request.reprocess is Reprocess.COMPLETED or (
            self._request.reprocess is Reprocess.FAILED and run.state == "failed"
        )

    def _announce(self, zone: ZoneInfo, runs: Mapping[date, DayRun], needed: Sequence[date]) -> None:
        request = self._request
        days = "1 day" if len(self._days) == 1 else f"{len(self._days)} days"
        self._report(
            f"{request.dag_id}: {request.first} to {request.last}, {days} in {zone.key}; {len(needed)} to compute"
        )
        for day in self._days:
            run = runs.get(day)
            if request.dry_run:
                self._report(
                    f"  {day}: {run.state if run else 'no run yet'}{', would be computed' if day in needed else ''}"
                )
            elif run and run.state == "failed" and day not in needed:
                self._report(f"  {day}: failed before and is not computed again; pass --reprocess failed")

    def _create(self, zone: ZoneInfo) -> None:
        request = self._request
        body = {
            "dag_id": request.dag_id,
            "from_date": start_of(request.first, zone).isoformat(),
            # The day's last second: "to" is a moment, so midnight of that day is right by luck at best.
            "to_date": _last_second(request.last, zone).isoformat(),
            "reprocess_behavior": request.reprocess.value,
            "max_active_runs": request.max_active_runs,
            "run_backwards": request.run_backwards,
        }
        deadline = self._monotonic() + request.turn_timeout
        waiting = False
        while True:
            try:
                self._api.request("POST", "/backfills", body=body)
                return
            except ApiError as error:
                # A backfill counts as running for up to half a minute after its last run.
                if error.status != HTTPStatus.CONFLICT:
                    raise
            if not waiting:
                waiting = True
                self._report(f"another backfill of {request.dag_id} is still running: waiting for it to end")
            if self._monotonic() >= deadline:
                raise BackfillError(
                    f"another backfill of {request.dag_id} was still running after {request.turn_timeout:.0f} s;"
                    " if it is paused, unpause or cancel it"
                )
            self._sleep(request.poll_interval)

    def _follow(self, zone: ZoneInfo) -> Outcome:
        total = len(self._days)
        last_line = ""
        healthy = self._monotonic()
        while True:
            runs = self._runs_through_outages(zone)
            done = tuple(day for day in self._days if day in runs and runs[day].state == "success")
            failed = tuple(runs[day] for day in self._days if day in runs and runs[day].state == "failed")
            missing = tuple(day for day in self._days if day not in runs)
            line = f"{len(done) + len(failed)} of {total} days finished" + (
                f", failed: {', '.join(str(run.day) for run in failed)}" if failed else ""
            )
            if line != last_line:
                self._report(line)
                last_line = line
            if len(done) + len(failed) + len(missing) == total:
                return Outcome(done, failed, missing)
            if self._dag.scheduler_is_healthy():
                healthy = self._monotonic()
            elif self._monotonic() - healthy >= self._request.outage_timeout:
                raise BackfillError(
                    f"{line}; the scheduler has not been healthy for {self._request.outage_timeout:.0f} s,"
                    " so the other days will not be computed before it runs again"
                )
            self._sleep(self._request.poll_interval)

    def _runs_through_outages(self, zone: ZoneInfo) -> dict[date, DayRun]:
        """A restart of the api-server in a long backfill is no reason to give up: the runs go on without it."""
        deadline = self._monotonic() + self._request.outage_timeout
        while True:
            try:
                return self._runs(zone)
            except (ApiUnreachable, ApiError) as error:
                if not is_passing(error) or self._monotonic() >= deadline:
                    raise
            self._sleep(self._request.poll_interval)


def _last_second(day: date, zone: ZoneInfo) -> datetime:
    # By way of UTC: subtracting within a zone ignores a change of its offset.
    next_day = start_of(day + timedelta(days=1), zone).astimezone(UTC)
    return (next_day - timedelta(seconds=1)).astimezone(zone)


def describe(outcome: Outcome, *, dag_id: str, url: str) -> list[str]:
    """The result in lines for people: every day that is not done, by name, with the address of its run."""
    lines = [
        f"{run.day}: FAILED, see {url}/dags/{quote(dag_id, safe='')}/runs/{quote(run.run_id, safe='')}"
        for run in outcome.failed
    ]
    lines += [f"{day}: has NO RUN; is it before the DAG's start date?" for day in outcome.missing]
    total = len(outcome.done) + len(lines)
    lines.append(f"{len(outcome.done)} of {total} days done" + ("" if outcome.ok else f", {len(lines)} NOT"))
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Recompute a range of days through Airflow's REST API and wait for it.",
        epilog="Credentials: AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD, in the environment.",
    )
    parser.add_argument("--url", required=True, help="address of Airflow's web interface")
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first day, YYYY-MM-DD, included")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day, YYYY-MM-DD, included")
    add_backfill_options(parser)
    return parser


def add_backfill_options(parser: argparse.ArgumentParser) -> None:
    """The options that the embedded stack's own `backfill` command shares."""
    parser.add_argument("--dag-id", default=DEFAULT_DAG_ID, help="default: %(default)s")
    parser.add_argument(
        "--reprocess",
        type=Reprocess,
        choices=list(Reprocess),
        default=Reprocess.NONE,
        help="which finished days to compute again (default: none)",
    )
    parser.add_argument("--max-active-runs", type=int, default=3, metavar="N", help="days at a time (default: 3)")
    parser.add_argument(
        "--timezone", metavar="ZONE", help="statistics time zone (default: what the DAG says of its stat_date)"
    )
    parser.add_argument("--run-backwards", action="store_true", help="newest day first")
    parser.add_argument("--unpause", action="store_true", help="unpause the DAG if it is paused")
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be computed")


def request_from(options: argparse.Namespace) -> BackfillRequest:
    """:raises BackfillError: a date is malformed."""
    return BackfillRequest(
        first=parse_day(options.first, "--from"),
        last=parse_day(options.last, "--to"),
        dag_id=options.dag_id,
        timezone=options.timezone,
        reprocess=options.reprocess,
        max_active_runs=options.max_active_runs,
        run_backwards=options.run_backwards,
        dry_run=options.dry_run,
        unpause=options.unpause,
    )


def run_and_describe(api: Api, request: BackfillRequest, *, url: str, report: Callable[[str], None] = print) -> int:
    """Run the backfill and tell its result; returns the exit status."""
    outcome = Backfill(api, request, report=report).run()
    if request.dry_run:
        return 0
    for line in describe(outcome, dag_id=request.dag_id, url=url):
        report(line)
    return 0 if outcome.ok else 1


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    options = _parser().parse_args(arguments)
    try:
        request = request_from(options)
        api = api_from(options, environment)
        return run_and_describe(api, request, url=api.url, report=lambda line: print(line, flush=True))
    except BackfillError as error:
        print(f"backfill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("backfill: no longer waiting; the runs go on in Airflow", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
