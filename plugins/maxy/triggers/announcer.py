"""How live loops reach people: Airflow's metrics, and the notifier of the installation's choice."""

from __future__ import annotations

import asyncio
import logging
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG
from airflow.sdk.configuration import conf
from airflow.sdk.observability import stats
from airflow.sdk.observability.metrics import stats_utils

from maxy.notifiers.failure import notify_configured

if TYPE_CHECKING:
    from collections.abc import Callable

    from maxy.loops.status import LoopStatus

_log = logging.getLogger(__name__)

#: Before the name of every metric of a loop.
METRIC_PREFIX = "maxy.realtime"
#: Before the name of every metric of what the loops and the daily job stand on.
SERVICE_PREFIX = "maxy.service"


class AirflowAnnouncer:
    """Sends metrics through Airflow's statistics, and alerts through the notifier in ``maxy_failure_notifier``.

    A metric is ``maxy.realtime.<name>`` with the tag ``loop``. Plain StatsD has no tags, and would mix the loops: so,
    as for Airflow's own metrics, there is also one with the loop in its name, ``maxy.realtime.<loop>.<name>``, unless
    ``[metrics] legacy_names_on`` is false. One that cannot be sent is an error in the log.
    """

    def gauge(self, name: str, value: float, loop: str) -> None:
        """Set a metric of a loop."""
        _send(stats.gauge, name, loop, value)

    def service_gauge(self, name: str, value: float, **tags: str) -> None:
        """Set a metric of what the loops and the daily job stand on, ``maxy.service.<name>``.

        :param tags: which of several it is of, such as ``disk``; for backends without tags they are part of the name.
        """
        _send_service(name, value, tags)

    async def alert(self, loop: str, message: str, *, cleared: bool) -> None:
        """Hand a message to the installation's notifier, if there is one.

        The notifier's templates see ``exception`` (the message), ``dag``, ``ti.dag_id``, ``ti.task_id`` and
        ``alert`` (``loop``, ``message``, ``cleared``).

        :raises Exception: whatever the notifier raises.
        """
        dag_id = f"realtime_{loop}"
        context: Any = {
            "dag": DAG(dag_id=dag_id, schedule=None),
            "ti": SimpleNamespace(dag_id=dag_id, task_id="run_loop", run_id="", try_number=1),
            "exception": message,
            "alert": {"loop": loop, "message": message, "cleared": cleared},
        }
        # Notifiers, and the look-up of the variable, are synchronous: other loops tick in this thread.
        await asyncio.to_thread(notify_configured, context)

    def observer(self, loop: str) -> _TickObserver:
        """Return what turns the ticks of one loop into metrics."""
        return _TickObserver(self, loop)


class _TickObserver:
    def __init__(self, announcer: AirflowAnnouncer, loop: str) -> None:
        self._announcer = announcer
        self._loop = loop

    def ticked(self, status: LoopStatus) -> None:
        """Count a tick."""
        failed = status.consecutive_failures > 0
        _send(stats.incr, "failures" if failed else "ticks", self._loop)
        _send(stats.timing, "tick", self._loop, status.duration_seconds * 1000)
        self._announcer.gauge("blocked_seconds", status.blocked_seconds, self._loop)
        if not failed:
            self._announcer.gauge("rows", status.rows, self._loop)
            self._announcer.gauge("keys", status.keys, self._loop)


def _send(emit: Callable[..., None], name: str, loop: str, *values: float) -> None:
    try:
        with_loop_in_name = _initialize()
        emit(f"{METRIC_PREFIX}.{name}", *values, tags={"loop": loop})
        if with_loop_in_name:
            emit(f"{METRIC_PREFIX}.{loop}.{name}", *values)
    except Exception:
        # A metric is never worth a tick.
        _log.exception("Metric %s of %s could not be sent", name, loop)


def _send_service(name: str, value: float, tags: dict[str, str]) -> None:
    try:
        with_tags_in_name = _initialize()
        stats.gauge(f"{SERVICE_PREFIX}.{name}", value, tags=tags)
        if with_tags_in_name and tags:
            stats.gauge(".".join((SERVICE_PREFIX, *tags.values(), name)), value)
    except Exception:
        # A metric is never worth a tick.
        _log.exception("Metric %s of the service could not be sent", name)


@cache
def _initialize() -> bool:
    """Set up Airflow's metrics, which the triggerer does in its parent process only.

    :return: whether metrics are also sent under names that say what tags say.
    """
    legacy_names = bool(conf.getboolean("metrics", "legacy_names_on"))
    stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=legacy_names)
    return legacy_names
