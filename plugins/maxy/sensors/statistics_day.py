"""Wait until a statistics day has settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

from maxy.settings import statistics_timezone
from maxy.statistics_day import statistics_day_of_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StatisticsDaySensor(BaseSensorOperator):
    """Wait, deferred, until the run's day has ended and late rows have had time to arrive; old days do not wait.

    Fails at once, without retries, when the run's ``stat_date`` is not a date or lies in the future. Returns (XCom) the
    day as YYYY-MM-DD.

    :param settling_minutes: minutes between the day's end and the moment it counts as settled, 0 or more. (templated)
    :param clock: returns the present time with its zone.
    """

    template_fields = ("settling_minutes",)

    def __init__(
        self, *, settling_minutes: float | str, clock: Callable[[], datetime] = _utc_now, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.settling_minutes = settling_minutes
        self._clock = clock

    def execute(self, context: Context) -> str:
        """Return the day if it has settled, else defer until then.

        :raises AirflowFailException: for a day that cannot be computed, or a settling time that is not a number.
        """
        timezone = statistics_timezone()
        try:
            day = statistics_day_of_run(context["dag_run"], context["params"], timezone)
            settled = day.end + self._settling()
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        now = self._clock()
        today = now.astimezone(timezone).date()
        if day.date > today:
            raise AirflowFailException(f"stat_date {day} lies in the future: today is {today} in {timezone.key}")
        if now < settled:
            self.log.info(
                "%s (%s) ends at %s; waiting until %s",
                day,
                timezone.key,
                day.end.isoformat(),
                settled.isoformat(),
            )
            self.defer(
                trigger=DateTimeTrigger(moment=settled),
                method_name="execute_complete",
                kwargs={"stat_date": str(day)},
            )
        self.log.info("%s (%s) has settled", day, timezone.key)
        return str(day)

    def execute_complete(self, context: Context, event: Any, stat_date: str) -> str:
        """Resume after the wait."""
        self.log.info("%s has settled at %s", stat_date, event)
        return stat_date

    def _settling(self) -> timedelta:
        try:
            settling = timedelta(minutes=float(self.settling_minutes))
        except (ValueError, OverflowError):
            settling = timedelta(-1)
        if settling < timedelta(0):
            raise ValueError(f"settling_minutes: {self.settling_minutes!r} is not a number of minutes (0 or more)")
        return settling
