"""What the stack's commands do once it runs: sample data, statements, logs, what each family shows."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from local.live_loops import go_live
from local.part_log import FollowedLog, tail_of
from local.services.clickhouse import QueryError
from local.settings import ADMIN_USER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from local.family import SampleSize
    from local.settings import Settings
    from local.stack import PartStatus, Stack

FEED_IS_OPTIONAL = "The feed of live traffic is stopped. It is optional: `make run` starts it again."


def run(stack: Stack, size: SampleSize) -> int:
    """From nothing to something to look at: up, sample data, each family's main job, the reports, live."""
    # In one, so that no other command comes between the start and the data.
    with stack.exclusive():
        stack.up()
        seed(stack, size)
    # One that fails must not keep the others from being shown.
    statuses = [family.compute(stack) for family in stack.families]
    is_complete = report(stack)
    is_live = go_live(stack)
    return max(statuses, default=0) or int(not is_complete or not is_live)


def seed(stack: Stack, size: SampleSize, *, force: bool = False) -> None:
    """Send each family's sample data that is not there yet."""
    with stack.exclusive():
        for family in stack.families:
            family.seed(stack, size, force=force)


def report(stack: Stack) -> bool:
    """Print what each family has, the address and the login. True when nothing is missing."""
    is_complete = all([family.report(stack) for family in stack.families])
    settings = stack.settings
    print(f"Airflow: {settings.airflow_url}   login {ADMIN_USER} / {_shown_password(settings)}")
    return is_complete


def _shown_password(settings: Settings) -> str:
    """A generated one is of use on this machine only, so it may be shown; one that somebody chose is not repeated."""
    if "airflow_admin_password" in settings.given:
        return "(AIRFLOW_ADMIN_PASSWORD, from the environment or .env)"
    return f"{settings.airflow_admin_password}   (kept in {settings.credentials_file})"


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
