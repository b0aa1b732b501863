"""How long a script waits for Airflow, and when it gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from scripts.airflow_api import ScriptError, is_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.airflow_api import Dag
    from scripts.day_range import DaysRequest

_T = TypeVar("_T")


class Patience:
    """Waits, as long as there is something to wait for.

    :param dag: whose runs are waited for.
    :param request: has the limits.
    :param sleep: waits for seconds.
    :param monotonic: seconds that only grow.
    """

    def __init__(
        self, dag: Dag, request: DaysRequest, *, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        self._dag = dag
        self._request = request
        self._sleep = sleep
        self.monotonic = monotonic
        self._unhealthy_since: float | None = None

    def pause(self, at_least: float = 0.0) -> None:
        """Wait until the next question.

        :param at_least: seconds; what the last question took of Airflow's time is left to it.
        """
        self._sleep(max(self._request.poll_interval, at_least))

    def through_outages(self, ask: Callable[[], _T]) -> _T:
        """Ask again while Airflow is away: a restart of the api-server is no reason to give up, the runs go on.

        :raises ScriptError: an error that will not pass, or one that lasts too long.
        """
        deadline = self.monotonic() + self._request.outage_timeout
        while True:
            try:
                return ask()
            except ScriptError as error:
                if not is_passing(error) or self.monotonic() >= deadline:
                    raise
            self.pause()

    def require_scheduler(self, progress: str) -> None:
        """:param progress: how far the work is, for the message.

        :raises ScriptError: the scheduler has not been healthy for too long.
        """
        now = self.monotonic()
        if self._dag.scheduler_is_healthy():
            self._unhealthy_since = None
        elif self._unhealthy_since is None:
            self._unhealthy_since = now
        elif now - self._unhealthy_since >= self._request.outage_timeout:
            raise ScriptError(
                f"{progress}; the scheduler has not been healthy for {self._request.outage_timeout:.0f} s,"
                " so nothing more will be done before it runs again"
            )
