"""Watches the other loops: metrics of each, and one alert per incident and one when it is over."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from maxy._addresses import hide_addresses
from maxy.instants import utc_iso
from maxy.loops.health import HealthLimits, LoopState
from maxy.loops.loop import Loop, TickResult, loop_key
from maxy.loops.options import Option, int_from, names, number_from
from maxy.loops.status import LoopStatus
from maxy.loops.thread_use import SLOW_STEP_SECONDS, ThreadUse
from maxy.loops.tick_writer import TickWriter
from maxy.valkey.own_keys import read_own

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime

    from maxy.loops.loop import Announcer, LoopEnvironment, Tick
    from maxy.loops.observer import Observer

_log = logging.getLogger(__name__)

_WATCHED = "watched"
_EXPIRE_MS = 30 * 86_400_000
_ASK_SECONDS = 10.0


@dataclass
class _Incident:
    """Something that is wrong with a loop.

    :param since: when it was noticed, UTC in ISO 8601.
    :param message: what is wrong.
    :param told: the alert has gone out.
    :param over: the loop works again, and that is to be told.
    """

    since: str
    message: str
    told: bool = False
    over: bool = False


class Watch(Loop):
    """Looks at the status of the other loops, once a minute.

    A loop is in trouble when its last good tick is older than ``stale_periods`` of its periods (and ``stale_seconds``),
    when ``failures`` ticks have failed in a row, when its ticks end later than ``lag_periods`` periods after they were
    due, when one of them blocks the thread of all loops for more than ``blocked_seconds``, or when its status is of the
    future. A loop that is late because another one blocked its thread is in no trouble.

    The alert for a loop goes out once, however often the watch restarts in between: incidents are kept in Valkey. One
    that could not be delivered is sent again at the next tick. What is wrong with the watch itself, such as Valkey that
    cannot be reached, is told by :class:`WatchObserver`.

    Which loops there are is asked at each tick, so that a new one is watched at once, and one that was switched off no
    more. For the first ``stale_seconds`` that it knows a loop the watch leaves open whether it is in trouble where it
    has not ticked: a new one, and all of them after a restart of everything, are only just being started.

    :param environment: clients and settings.
    """

    name = "watch"
    period_seconds = 60.0
    options: ClassVar[Mapping[str, Option]] = {
        _WATCHED: Option([], names, "names of the loops; by default all enabled ones"),
        "stale_periods": Option(4.0, number_from(1.5, 10_000), "periods without a good tick"),
        "stale_seconds": Option(30.0, number_from(0, 604_800), "seconds without a good tick, at the least"),
        "failures": Option(3, int_from(1, 10_000), "failed ticks in a row"),
        "lag_periods": Option(2.0, number_from(0.5, 10_000), "periods by which ticks end late"),
        "blocked_seconds": Option(
            1.0, number_from(SLOW_STEP_SECONDS, 10_000), "seconds for which a tick blocks the thread of all loops"
        ),
    }

    @classmethod
    def complete_settings(cls, given: Mapping[str, Any], *, others: Sequence[str], where: str) -> Mapping[str, Any]:
        """Watch all other loops unless some are named.

        :raises ValueError: for a name that is none of theirs.
        """
        watched = watched_loops(given, others, where=where)
        if unknown := set(given.get(_WATCHED) or ()) - set(watched):
            # It would be reported as a loop that never ticks.
            raise ValueError(
                f"{where}.{_WATCHED}: {', '.join(sorted(unknown))} is not one of the other enabled loops: "
                f"{', '.join(others)}"
            )
        return {**given, _WATCHED: given.get(_WATCHED) or watched}

    async def observer(self, observer: Observer, resources: AsyncExitStack) -> Observer:
        """Have somebody watch the watch."""
        announcer = self.environment.announcer
        if announcer is None:
            return observer
        return WatchObserver(announcer, self.name, self.environment.settings["failures"], observer)

    def __init__(self, environment: LoopEnvironment) -> None:
        super().__init__(environment)
        self._limits = HealthLimits.from_settings(environment.settings)
        self._incidents_key = self.own_key("incidents")
        self._writer = TickWriter(environment.lease, self.own_key("keys"))
        self._incidents: dict[str, _Incident] | None = None
        self._watched = list(environment.settings[_WATCHED])
        # When this copy first looked at each loop.
        self._known_since: dict[str, datetime] = {}

    def reset(self) -> None:
        """Forget the incidents: the next tick reads them from Valkey."""
        self._incidents = None

    async def tick(self, tick: Tick) -> TickResult:
        """Look at every loop, and tell what has changed."""
        watched = await self._names()
        self._known_since = {name: self._known_since.get(name, tick.now) for name in watched}
        incidents = await self._known_incidents()
        statuses = await self._statuses(watched)
        for name, status in statuses.items():
            self._measure(name, status, tick.now)
            held_up = self._held_up_seconds(name, status, tick.now)
            if not self._may_be_starting(name, status, tick.now, held_up):
                problem = self._limits.judge(status, tick.now, held_up_seconds=held_up).problem
                self._compare(incidents, name, problem, tick.now)
        for name in incidents.keys() - statuses.keys():
            # It is not watched any more.
            del incidents[name]
        # What is wrong is kept before it is told: a copy that has lost its lease tells nobody.
        await self._keep(incidents)
        if await self._tell(incidents):
            await self._keep(incidents)
        self._incidents = incidents
        return TickResult(rows=len(watched), keys=len(incidents))

    async def _names(self) -> list[str]:
        """Return the names of the loops to watch; those known before where the settings cannot be read."""
        ask = self.environment.watched_loops
        if ask is not None:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    self._watched = list(await ask())
            except Exception as error:
                # Airflow is away, or the variable is being mended: whoever parses the DAGs tells of it.
                told = f"{type(error).__name__}: {error}"
                self.environment.log.log(
                    _log, logging.WARNING, "The loops' settings cannot be read, so the same are watched: %s", told
                )
        return self._watched

    def _held_up_seconds(self, name: str, status: LoopStatus | None, now: datetime) -> float:
        """Return for how many seconds since a loop's last good tick others have blocked the thread."""
        if status is None or status.last_success_at is None:
            return 0.0
        held_up = ThreadUse.here().held_up_lately(name, (now - status.last_success_at).total_seconds())
        return held_up.seconds if held_up else 0.0

    def _may_be_starting(self, name: str, status: LoopStatus | None, now: datetime, held_up: float) -> bool:
        """Whether a loop has had no time yet to tick."""
        since = timedelta(seconds=self.environment.settings["stale_seconds"])
        if now - self._known_since[name] >= since or not self._limits.is_stale(status, now, held_up_seconds=held_up):
            return False
        # One whose ticks fail has started.
        is_ticking = status is not None and status.last_tick_at is not None and now - status.last_tick_at < since
        return not (is_ticking and self._limits.judge(status, now).state is LoopState.FAILING)

    async def _known_incidents(self) -> dict[str, _Incident]:
        if self._incidents is not None:
            return dict(self._incidents)
        text = await read_own(self.environment.valkey.get(self._incidents_key), self._incidents_key)
        try:
            return {name: _Incident(**fields) for name, fields in json.loads(text or "{}").items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            # Of another version, or damaged: they are noticed anew.
            self.environment.lease.replaced.add_unreadable(self._incidents_key, f"{type(error).__name__}: {error}")
            return {}

    async def _statuses(self, watched: list[str]) -> dict[str, LoopStatus | None]:
        pipeline = self.environment.valkey.pipeline(transaction=False)
        for name in watched:
            pipeline.hgetall(loop_key(self.environment.prefix, name))
        # What is wrong with one of them must not hide the others.
        answers: list[Any] = await pipeline.execute(raise_on_error=False) if watched else []
        return {
            name: LoopStatus.from_answer(answer, loop_key(self.environment.prefix, name))
            for name, answer in zip(watched, answers, strict=True)
        }

    def _measure(self, name: str, status: LoopStatus | None, now: datetime) -> None:
        announcer = self.environment.announcer
        if announcer is None or status is None:
            return
        if status.last_success_at is not None:
            announcer.gauge("age_seconds", (now - status.last_success_at).total_seconds(), name)
        announcer.gauge("consecutive_failures", status.consecutive_failures, name)
        announcer.gauge("lag_seconds", status.lag_seconds, name)

    @staticmethod
    def _compare(incidents: dict[str, _Incident], name: str, trouble: str | None, now: datetime) -> None:
        incident = incidents.get(name)
        if trouble is not None and (incident is None or incident.over):
            # In trouble again before the end of the former incident was told: it has not ended.
            incidents[name] = incident or _Incident(utc_iso(now), trouble)
            incidents[name].over = False
        elif trouble is None and incident is not None:
            incident.over = True

    async def _keep(self, incidents: Mapping[str, _Incident]) -> None:
        text = json.dumps({name: asdict(incident) for name, incident in incidents.items()})
        await self._writer.write([], expire_ms=_EXPIRE_MS, strings={self._incidents_key: text})

    async def _tell(self, incidents: dict[str, _Incident]) -> bool:
        """Send what is not told yet. True if that has changed something."""
        changed = False
        for name, incident in list(incidents.items()):
            if incident.told and not incident.over:
                continue
            # Nobody was told of it, so nobody need hear that it is over.
            if not (incident.over and not incident.told) and not await self._alert(name, incident):
                continue
            changed = True
            if incident.over:
                del incidents[name]
            else:
                incident.told = True
        return changed

    async def _alert(self, name: str, incident: _Incident) -> bool:
        return await _alert(self.environment.announcer, name, incident)


def watched_loops(given: Mapping[str, Any], others: Sequence[str], *, where: str) -> list[str]:
    """Return the names of the loops that a watch looks at.

    :param given: the settings of the watch, not checked yet.
    :param others: names of the enabled loops but the watch.
    :param where: the settings' place, for errors.
    :raises ValueError: if what is set are no names.
    """
    wanted = given.get(_WATCHED)
    if wanted is None:
        return list(others)
    try:
        named = names(wanted)
    except ValueError as error:
        raise ValueError(f"{where}.{_WATCHED}: {wanted!r} is not {error}") from None
    return [name for name in others if name in named]


class WatchObserver:
    """Watches the watch: tells people when its own ticks fail, once, and when they are good again.

    The watch cannot do it: it keeps incidents in Valkey, and without Valkey it does not even get to its work. What is
    remembered here is gone with the copy: if that is replaced during the incident, its end is not told.

    :param announcer: reaches people.
    :param name: of the watch.
    :param failures: failed ticks in a row.
    :param observer: is told about the ticks as well.
    """

    def __init__(self, announcer: Announcer, name: str, failures: int, observer: Observer) -> None:
        self._announcer = announcer
        self._name = name
        self._failures = failures
        self._observer = observer
        self._incident: _Incident | None = None
        self._sending: asyncio.Task[None] | None = None

    def ticked(self, status: LoopStatus) -> None:
        """Hear of a tick of the watch."""
        self._observer.ticked(status)
        if self._sending is not None and not self._sending.done():
            return
        if status.consecutive_failures >= self._failures:
            self._incident = self._incident or self._noticed(status)
            self._incident.over = False
        elif status.consecutive_failures == 0 and self._incident is not None:
            # Of one that nobody was told of, nobody need hear that it is over.
            self._incident = replace(self._incident, over=True) if self._incident.told else None
        # Neither the incident nor its end is told yet. Ticks do not wait for it.
        if self._incident is not None and self._incident.told == self._incident.over:
            self._sending = asyncio.ensure_future(self._send(self._incident))

    @staticmethod
    def _noticed(status: LoopStatus) -> _Incident:
        assert status.last_tick_at is not None
        message = f"{status.consecutive_failures} ticks failed in a row, so the loops are not watched"
        return _Incident(utc_iso(status.last_tick_at), f"{message}: {status.last_error}")

    async def _send(self, incident: _Incident) -> None:
        if await _alert(self._announcer, self._name, incident):
            self._incident = None if incident.over else replace(incident, told=True)


async def _alert(announcer: Announcer | None, name: str, incident: _Incident) -> bool:
    """Send what an incident is about. False if that failed."""
    words = "works again; it was" if incident.over else "is in trouble"
    message = f"realtime_{name} {words}: {incident.message} (noticed {incident.since})"
    # The log is for those who run the servers; an alert may leave the house.
    _log.log(logging.INFO if incident.over else logging.ERROR, "%s", message)
    if announcer is None:
        return True
    try:
        await announcer.alert(name, hide_addresses(message), cleared=incident.over)
    except Exception as error:
        # Without its stack, which would come once a minute for each incident for as long as this lasts.
        _log.error(
            "The alert could not be delivered; it is sent again at the next tick: %s: %s", type(error).__name__, error
        )
        return False
    return True
