"""What is said while a backfill goes on: how much of it is done, what failed, and how long it will take."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from scripts.scheduled_runs import DayRun, Look

# A line for every hundredth part, for the first failures and every so many seconds, however many runs there are.
_PARTS = 100
_SECONDS = 60.0
# Seconds after which a rate means something.
_RATE_AFTER = 60.0
_NAMED_FAILURES = 5


class Progress:
    """Reports a line when there is something new to say.

    :param days: the days asked for.
    :param plan: the logical dates of their runs.
    :param day_of: tells the day of a logical date.
    :param report: takes a line.
    :param monotonic: seconds that only grow.
    """

    def __init__(
        self,
        days: Sequence[date],
        plan: Sequence[datetime],
        *,
        day_of: Callable[[datetime], date],
        report: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._days = len(days)
        self._day_of = day_of
        # One run for each day: then a run is a day, for people.
        self._runs_are_days = sorted(map(day_of, plan)) == sorted(days)
        self.runs_in_words = "" if self._runs_are_days else f", {_plural(len(plan), 'run')}"
        self._report = report
        self._monotonic = monotonic
        #: Seconds that Airflow took for the last answers.
        self.asked_for = 0.0
        self._begin: tuple[float, int] | None = None
        self._told: tuple[float, int, int] | None = None
        self._last_line = ""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Measures how long Airflow takes to answer."""
        begin = self._monotonic()
        yield
        self.asked_for = self._monotonic() - begin

    def tell(self, look: Look) -> str:
        """Report how far it is, if that is news.

        :return: the same in short, for errors.
        """
        now, finished, failed = self._monotonic(), look.finished, look.failed
        if self._begin is None:
            self._begin = (now, finished)
        short = self._line(look, failed)
        if short != self._last_line and self._is_news(now, finished, len(failed), len(look.plan)):
            self._report(short + self._time_left(now, finished, len(look.plan)))
            self._last_line, self._told = short, (now, finished, len(failed))
        return short

    def _is_news(self, now: float, finished: int, failed: int, total: int) -> bool:
        if self._told is None:
            return True
        told_at, told_finished, told_failed = self._told
        return (
            finished == total
            or finished < told_finished
            or told_failed < min(failed, _NAMED_FAILURES)
            or (finished - told_finished) * _PARTS >= total
            or now - told_at >= _SECONDS
        )

    def _line(self, look: Look, failed: Sequence[DayRun]) -> str:
        noun = "days" if self._runs_are_days else "runs"
        return f"{look.finished} of {len(look.plan)} {noun} finished{self._failures(failed)}"

    def _failures(self, failed: Sequence[DayRun]) -> str:
        if not failed:
            return ""
        names = [
            str(run.day) if self._runs_are_days else run.logical_date.isoformat(timespec="minutes")
            for run in failed[:_NAMED_FAILURES]
        ]
        more = f" and {len(failed) - _NAMED_FAILURES} more" if len(failed) > _NAMED_FAILURES else ""
        return f", failed: {', '.join(names)}{more}"

    def _time_left(self, now: float, finished: int, total: int) -> str:
        assert self._begin is not None
        seconds, done = now - self._begin[0], finished - self._begin[1]
        if seconds < _RATE_AFTER or done <= 0 or finished == total:
            return ""
        rate = done / seconds
        return f"; {rate * 60:.3g} a minute, about {_duration((total - finished) / rate)} left"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return _plural(minutes, "minute")
    return f"{minutes // 60} hours"


def _plural(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"
