"""Recompute a range of days of a daily DAG through Airflow's REST API, wait, and fail when a day failed.

    python scripts/backfill.py --url http://127.0.0.1:8080 --from 2026-11-01 --to 2026-11-10

Both dates are days of the statistics time zone and both are included: `airflow backfill create` takes bare dates for
midnight in UTC and so silently loses a day. Works against any Airflow 3; needs Python alone. Credentials come from
AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD. Exit status: 0 every day is done, 1 a day is not, 2 the
backfill could not be started or followed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_DAG_ID = "device_statistic_daily"

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_FINISHED = frozenset({"success", "failed"})
_PAGE = 100


class BackfillError(Exception):
    """The backfill cannot be started or followed; the text says why and what to do."""


class ApiError(BackfillError):
    """Airflow answered with an error.

    :param status: the HTTP status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiUnreachable(BackfillError):
    """Airflow did not answer."""


class Reprocess(StrEnum):
    """What becomes of a day that has a finished run already."""

    NONE = "none"
    FAILED = "failed"
    COMPLETED = "completed"


class Api(Protocol):
    """What is needed of Airflow's REST API: one JSON request to a path below /api/v2."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> dict[str, Any]: ...


class AirflowApi:
    """Airflow's REST API over the standard library.

    :param url: of the web interface.
    :param token: a bearer token, or else
    :param username: a login
    :param password: and its password, for which a token is fetched (again, when it has expired).
    :param timeout: seconds for one request.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        username: str | None = None,
        password: str | None = None,
        timeout: float = 30.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BackfillError(f"--url {url}: expected http://host:port or https://host")
        if not token and not (username and password):
            raise BackfillError("no credentials: set AIRFLOW_TOKEN, or AIRFLOW_USERNAME and AIRFLOW_PASSWORD")
        self.url = url.rstrip("/")
        self._token = token
        self._login = (username, password) if username and password else None
        self._timeout = timeout
        # A proxy leads away from this machine, never to it.
        handlers = [urllib.request.ProxyHandler({})] if parts.hostname in _LOOPBACK else []
        self._opener = urllib.request.build_opener(*handlers)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> dict[str, Any]:
        """:raises ApiError: an error status.

        :raises ApiUnreachable: no answer.
        """
        if self._token is None:
            self._token = self._fetch_token()
        address = f"/api/v2{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            return self._send(method, address, body)
        except ApiError as error:
            if error.status != HTTPStatus.UNAUTHORIZED or self._login is None:
                raise
        self._token = self._fetch_token()
        return self._send(method, address, body)

    def _fetch_token(self) -> str:
        if self._login is None:
            raise ApiError(HTTPStatus.UNAUTHORIZED, f"{self.url} refused AIRFLOW_TOKEN")
        username, password = self._login
        self._token = None
        try:
            return str(self._send("POST", "/auth/token", {"username": username, "password": password})["access_token"])
        except ApiError as error:
            if error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise ApiError(error.status, f"{self.url} refused the login of {username}") from None
            raise

    def _send(self, method: str, address: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + address, data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                answer = json.loads(response.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, f"{method} {address}: {error.code} {_detail(error.read())}") from None
        except OSError as error:
            raise ApiUnreachable(f"{self.url} does not answer: {error}") from None
        except ValueError:
            raise ApiError(HTTPStatus.BAD_GATEWAY, f"{method} {address}: no JSON; is this Airflow's address?") from None
        if not isinstance(answer, dict):
            raise ApiError(HTTPStatus.BAD_GATEWAY, f"{method} {address}: unexpected answer; is this Airflow's address?")
        return answer


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


def parse_day(text: str, name: str) -> date:
    """:raises BackfillError: not an existing day written YYYY-MM-DD."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # fromisoformat also takes 20261101 and 2026-W44-7.
    if day is None or day.isoformat() != text:
        raise BackfillError(f"{name} {text}: expected an existing day as YYYY-MM-DD")
    return day


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
        if request.first > request.last:
            raise BackfillError(f"--from {request.first} is after --to {request.last}")
        if request.max_active_runs < 1:
            raise BackfillError(f"--max-active-runs {request.max_active_runs}: expected at least 1")
        self._api = api
        self._request = request
        self._now = now
        self._sleep = sleep
        self._monotonic = monotonic
        self._report = report
        self._days = [
            request.first + timedelta(days=number) for number in range((request.last - request.first).days + 1)
        ]
        self._path = f"/dags/{quote(request.dag_id, safe='')}"

    def run(self) -> Outcome:
        """Create the runs that are needed, and wait until every requested day's run has finished.

        :raises BackfillError: before anything is changed, the request makes no sense; later, Airflow is out of reach.
        """
        zone = self._zone()
        self._refuse_days_to_come(zone)
        self._check_dag()
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

    def _zone(self) -> ZoneInfo:
        name = self._request.timezone or self._zone_of_dag()
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise BackfillError(f"--timezone {name}: not an IANA time zone (such as UTC or Asia/Seoul)") from None

    def _zone_of_dag(self) -> str:
        """Return the zone that the DAG says its days are in.

        Airflow's own answer will not do: 3.3.2 gives its default zone for every DAG, whatever the DAG's is.
        """
        params = self._dag(details=True).get("params") or {}
        name = params.get("stat_date", {}).get("schema", {}).get("timezone")
        if not name:
            raise BackfillError(f"{self._request.dag_id} does not say in which zone its days are: pass --timezone")
        return str(name)

    def _refuse_days_to_come(self, zone: ZoneInfo) -> None:
        today = self._now().astimezone(zone).date()
        if self._request.last >= today:
            raise BackfillError(
                f"--to {self._request.last} has not ended yet: it is {today} in {zone.key}, so the last full day is"
                f" {today - timedelta(days=1)}"
            )

    def _dag(self, *, details: bool = False) -> dict[str, Any]:
        try:
            return self._api.request("GET", self._path + ("/details" if details else ""))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                raise BackfillError(
                    f"there is no DAG {self._request.dag_id} (not parsed yet, or its file has an import error)"
                ) from None
            raise

    def _check_dag(self) -> None:
        dag_id = self._request.dag_id
        if not self._dag().get("is_paused"):
            return
        if self._request.dry_run:
            self._report(f"{dag_id} is paused: its runs would stay queued")
        elif self._request.unpause:
            self._api.request("PATCH", self._path, query={"update_mask": "is_paused"}, body={"is_paused": False})
            self._report(f"{dag_id}: unpaused")
        else:
            raise BackfillError(f"{dag_id} is paused: its runs would stay queued. Unpause it, or pass --unpause")

    def _wait_for_due_run(self) -> None:
        """Let the scheduler make the run that is due first, which may be for one of the days.

        Made by the backfill at the same moment, the two runs of one date would collide, and Airflow 3.3.2's scheduler
        does not survive that. A DAG that was unpaused just now, and any DAG just after midnight, has such a run.
        """
        deadline = self._monotonic() + self._request.turn_timeout
        while True:
            due = self._dag().get("next_dagrun_run_after")
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
            page = self._api.request("GET", f"{self._path}/dagRuns", query={**query, "offset": seen})
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
            if self._scheduler_is_healthy():
                healthy = self._monotonic()
            elif self._monotonic() - healthy >= self._request.outage_timeout:
                raise BackfillError(
                    f"{line}; the scheduler has not been healthy for {self._request.outage_timeout:.0f} s,"
                    " so the other days will not be computed before it runs again"
                )
            self._sleep(self._request.poll_interval)

    def _scheduler_is_healthy(self) -> bool:
        try:
            health = self._api.request("GET", "/monitor/health")
        except (ApiUnreachable, ApiError):
            # Whether Airflow answers at all is looked at where the runs are read.
            return True
        return bool(health["scheduler"]["status"] == "healthy")

    def _runs_through_outages(self, zone: ZoneInfo) -> dict[date, DayRun]:
        """A restart of the api-server in a long backfill is no reason to give up: the runs go on without it."""
        deadline = self._monotonic() + self._request.outage_timeout
        while True:
            try:
                return self._runs(zone)
            except (ApiUnreachable, ApiError) as error:
                passing = isinstance(error, ApiUnreachable) or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                if not passing or self._monotonic() >= deadline:
                    raise
            self._sleep(self._request.poll_interval)


def _last_second(day: date, zone: ZoneInfo) -> datetime:
    # By way of UTC: subtracting within a zone ignores a change of its offset.
    next_day = start_of(day + timedelta(days=1), zone).astimezone(UTC)
    return (next_day - timedelta(seconds=1)).astimezone(zone)


def _detail(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]
    return detail if isinstance(detail, str) else json.dumps(detail)


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
        api = AirflowApi(
            options.url,
            token=environment.get("AIRFLOW_TOKEN"),
            username=environment.get("AIRFLOW_USERNAME"),
            password=environment.get("AIRFLOW_PASSWORD"),
        )
        return run_and_describe(api, request, url=api.url, report=lambda line: print(line, flush=True))
    except BackfillError as error:
        print(f"backfill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("backfill: no longer waiting; the runs go on in Airflow", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
