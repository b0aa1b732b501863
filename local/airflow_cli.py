"""Airflow's own command line on the running stack, ``python -m local airflow …``.

It works on the stack's metadata, home, variables and connections, which no other call of ``airflow`` finds. Two of its
commands would not do what people mean: ``dags backfill`` is gone since Airflow 3 and is translated; ``dags test`` and
``tasks test`` would share their runs with the scheduler and get a metadata database of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from zoneinfo import ZoneInfo

import psycopg2

from local import airflow_tasks
from local.airflow2_backfill import parse_backfill
from local.airflow_test_database import airflow_test_database
from local.child_process import run_in_foreground
from local.stack import StackError
from scripts.backfill import DEFAULT_DAG_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.stack import Stack

_WITHOUT_DATABASE = frozenset({"version", "cheat-sheet"})
_HELP = frozenset({"-h", "--help"})


def run_airflow(stack: Stack, arguments: Sequence[str]) -> int:
    """Run one command of Airflow's command line, in the foreground.

    :param arguments: what follows ``airflow``.
    :return: its exit status.
    :raises StackError: the stack does not run, or the command cannot work beside it.
    """
    command = tuple(arguments[:2])
    stack.airflow.check_configuration()
    if command == ("dags", "backfill"):
        return _backfill(stack, arguments[2:])
    if not arguments or arguments[0] in _WITHOUT_DATABASE or _HELP & set(arguments):
        return _run(arguments, stack.airflow.environment())
    _require_database(stack)
    if command in (("dags", "test"), ("tasks", "test")):
        return _test(stack, arguments)
    return _run(arguments, stack.airflow.environment())


def run_cleanup(stack: Stack, *, dry_run: bool) -> int:
    """Remove old task logs and old metadata, by scripts/clean_airflow.py; returns its exit status.

    :raises StackError: the stack does not run.
    """
    stack.airflow.check_configuration()
    _require_database(stack)
    script = stack.settings.root / "scripts" / "clean_airflow.py"
    options = ["--dry-run"] if dry_run else []
    return run_in_foreground([sys.executable, script, *options], stack.airflow.environment())


def _run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    # Not `python -m airflow`, which would import from the folder it is called in.
    program = Path(sys.executable).with_name("airflow")
    # Airflow logs libraries' warnings to standard output, where they would stand before the JSON of `--output json`.
    warnings = os.environ.get("PYTHONWARNINGS", "ignore")
    return run_in_foreground([program, *arguments], {**environment, "PYTHONWARNINGS": warnings})


def _require_database(stack: Stack) -> None:
    try:
        with stack.postgres.connection():
            pass
    except psycopg2.OperationalError:
        raise StackError("the stack does not run, so Airflow has no database: `python -m local up` first") from None
    if not stack.airflow.is_migrated():
        raise StackError("Airflow's database is not of this version of Airflow: `python -m local up` first")


def _backfill(stack: Stack, arguments: Sequence[str]) -> int:
    request = parse_backfill(arguments, stack.settings.timezone)
    _require_database(stack)
    try:
        return airflow_tasks.backfill(stack, request)
    except KeyboardInterrupt:
        print("airflow dags backfill: no longer waiting; the runs go on in Airflow", file=sys.stderr)
        raise


def _test(stack: Stack, arguments: Sequence[str]) -> int:
    options = parse_test_options(arguments)
    if options is not None:
        _check_test(arguments[0], options)
        for line in explain_day(options, arguments[:2], timezone=stack.settings.timezone, now=datetime.now(UTC)):
            print(line, flush=True)
    with (
        airflow_test_database(
            stack.postgres,
            stamp=stack.airflow.stamp(),
            migrate=stack.airflow.migrate_database,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        ) as database,
        tempfile.TemporaryDirectory(prefix="maxy-airflow-test-") as logs,
    ):
        environment = stack.airflow.environment(database=database, log_folder=Path(logs))
        return _run(arguments, environment)


class _Parser(argparse.ArgumentParser):
    """Leaves wrong arguments to Airflow, which has the better words for them."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parse_test_options(arguments: Sequence[str]) -> argparse.Namespace | None:
    """What a test command is to run, or None where Airflow will refuse it."""
    parser = _Parser(add_help=False)
    parser.add_argument("dag_id")
    if arguments[0] == "tasks":
        parser.add_argument("task_id")
    parser.add_argument("moment", nargs="?")
    parser.add_argument("-B", "--bundle-name")
    parser.add_argument("-c", "--conf", "-t", "--task-params", dest="params")
    parser.add_argument("--use-executor", action="store_true")
    for option in ("-f", "--dagfile-path"), ("--mark-success-pattern",), ("--save-dagrun",), ("--env-vars",):
        parser.add_argument(*option)
    parser.add_argument("--map-index")
    for option in ("--imgcat-dagrun",), ("--show-dagrun",), ("-m", "--post-mortem"), ("-v", "--verbose"):
        parser.add_argument(*option, action="store_true")
    try:
        return parser.parse_args(arguments[2:])
    except ValueError:
        return None


def _check_test(group: str, options: argparse.Namespace) -> None:
    if options.use_executor:
        raise StackError(
            "dags test --use-executor: the executor's tasks report to the running api-server, which does not know the"
            " test's run. Without the option the tasks run in the command itself"
        )
    if group == "tasks" and options.moment and _moment(options.moment) is None:
        raise StackError(
            f"tasks test … {options.moment}: expected a date. A test has a metadata database of its own, in which there"
            " are no runs; `airflow tasks clear` runs a task of an existing run again"
        )


def explain_day(options: argparse.Namespace, command: Sequence[str], *, timezone: str, now: datetime) -> list[str]:
    """Tell which day of the statistics a test run computes, and how to have the one that was probably meant.

    :param options: of the command: dag_id, moment, params, perhaps task_id.
    :param command: the group and the command.
    :param timezone: the statistics time zone (IANA name).
    :param now: with a zone.
    :return: lines; none for other DAGs, and for what Airflow will refuse.
    """
    if options.dag_id != DEFAULT_DAG_ID:
        return []
    target = " ".join(["airflow", *command, options.dag_id, *filter(None, [getattr(options, "task_id", None)])])
    flag = "-c" if command[0] == "dags" else "-t"
    try:
        params = json.loads(options.params or "{}")
    except ValueError:
        return []
    if isinstance(params, dict) and params.get("stat_date"):
        return [f"This computes {params['stat_date']}, the stat_date of {flag}."]
    zone = ZoneInfo(timezone)
    moment = now if options.moment is None else _moment(options.moment)
    if moment is None:
        return []
    computed = moment.astimezone(zone).date() - timedelta(days=1)
    if options.moment is None:
        return [f"This computes {computed}, the last full day in {timezone}."]
    meant = _moment_date(options.moment)
    lines = [f"This computes {computed} in {timezone}: Airflow takes the interval that has ended by the given date."]
    if meant != computed:
        lines.append(
            f"For {meant}: {target} {_argument_for(meant, zone)}, or {flag} '{json.dumps({'stat_date': str(meant)})}'"
        )
    return lines


def _moment(text: str) -> datetime | None:
    """As Airflow reads it: without an offset in UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment_date(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _argument_for(day: date, zone: ZoneInfo) -> date:
    """The date that, taken for midnight in UTC, lies in the day after: one or, west of Greenwich, two days later."""
    after = day + timedelta(days=1)
    midnight = datetime(after.year, after.month, after.day, tzinfo=UTC)
    return after if midnight.astimezone(zone).date() == after else after + timedelta(days=1)
