"""Recompute a range of days of any DAG through Airflow's REST API, wait, and fail when a run of a day failed.

    python scripts/backfill.py --url http://127.0.0.1:8080 --from 2026-11-01 --to 2026-11-10

Both dates are days of the statistics time zone and both are included: `airflow backfill create` takes bare dates for
midnight in UTC and so silently loses a day. A day is done when every run that it has by the DAG's schedule is: one of
a daily DAG, 24 of an hourly one (23 or 25 where clocks change). A DAG whose runs are not those of days (no schedule,
assets, partitions) is refused. Works against any Airflow 3; needs Python alone. Credentials come from AIRFLOW_TOKEN, or
AIRFLOW_USERNAME and AIRFLOW_PASSWORD. Exit status: 0 every day is done, 1 a day is not, 2 the backfill could not be
started or followed.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import partial
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
    Dag,
    ScriptError,
    api_from,
    is_passing,
)
from scripts.backfill_progress import Progress
from scripts.day_range import DaysRequest, add_dag_options, add_range_options, parse_day, start_of, values_from
from scripts.patience import Patience
from scripts.scheduled_runs import DayResult, DayRun, ScheduledRuns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scripts.scheduled_runs import Look

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
    "DayResult",
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

# Runs of one day that are named in the result.
_NAMED_RUNS = 25
# Airflow 3.3 took 27 ms for each on a busy machine of two cores.
_MANY_RUNS = 500


class Reprocess(StrEnum):
    """What becomes of a run that has finished already."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


@dataclass(frozen=True, kw_only=True)
class BackfillRequest(DaysRequest):
    """:param reprocess: which finished runs to compute again; those that do not exist are always computed.

    :param turn_timeout: seconds to wait for another backfill of the DAG to end, or for its scheduled run to be made.
    """

    reprocess: Reprocess = Reprocess.NONE
    run_backwards: bool = False
    turn_timeout: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """:param days: what became of each day, in their order."""

    days: tuple[DayResult, ...]

    @property
    def ok(self) -> bool:
        return all(day.ok for day in self.days)

    @property
    def done(self) -> tuple[date, ...]:
        """The days all runs of which succeeded."""
        return tuple(day.day for day in self.days if day.ok)

    @property
    def failed(self) -> tuple[DayRun, ...]:
        return tuple(run for day in self.days for run in day.failed)

    @property
    def missing(self) -> tuple[datetime, ...]:
        """The logical dates that have no run."""
        return tuple(moment for day in self.days for moment in day.missing)


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
        self._api = api
        self._request = request
        self._now = now
        self._report = report
        self._dag = Dag(api, request.dag_id)
        self._patience = Patience(self._dag, request, sleep=sleep, monotonic=monotonic)

    def run(self) -> Outcome:
        """Create the runs that are needed, and wait until every run of the requested days has finished.

        :raises BackfillError: before anything is changed, the request makes no sense; later, Airflow is out of reach.
        """
        request = self._request
        zone = self._dag.zone(request.timezone)
        request.refuse_days_to_come(zone, self._now())
        runs = ScheduledRuns(self._api, self._dag, request, zone)
        runs.refuse_other_schedules(self._now())
        self._dag.require_unpaused(unpause=request.unpause, dry_run=request.dry_run, report=self._report)
        if not request.dry_run:
            self._wait_for_due_run(runs)
        look = runs.look()
        if not look.plan:
            raise BackfillError(f"{request.describe(zone)}: none of them has a run by the DAG's schedule")
        needed = [moment for moment in look.plan if self._needs_run(look.runs.get(moment))]
        progress = Progress(
            request.days, look.plan, day_of=runs.day_of, report=self._report, monotonic=self._patience.monotonic
        )
        self._report(f"{request.describe(zone)}{progress.runs_in_words}; {len(needed)} to compute")
        self._announce(runs, look, set(needed))
        if request.dry_run:
            return Outcome(tuple(runs.results(look)))
        if needed:
            if len(needed) > _MANY_RUNS:
                self._report(f"Airflow makes {len(needed)} runs in one step, which may take minutes")
            self._create(runs)
        return Outcome(tuple(runs.results(self._follow(runs, look.plan, progress))))

    def _wait_for_due_run(self, runs: ScheduledRuns) -> None:
        """Let the scheduler make the run that is due first, if it may be of one of the days.

        Made by the backfill at the same moment, the two runs of one date would collide, and Airflow 3.3.2's scheduler
        does not survive that. A DAG that was unpaused just now, and any DAG just after midnight, has such a run.
        """
        patience, timeout = self._patience, self._request.turn_timeout
        deadline = patience.monotonic() + timeout
        while (due := runs.due_run(self._now())) is not None:
            if patience.monotonic() >= deadline:
                raise BackfillError(
                    f"the run of {self._request.dag_id} that was due at {due.isoformat()} has not been made after"
                    f" {timeout:.0f} s: does the scheduler run, has the DAG reached max_active_runs?"
                )
            patience.pause()

    def _needs_run(self, run: DayRun | None) -> bool:
        if run is None:
            return True
        if not run.has_finished:
            return False
        return self._request.reprocess is Reprocess.COMPLETED or (
            self._request.reprocess is Reprocess.FAILED and run.state == "failed"
        )

    def _announce(self, runs: ScheduledRuns, look: Look, needed: set[datetime]) -> None:
        """Name the days that may not be what one expects; in a dry run, all of them."""
        of_day: dict[date, list[datetime]] = {day: [] for day in self._request.days}
        for moment in look.plan:
            of_day[runs.day_of(moment)].append(moment)
        for day, moments in of_day.items():
            to_compute = [moment for moment in moments if moment in needed]
            if self._request.dry_run:
                self._report(f"  {day}: {_states_in_words(look, moments)}{_would(len(to_compute), len(moments))}")
                continue
            failed = [moment for moment in moments if (run := look.runs.get(moment)) and run.state == "failed"]
            if failed and not to_compute:
                before = "failed before and is" if len(moments) == 1 else f"{len(failed)} runs failed before and are"
                self._report(f"  {day}: {before} not computed again; pass --reprocess failed")

    def _create(self, runs: ScheduledRuns) -> None:
        request, patience = self._request, self._patience
        deadline = patience.monotonic() + request.turn_timeout
        waiting = False
        while True:
            try:
                runs.create(reprocess=request.reprocess.value, run_backwards=request.run_backwards)
                return
            except ScriptError as error:
                if is_passing(error):
                    raise BackfillError(
                        f"{error}. It may have made the runs all the same: see the backfills of {request.dag_id} in"
                        " its pages. This command with --reprocess none follows those that are there"
                    ) from error
                # A backfill counts as running for up to half a minute after its last run.
                if not isinstance(error, ApiError) or error.status != HTTPStatus.CONFLICT:
                    raise
            if not waiting:
                waiting = True
                self._report(f"another backfill of {request.dag_id} is still running: waiting for it to end")
            if patience.monotonic() >= deadline:
                raise BackfillError(
                    f"another backfill of {request.dag_id} was still running after {request.turn_timeout:.0f} s;"
                    " if it is paused, unpause or cancel it"
                )
            patience.pause()

    def _follow(self, runs: ScheduledRuns, plan: Sequence[datetime], progress: Progress) -> Look:
        """Wait until no run of the days is under way."""
        patience = self._patience
        look = patience.through_outages(partial(runs.look, plan))
        while True:
            line = progress.tell(look)
            if not look.waiting:
                # Somebody may have cleared runs that had ended, and one by hand may have kept its date from the plan.
                again = patience.through_outages(runs.look)
                if not again.waiting and again.plan == look.plan:
                    progress.tell(again)
                    return again
                look = again
                continue
            patience.require_scheduler(line)
            self._require_unpaused(line)
            # As long as Airflow took for the last answers, so that no more than half of the time it works for this.
            patience.pause(at_least=progress.asked_for)
            with progress.asking():
                look = patience.through_outages(partial(runs.look_again, look))

    def _require_unpaused(self, line: str) -> None:
        """:raises BackfillError: somebody has paused the DAG: its runs stay queued."""
        try:
            paused = self._dag.read().get("is_paused")
        except ScriptError as error:
            if not is_passing(error):
                raise
            return
        if paused:
            raise BackfillError(
                f"{line}; {self._request.dag_id} has been paused meanwhile: its runs stay queued. Unpause it and run"
                " this command again with --reprocess none to follow them"
            )


def _states_in_words(look: Look, moments: Sequence[datetime]) -> str:
    states = [run.state if (run := look.runs.get(moment)) else "no run yet" for moment in moments]
    if not states:
        return "no run by the schedule"
    if len(states) == 1:
        return states[0]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _would(to_compute: int, total: int) -> str:
    if not to_compute:
        return ""
    return ", would be computed" if total == 1 else f"; {to_compute} would be computed"


def describe(outcome: Outcome, *, dag_id: str, url: str) -> list[str]:
    """The result in lines for people: every day and run that is not done, by name, with the address of the run."""
    lines = []
    for day in outcome.days:
        lines += _describe_day(day, f"{url}/dags/{quote(dag_id, safe='')}/runs/")
    idle = [str(day.day) for day in outcome.days if not day.total]
    if idle:
        lines.append(f"no run by the schedule: {', '.join(idle[:_NAMED_RUNS])}{_more(len(idle))}")
    days = [day for day in outcome.days if day.total]
    done = sum(day.ok for day in days)
    runs = sum(day.total for day in days)
    in_runs = f" ({sum(day.done for day in days)} of {runs} runs)" if runs != len(days) else ""
    lines.append(f"{done} of {len(days)} days done{in_runs}" + ("" if outcome.ok else f", {len(days) - done} NOT"))
    return lines


def _describe_day(day: DayResult, address: str) -> list[str]:
    if day.ok:
        return []
    if day.total == 1:
        return [f"{day.day}: FAILED, see {address}{quote(run.run_id, safe='')}" for run in day.failed] or [
            f"{day.day}: has NO RUN; was it removed, or is the DAG another one now?"
        ]
    lines = [
        f"  {run.logical_date.isoformat(timespec='minutes')}: FAILED, see {address}{quote(run.run_id, safe='')}"
        for run in day.failed
    ]
    lines += [f"  {moment.isoformat(timespec='minutes')}: has NO RUN" for moment in day.missing]
    named = lines[:_NAMED_RUNS]
    if more := _more(len(lines)):
        named.append(f" {more}")
    return [f"{day.day}: {day.done} of {day.total} runs done", *named]


def _more(count: int) -> str:
    return f" … and {count - _NAMED_RUNS} more" if count > _NAMED_RUNS else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Recompute a range of days of a DAG through Airflow's REST API and wait for it.",
        epilog="Credentials: AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD, in the environment.",
    )
    parser.add_argument("--url", required=True, help="address of Airflow's web interface")
    add_range_options(parser)
    add_backfill_options(parser)
    return parser


def add_backfill_options(parser: argparse.ArgumentParser) -> None:
    """The options that the embedded stack's own `backfill` command shares."""
    add_dag_options(parser, at_a_time="runs at a time", dry_run="only tell what would be computed")
    parser.add_argument(
        "--reprocess",
        type=Reprocess,
        choices=list(Reprocess),
        default=Reprocess.NONE,
        help="which finished runs to compute again (default: none)",
    )
    parser.add_argument("--run-backwards", action="store_true", help="newest run first")


def request_from(options: argparse.Namespace) -> BackfillRequest:
    """:raises BackfillError: a date is malformed."""
    return BackfillRequest(**values_from(options), reprocess=options.reprocess, run_backwards=options.run_backwards)


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
