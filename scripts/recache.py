"""Put days of a daily DAG into Valkey again as the table has them, through Airflow's REST API; wait, and tell failures.

    python scripts/recache.py --url http://127.0.0.1:8080 --from 2026-11-01 --to 2026-11-10

Both dates are days of the statistics time zone and both are included. For a Valkey that was replaced or has lost keys:
nothing is computed, so the table stays as it is, and a day whose sources have gone comes back too. Each day is a run of
its own that skips what computes (the DAG's parameter `cache_only`), so it does not matter whether the day has a run,
nor how it ended; the runs that computed the days are left alone. Works against any Airflow 3; needs Python alone.
Credentials come from AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD. Exit status: 0 every day that the table
has is in Valkey, 1 a day is not, 2 the work could not be started or followed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if not __package__:
    # Run as a file: only the file's own folder can be imported from.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.airflow_api import (
    DEFAULT_DAG_ID,
    ApiError,
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

    from scripts.airflow_api import Api

PARAMETER = "cache_only"
CACHE_TASK = "cache"


@dataclass(frozen=True, kw_only=True)
class RecacheRequest:
    """:param first: the first day, included.

    :param last: the last day, included.
    :param timezone: the IANA zone in which a day begins at midnight; None = ask the deployment.
    :param max_active_runs: days at the same time.
    :param unpause: unpause the DAG instead of refusing a paused one.
    :param outage_timeout: seconds without an answer from Airflow, or without its scheduler, that are tolerated.
    :param poll_interval: seconds between two questions.
    """

    first: date
    last: date
    dag_id: str = DEFAULT_DAG_ID
    timezone: str | None = None
    max_active_runs: int = 3
    dry_run: bool = False
    unpause: bool = False
    outage_timeout: float = 120.0
    poll_interval: float = 2.0


@dataclass
class Recached:
    """:param done: days that were put into Valkey.

    :param absent: days of which the table has no row.
    :param failed: days that failed, with the ids of their runs.
    """

    done: list[date] = field(default_factory=list)
    absent: list[date] = field(default_factory=list)
    failed: dict[date, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.done) + len(self.absent) + len(self.failed)


class Recache:
    """From the checks to the outcome.

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
        request: RecacheRequest,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        report: Callable[[str], None] = print,
    ) -> None:
        if request.max_active_runs < 1:
            raise ScriptError(f"--max-active-runs {request.max_active_runs}: expected at least 1")
        self._days = days_from(request.first, request.last)
        self._dag = DailyDag(api, request.dag_id)
        self._api = api
        self._request = request
        self._now = now
        self._sleep = sleep
        self._monotonic = monotonic
        self._report = report
        # The runs of two commands at once are different ones.
        self._token = secrets.token_hex(4)

    def run(self) -> Recached:
        """Run the cache task of each day and wait for it.

        :raises ScriptError: before anything is begun, the request makes no sense; later, Airflow is out of reach.
        """
        request = self._request
        zone = self._dag.zone(request.timezone)
        refuse_days_to_come(request.last, zone, self._now())
        if PARAMETER not in self._dag.parameters():
            raise ScriptError(f"{request.dag_id} has no parameter {PARAMETER}: this deployment's DAG is an older one")
        self._dag.require_unpaused(unpause=request.unpause, dry_run=request.dry_run, report=self._report)
        days = "1 day" if len(self._days) == 1 else f"{len(self._days)} days"
        self._report(f"{request.dag_id}: {request.first} to {request.last}, {days} in {zone.key} to cache again")
        if request.dry_run:
            return Recached()
        return self._follow()

    def _follow(self) -> Recached:
        waiting = deque(self._days)
        running: dict[date, str] = {}
        result, told = Recached(), -1
        healthy = self._monotonic()
        while waiting or running:
            while waiting and len(running) < self._request.max_active_runs:
                day = waiting.popleft()
                running[day] = self._begin(day)
            for day, run_id in list(running.items()):
                if self._has_ended(day, run_id, result):
                    del running[day]
            if result.count != told:
                told = result.count
                self._report(_progress(result, len(self._days)))
            if not running:
                continue
            if self._dag.scheduler_is_healthy():
                healthy = self._monotonic()
            elif self._monotonic() - healthy >= self._request.outage_timeout:
                raise ScriptError(
                    f"{_progress(result, len(self._days))}; the scheduler has not been healthy for"
                    f" {self._request.outage_timeout:.0f} s, so the other days wait until it runs again"
                )
            self._sleep(self._request.poll_interval)
        return result

    def _begin(self, day: date) -> str:
        """Make the run that caches a day.

        :return: its id.
        """
        run_id = f"recache__{day}__{self._token}"
        body = {
            "dag_run_id": run_id,
            "logical_date": None,
            "conf": {"stat_date": day.isoformat(), PARAMETER: True},
        }
        try:
            self._through_outages(lambda: self._api.request("POST", f"{self._dag.path}/dagRuns", body=body))
        except ApiError as error:
            # Made by an earlier try whose answer got lost.
            if error.status != HTTPStatus.CONFLICT:
                raise
        return run_id

    def _has_ended(self, day: date, run_id: str, result: Recached) -> bool:
        """Look at a day's run, and note its result if there is one."""
        path = f"{self._dag.path}/dagRuns/{quote(run_id, safe='')}"
        state = self._through_outages(lambda: self._api.request("GET", path))["state"]
        if state == "failed":
            result.failed[day] = run_id
        elif state == "success":
            task = self._through_outages(lambda: self._api.request("GET", f"{path}/taskInstances/{CACHE_TASK}"))
            (result.absent if task["state"] == "skipped" else result.done).append(day)
        return state in ("failed", "success")

    def _through_outages(self, ask: Callable[[], Any]) -> Any:
        """Ask again while Airflow is away: the runs go on without its api-server."""
        deadline = self._monotonic() + self._request.outage_timeout
        while True:
            try:
                return ask()
            except ScriptError as error:
                if not is_passing(error) or self._monotonic() >= deadline:
                    raise
            self._sleep(self._request.poll_interval)


def _progress(result: Recached, total: int) -> str:
    failed = f", failed: {', '.join(map(str, sorted(result.failed)))}" if result.failed else ""
    return f"{result.count} of {total} days finished{failed}"


def describe(result: Recached, *, dag_id: str, url: str) -> list[str]:
    """The result in lines for people: every day that is not in Valkey, by name, with the reason or its run."""
    lines = [
        f"{day}: FAILED, see {url}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
        for day, run_id in sorted(result.failed.items())
    ]
    lines += [f"{day}: the table has no row of it, so there is nothing to cache" for day in sorted(result.absent)]
    last = f"{len(result.done)} of {result.count} days cached"
    if result.absent:
        last += f", {len(result.absent)} not in the table"
    if result.failed:
        last += f", {len(result.failed)} FAILED"
    return [*lines, last]


def add_recache_options(parser: argparse.ArgumentParser) -> None:
    """The options that the embedded stack's own `recache` command shares."""
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first day, YYYY-MM-DD, included")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day, YYYY-MM-DD, included")
    parser.add_argument("--dag-id", default=DEFAULT_DAG_ID, help="default: %(default)s")
    parser.add_argument("--max-active-runs", type=int, default=3, metavar="N", help="days at a time (default: 3)")
    parser.add_argument(
        "--timezone", metavar="ZONE", help="statistics time zone (default: what the DAG says of its stat_date)"
    )
    parser.add_argument("--unpause", action="store_true", help="unpause the DAG if it is paused")
    parser.add_argument("--dry-run", action="store_true", help="only check, and tell how many days there are")


def request_from(options: argparse.Namespace) -> RecacheRequest:
    """:raises ScriptError: a date is malformed."""
    return RecacheRequest(
        first=parse_day(options.first, "--from"),
        last=parse_day(options.last, "--to"),
        dag_id=options.dag_id,
        timezone=options.timezone,
        max_active_runs=options.max_active_runs,
        dry_run=options.dry_run,
        unpause=options.unpause,
    )


def run_and_describe(api: Api, request: RecacheRequest, *, url: str, report: Callable[[str], None] = print) -> int:
    """Cache the days and tell the result; returns the exit status."""
    result = Recache(api, request, report=report).run()
    if request.dry_run:
        return 0
    for line in describe(result, dag_id=request.dag_id, url=url):
        report(line)
    return 1 if result.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Put a range of days into Valkey again as the table has them, through Airflow's REST API.",
        epilog="Credentials: AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD, in the environment.",
    )
    parser.add_argument("--url", required=True, help="address of Airflow's web interface")
    add_recache_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    options = _parser().parse_args(arguments)
    try:
        request = request_from(options)
        api = api_from(options, environment)
        return run_and_describe(api, request, url=api.url, report=lambda line: print(line, flush=True))
    except ScriptError as error:
        print(f"recache: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("recache: no longer waiting; the runs that have begun go on in Airflow", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
