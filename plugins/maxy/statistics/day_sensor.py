"""Wait until a statistics day has settled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped

from maxy._parsing import as_bool
from maxy.settings import statistics_timezone
from maxy.statistics.statistics_day import statistics_day_of_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Unpack

    from airflow.sdk import Context

    from maxy.days import CalendarDay
    from maxy.operators._arguments import SensorArguments


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StatisticsDaySensor(BaseSensorOperator):
    """Wait, deferred, until the run's day has ended and late rows have had time to arrive; old days do not wait.

    Fails at once, without retries, when the run's ``stat_date`` is not a date, lies in the future or contradicts the
    run's interval. Returns (XCom) the day as YYYY-MM-DD.

    :param settling_minutes: minutes between the day's end and the moment it counts as settled, 0 or more. (templated)
    :param cache_only: nothing is to be computed: do not wait, and skip the tasks that directly follow. (templated)
    :param clock: returns the present time with its zone.
    """

    template_fields = ("settling_minutes", "cache_only")

    def __init__(
        self,
        *,
        settling_minutes: float | str,
        cache_only: bool | str = False,
        clock: Callable[[], datetime] = _utc_now,
        **kwargs: Unpack[SensorArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.settling_minutes = settling_minutes
        self.cache_only = cache_only
        self._clock = clock

    def execute(self, context: Context) -> str:
        """Return the day if it has settled, else defer until then.

        :raises AirflowFailException: for a day that cannot be computed, a settling time that is not a number, or
            parameters that contradict each other.
        :raises DownstreamTasksSkipped: if nothing is to be computed.
        """
        timezone = statistics_timezone()
        try:
            day = statistics_day_of_run(context["dag_run"], context["params"], timezone)
            settled = day.end + self._settling()
            cache_only = as_bool(self.cache_only, "cache_only")
        except ValueError as error:
            raise AirflowFailException(str(error)) from None
        now = self._clock()
        today = now.astimezone(timezone).date()
        if day.date > today:
            raise AirflowFailException(f"stat_date {day} lies in the future: today is {today} in {timezone.key}")
        if cache_only:
            self._skip_computing(context, day)
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

    def _skip_computing(self, context: Context, day: CalendarDay) -> NoReturn:
        if context["params"].get("allow_empty"):
            raise AirflowFailException(
                "cache_only contradicts allow_empty: the one computes nothing, the other says how to compute"
            )
        self.log.info("%s is not computed, only put into Valkey as the table has it", day)
        raise DownstreamTasksSkipped(tasks=sorted(self.downstream_task_ids))  # type: ignore[no-untyped-call]

    def _settling(self) -> timedelta:
        try:
            settling = timedelta(minutes=float(self.settling_minutes))
        except (ValueError, OverflowError):
            settling = timedelta(-1)
        if settling < timedelta(0):
            raise ValueError(f"settling_minutes: {self.settling_minutes!r} is not a number of minutes (0 or more)")
        return settling
