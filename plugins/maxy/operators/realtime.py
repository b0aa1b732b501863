"""Keep a live loop ticking."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from maxy.hooks.environment import CLICKHOUSE_HTTP_CONN_ID, VALKEY_CONN_ID
from maxy.settings import statistics_timezone, valkey_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn, Unpack

    from airflow.sdk import Context

    from maxy.operators._arguments import OperatorArguments

# What the triggerer may take to notice that the deadline has come, and to hand the event on.
_GRACE = timedelta(minutes=10)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RealtimeLoopOperator(BaseOperator):
    """Defer to the triggerer, where the loop ticks until the deadline; then end, so that the next run takes over.

    No worker and no pool slot is occupied meanwhile. Returns (XCom) the number of good ticks and of failed ones, as the
    copy counted them that came to the deadline.

    :param loop: import path of the loop's class.
    :param settings: the loop's settings, as :meth:`maxy.loops.options.LoopSettings.to_json` gives them.
    :param duration: from the start of the task to the deadline.
    :param clickhouse_conn_id: connection to ClickHouse's HTTP interface.
    :param valkey_conn_id: connection to Valkey.
    :param clock: returns the present time with its zone.
    """

    ui_color = "#ffe9c9"

    def __init__(
        self,
        *,
        loop: str,
        settings: Mapping[str, Any],
        duration: timedelta,
        clickhouse_conn_id: str = CLICKHOUSE_HTTP_CONN_ID,
        valkey_conn_id: str = VALKEY_CONN_ID,
        clock: Callable[[], datetime] = _utc_now,
        **kwargs: Unpack[OperatorArguments],
    ) -> None:
        super().__init__(**kwargs)
        self.loop = loop
        self.settings = dict(settings)
        self.duration = duration
        self.clickhouse_conn_id = clickhouse_conn_id
        self.valkey_conn_id = valkey_conn_id
        self._clock = clock

    def execute(self, context: Context) -> NoReturn:
        """Defer until the deadline."""
        # Not at the top: the clients it imports take a second, which parsing a DAG need not.
        from maxy.triggers.realtime import RealtimeLoopTrigger

        deadline = self._clock() + self.duration
        self.log.info("%s ticks in the triggerer until %s", self.loop, deadline.isoformat(timespec="seconds"))
        self.defer(
            trigger=RealtimeLoopTrigger(
                loop=self.loop,
                deadline=deadline.isoformat(),
                settings=self.settings,
                prefix=valkey_prefix(),
                timezone=statistics_timezone().key,
                clickhouse_conn_id=self.clickhouse_conn_id,
                valkey_conn_id=self.valkey_conn_id,
            ),
            method_name="execute_complete",
            timeout=self.duration + _GRACE,
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None) -> dict[str, int]:
        """Take the event at the deadline.

        :raises ValueError: for any other event.
        """
        if not event or event.get("status") != "deadline":
            raise ValueError(f"{self.loop}: unknown event {event!r}")
        self.log.info("%s came to its deadline: %s ticks, %s failed", self.loop, event["ticks"], event["failures"])
        return {"ticks": event["ticks"], "failures": event["failures"]}


class RefusedLoopOperator(RealtimeLoopOperator):
    """Say what is wrong with a loop, and fail. A run that was begun before it was wrong comes to its end.

    :param reason: what is wrong, naming the setting.
    """

    def __init__(self, *, loop: str, reason: str, duration: timedelta, **kwargs: Unpack[OperatorArguments]) -> None:
        super().__init__(loop=loop, settings={}, duration=duration, **kwargs)
        self.reason = reason

    def execute(self, context: Context) -> NoReturn:
        """Fail; a retry cannot help.

        :raises AirflowFailException: with the reason.
        """
        raise AirflowFailException(self.reason)
