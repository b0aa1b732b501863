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
from typing import TYPE_CHECKING
from urllib.parse import quote

if not __package__:
    # Run as a file: only the file's own folder can be imported from.
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.airflow_api import ApiError, Dag, ScriptError, api_from
from scripts.day_range import DaysRequest, add_dag_options, add_range_options, values_from
from scripts.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scripts.airflow_api import Api

PARAMETER = "cache_only"
CACHE_TASK = "cache"


class RecacheRequest(DaysRequest):
    """Which days to cache again."""


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
        self._dag = Dag(api, request.dag_id)
        self._api = api
        self._request = request
        self._now = now
        self._patience = Patience(self._dag, request, sleep=sleep, monotonic=monotonic)
        self._report = report
        # The runs of two commands at once are different ones.
        self._token = secrets.token_hex(4)

    def run(self) -> Recached:
        """Run the cache task of each day and wait for it.

        :raises ScriptError: before anything is begun, the request makes no sense; later, Airflow is out of reach.
        """
        request = self._request
        zone = self._dag.zone(request.timezone)
        request.refuse_days_to_come(zone, self._now())
        if PARAMETER not in self._dag.parameters():
            raise ScriptError(f"{request.dag_id} has no parameter {PARAMETER}: this deployment's DAG is an older one")
        self._dag.require_unpaused(unpause=request.unpause, dry_run=request.dry_run, report=self._report)
        self._report(f"{request.describe(zone)} to cache again")
        if request.dry_run:
            return Recached()
        return self._follow()

    def _follow(self) -> Recached:
        waiting = deque(self._request.days)
        running: dict[date, str] = {}
        result, told = Recached(), -1
        while waiting or running:
            while waiting and len(running) < self._request.max_active_runs:
                day = waiting.popleft()
                running[day] = self._begin(day)
            for day, run_id in list(running.items()):
                if self._has_ended(day, run_id, result):
                    del running[day]
            line = _progress(result, len(self._request.days))
            if result.count != told:
                told = result.count
                self._report(line)
            if running:
                self._patience.require_scheduler(line)
                self._patience.pause()
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
            self._patience.through_outages(lambda: self._api.request("POST", f"{self._dag.path}/dagRuns", body=body))
        except ApiError as error:
            # Made by an earlier try whose answer got lost.
            if error.status != HTTPStatus.CONFLICT:
                raise
        return run_id

    def _has_ended(self, day: date, run_id: str, result: Recached) -> bool:
        """Look at a day's run, and note its result if there is one."""
        path = f"{self._dag.path}/dagRuns/{quote(run_id, safe='')}"
        state = self._patience.through_outages(lambda: self._api.request("GET", path))["state"]
        if state == "failed":
            result.failed[day] = run_id
        elif state == "success":
            task = self._patience.through_outages(
                lambda: self._api.request("GET", f"{path}/taskInstances/{CACHE_TASK}")
            )
            (result.absent if task["state"] == "skipped" else result.done).append(day)
        return state in ("failed", "success")


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
    add_range_options(parser)
    add_dag_options(parser, at_a_time="days at a time", dry_run="only check, and tell how many days there are")


def request_from(options: argparse.Namespace) -> RecacheRequest:
    """:raises ScriptError: a date is malformed."""
    return RecacheRequest(**values_from(options))


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
