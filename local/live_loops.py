"""The live loops of all families: unpaused, and waited for until each has ticked."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis

from local.airflow_tasks import airflow_api, import_errors
from local.stack import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from local.stack import Stack
    from scripts.backfill import Api

LIVE_DAGS = "realtime_"

# A loop's newest success counts when it is no older: what an earlier run of the stack has left proves nothing, and the
# slowest loop ticks once a minute.
_FRESH = timedelta(minutes=2)


def go_live(stack: Stack) -> bool:
    """Start the feeds and the live loops, and print the status of each loop. True when each has had a good tick."""
    stack.start_feeds()
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
            if reasons := import_errors(api):
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
