"""A range of days that a script is asked for: its options, its checks, and the moments at which its days begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scripts.airflow_api import DEFAULT_DAG_ID, ScriptError

if TYPE_CHECKING:
    import argparse
    from zoneinfo import ZoneInfo


@dataclass(frozen=True, kw_only=True)
class DaysRequest:
    """What every script over a range of days can be asked.

    :param first: the first day, included.
    :param last: the last day, included.
    :param timezone: the IANA zone in which a day begins at midnight; None = ask the deployment.
    :param max_active_runs: runs at the same time.
    :param unpause: unpause the DAG instead of refusing a paused one.
    :param outage_timeout: seconds without an answer from Airflow, or without its scheduler, that are tolerated.
    :param poll_interval: seconds between two questions.
    :raises ScriptError: the range ends before it begins, or no run may run.
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

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ScriptError(f"--from {self.first} is after --to {self.last}")
        if self.max_active_runs < 1:
            raise ScriptError(f"--max-active-runs {self.max_active_runs}: expected at least 1")

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]

    def describe(self, zone: ZoneInfo) -> str:
        """The DAG and its days in words."""
        days = "1 day" if self.first == self.last else f"{len(self.days)} days"
        return f"{self.dag_id}: {self.first} to {self.last}, {days} in {zone.key}"

    def refuse_days_to_come(self, zone: ZoneInfo, now: datetime) -> None:
        """:raises ScriptError: the last day has not ended in the zone."""
        today = now.astimezone(zone).date()
        if self.last >= today:
            raise ScriptError(
                f"--to {self.last} has not ended yet: it is {today} in {zone.key}, so the last full day is"
                f" {today - timedelta(days=1)}"
            )


def parse_day(text: str, name: str) -> date:
    """:raises ScriptError: not an existing day written YYYY-MM-DD."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # fromisoformat also takes 20261101 and 2026-W44-7.
    if day is None or day.isoformat() != text:
        raise ScriptError(f"{name} {text}: expected an existing day as YYYY-MM-DD")
    return day


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Midnight of the day in the zone, with the offset that is valid on that day."""
    return datetime(day.year, day.month, day.day, tzinfo=zone)


def last_second_of(day: date, zone: ZoneInfo) -> datetime:
    """One second before the next day begins in the zone."""
    # By way of UTC: subtracting within a zone ignores a change of its offset.
    next_day = start_of(day + timedelta(days=1), zone).astimezone(UTC)
    return (next_day - timedelta(seconds=1)).astimezone(zone)


def add_range_options(parser: argparse.ArgumentParser) -> None:
    """The range itself."""
    parser.add_argument("--from", dest="first", required=True, metavar="DAY", help="first day, YYYY-MM-DD, included")
    parser.add_argument("--to", dest="last", required=True, metavar="DAY", help="last day, YYYY-MM-DD, included")


def add_dag_options(parser: argparse.ArgumentParser, *, at_a_time: str, dry_run: str) -> None:
    """The DAG, and how its runs are made.

    :param at_a_time: what of which there are so many at a time, for the help.
    :param dry_run: what is done instead, for the help.
    """
    parser.add_argument("--dag-id", default=DEFAULT_DAG_ID, help="default: %(default)s")
    parser.add_argument("--max-active-runs", type=int, default=3, metavar="N", help=f"{at_a_time} (default: 3)")
    parser.add_argument(
        "--timezone", metavar="ZONE", help="zone in which a day begins (default: what the DAG says of its stat_date)"
    )
    parser.add_argument("--unpause", action="store_true", help="unpause the DAG if it is paused")
    parser.add_argument("--dry-run", action="store_true", help=dry_run)


def values_from(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the options above say, as arguments of a :class:`DaysRequest`.

    :raises ScriptError: a date is malformed.
    """
    return {
        "first": parse_day(options.first, "--from"),
        "last": parse_day(options.last, "--to"),
        "dag_id": options.dag_id,
        "timezone": options.timezone,
        "max_active_runs": options.max_active_runs,
        "dry_run": options.dry_run,
        "unpause": options.unpause,
    }
