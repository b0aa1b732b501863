"""What the stack's commands do once it runs: sample data, live traffic, statements, backfills, the reports."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import redis

from local.part_log import FollowedLog, tail_of
from local.services.clickhouse import QueryError
from local.services.part import one_line
from local.settings import ADMIN_USER
from local.stack import StackError
from scripts.backfill import DEFAULT_DAG_ID, AirflowApi, ApiError, BackfillRequest, Reprocess, run_and_describe
from scripts.recache import run_and_describe as recache_days

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from local.feed_options import FeedOptions
    from local.settings import Settings
    from local.stack import PartStatus, Stack
    from scripts.backfill import Api
    from scripts.recache import RecacheRequest

REPORTED_DAYS = 7
LIVE_DAGS = "realtime_"

# A loop's newest success counts when it is no older: what an earlier run of the stack has left proves nothing, and the
# slowest loop ticks once a minute.
_FRESH = timedelta(minutes=2)

FEED_IS_OPTIONAL = "The feed of live traffic is stopped. It is optional: `make run` starts it again."

_REPORT = """
SELECT stat_date, count() AS keys, sum(visit) AS visits, sum(dau) AS dau, sum(pv) AS pv
FROM max_device_statistic
WHERE stat_date BETWEEN {first:Date} AND {last:Date}
GROUP BY stat_date
ORDER BY stat_date
"""


def airflow_api(settings: Settings) -> AirflowApi:
    return AirflowApi(settings.airflow_url, username=ADMIN_USER, password=settings.airflow_admin_password)


def last_full_days(timezone: str, count: int, now: datetime | None = None) -> tuple[date, date]:
    """The first and the last of the newest days that have ended in the zone."""
    today = (now or datetime.now(UTC)).astimezone(ZoneInfo(timezone)).date()
    return today - timedelta(days=count), today - timedelta(days=1)


def status_lines(parts: Sequence[PartStatus]) -> list[str]:
    lines = []
    for part in parts:
        if part.pid is None:
            state = "stopped (optional: `make run` starts it)" if part.optional else "stopped"
        else:
            word = "running" if part.answers else f"NOT ANSWERING: {part.problem or 'no reason given'} "
            since = f" since {part.since:%Y-%m-%d %H:%M:%S}" if part.since else ""
            state = f"{word}  pid {part.pid:<8}{since}"
        lines.append(f"{part.name:<22} {state:<50} {part.address}".rstrip())
    return lines


def seed(stack: Stack, *, days: int, scale: float, force: bool = False) -> None:
    """Send the sample data that is not there yet, through the same interface as any collector.

    :raises QueryError: ClickHouse cannot be reached.
    :raises StackError: it refuses the data.
    """
    # Imported here: numpy and the client take a second, which `status` and `sql` need not wait for.
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from local.sample_data import seed as send_sample_data

    with stack.exclusive():
        settings = stack.settings
        # The client below would tell the same in many lines.
        stack.clickhouse.query("SELECT 1")
        try:
            with clickhouse_connect.get_client(**_http_arguments(settings)) as client:
                send_sample_data(
                    client, now=datetime.now(UTC), days=days, scale=scale, timezone=settings.timezone, force=force
                )
        except ClickHouseError as error:
            raise StackError(f"ClickHouse did not take the sample data: {one_line(str(error))}") from error


def feed(stack: Stack, options: FeedOptions) -> int:
    """Send live traffic until interrupted, or for the options' seconds.

    :return: 0, or 1 when it had to end without knowing what became of an insert.
    :raises QueryError: ClickHouse cannot be reached when it begins.
    :raises StackError: a rate that is too high.
    """
    # Not in the middle of another command; those that come later find a sender like any other.
    with stack.exclusive():
        stack.clickhouse.query("SELECT 1")
    # Imported here, as for `seed`.
    from local.feed import run_feed

    try:
        return run_feed(
            _http_arguments(stack.settings),
            timezone=stack.settings.timezone,
            options=options,
            report=lambda line: print(line, flush=True),
        )
    except ValueError as error:
        raise StackError(f"the feed cannot begin: {error}") from error


def _http_arguments(settings: Settings) -> dict[str, Any]:
    """What clickhouse_connect.get_client needs."""
    return {
        "host": settings.host,
        "port": settings.clickhouse_port,
        "username": settings.clickhouse_user,
        "password": settings.clickhouse_password,
        "database": settings.clickhouse_database,
    }


def run_sql(stack: Stack, statement: str, *, output_format: str) -> int:
    try:
        print(stack.clickhouse.query(statement, default_format=output_format), end="")
    except QueryError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def show_logs(paths: Sequence[Path], *, lines: int, follow: bool) -> None:
    """Print the end of each log, and then what is added to them, until interrupted."""
    for path in paths:
        print(f"==> {path} <==")
        for line in tail_of(path, lines):
            print(line)
    if not follow:
        return
    logs = [FollowedLog(path) for path in paths]
    while True:
        for log in logs:
            for line in log.new_lines():
                print(f"{log.path.stem}: {line}" if len(logs) > 1 else line, flush=True)
        time.sleep(0.3)


def report(stack: Stack, now: datetime | None = None) -> bool:
    """Print the last days' statistics, the cache's size, address and login. True when every day is there."""
    settings = stack.settings
    first, last = last_full_days(settings.timezone, REPORTED_DAYS, now)
    rows = _statistics(stack, first, last)
    print(f"\nmax_device_statistic, last {REPORTED_DAYS} full days in {settings.timezone}:")
    print(f"  {'day':<12}{'keys':>8}{'visits':>14}{'dau':>14}{'pv':>14}")
    for number in range(REPORTED_DAYS):
        day = (first + timedelta(days=number)).isoformat()
        figures = rows.get(day)
        print(f"  {day:<12}" + (_figures(figures) if figures else f"{'no statistics':>22}"))
    print(f"Valkey: {_count_keys(stack)} keys {settings.valkey_prefix}:daily:*")
    print(f"Airflow: {settings.airflow_url}   login {ADMIN_USER} / {_shown_password(settings)}")
    return len(rows) == REPORTED_DAYS


def _statistics(stack: Stack, first: date, last: date) -> dict[str, list[Any]]:
    answer = stack.clickhouse.query(
        _REPORT, default_format="JSONCompactEachRow", param_first=first.isoformat(), param_last=last.isoformat()
    )
    rows = [json.loads(line) for line in answer.splitlines()]
    return {row[0]: row[1:] for row in rows}


def _figures(figures: Sequence[Any]) -> str:
    # 64-bit integers may come as texts in JSON.
    keys, visits, dau, pv = (int(value) for value in figures)
    return f"{keys:>8,}{visits:>14,}{dau:>14,}{pv:>14,}"


def _count_keys(stack: Stack) -> int:
    prefix = stack.settings.valkey_prefix
    escaped = "".join(f"\\{character}" if character in "\\*?[]^" else character for character in prefix)
    try:
        with stack.valkey.client() as client:
            # SCAN may name a key twice.
            return len(set(client.scan_iter(match=f"{escaped}:daily:*", count=1000)))
    except redis.RedisError as error:
        raise StackError(f"Valkey at {stack.valkey.address} cannot be asked: {error}") from error


def _shown_password(settings: Settings) -> str:
    """A generated one is of use on this machine only, so it may be shown; one that somebody chose is not repeated."""
    if "airflow_admin_password" in settings.given:
        return "(AIRFLOW_ADMIN_PASSWORD, from the environment or .env)"
    return f"{settings.airflow_admin_password}   (kept in {settings.credentials_file})"


def backfill(stack: Stack, request: BackfillRequest) -> int:
    """:raises BackfillError: it cannot be started or followed.

    :raises StackError: Airflow does not run.
    """
    # It begins between two other commands. While it waits, the stack may be stopped and started again.
    with stack.exclusive():
        stack.require_airflow()
    settings = stack.settings
    return run_and_describe(
        airflow_api(settings), request, url=settings.airflow_url, report=lambda line: print(line, flush=True)
    )


def recache(stack: Stack, request: RecacheRequest) -> int:
    """:raises ScriptError: it cannot be started or followed.

    :raises StackError: Airflow does not run.
    """
    # As for a backfill.
    with stack.exclusive():
        stack.require_airflow()
    settings = stack.settings
    return recache_days(
        airflow_api(settings), request, url=settings.airflow_url, report=lambda line: print(line, flush=True)
    )


def run(stack: Stack, *, days: int, scale: float) -> int:
    """From nothing to statistics that can be looked at: up, sample data, the last days computed, the report, live."""
    # In one, so that no other command comes between the start and the data.
    with stack.exclusive():
        stack.up()
        seed(stack, days=days, scale=scale)
    settings = stack.settings
    first, last = last_full_days(settings.timezone, REPORTED_DAYS)
    wait_for_dag(airflow_api(settings), DEFAULT_DAG_ID)
    status = backfill(
        stack,
        BackfillRequest(
            first=first,
            last=last,
            timezone=settings.timezone,
            # A second `run` mends what was wrong in the first.
            reprocess=Reprocess.FAILED,
            unpause=True,
            poll_interval=1.0,
        ),
    )
    complete = report(stack)
    if not complete:
        print(
            "Some days have no statistics although their runs ended well: the metadata may be older than the data."
            f" Compute them again: make backfill FROM={first} TO={last} ARGS='--reprocess completed'",
            file=sys.stderr,
        )
    live = go_live(stack)
    return status or int(not complete or not live)


def go_live(stack: Stack) -> bool:
    """Start the feed and the live loops, and print how each loop fares. True when each has had a good tick."""
    stack.start_feed()
    names = [dag_id.removeprefix(LIVE_DAGS) for dag_id in unpause_live_dags(airflow_api(stack.settings))]
    if not names:
        print(f"Airflow has no DAG {LIVE_DAGS}*: no live statistics.")
        return True
    try:
        with stack.valkey.client() as client:
            statuses = wait_for_loops(client, stack.settings.valkey_prefix, names)
    except redis.RedisError as error:
        raise StackError(f"Valkey at {stack.valkey.address} cannot be asked: {error}") from error
    print("\n".join(loop_lines(statuses)))
    late = [name for name, status in statuses.items() if not _is_live(status, datetime.now(UTC))]
    if late:
        print(
            f"No good tick of {', '.join(late)} yet. `python -m local logs airflow-triggerer` and the task's log in"
            f" {stack.settings.airflow_url} tell why.",
            file=sys.stderr,
        )
    return not late


def unpause_live_dags(
    api: Api,
    *,
    timeout: float = 60.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Wait until Airflow has read the live loops' file, and unpause its DAGs.

    :param timeout: seconds; where no DAG came and no file failed, there are none (all loops may be switched off).
    :return: their ids, sorted.
    :raises StackError: none came, and Airflow could not import a file.
    """
    deadline = monotonic() + timeout
    # One file holds them all, so with the first one all are there.
    while not (dags := _live_dags(api)):
        if monotonic() >= deadline:
            if reasons := _import_errors(api):
                raise StackError(f"Airflow has read no DAG {LIVE_DAGS}* within {timeout:.0f} s.{reasons}")
            return []
        sleep(0.5)
    for dag_id, is_paused in dags.items():
        if is_paused:
            api.request("PATCH", f"/dags/{dag_id}", body={"is_paused": False})
    return sorted(dags)


def _live_dags(api: Api) -> dict[str, bool]:
    """Whether each of them is paused, by id."""
    answer = api.request("GET", "/dags", query={"dag_id_prefix_pattern": LIVE_DAGS, "limit": 100})
    return {dag["dag_id"]: dag["is_paused"] for dag in answer["dags"] if dag["dag_id"].startswith(LIVE_DAGS)}


def wait_for_loops(
    client: redis.Redis,
    prefix: str,
    names: Sequence[str],
    *,
    timeout: float = 180.0,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> dict[str, dict[str, str]]:
    """Wait until each loop has had a good tick.

    :param client: returns text.
    :param prefix: of the keys.
    :param names: of the loops.
    :param timeout: seconds; those without a good tick by then are returned as they are.
    :return: the loops' status hashes by name, an empty one for a loop that has not ticked.
    """
    deadline = monotonic() + timeout
    while True:
        statuses = {name: _texts(client.hgetall(f"{prefix}:loop:{name}")) for name in names}
        if monotonic() >= deadline or all(_is_live(status, now()) for status in statuses.values()):
            return statuses
        sleep(0.5)


def _is_live(status: Mapping[str, str], now: datetime) -> bool:
    succeeded_at = status.get("last_success_at")
    return succeeded_at is not None and now - datetime.fromisoformat(succeeded_at) <= _FRESH


def _texts(fields: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in fields.items()}


def loop_lines(statuses: Mapping[str, Mapping[str, str]]) -> list[str]:
    lines = ["", "Live loops:", f"  {'loop':<16}{'last tick':<30}{'rows':>8}"]
    for name, status in statuses.items():
        lines.append(f"  {name:<16}{status.get('last_tick_at') or 'none yet':<30}{status.get('rows', '-'):>8}")
    return lines


def wait_for_dag(
    api: AirflowApi,
    dag_id: str,
    *,
    timeout: float = 120.0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Wait until Airflow has read the DAG's file.

    :param timeout: seconds.
    :raises StackError: it has not; with the import errors, of which one is the likely reason.
    """
    deadline = monotonic() + timeout
    while True:
        try:
            api.request("GET", f"/dags/{dag_id}")
            return
        except ApiError as error:
            if error.status != 404:
                raise
        if monotonic() >= deadline:
            raise StackError(f"Airflow has not read the DAG {dag_id} within {timeout:.0f} s.{_import_errors(api)}")
        sleep(0.5)


def _import_errors(api: Api) -> str:
    errors = api.request("GET", "/importErrors")["import_errors"]
    return "".join(f"\n{error['filename']}:\n{error['stack_trace']}" for error in errors)
