"""Airflow 2's ``airflow dags backfill``, which Airflow 3 has no more, in the words of scripts/backfill.py.

Airflow 3's own ``airflow backfill create`` takes a bare date for midnight in UTC, does not wait, and does not say
whether a day failed.
"""

from __future__ import annotations

import argparse
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from local.arguments import positive
from scripts.backfill import BackfillError, BackfillRequest, Reprocess, start_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION = """\
Compute a range of days again and wait for it, in the form of Airflow 2: both days are included, and are days of the
statistics time zone. Exit status 1 when a day failed. `python -m local backfill` is the same in today's words."""

# Options of Airflow 2 that say nothing here, and why nothing is lost.
_WITHOUT_EFFECT = {
    ("-l", "--local"): "the stack has one executor",
    ("-x", "--donot-pickle"): "nothing is pickled",
    ("-y", "--yes"): "there is no question to answer: computing a day again is safe",
    ("-v", "--verbose"): "tasks have logs of their own",
    ("--continue-on-failures",): "the other days are always computed",
    ("--delay-on-limit",): "Airflow starts a day when there is room",
    ("-I", "--ignore-first-depends-on-past"): "no day depends on the one before",
}
# Those whose wish cannot be met: to do something else silently would be worse than to refuse.
_REFUSED: dict[tuple[str, ...], tuple[str, bool]] = {
    ("-c", "--conf"): (
        "a backfill's parameters are those of every day, so a stat_date would compute one day many times;"
        " `airflow dags trigger -c JSON DAG_ID` gives parameters to one run",
        True,
    ),
    ("-m", "--mark-success"): ("a day that was not computed must not look as if it were", False),
    ("-t", "--task-regex"): ("days are computed whole; `airflow tasks clear -t REGEX DAG_ID` takes single tasks", True),
    ("-i", "--ignore-dependencies"): ("it belongs to --task-regex", False),
    ("--treat-dag-as-regex", "--treat-dag-id-as-regex"): ("one DAG at a time, named in full", False),
    ("--pool",): ("the tasks' own pools bound what ClickHouse has to do", True),
    ("-S", "--subdir"): ("the DAG is the one that the stack has read", True),
    ("--disable-retry",): ("the tasks' own retries hold", False),
}


class _Refuse(argparse.Action):
    """Ends with the reason."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, reason: str, takes_value: bool) -> None:
        super().__init__(option_strings, dest, nargs=None if takes_value else 0, help=argparse.SUPPRESS)
        self._reason = reason

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> NoReturn:
        parser.error(f"{option} is not done here: {self._reason}")


def parse_backfill(arguments: Sequence[str], timezone: str) -> BackfillRequest:
    """Read what follows ``airflow dags backfill``.

    :param arguments: in Airflow 2's form.
    :param timezone: the statistics time zone (IANA name), for timestamps and for the moments that they mean.
    :raises SystemExit: 2, with a message for people, on arguments that it cannot follow; 0 after ``--help``.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    # One alone is both.
    start, end = options.start_date or options.end_date, options.end_date or options.start_date
    if start is None:
        parser.error("give -s/--start-date or -e/--end-date, or both")
    try:
        first, last = _days(start, end, ZoneInfo(options.timezone or timezone))
    except BackfillError as error:
        parser.error(str(error))
    return BackfillRequest(
        first=first,
        last=last,
        dag_id=options.dag_id,
        timezone=options.timezone,
        reprocess=_reprocess(options),
        max_active_runs=options.max_active_runs,
        run_backwards=options.run_backwards,
        dry_run=options.dry_run,
        unpause=options.unpause,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="airflow dags backfill", description=_DESCRIPTION)
    parser.add_argument("dag_id")
    parser.add_argument("-s", "--start-date", type=_day_or_moment, metavar="DAY", help="first day, included")
    parser.add_argument("-e", "--end-date", type=_day_or_moment, metavar="DAY", help="last day, included")
    parser.add_argument("--reset-dagruns", action="store_true", help="compute days that are done again, too")
    parser.add_argument("--rerun-failed-tasks", action="store_true", help="compute days that failed again")
    parser.add_argument("-B", "--run-backwards", action="store_true", help="newest day first")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only tell what would be computed")
    parser.add_argument("--unpause", action="store_true", help="unpause the DAG if it is paused (not in Airflow 2)")
    parser.add_argument(
        "--max-active-runs", type=positive(int), default=3, metavar="N", help="days at a time (not in Airflow 2)"
    )
    parser.add_argument(
        "--timezone",
        type=_zone,
        metavar="ZONE",
        help="of a DAG that does not say where its days begin (not in Airflow 2)",
    )
    for flags, reason in _WITHOUT_EFFECT.items():
        parser.add_argument(*flags, action="store_true", help=f"no effect: {reason}")
    for flags, (reason, takes_value) in _REFUSED.items():
        parser.add_argument(*flags, action=_Refuse, reason=reason, takes_value=takes_value)
    return parser


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise argparse.ArgumentTypeError(f"{name} is not an IANA time zone (such as UTC or Asia/Seoul)") from None


def _day_or_moment(text: str) -> date | datetime:
    """A day, or a moment; one without an offset is of the statistics zone."""
    try:
        # Of the forms that fromisoformat knows, those that name a day of a calendar: not a week's.
        if "W" not in text:
            return date.fromisoformat(text) if len(text) <= len("2026-11-01") else datetime.fromisoformat(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected a day as YYYY-MM-DD, not {text!r}")


def _days(start: date, end: date, zone: ZoneInfo) -> tuple[date, date]:
    """The days that begin between the two, as Airflow 2 chose them."""
    first, last = _first_day_from(start, zone), _last_day_until(end, zone)
    if first > last:
        raise BackfillError(f"no day begins between -s {start} and -e {end} in {zone.key}")
    return first, last


def _first_day_from(start: date, zone: ZoneInfo) -> date:
    if not isinstance(start, datetime):
        return start
    moment = _in_zone(start, zone)
    day = moment.date()
    return day if start_of(day, zone).astimezone(UTC) >= moment.astimezone(UTC) else day + timedelta(days=1)


def _last_day_until(end: date, zone: ZoneInfo) -> date:
    return _in_zone(end, zone).date() if isinstance(end, datetime) else end


def _in_zone(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def _reprocess(options: argparse.Namespace) -> Reprocess:
    if options.reset_dagruns:
        return Reprocess.COMPLETED
    return Reprocess.FAILED if options.rerun_failed_tasks else Reprocess.NONE
